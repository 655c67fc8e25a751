"""A member backed up, and its restore tried, by the chart's CronJobs, begun by hand (rule S10; docs/operations/backup.md).

The member is one with a Cassandra, so the drill restores from its backup into the embedded store.
"""

from __future__ import annotations

import base64
import json
import secrets
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.alliance import FOUR, RELEASE
from tests.cluster.looking import BACK_S
from tests.cluster.test_life import LETTER
from tests.cluster.volumes import CLASS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cluster.alliance import Alliance, Member
    from tests.cluster.cluster import Cluster

KEPT, AHEAD = FOUR[2], 4
NAMED, PLACE = "backup", f"--namespace={KEPT.namespace}"


def keep(cluster: Cluster, alliance: Alliance, member: Member) -> Path:
    """A claim and a key made by a member's operator, and its release told of them; where the backup lies on this machine."""
    metadata = {"name": NAMED, "namespace": member.namespace}
    spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": CLASS, "resources": {"requests": {"storage": "1Gi"}}}
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}
    key = {"backup.key": base64.b64encode(secrets.token_bytes(32)).decode()}
    cluster.apply([claim, {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": key}])
    place = {"place": f"/backup/{member.member_id}", "existingSecret": NAMED, "existingClaim": NAMED}
    backup = {"enabled": True, **place, "drill": {"enabled": True, "scratchSize": "1Gi"}}
    alliance.settings.setdefault(member.member_id, {})["backup"] = backup
    alliance.install(member)
    uid = cluster.get("persistentvolumeclaim", NAMED, f"--namespace={member.namespace}")["metadata"]["uid"]
    return cluster.places / "volumes" / f"claim-{uid}" / member.member_id


@pytest.fixture(scope="module")
def folder(cluster: Cluster, alliance: Alliance) -> Path:
    """Where the backup of the member lies."""
    return keep(cluster, alliance, KEPT)


def test_s10_a_backup_is_taken_and_a_drill_restores_from_it(cluster: Cluster, alliance: Alliance, folder: Path) -> None:
    alliance.sh(KEPT, LETTER)
    with cluster.timed("backup of a member by its CronJob"):
        succeeded, taken = begun(cluster, "backup")
    assert (succeeded, taken["member"], taken["damaged"]) == (True, KEPT.member_id, [])
    assert taken["objects"] > 0
    assert alliance.ask(KEPT, "storage", "status")["last_backup_height"] == taken["height"]
    alliance.until_height(KEPT, taken["height"] + AHEAD)
    with cluster.timed("drill: that backup restored by its CronJob"):
        succeeded, restored = begun(cluster, "drill")
    assert (succeeded, restored["member"], restored["drill"], restored["damaged"]) == (True, KEPT.member_id, True, 0)
    assert (restored["snapshot_height"], restored["objects"]) == (taken["height"], taken["objects"])
    assert restored["rpo_blocks"] == restored["height"] - taken["height"] >= AHEAD
    assert restored["rto_seconds"] > 0
    assert set(restored["confirmed_by"]) == {each.member_id for each in FOUR} - {KEPT.member_id}
    print(f"          RPO {restored['rpo_blocks']} blocks, RTO {restored['rto_seconds']} s", flush=True)
    assert folder.is_dir()


def test_s10_a_second_backup_adds_what_is_new(cluster: Cluster, folder: Path) -> None:
    before = {each.name for each in chunks(folder)}
    succeeded, taken = begun(cluster, "backup")
    assert succeeded
    assert 0 < taken["files_added"] < len(before) + taken["objects"]
    assert {each.name for each in chunks(folder)} == before


def test_s10_a_drill_of_a_damaged_backup_fails(cluster: Cluster, folder: Path) -> None:
    """So that the drill above tells something; the Job that failed is what an alarm sees."""
    damaged = chunks(folder)[0]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    succeeded, restored = begun(cluster, "drill")
    assert (succeeded, restored["damaged"], restored["to_heal"]) == (False, 1, 1)


def chunks(folder: Path) -> list[Path]:
    """The files of the backup that hold chunks of objects."""
    return sorted(each for each in (folder / "chunks").rglob("*") if each.is_file())


def begun(cluster: Cluster, schedule: str) -> tuple[bool, dict[str, Any]]:
    """A CronJob's job begun by hand: whether it succeeded, and what it told."""
    name = f"{schedule}-{secrets.token_hex(3)}"
    cluster.kubectl("create", "job", name, f"--from=cronjob/{RELEASE}-{schedule}", PLACE)
    cluster.until(f"{name} has ended", lambda: ended(cluster, name) != "", BACK_S)
    said = cluster.kubectl("logs", f"job/{name}", PLACE)
    told: dict[str, Any] = json.loads(next(line for line in said.splitlines() if line.startswith("{")))
    return ended(cluster, name) == "Complete", told


def ended(cluster: Cluster, job: str) -> str:
    """How a job ended; nothing while it runs."""
    conditions = cluster.find("job", job, PLACE).get("status", {}).get("conditions", [])
    holding = [each["type"] for each in conditions if each["status"] == "True"]
    return next((each for each in holding if each in ("Complete", "Failed")), "")
