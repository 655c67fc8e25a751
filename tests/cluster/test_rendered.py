"""What Helm renders and tests, on the real cluster: every combination of values before the API server, and `helm test`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.cluster.alliance import FOUR, RELEASE
from tests.helm.matrix import MATRIX
from tests.helm.rendering import rendered

if TYPE_CHECKING:
    from tests.cluster.alliance import Alliance, Member
    from tests.cluster.cluster import Cluster

OURS = ("v1", "apps", "batch", "policy", "networking.k8s.io", "rbac.authorization.k8s.io")
"""API groups that a cluster has without anybody's operator."""


@pytest.mark.parametrize("name", MATRIX)
def test_api_server_takes_what_is_rendered(cluster: Cluster, alliance: Alliance, name: str) -> None:
    """Every object of a kind that the cluster has, in a restricted namespace: dry, but judged by the real API server."""
    namespace = f"--namespace={alliance.members[0].namespace}"
    values, files = MATRIX[name]
    whole = [each for each in rendered(values, *files) if each["apiVersion"].partition("/")[0] in OURS]
    objects = [each for each in whole if each["kind"] != "Pod"]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    assert objects
    cluster.kubectl("create", "--dry-run=server", "--validate=strict", "--filename=-", namespace, text=text)


@pytest.mark.parametrize("member", FOUR[:2], ids=lambda each: each.member_id)
def test_helms_own_test_passes(cluster: Cluster, alliance: Alliance, member: Member) -> None:
    """Doctor, and a record that goes round: on the embedded store, and on Cassandra."""
    assert member in alliance.members
    cluster.helm("test", RELEASE, f"--namespace={member.namespace}", "--timeout=5m")
