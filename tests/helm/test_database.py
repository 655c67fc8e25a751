"""What becomes of a member's Cassandra when its release comes, changes and goes: the database, its tables, the way to it."""

from __future__ import annotations

from tests.helm.matrix import MATRIX
from tests.helm.rendering import of_kind, rendered


def test_the_database_outlives_the_release() -> None:
    """Its operator deletes the volumes of a K8ssandraCluster that goes; so Helm has to leave it (S2)."""
    values, files = MATRIX["production, K8ssandra"]
    database = of_kind(rendered(values, *files), "K8ssandraCluster")["cassandra"]
    assert database["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
