"""Bad values are refused before anything is installed, and what is said names the value and the way out."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helm.matrix import CASSANDRA, PEERS
from tests.helm.rendering import least, template

SERVICES_OF_TLS = ("consensus", "ledger", "storage", "reencryption")

BY_SCHEMA: dict[str, tuple[Any, str]] = {
    "an unknown value": ({"gateway": {"enabled": True}}, "additional properties 'gateway' not allowed"),
    "an unknown value below": ({"ledger": {"replicas": 2}}, "at '/ledger': additional properties 'replicas' not allowed"),
    "two consensus replicas": ({"consensus": {"replicas": 2}}, "at '/consensus/replicas': value must be 1"),
    "no consensus": ({"consensus": {"replicas": 0}}, "at '/consensus/replicas': value must be 1"),
    "a peer without a place": ({"alliance": {"peers": [{"member": "2A"}]}}, "at '/alliance/peers/0'"),
    "a peer with a wrong address": (
        {"alliance": {"peers": [{"member": "2A", "namespace": "a", "addresses": {"ledger": "nowhere"}}]}},
        "at '/alliance/peers/0/addresses/ledger'",
    ),
    "IPv6 without its brackets": (
        {"alliance": {"peers": [{"member": "2A", "host": "2001:db8::7"}]}},
        "at '/alliance/peers/0/host'",
    ),
    "a port that is none": (
        {"alliance": {"peers": [{"member": "2A", "namespace": "a", "addresses": {"ledger": "gate.2a.example:65536"}}]}},
        "at '/alliance/peers/0/addresses/ledger'",
    ),
    "a host with another blank": (
        {"alliance": {"peers": [{"member": "2A", "host": "{member}.2a.example"}]}},
        "at '/alliance/peers/0/host'",
    ),
    "a name too long for a label": ({"fullnameOverride": "a" * 40}, "at '/fullnameOverride'"),
    "a genesis twice": ({"genesis": {"inline": "AAAA"}}, "at '/genesis'"),
    "an authority by a wrong name": (
        {"genesis": {"existingConfigMap": "", "inline": "AA==", "authorities": {"1A.pem": "AA=="}}},
        "invalid propertyName '1A.pem'",
    ),
    "an unknown way to certificates": ({"tls": {"mode": "selfSigned"}}, "at '/tls/mode'"),
    "an unknown setting": ({"ledger": {"settings": {"patience": 1}}}, "additional properties 'patience' not allowed"),
    "a setting out of range": ({"ledger": {"settings": {"patience_ms": 60_001}}}, "maximum: got 60,001, want 60,000"),
    "a setting of another kind": ({"storage": {"settings": {"copies": "two"}}}, "got string, want integer"),
    "a setting that the chart decides": ({"storage": {"settings": {"peers": []}}}, "'peers' not allowed"),
    "a digest that is none": ({"image": {"digest": "latest"}}, "at '/image/digest'"),
    "an unknown way out of the cluster": ({"ledger": {"expose": {"type": "NodePort"}}}, "at '/ledger/expose/type'"),
    "a size without a unit": ({"ledger": {"persistence": {"size": "50"}}}, "at '/ledger/persistence/size'"),
    "resources that are none": ({"ledger": {"resources": {"limit": {}}}}, "at '/ledger/resources': additional properties"),
    "an amount that is none": (
        {"clients": {"resources": {"limits": {"memory": "2 GB"}}}},
        "at '/clients/resources/limits/memory'",
    ),
    "an amount with a wrong prefix": (
        {"clients": {"resources": {"limits": {"memory": "64ki"}}}},
        "at '/clients/resources/limits/memory'",
    ),
    "an amount below nothing": (
        {"clients": {"resources": {"limits": {"memory": -1}}}},
        "at '/clients/resources/limits/memory': minimum",
    ),
    "a resource that nobody knows": (
        {"clients": {"resources": {"limits": {"memroy": "2Gi"}}}},
        "invalid propertyName 'memroy'",
    ),
    "a claim without a name": ({"clients": {"resources": {"claims": [{}]}}}, "missing property 'name'"),
    "an unknown store": ({"storage": {"objects": "mongo"}}, "at '/storage/objects'"),
    "a weak consistency": ({"storage": {"cassandra": {"consistency": "ONE"}}}, "at '/storage/cassandra/consistency'"),
    "a backup in the pod": ({"backup": {"place": "/scratch/backup"}}, "at '/backup/place'"),
    "a way out to everywhere": (
        {"networkPolicy": {"egress": [{"ports": [{"port": 443}]}]}},
        "at '/networkPolicy/egress/0': missing property 'to'",
    ),
    "two of a service away": ({"defaults": {"maxUnavailable": 2}}, "at '/defaults/maxUnavailable'"),
}
"""What the schema refuses, with what Helm says of it."""

BY_SENTENCE: dict[str, tuple[Any, str]] = {
    "no member": ({"member": {"id": ""}}, "member.id is empty: set it to this member's id"),
    "a wrong member id": ({"member": {"id": "3_A"}}, 'member.id is "3_A": at most 40 letters, digits and dashes'),
    "a long member id": ({"member": {"id": "a" * 41}}, "at most 40 letters"),
    "a wrong alliance": ({"alliance": {"name": "My Alliance"}}, 'alliance.name is "My Alliance": small letters'),
    "no keys": (
        {"member": {"keys": {"existingSecret": ""}}},
        "existingSecret is empty: name the Secret with this member's keys",
    ),
    "no genesis": ({"genesis": {"existingConfigMap": ""}}, "No genesis: set genesis.existingConfigMap"),
    "itself as a peer": ({"member": {"id": "2A"}, **PEERS}, "alliance.peers names 2A, which is this member itself"),
    "a member twice": (
        {"alliance": {"peers": [{"member": "2A", "namespace": "a"}, {"member": "2A", "namespace": "b"}]}},
        "alliance.peers names 2A twice",
    ),
    "no issuer": ({"tls": {"mode": "certManager"}}, "tls.certManager.issuerRef.name is empty"),
    "a missing certificate": (
        {"tls": {"mode": "existingSecret", "existingSecrets": {each: each for each in SERVICES_OF_TLS[1:]}}},
        "tls.existingSecrets.consensus is empty",
    ),
    "a route without a gateway": ({"ledger": {"expose": {"type": "TLSRoute"}}}, "ledger.expose.type is TLSRoute, but"),
    "a gateway that no policy lets in": (
        {"ledger": {"expose": {"type": "TLSRoute", "parentRefs": [{"name": "gate"}]}}},
        "ledger.expose.type is TLSRoute, but no NetworkPolicy lets the Gateway's pods in",
    ),
    "a name that no Service has": ({"fullnameOverride": "1a"}, 'All objects would begin with "1a"'),
    "a wait longer than a pod has": (
        {"drain": {"waitSeconds": 51}},
        "set consensus.terminationGracePeriodSeconds to 71 or more",
    ),
    "certificates of pods by name": (
        {"storage": {"objects": "cassandra", "k8ssandra": {"enabled": True}}},
        "storage.cassandra.checkNames is true",
    ),
    "a database without volumes": (
        {"storage": {"objects": "cassandra", "cassandra": {"checkNames": False}, "k8ssandra": {"enabled": True}}},
        "set storage.k8ssandra.spec.cassandra.storageConfig",
    ),
    "no Cassandra": ({"storage": {"objects": "cassandra"}}, "name its instances in storage.cassandra.hosts"),
    "no password": (
        {"storage": {**CASSANDRA["storage"], "cassandra": {"hosts": ["a"], "tls": {"existingSecret": "a"}}}},
        "storage.cassandra.auth.existingSecret is empty",
    ),
    "a plain Cassandra": (
        {"storage": {**CASSANDRA["storage"], "cassandra": {"hosts": ["a"], "auth": {"existingSecret": "a"}}}},
        "there is no plaintext",
    ),
    "a database for nobody": ({"storage": {"k8ssandra": {"enabled": True}}}, "set storage.objects=cassandra as well"),
    "a backup to nowhere": ({"backup": {"enabled": True}}, "backup.place is empty"),
    "a drill of nothing": ({"backup": {"drill": {"enabled": True}}}, "backup.place is empty"),
    "a backup without its key": ({"backup": {"enabled": True, "place": "/backup"}}, "the Secret with backup.key"),
    "a backup without its claim": (
        {"backup": {"enabled": True, "place": "/backup", "existingSecret": "a"}},
        "name the claim for the backup",
    ),
}
"""What the chart refuses, with its sentence."""


@pytest.mark.parametrize("name", BY_SCHEMA)
def test_the_schema_refuses(name: str) -> None:
    changed, says = BY_SCHEMA[name]
    run = template(least(changed))
    assert run.code != 0
    assert "values don't meet the specifications of the schema" in run.error
    assert says in run.error


@pytest.mark.parametrize("name", BY_SENTENCE)
def test_the_chart_refuses(name: str) -> None:
    changed, says = BY_SENTENCE[name]
    run = template(least(changed))
    assert run.code != 0
    assert says in run.error


def test_no_values_at_all_say_what_to_begin_with() -> None:
    assert "member.id is empty" in template({}).error
