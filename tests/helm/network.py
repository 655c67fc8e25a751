"""Reads rendered NetworkPolicies as a network plug-in would: whether this pod may reach that port of that pod.

Two pods may talk when the egress of the one and the ingress of the other let them (networking.k8s.io/v1). A pod is selected
by labels; a peer by labels of pod and namespace, or by addresses. Whoever is outside the cluster is an address.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.helm.rendering import SERVICES, Object, of_kind, pods

if TYPE_CHECKING:
    from collections.abc import Mapping

PORTS = {"calls": 8443, "health": 8080, "metrics": 9090}


@dataclass(frozen=True, slots=True)
class Place:
    """A pod by its namespace and labels, or somebody outside by an address."""

    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    address: str = ""


def places(objects: list[Object], namespace: str) -> dict[str, Place]:
    """The pods of a rendered release, by component."""
    labels = [pod["metadata"]["labels"] for _, pod in pods(objects)]
    return {each["app.kubernetes.io/component"]: Place(namespace, each) for each in labels}


@dataclass(frozen=True, slots=True)
class Network:
    """The policies of all namespaces."""

    policies: Mapping[str, list[Object]]

    @classmethod
    def of(cls, releases: Mapping[str, list[Object]]) -> Network:
        """From rendered releases, by namespace."""
        return cls({name: list(of_kind(each, "NetworkPolicy").values()) for name, each in releases.items()})

    def allows(self, source: Place, target: Place, port: int) -> bool:
        """Whether a connection to a port comes about."""
        return self._lets(source, "Egress", target, port) and self._lets(target, "Ingress", source, port)

    def _lets(self, place: Place, way: str, other: Place, port: int) -> bool:
        """What the policies that select a place say of one way; a place that none selects is open."""
        chosen = [
            each["spec"]
            for each in self.policies.get(place.namespace, [])
            if way in each["spec"]["policyTypes"] and matches(each["spec"]["podSelector"], place.labels)
        ]
        rules = [rule for each in chosen for rule in each.get(way.lower()) or []]
        end = "to" if way == "Egress" else "from"
        return not chosen or any(_covers(rule, end, other, port, place.namespace) for rule in rules)


def _covers(rule: Object, end: str, other: Place, port: int, namespace: str) -> bool:
    numbers = [PORTS.get(each["port"], each["port"]) for each in rule.get("ports", [])]
    peers: list[Object] | None = rule.get(end)
    return (not numbers or port in numbers) and (peers is None or any(_is(each, other, namespace) for each in peers))


def _is(peer: Object, other: Place, namespace: str) -> bool:
    """Whether a peer of a rule is this place; without a selector for namespaces the policy's own is meant."""
    if "ipBlock" in peer:
        return bool(other.address) and ipaddress.ip_address(other.address) in ipaddress.ip_network(peer["ipBlock"]["cidr"])
    if other.address:
        return False
    named = {"kubernetes.io/metadata.name": other.namespace}
    inside = matches(peer["namespaceSelector"], named) if "namespaceSelector" in peer else other.namespace == namespace
    return inside and matches(peer.get("podSelector", {}), other.labels)


def matches(selector: Object, labels: Mapping[str, Any]) -> bool:
    """Whether labels are what a selector asks for; the charts select by matchLabels alone."""
    assert selector.keys() <= {"matchLabels"}
    return all(labels.get(name) == value for name, value in selector.get("matchLabels", {}).items())


def edges(network: Network, own: Mapping[str, Place], others: Mapping[str, Place], port: int) -> set[tuple[str, str]]:
    """Who of these reaches which services of those."""
    wanted = [(source, target) for source in own for target in SERVICES if own[source] != others[target]]
    return {each for each in wanted if network.allows(own[each[0]], others[each[1]], port)}
