"""The network lets through the edges of the design's section 8, and nothing besides.

The policies of two members' releases are read as a network plug-in would read them, for every pair of pods and every port;
whether a plug-in then does so is the cluster's to say.
"""

from __future__ import annotations

import pytest

from tests.helm.matrix import BACKUP, CASSANDRA, GATEWAY, ON_A_CLAIM, ROUTED
from tests.helm.network import PORTS, Network, Place, edges, places
from tests.helm.rendering import SERVICES, Object, least, rendered

CLIENTS = {(client, each) for client in ("backup", "desk", "doctor", "drill", "roundtrip") for each in SERVICES}
OWN = CLIENTS | {
    ("identity", "consensus"),
    ("identity", "ledger"),
    ("consensus", "ledger"),
    ("storage", "ledger"),
    ("reencryption", "ledger"),
    ("reencryption", "consensus"),
    ("ledger", "consensus"),
}
OTHERS = CLIENTS | {("consensus", "consensus"), ("ledger", "ledger"), ("storage", "storage")}
"""Section 8, within a member and between members, and the ledger pod that asks before it stops (ADR 23); the section's other
edges (DNS, Cassandra, metrics) are asked for one by one."""
WORLD = Place(address="198.51.100.7")
DATABASE = Place("hospital-1a", {"app": "cassandra"})
DNS = Place("kube-system", {"k8s-app": "kube-dns"})
PROMETHEUS = Place("monitoring", {"app.kubernetes.io/name": "prometheus"})
STRANGER = Place("elsewhere", {"consilium.io/client": "true", "app.kubernetes.io/component": "ledger"})


def release(member: str, peers: list[Object]) -> list[Object]:
    """One member's chart with all there is: Cassandra, backup, drill, desk."""
    named = {"member": {"id": member}, "alliance": {"peers": peers}, "desk": {"enabled": True}}
    return rendered(least(CASSANDRA, BACKUP, named), namespace=f"hospital-{member.lower()}")


@pytest.fixture(scope="module")
def releases() -> dict[str, list[Object]]:
    return {
        f"hospital-{own.lower()}": release(own, [{"member": other, "namespace": f"hospital-{other.lower()}"}])
        for own, other in (("1A", "2A"), ("2A", "1A"))
    }


@pytest.fixture(scope="module")
def network(releases: dict[str, list[Object]]) -> Network:
    return Network.of(releases)


@pytest.fixture(scope="module")
def own(releases: dict[str, list[Object]]) -> dict[str, Place]:
    found = places(releases["hospital-1a"], "hospital-1a")
    assert set(found) == {*SERVICES, "backup", "desk", "doctor", "drill", "migration", "roundtrip"}
    return found


@pytest.fixture(scope="module")
def others(releases: dict[str, list[Object]]) -> dict[str, Place]:
    return places(releases["hospital-2a"], "hospital-2a")


def test_within_a_member(network: Network, own: dict[str, Place]) -> None:
    assert edges(network, own, own, PORTS["calls"]) == OWN


def test_who_asks_nobody_before_stopping_has_no_edge_for_it() -> None:
    objects = rendered(least({"drain": {"enabled": False}}))
    found = places(objects, "hospital-1a")
    network = Network.of({"hospital-1a": objects})
    assert edges(network, {"ledger": found["ledger"]}, found, PORTS["calls"]) == set()


def test_between_members(network: Network, own: dict[str, Place], others: dict[str, Place]) -> None:
    assert edges(network, own, others, PORTS["calls"]) == OTHERS
    assert edges(network, others, own, PORTS["calls"]) == OTHERS


def test_calls_are_the_only_port_between_pods(network: Network, own: dict[str, Place], others: dict[str, Place]) -> None:
    """But for the doctor, who monitors: it reads from its own member's metrics how full volumes are."""
    for name in ("health", "metrics"):
        assert edges(network, own, others, PORTS[name]) == set()
    assert edges(network, own, own, PORTS["health"]) == set()
    assert edges(network, own, own, PORTS["metrics"]) == {("doctor", each) for each in SERVICES}


def test_monitoring_reads_metrics_and_nothing_else(network: Network, own: dict[str, Place]) -> None:
    for each in SERVICES:
        assert network.allows(PROMETHEUS, own[each], PORTS["metrics"])
        assert not network.allows(PROMETHEUS, own[each], PORTS["calls"])
        assert not network.allows(STRANGER, own[each], PORTS["metrics"])


def test_all_resolve_names(network: Network, own: dict[str, Place]) -> None:
    assert [each for each in own if not network.allows(own[each], DNS, 53)] == []


def test_storage_and_the_migration_reach_the_database(network: Network, own: dict[str, Place]) -> None:
    assert {each for each in own if network.allows(own[each], DATABASE, 9042)} == {"storage", "migration"}


def test_identity_and_the_doctor_call_the_kubernetes_api(network: Network, own: dict[str, Place]) -> None:
    for port in (443, 6443):
        assert {each for each in own if network.allows(own[each], WORLD, port)} == {"identity", "doctor"}


def test_backup_and_drill_alone_reach_the_place_of_the_backup(network: Network, own: dict[str, Place]) -> None:
    assert {each for each in own if network.allows(own[each], WORLD, 9000)} == {"backup", "drill"}


def test_a_backup_on_a_claim_needs_no_way_out() -> None:
    objects = rendered(least({"backup": {**ON_A_CLAIM, "enabled": True}}))
    own, network = places(objects, "hospital-1a"), Network.of({"hospital-1a": objects})
    assert "backup" in own
    assert not any(network.allows(own["backup"], WORLD, port) for port in (443, 9000))


def test_services_and_clients_reach_what_else_is_named() -> None:
    """A collector of traces, and the store that the desk backs up to; nobody reaches either unless it is named."""
    to = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": PROMETHEUS.namespace}}}]
    ways: Object = {"networkPolicy": {"egress": [{"to": to, "ports": [{"port": 4317}]}]}, "desk": {"enabled": True}}
    objects = rendered(least(CASSANDRA, BACKUP, ways))
    found, network = places(objects, "hospital-1a"), Network.of({"hospital-1a": objects})
    calling = {each for each in found if network.allows(found[each], PROMETHEUS, 4317)}
    assert calling == {*SERVICES, "backup", "desk", "doctor", "drill", "roundtrip"}
    assert not any(network.allows(found[each], PROMETHEUS, 4318) for each in found)
    assert not any(network.allows(found[each], WORLD, 4317) for each in found)


def test_a_gateway_reaches_what_it_routes_to() -> None:
    """Its pods are who calls then, for every peer outside the cluster; where a service has no route it reaches nothing."""
    objects = rendered(least(ROUTED, {"ledger": {"expose": {"type": "ClusterIP"}}}))
    found, network = places(objects, "hospital-1a"), Network.of({"hospital-1a": objects})
    gateway = Place("hospital-1a", GATEWAY)
    reached = {each for each in found if network.allows(gateway, found[each], PORTS["calls"])}
    assert reached == set(SERVICES) - {"ledger"}


def test_strangers_reach_nobody(network: Network, own: dict[str, Place]) -> None:
    for each in own.values():
        for port in PORTS.values():
            assert not network.allows(STRANGER, each, port)
            assert not network.allows(WORLD, each, port)


def test_a_namespace_of_a_members_name_is_not_enough(network: Network, own: dict[str, Place]) -> None:
    """In a peer's namespace only its services and clients are let through, each to its own counterpart."""
    labels = {"consilium.io/member": "2A", "app.kubernetes.io/component": "storage"}
    for each in SERVICES:
        assert network.allows(Place("hospital-2a", labels), own[each], PORTS["calls"]) == (each == "storage")
        assert not network.allows(Place("hospital-2a", {"app": "anything"}), own[each], PORTS["calls"])


def test_peers_elsewhere_are_their_addresses() -> None:
    peers: list[Object] = [{"member": "2A", "host": "{service}.2a.example", "port": 443, "cidrs": ["203.0.113.0/24"]}]
    objects = release("1A", peers)
    network, own, there = Network.of({"hospital-1a": objects}), places(objects, "hospital-1a"), Place(address="203.0.113.9")
    calling = {each for each in SERVICES if network.allows(own[each], there, 443)}
    assert calling == {"consensus", "ledger", "storage", "identity"}
    assert {each for each in calling if network.allows(own[each], there, 8443)} == {"consensus", "ledger", "storage"}
    assert all(network.allows(there, own[each], PORTS["calls"]) for each in SERVICES)
    assert not any(network.allows(WORLD, own[each], PORTS["calls"]) for each in SERVICES)


def test_without_policies_everything_is_open() -> None:
    """So the tests above tell something."""
    objects = rendered(least({"networkPolicy": {"enabled": False}}))
    own = places(objects, "hospital-1a")
    assert Network.of({"hospital-1a": objects}).allows(STRANGER, own["ledger"], PORTS["health"])
