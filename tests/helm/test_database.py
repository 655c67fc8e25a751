"""What becomes of a member's Cassandra when its release comes, changes and goes: the database, its tables, the way to it."""

from __future__ import annotations

from tests.helm.matrix import CASSANDRA, MATRIX
from tests.helm.rendering import Object, environment, least, of_kind, rendered


def test_the_database_outlives_the_release() -> None:
    """Its operator deletes the volumes of a K8ssandraCluster that goes; so Helm has to leave it (S2)."""
    values, files = MATRIX["production, K8ssandra"]
    database = of_kind(rendered(values, *files), "K8ssandraCluster")["cassandra"]
    assert database["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def migration(*changes: Object) -> Object:
    """The Job that makes the tables, of a release with these values."""
    [job] = of_kind(rendered(least(CASSANDRA, *changes)), "Job").values()
    return job


def test_a_migration_that_changes_is_another_job() -> None:
    """A Job's template cannot be changed, and Argo CD renders every release as its first revision."""
    changes: list[Object] = [
        {},
        {"image": {"tag": "next"}},
        {"storage": {"cassandra": {"replication": 5}}},
        {"defaults": {"nodeSelector": {"disk": "fast"}}},
    ]
    jobs = [migration(each) for each in changes]
    assert len({each["metadata"]["name"] for each in jobs}) == len(changes)


def test_a_migration_that_stays_is_the_same_job() -> None:
    assert migration() == migration({"ledger": {"persistence": {"size": "60Gi"}}, "desk": {"enabled": True}})


def test_the_migrator_lets_the_service_in() -> None:
    """It alone knows the keyspace it makes; where there is one role for both there is nobody to let in."""

    def roles(job: Object) -> tuple[str, str]:
        told = environment(job["spec"]["template"])
        return told["CONSILIUM_STORAGE_CASSANDRA_USER"], told["CONSILIUM_STORAGE_CASSANDRA_GRANT_TO"]

    values, files = MATRIX["production, Cassandra"]
    assert roles(of_kind(rendered(values, *files), "Job").popitem()[1]) == ("migrator", "consilium")
    assert roles(migration()) == ("consilium", "")


def test_a_hook_finds_its_way_to_the_database_open() -> None:
    """Before an upgrade nothing of the new release is there but its hooks, the lighter ones first."""
    objects = rendered(*MATRIX["migration by a hook"][:1])
    job = of_kind(objects, "Job")["consilium-migration"]["metadata"]["annotations"]
    way = of_kind(objects, "NetworkPolicy")["consilium-migration"]["metadata"]["annotations"]
    assert way["helm.sh/hook"] == job["helm.sh/hook"] == "post-install,pre-upgrade"
    assert int(way["helm.sh/hook-weight"]) < int(job.get("helm.sh/hook-weight", "0"))
    plain = of_kind(rendered(least(CASSANDRA)), "NetworkPolicy")["consilium-migration"]["metadata"]
    assert "annotations" not in plain
