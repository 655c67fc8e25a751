"""What Helm renders and tests, on the real cluster: every combination of values before the API server, and `helm test`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.cluster.alliance import FOUR, RELEASE, RESTRICTED
from tests.helm.matrix import MATRIX
from tests.helm.rendering import rendered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.alliance import Alliance, Member
    from tests.cluster.cluster import Cluster

OURS = ("v1", "apps", "batch", "policy", "networking.k8s.io", "rbac.authorization.k8s.io")
"""API groups that a cluster has without anybody's operator."""
EMPTY = "hospital-dry"


@pytest.fixture(scope="module")
def empty(cluster: Cluster) -> Iterator[str]:
    """A namespace with no release, held to Pod Security and warned of by it: what a warning is about becomes no pod."""
    labels = {**RESTRICTED, "pod-security.kubernetes.io/warn": "restricted"}
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": EMPTY, "labels": labels}})
    yield EMPTY
    cluster.kubectl("delete", "namespace", EMPTY, "--wait=false")


@pytest.mark.parametrize("name", MATRIX)
def test_api_server_takes_what_is_rendered(cluster: Cluster, empty: str, name: str) -> None:
    """Every object of a kind that the cluster has, in a restricted namespace: dry, but judged by the real API server."""
    namespace = (f"--namespace={empty}", "--warnings-as-errors")
    values, files = MATRIX[name]
    whole = rendered(values, *files, namespace=empty)
    objects = [each for each in whole if each["apiVersion"].partition("/")[0] in OURS and each["kind"] != "Pod"]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    assert objects
    cluster.kubectl("create", "--dry-run=server", "--validate=strict", "--filename=-", *namespace, text=text)


@pytest.mark.parametrize("member", FOUR[:2], ids=lambda each: each.member_id)
def test_helms_own_test_passes(cluster: Cluster, alliance: Alliance, member: Member) -> None:
    """Doctor, and a record that goes round: on the embedded store, and on Cassandra."""
    assert member in alliance.members
    cluster.helm("test", RELEASE, f"--namespace={member.namespace}", "--timeout=5m", "--logs")
