"""One contract for every object store (S2): complete or not there, verified at every read, healed from a copy."""

from __future__ import annotations

import dataclasses
import errno
import os
import sqlite3
import subprocess
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cassandra import ConsistencyLevel

from consilium.kernel.errors import (
    Conflict,
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
)
from consilium.kernel.merkle import leaf_hash
from consilium.kernel.sealing import CHUNK_BYTES
from consilium.runtime.disk import OsDisk
from consilium.storage.cassandra.store import CassandraObjectStore
from consilium.storage.embedded import EmbeddedObjectStore
from consilium.storage.memory import MemoryObjectStore
from consilium.storage.store import ObjectStore
from tests.stores.objects import CHAIN_ID, ONE_CHUNK, TWO_CHUNKS, make_chunks, make_manifest, record_id
from tests.stores.simulated_disk import SimulatedDisk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from consilium.storage.cassandra.session import Database

ROOT = Path(__file__).parents[2]
CHUNKS = make_chunks("scan", TWO_CHUNKS)
MANIFEST = make_manifest("scan", TWO_CHUNKS, CHUNKS)
SCAN = MANIFEST.record_id
WRITTEN = """
    SELECT writetime(chunk) AS written FROM chunks WHERE record_id = ? AND bucket = 0 AND chunk_index = ? AND chunk_hash = ?
"""
OVERWRITE = """
    UPDATE chunks USING TIMESTAMP ? SET chunk = ?
    WHERE record_id = ? AND bucket = 0 AND chunk_index = ? AND chunk_hash = ?
"""


Rows = tuple[object, object]
"""An object's manifest and its chunks, as a back end keeps them."""


class Place(ABC):
    """Where a member keeps its objects, and what may happen to them there."""

    store: ObjectStore

    @abstractmethod
    def restart(self) -> ObjectStore:
        """End the process and open the store again."""

    @abstractmethod
    def change(self, record: bytes, index: int, edit: Callable[[bytes], bytes]) -> None:
        """Change a stored chunk behind the store's back."""

    @abstractmethod
    def rows(self, record: bytes) -> Rows:
        """What lies there of an object, as it lies."""

    @abstractmethod
    def put_rows(self, record: bytes, manifest: object, chunks: object) -> None:
        """Put back what lay there before, behind the store's back; None leaves what is there."""


class MemoryPlace(Place):
    """A simulated member's memory; a restart keeps it."""

    def __init__(self) -> None:
        self.store: MemoryObjectStore = MemoryObjectStore()

    def restart(self) -> ObjectStore:
        """As a `Place` does."""
        return self.store

    def change(self, record: bytes, index: int, edit: Callable[[bytes], bytes]) -> None:
        """As a `Place` does."""
        chunks = self.store._chunks[record]  # noqa: SLF001  no other way to damage memory
        chunks[index] = edit(chunks[index])

    def rows(self, record: bytes) -> Rows:
        """As a `Place` does."""
        return self.store._manifests[record], dict(self.store._chunks[record])  # noqa: SLF001

    def put_rows(self, record: bytes, manifest: Any, chunks: Any) -> None:
        """As a `Place` does."""
        if manifest is not None:
            self.store._manifests[record] = manifest  # noqa: SLF001
        if chunks is not None:
            self.store._chunks[record] = chunks  # noqa: SLF001


class EmbeddedPlace(Place):
    """A folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store: EmbeddedObjectStore = EmbeddedObjectStore.create(OsDisk(), folder, CHAIN_ID)

    def restart(self) -> ObjectStore:
        """As a `Place` does."""
        self.store.close()
        self.store = EmbeddedObjectStore.open(OsDisk(), self.folder, CHAIN_ID)
        return self.store

    def change(self, record: bytes, index: int, edit: Callable[[bytes], bytes]) -> None:
        """As a `Place` does."""
        path = self.folder / "chunks" / record.hex()
        data = path.read_bytes()
        start, end = index * CHUNK_BYTES, (index + 1) * CHUNK_BYTES
        path.write_bytes(data[:start] + edit(data[start:end]) + data[end:])

    def rows(self, record: bytes) -> Rows:
        """As a `Place` does."""
        [row] = self.store._database.rows("SELECT * FROM objects WHERE record_id = ?", record)  # noqa: SLF001  held alone
        return row, (self.folder / "chunks" / record.hex()).read_bytes()

    def put_rows(self, record: bytes, manifest: Any, chunks: Any) -> None:
        """As a `Place` does."""
        if manifest is not None:
            with self.store._database.transaction() as connection:  # noqa: SLF001
                connection.execute("INSERT OR REPLACE INTO objects VALUES (?, ?, ?)", manifest)
        if chunks is not None:
            (self.folder / "chunks" / record.hex()).write_bytes(chunks)


class CassandraPlace(Place):
    """A keyspace of a real ring of three; the process that ends leaves no word, and the connection is another's."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.store: CassandraObjectStore = CassandraObjectStore(database, CHAIN_ID)
        for each in self.store.record_ids():
            self.store.delete(each)
        self.store.sweep([])

    def restart(self) -> ObjectStore:
        """As a `Place` does."""
        self.store = CassandraObjectStore(self.database, CHAIN_ID)
        return self.store

    def change(self, record: bytes, index: int, edit: Callable[[bytes], bytes]) -> None:
        """As a `Place` does: a row's bytes change under its key, as CQL lets anybody do who may write."""
        self.store.staged(record)
        read = "SELECT * FROM chunks WHERE record_id = ? AND bucket = 0 AND chunk_index = ?"
        [row] = self.database.run(self.database.prepare(read), record, index)
        key = (record, index, row.chunk_hash)
        [found] = self.database.run(self.database.prepare(WRITTEN), *key)
        overwrite = self.database.prepare(OVERWRITE)
        overwrite.consistency_level = ConsistencyLevel.ALL  # whichever instance is asked next
        self.database.run(overwrite, found.written + 1, edit(row.chunk), *key)

    def rows(self, record: bytes) -> Rows:
        """As a `Place` does."""
        [row] = self.database.run(self.database.prepare("SELECT * FROM objects WHERE record_id = ?"), record)
        chunks = self.database.run(self.database.prepare("SELECT * FROM chunks WHERE record_id = ? AND bucket = 0"), record)
        return row, chunks

    def put_rows(self, record: bytes, manifest: Any, chunks: Any) -> None:
        """As a `Place` does, above all that was written and deleted since."""
        timestamp = self.store._timestamps.lift()  # noqa: SLF001
        for table, rows in (("objects", [manifest] if manifest else []), ("chunks", chunks or [])):
            for row in rows:
                names = row._fields
                cql = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))}) USING TIMESTAMP ?"  # noqa: S608
                self.database.run(self.database.prepare(cql), *row, timestamp)


@pytest.fixture(params=["memory", "embedded", pytest.param("cassandra", marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "cassandra":
        return CassandraPlace(request.getfixturevalue("keyspace"))
    return MemoryPlace() if request.param == "memory" else EmbeddedPlace(tmp_path)


def put(store: ObjectStore, name: str = "scan", size_class: int = TWO_CHUNKS) -> list[bytes]:
    """Store a whole object."""
    chunks = make_chunks(name, size_class)
    for index, chunk in enumerate(chunks):
        store.put_chunk(record_id(name), index, chunk)
    store.complete(make_manifest(name, size_class, chunks))
    return chunks


def before_and_after(place: Place) -> Iterator[ObjectStore]:
    """The store, and again after a restart."""
    yield place.store
    yield place.restart()


def flip(data: bytes) -> bytes:
    """Flip one bit in the middle."""
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def test_s2_a_complete_object_is_read_back(place: Place) -> None:
    put(place.store)
    put(place.store, "letter", ONE_CHUNK)
    for store in before_and_after(place):
        assert store.read_manifest(SCAN) == MANIFEST
        assert [store.read_chunk(SCAN, index) for index in range(len(CHUNKS))] == CHUNKS
        assert store.record_ids() == sorted([SCAN, record_id("letter")])


def test_an_object_is_not_there_before_it_is_complete(place: Place) -> None:
    for index, chunk in enumerate(CHUNKS):
        place.store.put_chunk(SCAN, index, chunk)
    for store in before_and_after(place):
        assert store.record_ids() == []
        with pytest.raises(NotFound, match="NO_SUCH_OBJECT"):
            store.read_manifest(SCAN)
        with pytest.raises(NotFound, match="NO_SUCH_OBJECT"):
            store.read_chunk(SCAN, 0)
        with pytest.raises(NotFound, match="NO_SUCH_OBJECT"):
            store.heal(SCAN, 0, CHUNKS[0])


def test_a_put_is_resumed_where_it_stopped(place: Place) -> None:
    place.store.put_chunk(SCAN, 0, CHUNKS[0])
    store = place.restart()
    assert store.staged(SCAN) == [leaf_hash(CHUNKS[0])]
    store.put_chunk(SCAN, 1, CHUNKS[1])
    assert store.staged(SCAN) == list(MANIFEST.chunk_hashes)
    store.complete(MANIFEST)
    assert store.read_chunk(SCAN, 1) == CHUNKS[1]


def test_chunks_come_in_any_order_and_a_gap_shows(place: Place) -> None:
    place.store.put_chunk(SCAN, 1, CHUNKS[1])
    staged = place.store.staged(SCAN)
    assert staged[1] == leaf_hash(CHUNKS[1])
    assert staged[0] not in MANIFEST.chunk_hashes
    place.store.put_chunk(SCAN, 0, CHUNKS[0])
    place.store.put_chunk(SCAN, 0, CHUNKS[0])
    place.store.complete(MANIFEST)
    assert place.store.staged(record_id("never put")) == []


def test_s2_completing_reads_every_chunk_back(place: Place) -> None:
    place.store.put_chunk(SCAN, 0, CHUNKS[0])
    with pytest.raises(FailedPrecondition, match="Chunk 1 is missing"):
        place.store.complete(MANIFEST)
    place.store.put_chunk(SCAN, 1, flip(CHUNKS[1]))
    with pytest.raises(FailedPrecondition, match="Chunk 1 is missing"):
        place.store.complete(MANIFEST)
    place.store.put_chunk(SCAN, 1, CHUNKS[1])
    place.change(SCAN, 0, flip)
    with pytest.raises(FailedPrecondition, match="Chunk 0 is missing"):
        place.store.complete(MANIFEST)
    assert place.store.record_ids() == []
    put(place.store)


def test_completing_what_was_never_put_is_refused(place: Place) -> None:
    with pytest.raises(FailedPrecondition, match="CHUNKS_MISSING"):
        place.store.complete(MANIFEST)
    with pytest.raises(InvalidArgument, match="BAD_MANIFEST"):
        place.store.complete(dataclasses.replace(MANIFEST, chunk_hashes=MANIFEST.chunk_hashes[:1]))


def test_what_lay_behind_the_last_chunk_is_cut_off(place: Place) -> None:
    place.store.put_chunk(SCAN, 1, b"x" * CHUNK_BYTES)
    place.store.put_chunk(SCAN, 2, b"x")
    for index, chunk in enumerate(CHUNKS):
        place.store.put_chunk(SCAN, index, chunk)
    place.store.complete(MANIFEST)
    assert place.restart().read_chunk(SCAN, 1) == CHUNKS[1]
    if isinstance(place, EmbeddedPlace):
        size = (place.folder / "chunks" / SCAN.hex()).stat().st_size
        assert size == sum(len(each) for each in CHUNKS)


def test_a_complete_object_never_changes(place: Place) -> None:
    """Design section 7: chunks and manifests are immutable; a repeated put is no fault, another one is a Conflict."""
    put(place.store)
    for store in before_and_after(place):
        put(store)
        for index, chunk in ((0, flip(CHUNKS[0])), (2, b"one more")):
            with pytest.raises(Conflict, match="OBJECT_EXISTS"):
                store.put_chunk(SCAN, index, chunk)
        with pytest.raises(Conflict, match="OBJECT_EXISTS"):
            store.complete(dataclasses.replace(MANIFEST, version=1))
        assert store.read_manifest(SCAN) == MANIFEST
        assert store.read_chunk(SCAN, 0) == CHUNKS[0]


@pytest.mark.parametrize(("index", "chunk"), [(-1, b"x"), (65_536, b"x"), (0, b""), (0, b"x" * (CHUNK_BYTES + 1))])
def test_a_chunk_that_fits_no_object_is_refused(place: Place, index: int, chunk: bytes) -> None:
    with pytest.raises(InvalidArgument, match="BAD_CHUNK_PLACE"):
        place.store.put_chunk(SCAN, index, chunk)


def test_a_chunk_outside_the_object_is_refused(place: Place) -> None:
    put(place.store)
    for index in (-1, 2):
        with pytest.raises(InvalidArgument, match="NO_SUCH_CHUNK"):
            place.store.read_chunk(SCAN, index)


@pytest.mark.parametrize(
    "edit", [flip, lambda data: data[:-1] + b"\0", lambda data: bytes(len(data)), lambda data: data[::-1]]
)
def test_s2_a_damaged_chunk_is_never_returned_and_is_healed(place: Place, edit: Callable[[bytes], bytes]) -> None:
    put(place.store)
    place.change(SCAN, 1, edit)
    for store in before_and_after(place):
        with pytest.raises(DataLoss, match="BAD_CHUNK"):
            store.read_chunk(SCAN, 1)
        assert store.read_chunk(SCAN, 0) == CHUNKS[0]
    with pytest.raises(DataLoss, match="BAD_CHUNK"):
        place.store.heal(SCAN, 1, flip(CHUNKS[1]))
    with pytest.raises(DataLoss, match="BAD_CHUNK"):
        place.store.heal(SCAN, 1, CHUNKS[0])
    with pytest.raises(DataLoss, match="BAD_CHUNK"):
        place.store.heal(SCAN, 0, CHUNKS[1])
    assert place.store.read_chunk(SCAN, 0) == CHUNKS[0]
    place.store.heal(SCAN, 1, CHUNKS[1])
    assert place.store.read_chunk(SCAN, 1) == CHUNKS[1]
    assert place.restart().read_chunk(SCAN, 1) == CHUNKS[1]


def test_s2_a_chunk_of_another_object_is_never_returned(place: Place) -> None:
    put(place.store)
    other = put(place.store, "other")
    place.change(SCAN, 0, lambda _: other[0])
    with pytest.raises(DataLoss, match="BAD_CHUNK"):
        place.store.read_chunk(SCAN, 0)
    place.store.heal(SCAN, 0, CHUNKS[0])
    assert place.store.read_chunk(SCAN, 0) == CHUNKS[0]


@pytest.mark.parametrize("what", ["manifest", "chunks"])
def test_s2_a_row_rolled_back_to_an_older_valid_one_is_never_believed(place: Place, what: str) -> None:
    """Each is whole in itself, and was once right; together with the newer rest nothing old comes out, and it is healed."""
    older = make_chunks("older", TWO_CHUNKS)
    for index, chunk in enumerate(older):
        place.store.put_chunk(SCAN, index, chunk)
    place.store.complete(dataclasses.replace(MANIFEST, chunk_hashes=tuple(map(leaf_hash, older))))
    manifest, chunks = place.rows(SCAN)
    place.store.delete(SCAN)
    put(place.store)
    place.put_rows(SCAN, manifest if what == "manifest" else None, chunks if what == "chunks" else None)
    store = place.restart()
    found = [read_or_lost(store, index) for index in range(2)]
    assert set(found) <= {None, *CHUNKS}
    if what == "manifest":
        assert found == [None, None]
        assert store.read_manifest(SCAN) != MANIFEST  # it is a good one, and whoever reads compares it with the record
        store.mend_manifest(MANIFEST)
    for index, chunk in enumerate(CHUNKS):
        store.heal(SCAN, index, chunk)
    assert [place.restart().read_chunk(SCAN, index) for index in range(2)] == CHUNKS


def read_or_lost(store: ObjectStore, index: int) -> bytes | None:
    """A chunk of the scan, or None where it is damaged."""
    try:
        return store.read_chunk(SCAN, index)
    except DataLoss as error:
        assert error.reason == "BAD_CHUNK"  # noqa: PT017
        return None


def test_a_deleted_object_is_gone(place: Place) -> None:
    put(place.store)
    put(place.store, "other")
    assert place.store.read_manifest(SCAN) == MANIFEST
    place.store.delete(SCAN)
    place.store.delete(SCAN)
    for store in before_and_after(place):
        assert store.record_ids() == [record_id("other")]
        assert store.staged(SCAN) == []
        with pytest.raises(NotFound, match="NO_SUCH_OBJECT"):
            store.read_manifest(SCAN)
        with pytest.raises(NotFound, match="NO_SUCH_OBJECT"):
            store.read_chunk(SCAN, 0)
    assert place.store.sweep([]) == 0


def test_an_unfinished_put_can_be_deleted(place: Place) -> None:
    place.store.put_chunk(SCAN, 0, CHUNKS[0])
    place.store.delete(SCAN)
    assert place.store.staged(SCAN) == []
    put(place.store)
    assert place.store.read_chunk(SCAN, 0) == CHUNKS[0]


def test_what_was_put_of_an_unfinished_object_is_dropped_and_a_complete_one_stays(place: Place) -> None:
    put(place.store)
    place.store.put_chunk(record_id("half"), 0, b"part")
    for name in ("scan", "half", "never put"):
        place.store.drop(record_id(name))
    for store in before_and_after(place):
        assert store.staged(record_id("half")) == []
        assert [store.read_chunk(SCAN, index) for index in range(len(CHUNKS))] == CHUNKS
    assert place.store.sweep([]) == 0


def test_a_sweep_drops_unfinished_objects_and_nothing_else(place: Place) -> None:
    put(place.store)
    for name in ("left open", "still coming"):
        place.store.put_chunk(record_id(name), 0, b"part")
    assert place.store.sweep([record_id("still coming")]) == 1
    assert place.store.staged(record_id("left open")) == []
    assert place.store.staged(record_id("still coming")) == [leaf_hash(b"part")]
    store = place.restart()
    assert store.sweep([]) == 1
    assert store.record_ids() == [SCAN]
    assert store.read_chunk(SCAN, 1) == CHUNKS[1]


# --- the embedded store only ---


Row = tuple[bytes, bytes]


def edit_rows(folder: Path, edit: Callable[[list[Row]], list[tuple[object, object]]]) -> None:
    """Change the manifests and digests of all rows behind the store's back."""
    connection = sqlite3.connect(folder / "objects.db")
    ids = [row[0] for row in connection.execute("SELECT record_id FROM objects ORDER BY record_id")]
    rows = connection.execute("SELECT manifest, digest FROM objects ORDER BY record_id").fetchall()
    for record, row in zip(ids, edit(rows), strict=True):
        connection.execute("UPDATE objects SET manifest = ?, digest = ? WHERE record_id = ?", (*row, record))
    connection.commit()
    connection.close()


@pytest.mark.parametrize(
    "edit",
    [
        lambda rows: [(flip(manifest), digest) for manifest, digest in rows],
        lambda rows: [(manifest[:-1], digest) for manifest, digest in rows],
        lambda rows: [(manifest, flip(digest)) for manifest, digest in rows],
        lambda rows: [(b"", digest) for _, digest in rows],
        lambda rows: [("text", digest) for _, digest in rows],
        lambda rows: [(rows[1][0], rows[0][1]), (rows[0][0], rows[1][1])],
        lambda rows: rows[::-1],
    ],
    ids=["flipped", "cut", "digest flipped", "emptied", "text", "manifests swapped", "rows swapped"],
)
def test_s2_a_changed_or_swapped_manifest_is_never_returned(
    tmp_path: Path, edit: Callable[[list[Row]], list[tuple[object, object]]]
) -> None:
    place = EmbeddedPlace(tmp_path)
    put(place.store)
    put(place.store, "other")
    place.store.close()
    edit_rows(tmp_path, edit)
    store = EmbeddedObjectStore.open(OsDisk(), tmp_path, CHAIN_ID)
    for record in (SCAN, record_id("other")):
        with pytest.raises(DataLoss, match="BAD_MANIFEST"):
            store.read_manifest(record)
        with pytest.raises(DataLoss, match="BAD_MANIFEST"):
            store.read_chunk(record, 0)
        with pytest.raises(DataLoss, match="BAD_MANIFEST"):
            store.put_chunk(record, 0, CHUNKS[0])
    store.mend_manifest(MANIFEST)
    assert [store.read_chunk(SCAN, index) for index in range(len(CHUNKS))] == CHUNKS


def test_a_missing_or_cut_file_is_data_loss_and_is_healed(tmp_path: Path) -> None:
    store = EmbeddedPlace(tmp_path).store
    put(store)
    path = tmp_path / "chunks" / SCAN.hex()
    for length in (None, CHUNK_BYTES - 1, 0):
        if length is None:
            path.unlink()
        else:
            os.truncate(path, length)
        for index in range(2):
            with pytest.raises(DataLoss, match="BAD_CHUNK"):
                store.read_chunk(SCAN, index)
            store.heal(SCAN, index, CHUNKS[index])
        assert [store.read_chunk(SCAN, index) for index in range(2)] == CHUNKS


def test_a_lost_index_is_not_replaced_by_an_empty_one(tmp_path: Path) -> None:
    """Else the next sweep would drop every object."""
    place = EmbeddedPlace(tmp_path)
    put(place.store)
    place.store.close()
    (tmp_path / "objects.db").unlink()
    with pytest.raises(DataLoss, match="STORE_MISSING"):
        EmbeddedObjectStore.open(OsDisk(), tmp_path, CHAIN_ID)
    assert (tmp_path / "chunks" / SCAN.hex()).exists()


class FaultyDisk(OsDisk):
    """The machine's disk, until it has a fault."""

    fault = 0

    def sync_directory(self, directory: Path) -> None:
        """Fails on demand."""
        if self.fault:
            raise OSError(self.fault, os.strerror(self.fault))
        super().sync_directory(directory)


@pytest.mark.parametrize(("fault", "error"), [(errno.EIO, DataLoss), (errno.ENOSPC, ResourceExhausted)])
def test_after_a_failed_sync_the_chunks_have_to_be_put_again(tmp_path: Path, fault: int, error: type[Exception]) -> None:
    """A sync that failed is not tried again over the same pages; what was put is dropped (Rebello et al., ATC 2020)."""
    disk = FaultyDisk()
    store = EmbeddedObjectStore.create(disk, tmp_path, CHAIN_ID)
    for index, chunk in enumerate(CHUNKS):
        store.put_chunk(SCAN, index, chunk)
    disk.fault = fault
    with pytest.raises(error):
        store.complete(MANIFEST)
    disk.fault = 0
    assert store.record_ids() == []
    assert store.staged(SCAN) == []
    with pytest.raises(FailedPrecondition, match="CHUNKS_MISSING"):
        store.complete(MANIFEST)
    put(store)
    assert store.read_chunk(SCAN, 0) == CHUNKS[0]


class BusyDisk(FaultyDisk):
    """Where somebody else puts the object while what was put of it is removed."""

    def __init__(self) -> None:
        """Nobody does, yet."""
        self.meanwhile: Callable[[], None] | None = None

    def remove(self, path: Path) -> None:
        """They come first."""
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        super().remove(path)


def test_a_put_that_begins_while_another_is_dropped_is_whole_or_not_there(tmp_path: Path) -> None:
    """Never an object whose file is gone. The draft's lock lets its own thread in, so that this is the worst moment."""
    disk = BusyDisk()
    store = EmbeddedObjectStore.create(disk, tmp_path, CHAIN_ID)

    def put_chunks() -> None:
        for index, chunk in enumerate(CHUNKS):
            store.put_chunk(SCAN, index, chunk)

    put_chunks()
    disk.fault, disk.meanwhile = errno.EIO, put_chunks
    with pytest.raises(DataLoss):
        store.complete(MANIFEST)
    disk.fault = 0
    with pytest.raises(FailedPrecondition, match="CHUNKS_MISSING"):
        store.complete(MANIFEST)
    put(store)
    assert store.read_chunk(SCAN, 0) == CHUNKS[0]


def test_promise_5_chunks_are_durable_before_the_manifest_is_kept(tmp_path: Path) -> None:
    """Any power cut after `complete` leaves every chunk: the index is real, the chunk files are on the harsh disk."""
    disk = SimulatedDisk()
    store = EmbeddedObjectStore.create(disk, tmp_path, CHAIN_ID)
    put(store, "one", ONE_CHUNK)
    put(store, "two", ONE_CHUNK)
    store.put_chunk(SCAN, 0, b"only begun")
    store.close()
    for state in disk.crash_states():
        again = EmbeddedObjectStore.open(state, tmp_path, CHAIN_ID)
        assert again.record_ids() == sorted([record_id("one"), record_id("two")])
        for name in ("one", "two"):
            assert again.read_chunk(record_id(name), 0) == make_chunks(name, ONE_CHUNK)[0]
        again.close()


@dataclasses.dataclass(frozen=True)
class Killed:
    """A folder as a killed process left it, and what that process had acknowledged."""

    folder: Path
    acknowledged: list[str]


def killed_everywhere(folder: Path) -> list[Killed]:
    """Run `object_put_process.py`: puts and a deletion, killed at every step in turn, and once not."""
    done = subprocess.run(  # noqa: S603  our own script
        [sys.executable, "-m", "tests.stores.object_put_process", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [Killed(folder / str(count), line.split()) for count, line in enumerate(done.stdout.splitlines())]


def test_promise_5_kill_9_at_every_step_of_a_put(tmp_path: Path) -> None:
    """Acknowledged objects are there, whole; all others are not there, and leave nothing a sweep does not find."""
    runs = killed_everywhere(tmp_path)
    assert len(runs) > 60
    assert runs[-1].acknowledged == ["first", "second", "deleting", "-first"]
    for run in runs:
        if not (run.folder / "objects.db").exists():
            assert run.acknowledged == []
            EmbeddedObjectStore.create(OsDisk(), run.folder, CHAIN_ID).close()
        store = EmbeddedObjectStore.open(OsDisk(), run.folder, CHAIN_ID)
        present = [name for name in ("first", "second") if record_id(name) in store.record_ids()]
        assert ("second" in present) >= ("second" in run.acknowledged)
        assert ("first" in present) >= ("first" in run.acknowledged and "deleting" not in run.acknowledged)
        assert not ("first" in present and "-first" in run.acknowledged)
        for name in present:
            chunks = make_chunks(name, ONE_CHUNK)
            assert store.read_manifest(record_id(name)) == make_manifest(name, ONE_CHUNK, chunks)
            assert store.read_chunk(record_id(name), 0) == chunks[0]
        store.sweep([])
        files = [each.name for each in (run.folder / "chunks").iterdir()]
        assert sorted(files) == sorted(record_id(name).hex() for name in present)
        store.close()
