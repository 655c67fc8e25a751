"""What identity relies on in a Kubernetes API server: asked of the small one here, in `tests/cluster` of the real one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from consilium.kernel.errors import Conflict
from consilium.runtime.cluster import Lease

if TYPE_CHECKING:
    from collections.abc import Callable

    from consilium.runtime.cluster import Cluster


def check_secret(cluster: Cluster, label: Callable[[str], None], labels: Callable[[str], dict[str, str]]) -> None:
    """Made when missing, patched when it differs in the keys alone; `label` is somebody else's hand on the object."""
    assert cluster.secret("a") is None
    assert cluster.put_secret("a", {"tls.key": b"\0\1", "revoked": b""})
    assert cluster.secret("a") == {"tls.key": b"\0\1", "revoked": b""}
    assert not cluster.put_secret("a", {"tls.key": b"\0\1", "revoked": b""})
    label("a")
    assert cluster.put_secret("a", {"tls.key": b"\2"})
    assert cluster.secret("a") == {"tls.key": b"\2"}
    assert labels("a").items() >= {"somebody": "else", "app.kubernetes.io/managed-by": "consilium-identity"}.items()


def check_config_map(cluster: Cluster) -> None:
    """The same for configuration."""
    assert cluster.config_map("a") is None
    assert cluster.put_config_map("a", {"summary": "one\ntwo\n", "more": "x"})
    assert not cluster.put_config_map("a", {"summary": "one\ntwo\n", "more": "x"})
    assert cluster.put_config_map("a", {"summary": "three\n"})
    assert cluster.config_map("a") == {"summary": "three\n"}


def check_lease(cluster: Cluster) -> None:
    """It changes hands only as it was read."""
    assert cluster.lease("seat") is None
    cluster.put_lease("seat", Lease("one", 1_015_000, 0), 1_000_000)
    found = cluster.lease("seat")
    assert found is not None
    assert (found.holder, found.until_ms, found.transitions) == ("one", 1_015_000, 0)
    with pytest.raises(Conflict, match="KUBERNETES_CONFLICT"):
        cluster.put_lease("seat", Lease("two", 1_015_000, 0), 1_000_000)
    cluster.put_lease("seat", Lease("two", 1_030_000, 1, found.version), 1_015_000)
    with pytest.raises(Conflict, match="KUBERNETES_CONFLICT"):
        cluster.put_lease("seat", Lease("three", 1_030_000, 1, found.version), 1_015_000)


def check_event(cluster: Cluster, events: Callable[[], list[tuple[str, str, str]]]) -> None:
    """It is kept; what it is about need not be there."""
    cluster.tell(cluster.about("Lease", "seat"), "LeaseHeldElsewhere", "A sentence.", is_warning=True)
    assert events() == [("Warning", "LeaseHeldElsewhere", "A sentence.")]
    cluster.tell(cluster.about("Lease", "seat"), "LeaseHeldElsewhere", "A later one.", is_warning=True)
    cluster.tell(cluster.about("Lease", "seat"), "LeaseHeldElsewhereOver", "No warning.", is_warning=False)
    assert (cluster.last_warning("seat"), cluster.last_warning("another")) == ("A later one.", "")
