"""The combinations of values that people install with: every one is rendered, linted and held to the same rules."""

from __future__ import annotations

from tests.helm.rendering import Object, least

PEERS: Object = {
    "alliance": {
        "peers": [
            {"member": "2A", "namespace": "hospital-2a"},
            {"member": "3A", "host": "{service}.3a.example", "cidrs": ["203.0.113.0/24"]},
            {"member": "3B", "host": "gate.3b.example", "port": 443},
        ]
    }
}
IPV6: Object = {
    "listenOn": "::",
    "alliance": {
        "peers": [
            {"member": "2A", "namespace": "hospital-2a"},
            {"member": "3A", "host": "[2001:db8::7]", "cidrs": ["2001:db8::/64"]},
            {"member": "3B", "host": "gate.3b.example", "addresses": {"ledger": "[2001:db8:1::7]:443"}},
        ]
    },
    "networkPolicy": {"apiServer": {"cidrs": ["fd00:10:96::1/128"]}},
}
CASSANDRA: Object = {
    "storage": {
        "objects": "cassandra",
        "cassandra": {"hosts": ["cassandra"], "auth": {"existingSecret": "password"}, "tls": {"existingSecret": "database"}},
    }
}
BACKUP: Object = {
    "backup": {
        "enabled": True,
        "drill": {"enabled": True},
        "place": "s3://store:9000/bucket/1A",
        "existingSecret": "backup",
    }
}
ON_A_CLAIM: Object = {"place": "/backup", "existingSecret": "b", "existingClaim": "c"}
GATEWAY: Object = {"app": "gateway"}
ROUTED: Object = {
    "defaults": {"expose": {"type": "TLSRoute", "parentRefs": [{"name": "gate"}]}},
    "networkPolicy": {"gateways": [{"podSelector": {"matchLabels": GATEWAY}}]},
}
EVERYTHING: Object = least(
    PEERS,
    CASSANDRA,
    BACKUP,
    {
        "member": {"keys": {"nextSecret": "next-keys"}},
        "tls": {"mode": "certManager", "certManager": {"issuerRef": {"name": "authority"}}},
        "defaults": {"expose": {"type": "LoadBalancer", "sourceRanges": ["198.51.100.0/24"]}, "tolerations": [{"key": "a"}]},
        "metrics": {
            "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
            "prometheusRule": {
                "enabled": True,
                "labels": {"release": "prometheus"},
                "runbookUrl": "https://runbooks.example",
            },
        },
        "desk": {"enabled": True},
        "imagePullSecrets": [{"name": "pull"}],
    },
)
MATRIX: dict[str, tuple[Object, tuple[str, ...]]] = {
    "least": (least(), ()),
    "peers": (least(PEERS), ()),
    "dev": (least(PEERS), ("values-dev.yaml",)),
    "production, Cassandra": (least(PEERS), ("values-production.yaml", "values-existing-cassandra.yaml")),
    "production, K8ssandra": (least(PEERS), ("values-production.yaml", "values-k8ssandra.yaml")),
    "migration by a hook": (least(CASSANDRA, {"storage": {"cassandra": {"migration": {"hook": True}}}}), ()),
    "inline genesis": (
        {**least(), "genesis": {"inline": "AAAA", "authorities": {"1A.authority": "AAAA"}}},
        (),
    ),
    "routes": (least(PEERS, ROUTED), ()),
    "IPv6": (least(IPV6), ()),
    "existing certificates": (
        least(
            {
                "tls": {
                    "mode": "existingSecret",
                    "existingSecrets": {each: each for each in ("consensus", "ledger", "storage", "reencryption")},
                }
            }
        ),
        (),
    ),
    "backup on a claim": (least({"backup": {**ON_A_CLAIM, "enabled": True, "drill": {"enabled": True}}}), ()),
    "backup without drill": (least({"backup": {**ON_A_CLAIM, "enabled": True}}), ()),
    "drill without backup": (least({"backup": {**ON_A_CLAIM, "drill": {"enabled": True}}}), ()),
    "bare": (least({"networkPolicy": {"enabled": False}, "tests": {"enabled": False}, "topologySpread": False}), ()),
    "everything": (EVERYTHING, ()),
}
