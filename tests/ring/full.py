"""`python -m tests.ring.full FOLDER`: a real Cassandra with what an operator may get wrong, and what the store says of it.

Its commit log syncs now and then, so a service does not start on it: NOT_DURABLE. Its disk is small and fills; under the
guardrail that docs/operations/storage.md asks for it refuses writes, DISK_FULL, and lives. For a mount namespace of its own
(`unshare --mount`), in which the disk is mounted.
"""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from consilium.kernel.errors import ConsiliumError, FailedPrecondition, ResourceExhausted
from consilium.kernel.sealing import size_class_of
from consilium.storage.cassandra.session import Database
from consilium.storage.cassandra.store import CassandraObjectStore
from tests.ring.ring import Ring
from tests.stores.objects import CHAIN_ID, TWO_CHUNKS, make_chunks, make_manifest, record_id

DISK, BALLAST = "size=512m", 314_572_800
"""What the guardrail measures by is what lies in tables, and what room is left for more of it."""
LARGE = size_class_of(4 * 1_048_576)
CARELESS: dict[str, object] = {
    "commitlog_sync": "periodic",
    "commitlog_sync_period": "10s",
    "commitlog_sync_group_window": None,
}
GUARDED: dict[str, object] = {
    "data_disk_usage_percentage_warn_threshold": 10,
    "data_disk_usage_percentage_fail_threshold": 25,
}
WAIT_S_MAX = 120


def put(store: CassandraObjectStore, name: str, size_class: int = TWO_CHUNKS) -> None:
    """A whole object."""
    chunks = make_chunks(name, size_class)
    for index, chunk in enumerate(chunks):
        store.put_chunk(record_id(name), index, chunk)
    store.complete(make_manifest(name, size_class, chunks))


def until(what: str, store: CassandraObjectStore) -> None:
    """Put objects until the store says so, or takes one again where nothing is to be said."""
    over_s, number = time.monotonic() + WAIT_S_MAX, 0
    while time.monotonic() < over_s:
        number += 1
        try:
            put(store, f"{what} {number}", LARGE)
        except ConsiliumError as error:
            if (error.reason, type(error)) == (what, ResourceExhausted):
                return
        else:
            if not what:
                return
    raise AssertionError(f"the store never said {what!r}")


def check(ring: Ring, disk: Path) -> None:
    """From the refusal to start to the disk that has room again."""
    settings = ring.migrated("full", CHAIN_ID)  # a word of CQL: keyspaces are quoted where they must be
    try:
        CassandraObjectStore.open(settings, CHAIN_ID)
    except FailedPrecondition as error:
        sys.stdout.write(f"{error.reason}\n")
    with closing(Database.open(settings)) as database:
        database.enter("full")
        store = CassandraObjectStore(database, CHAIN_ID)
        put(store, "early")
        ballast = disk / "ballast"
        subprocess.run(["fallocate", "-l", str(BALLAST), str(ballast)], check=True)  # noqa: S603, S607
        until("DISK_FULL", store)
        sys.stdout.write("DISK_FULL\n")
        assert [store.read_chunk(record_id("early"), index) for index in range(2)] == make_chunks("early", TWO_CHUNKS)
        there = set(store.record_ids())
        ballast.unlink()
        until("", store)
        # What the refused put has left is found; a service sweeps when it starts.
        again = CassandraObjectStore(database, CHAIN_ID)
        again.sweep([])
        assert len(again.record_ids()) == len(there) + 1
        assert not list(database.scan(database.prepare("SELECT DISTINCT record_id FROM drafts")))
        sys.stdout.write("swept\n")
        put(again, "late")
        sys.stdout.write("stored\n")


def main() -> None:
    """Start it, and see."""
    folder = Path(sys.argv[1])
    disk = folder / "small"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", DISK, "none", str(disk)], check=True)  # noqa: S603, S607
    ring = Ring.start(folder, count=1, data={0: disk}, told=CARELESS | GUARDED)
    try:
        check(ring, disk)
    finally:
        ring.kill()


if __name__ == "__main__":
    main()
