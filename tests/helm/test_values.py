"""What the chart says in two places is the same in both, and what it sets the services know."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import pytest
from ruamel.yaml import YAML

from consilium.backup.restoring import Member
from consilium.client.settings import ClientSettings, services_of
from consilium.runtime.addresses import peers_of
from consilium.runtime.settings import load
from tests.helm.make import CHART, DECIDED, PLACES, README, SCHEMA, SETTINGS, VALUES, readme, schema, values
from tests.helm.matrix import BACKUP, CASSANDRA, EVERYTHING, IPV6, ON_A_CLAIM, PEERS
from tests.helm.rendering import SERVICES, Object, containers, environment, least, of_kind, pods, rendered

if TYPE_CHECKING:
    from pathlib import Path


def told(objects: list[Object], service: str) -> dict[str, str]:
    return environment(of_kind(objects, "StatefulSet")[f"consilium-{service}"]["spec"]["template"])


def test_the_readme_has_every_value() -> None:
    assert README.read_text() == readme(), "run make chart"


def test_the_schema_has_every_setting() -> None:
    assert SCHEMA.read_text() == schema(), "run make chart"


def test_every_value_has_a_comment_and_a_place_in_the_schema() -> None:
    documented = {name for name, _, _ in values()}
    properties = json.loads(SCHEMA.read_text())["properties"]
    for name in documented:
        assert name.split(".")[0] in properties
    defaults = YAML(typ="safe").load(VALUES.read_text())
    assert [each for each in leaves(defaults) if not _is_told(each, documented)] == []


def leaves(value: Any, path: str = "") -> list[str]:
    """The dotted names of all values that hold no others."""
    if not isinstance(value, dict) or not value:
        return [path]
    return [each for name, inner in value.items() for each in leaves(inner, f"{path}.{name}" if path else name)]


def _is_told(name: str, documented: set[str]) -> bool:
    """By its own comment, or by that of the value it is a default of."""
    parts = name.split(".")
    return any(".".join(parts[:length]) in documented for length in range(1, len(parts) + 1))


def test_services_understand_what_they_are_told() -> None:
    """The services' own reader takes every variable; a wrong name or value would be refused here."""
    for objects in (rendered(EVERYTHING), rendered(least(PEERS))):
        for service, kind in SETTINGS.items():
            loaded: Any = load(kind, told(objects, service))
            assert (loaded.member_id, loaded.port, loaded.health_port, loaded.metrics_port) == ("1A", 8443, 8080, 9090)


def test_the_chart_decides_what_it_says_it_does() -> None:
    objects = rendered(EVERYTHING)
    for service, kind in SETTINGS.items():
        names = {each.removeprefix(f"CONSILIUM_{service}_".upper()).lower() for each in told(objects, service)}
        decided = PLACES | DECIDED[service]
        assert names & {each.name for each in fields(kind)} == decided


def test_settings_reach_the_service_as_they_were_written() -> None:
    objects = rendered(least({"storage": {"settings": {"object_bytes_max": 17_179_869_184, "residency": ["2A", "3A"]}}}))
    loaded: Any = load(SETTINGS["storage"], told(objects, "storage"))
    assert (loaded.object_bytes_max, loaded.residency) == (17_179_869_184, ("2A", "3A"))


def test_peers_are_named_at_every_service() -> None:
    objects = rendered(least(PEERS))
    loaded: Any = load(SETTINGS["consensus"], told(objects, "consensus"))
    assert loaded.peers == (
        "2A=consilium-consensus.hospital-2a.svc:8443",
        "3A=consensus.3a.example:8443",
        "3B=gate.3b.example:443",
    )


def test_peers_and_pods_without_ipv4_are_named_and_listen() -> None:
    objects = rendered(least(IPV6))
    loaded: Any = load(SETTINGS["ledger"], told(objects, "ledger"))
    assert peers_of(loaded.peers, "ledger", "1A")["3A"].address == "[2001:db8::7]:8443"
    assert peers_of(loaded.peers, "ledger", "1A")["3B"].address == "[2001:db8:1::7]:443"
    assert {told(objects, each)[f"CONSILIUM_{each.upper()}_HOST"] for each in SERVICES} == {"::"}


def test_clients_know_all_services_of_all_members() -> None:
    pod = dict(pods(rendered(least(PEERS))))["Pod consilium-test-roundtrip"]
    known = {name: value for name, value in environment(pod).items() if name.startswith("CONSILIUM_CLIENT_")}
    found = services_of(load(ClientSettings, known).services)
    assert {member: len(services) for member, services in found.items()} == {"1A": 5, "2A": 5, "3A": 5, "3B": 5}


def test_the_migration_works_as_the_role_that_may() -> None:
    objects = rendered(least(CASSANDRA), "values-existing-cassandra.yaml")
    [job] = of_kind(objects, "Job").values()
    loaded: Any = load(SETTINGS["storage"], environment(job["spec"]["template"]))
    assert (loaded.cassandra_user, loaded.objects, loaded.cassandra_hosts) == ("migrator", "cassandra", ("cassandra",))


@pytest.mark.parametrize("address", ["0.0.0.0", "::"])  # noqa: S104  what is rendered
def test_pods_listen_where_they_are_told_and_wait_for_the_pod_before_them(address: str) -> None:
    """As long as that one may take to end (C5)."""
    objects = rendered(least({"listenOn": address, "ledger": {"terminationGracePeriodSeconds": 90}}))
    for service, kind in SETTINGS.items():
        loaded: Any = load(kind, told(objects, service))
        spec = of_kind(objects, "StatefulSet")[f"consilium-{service}"]["spec"]["template"]["spec"]
        assert (loaded.host, loaded.lock_s) == (address, spec["terminationGracePeriodSeconds"])
        assert loaded.lock_s == (90 if service == "ledger" else 70)


def test_the_drill_finds_its_settings(tmp_path: Path) -> None:
    objects = rendered(least(PEERS, BACKUP))
    file = tmp_path / "settings.toml"
    file.write_text(of_kind(objects, "ConfigMap")["consilium-drill"]["data"]["settings.toml"])
    member = Member.of(file)
    assert (member.ledger.member_id, member.storage.member_id, member.consensus.member_id) == ("1A", "1A", "1A")
    assert member.ledger.peers == load(SETTINGS["ledger"], told(objects, "ledger")).peers  # type: ignore[attr-defined]
    mounted = {each["mountPath"] for each in containers(dict(pods(objects))["CronJob consilium-drill"])[0]["volumeMounts"]}
    assert {str(member.ledger.tls_directory), str(member.ledger.genesis.parent)} <= mounted


@pytest.mark.parametrize("amount", ["64000Ki", "1Ei", "1e9", "1E", "1.5G", "128974848000m", "100k", 1_000, 0.5])
def test_every_amount_that_kubernetes_knows_is_taken(amount: str | float) -> None:
    limits = {"memory": amount, "hugepages-2Mi": "4Mi", "example.com/Card_2": 1}
    given: Object = {"limits": limits, "claims": [{"name": "card"}]}
    pod = of_kind(rendered(least({"ledger": {"resources": given}})), "StatefulSet")["consilium-ledger"]["spec"]["template"]
    [container] = containers(pod)
    assert container["resources"] == {"requests": {"cpu": "100m", "memory": "128Mi"}, **given}


def test_the_drill_has_what_the_ledger_has() -> None:
    """It executes the same chain: who raised the ledger's limit has drills that are not ended for their memory."""
    found = dict(pods(rendered(least(BACKUP, {"ledger": {"resources": {"limits": {"memory": "8Gi"}}}}))))
    drill, ledger = (containers(found[each])[0] for each in ("CronJob consilium-drill", "StatefulSet consilium-ledger"))
    assert drill["resources"] == ledger["resources"]
    assert drill["resources"]["limits"] == {"memory": "8Gi"}


def test_the_backup_is_made_where_the_drill_reads_it() -> None:
    """By a client that knows where everything is, into the place that the drill only reads."""
    objects = rendered(least(PEERS, {"backup": {**ON_A_CLAIM, "enabled": True, "drill": {"enabled": True}}}))
    found = {name.removeprefix("CronJob consilium-"): pod for name, pod in pods(objects) if name.startswith("CronJob")}
    used = {name: containers(pod)[0] for name, pod in found.items()}
    assert {name: each["command"] for name, each in used.items()} == {
        "backup": ["consilium", "backup", "/backup"],
        "drill": ["consilium", "restore", "/backup"],
    }
    writable = {
        name: [each["readOnly"] for each in container["volumeMounts"] if each["mountPath"] == "/backup"]
        for name, container in used.items()
    }
    assert writable == {"backup": [False], "drill": [True]}
    known = {name: value for name, value in environment(found["backup"]).items() if name.startswith("CONSILIUM_CLIENT_")}
    loaded = load(ClientSettings, known)
    assert len(services_of(loaded.services)["1A"]) == 5
    mounted = {each["mountPath"] for each in used["backup"]["volumeMounts"]}
    assert {str(loaded.credential), str(loaded.genesis.parent), "/etc/consilium/backup"} <= mounted


def test_delegates_ask_before_they_stop() -> None:
    """Consensus of the pod it is in, the ledger of the service; both under the certificate they have (ADR 23)."""
    objects = rendered(least(PEERS))
    asked = {"consensus": "127.0.0.1:8443", "ledger": "consilium-consensus.hospital-1a.svc:8443"}
    for service, address in asked.items():
        pod = of_kind(objects, "StatefulSet")[f"consilium-{service}"]["spec"]["template"]
        [container] = pod["spec"]["containers"]
        assert container["lifecycle"]["preStop"]["exec"]["command"][:2] == ["consilium", "drain"]
        known = {name: value for name, value in environment(pod).items() if name.startswith("CONSILIUM_CLIENT_")}
        loaded = load(ClientSettings, known)
        assert services_of(loaded.services)["1A"]["consensus"].address == address
        mounted = {each["mountPath"] for each in container["volumeMounts"]}
        assert {str(loaded.credential), str(loaded.genesis.parent)} <= mounted


def test_files_of_values_are_named_in_the_readme() -> None:
    assert sorted(each.name for each in CHART.glob("values-*.yaml") if f"`{each.name}`" not in README.read_text()) == []
