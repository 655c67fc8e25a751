"""The embedded object store: files with an SQLite index, on the service's own volume (rule S2, design section 7).

A file holds all chunks of one object, each at its own offset: one sync an object is what makes a put fast (bench/stores.py
measures it beside SQLite blobs and a file for every chunk). The row with the manifest is written last, so a file without
one is a draft, or what a crash has left of one, which the next sweep drops. A draft whose disk failed is dropped at once.
"""

import errno
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import repeat
from pathlib import Path
from threading import Lock, RLock
from typing import Self

from consilium.kernel.encoding import encode
from consilium.kernel.errors import DataLoss, ResourceExhausted
from consilium.kernel.manifest import Manifest, verify_chunk
from consilium.kernel.merkle import leaf_hash
from consilium.kernel.sealing import CHUNK_BYTES
from consilium.runtime.database import Database
from consilium.runtime.disk import Disk, File
from consilium.storage.core.manifest import (
    check_chunk_place,
    check_manifest,
    chunk_place,
    ciphertext_bytes,
    manifest_check,
)
from consilium.storage.store import HeldManifests, check_leaf, check_same_chunk, check_same_object

RECORD_ID_BYTES = 16
SYNC_BYTES = 67_108_864
"""How much of an object may be written before it is made durable on the way."""
READ_BACK_THREADS, READ_BACK_AHEAD = 4, 64
"""How many threads read a large object back, and how many chunks they are given at a time."""


class _Draft:
    """The open file of an object that is being put; `closed` once it is an object, or dropped.

    What is written is made durable every `SYNC_BYTES`, so that the end of a large put has little left to sync.
    """

    def __init__(self, file: File) -> None:
        self.file = file
        self.lock = RLock()
        self.closed = False
        self._unsynced = 0

    def put(self, index: int, chunk: bytes) -> None:
        """Write a chunk at its place."""
        self.file.write(index * CHUNK_BYTES, chunk)
        self._unsynced += len(chunk)
        if self._unsynced >= SYNC_BYTES:
            self.file.sync()
            self._unsynced = 0

    def leaves(self, manifest: Manifest) -> Iterator[bytes]:
        """The leaf hashes of the chunks as they lie in the file, in order; of a large object several are read at once."""
        count = len(manifest.chunk_hashes)
        if count <= READ_BACK_AHEAD:
            yield from map(self._leaf, repeat(manifest), range(count))
            return
        with ThreadPoolExecutor(READ_BACK_THREADS, "read-back") as pool:
            for first in range(0, count, READ_BACK_AHEAD):
                yield from pool.map(self._leaf, repeat(manifest), range(first, min(first + READ_BACK_AHEAD, count)))

    def _leaf(self, manifest: Manifest, index: int) -> bytes:
        return leaf_hash(self.file.read(*chunk_place(manifest, index)))

    def close(self) -> None:
        """Let go of the file, once nobody works with it."""
        with self.lock:
            if not self.closed:
                self.file.close()
            self.closed = True


class EmbeddedObjectStore:
    """Objects as files under `directory`/chunks, with their manifests in `directory`/objects.db; open in one process."""

    _SCHEMA = "CREATE TABLE objects (record_id BLOB PRIMARY KEY, manifest BLOB NOT NULL, digest BLOB NOT NULL)"

    def __init__(self, disk: Disk, database: Database, directory: Path, chain_id: bytes) -> None:
        """Not for callers: `create` and `open` make stores."""
        self._disk = disk
        self._database = database
        self._directory = directory / "chunks"
        self._chain_id = chain_id
        self._drafts: dict[bytes, _Draft] = {}
        self._manifests = HeldManifests(chain_id)
        self._lock = Lock()

    @classmethod
    def create(cls, disk: Disk, directory: Path, chain_id: bytes) -> Self:
        """The store of a member that never had one; `directory` exists.

        Raises Conflict: STORE_EXISTS.
        """
        (directory / "chunks").mkdir(mode=0o700, exist_ok=True)
        return cls(disk, Database.create(directory / "objects.db", cls._SCHEMA), directory, chain_id)

    @classmethod
    def open(cls, disk: Disk, directory: Path, chain_id: bytes) -> Self:
        """The member's store.

        Raises DataLoss: STORE_MISSING or STORE_DAMAGED; FailedPrecondition: LOCKED.
        """
        return cls(disk, Database.open(directory / "objects.db"), directory, chain_id)

    def put_chunk(self, record_id: bytes, index: int, chunk: bytes) -> None:
        """Take in one chunk; raises as `ObjectStore.put_chunk`, and ResourceExhausted (DISK_FULL)."""
        check_chunk_place(index, len(chunk))
        with self._drafting(record_id) as draft:
            if draft is None:
                check_same_chunk(self.read_manifest(record_id), index, chunk)
            else:
                draft.put(index, chunk)

    def staged(self, record_id: bytes) -> list[bytes]:
        """The leaf hashes of the chunks put so far, read back."""
        path = self._path(record_id)
        if not self._disk.exists(path):
            return []
        with self._reading(path) as file:
            return [leaf_hash(file.read(offset, CHUNK_BYTES)) for offset in range(0, file.size(), CHUNK_BYTES)]

    def complete(self, manifest: Manifest) -> None:
        """Make an object of the chunks put; raises as `ObjectStore.complete`, and DataLoss (DISK_FAILED)."""
        check_manifest(manifest)
        with self._drafting(manifest.record_id) as draft:
            if draft is None:
                check_same_object(self.read_manifest(manifest.record_id), manifest)
                return
            for index, leaf in enumerate(draft.leaves(manifest)):
                check_leaf(manifest, index, leaf)
            draft.file.truncate(ciphertext_bytes(manifest))
            draft.file.sync()
            self._disk.sync_directory(self._directory)
            self._save(manifest)
            self._end_draft(manifest.record_id)

    def read_manifest(self, record_id: bytes) -> Manifest:
        """What the object consists of; raises NotFound (NO_SUCH_OBJECT) or DataLoss (BAD_MANIFEST)."""
        return self._manifests.read(record_id, self._load)

    def read_chunk(self, record_id: bytes, index: int) -> bytes:
        """One chunk, verified; raises as `ObjectStore.read_chunk`."""
        manifest = self.read_manifest(record_id)
        place = chunk_place(manifest, index)
        try:
            with self._reading(self._path(record_id)) as file:
                chunk = file.read(*place)
        except OSError:
            # A chunk that cannot be read is as damaged as one that reads wrong, and healed the same way.
            chunk = b""
        verify_chunk(manifest.chunk_hashes, index, chunk)
        return chunk

    def heal(self, record_id: bytes, index: int, chunk: bytes) -> None:
        """Put a good chunk in the place of a damaged one; raises as `ObjectStore.heal`, and DataLoss (DISK_FAILED)."""
        manifest = self.read_manifest(record_id)
        verify_chunk(manifest.chunk_hashes, index, chunk)
        with self._lock:
            try:
                self._overwrite(self._path(record_id), chunk_place(manifest, index)[0], chunk)
            except OSError as error:
                raise disk_fault(self._path(record_id), error) from error
        self.read_chunk(record_id, index)

    def mend_manifest(self, manifest: Manifest) -> None:
        """Put a good manifest in the place of a damaged one; raises as `ObjectStore.mend_manifest`."""
        check_manifest(manifest)
        with self._lock:
            self._save(manifest)
            self._manifests.forget(manifest.record_id)

    def delete(self, record_id: bytes) -> None:
        """Forget the object, or what was put of it, durably: first that it is one, then its chunks."""
        with self._lock:
            # The draft first: who is completing it may finish, and then is deleted too.
            self._end_draft(record_id)
            with self._database.transaction() as connection:
                connection.execute("DELETE FROM objects WHERE record_id = ?", (record_id,))
            self._manifests.forget(record_id)
            self._disk.remove(self._path(record_id))
            self._disk.sync_directory(self._directory)

    def drop(self, record_id: bytes) -> None:
        """Forget what was put of an unfinished object; on a full disk too, for no row is written."""
        with self._lock:
            self._drop(record_id)
            self._disk.sync_directory(self._directory)

    def record_ids(self) -> list[bytes]:
        """The records whose objects are complete, sorted."""
        return [row[0] for row in self._database.rows("SELECT record_id FROM objects ORDER BY record_id")]

    def sweep(self, keep: Collection[bytes]) -> int:
        """Drop the chunks of unfinished objects other than `keep`; how many objects that were."""
        with self._lock:
            present = [bytes.fromhex(name) for name in self._disk.names(self._directory)]
            orphans = [each for each in present if each not in keep and not self._is_kept(each)]
            for each in orphans:
                self._drop(each)
            self._disk.sync_directory(self._directory)
        return len(orphans)

    def close(self) -> None:
        """Let go of the store; what was put and not completed may be lost."""
        for draft in self._drafts.values():
            draft.close()
        self._database.close()

    @contextmanager
    def _drafting(self, record_id: bytes) -> Iterator[_Draft | None]:
        """The object's draft, held alone; None when the object is complete.

        A draft whose disk failed is dropped: after a failed sync nobody knows what of it is there, and on a full disk others
        need the room.
        """
        draft = self._draft_of(record_id)
        if draft is None:
            yield None
            return
        with draft.lock:
            try:
                yield None if draft.closed else draft
            except OSError as error:
                self._abandon(record_id)
                raise disk_fault(self._path(record_id), error) from error
            except ResourceExhausted:  # there was no room for the manifest
                self._abandon(record_id)
                raise

    def _abandon(self, record_id: bytes) -> None:
        """The file first: once the draft has ended, another put may have one of its own under that name."""
        try:
            self._disk.remove(self._path(record_id))
        finally:
            self._end_draft(record_id)

    def _draft_of(self, record_id: bytes) -> _Draft | None:
        with self._lock:
            draft = self._drafts.get(record_id)
            if draft is None and self._load(record_id) is None:
                draft = self._drafts[record_id] = _Draft(self._disk.open(self._path(record_id), create=True))
            return draft

    def _drop(self, record_id: bytes) -> None:
        """Who is completing it may finish, and then it stays."""
        self._end_draft(record_id)
        if not self._is_kept(record_id):
            self._disk.remove(self._path(record_id))

    def _end_draft(self, record_id: bytes) -> None:
        draft = self._drafts.pop(record_id, None)
        if draft is not None:
            draft.close()

    def _overwrite(self, path: Path, offset: int, data: bytes) -> None:
        file = self._disk.open(path, create=True)
        try:
            file.write(offset, data)
            file.sync()
        finally:
            file.close()
        self._disk.sync_directory(self._directory)

    def _save(self, manifest: Manifest) -> None:
        data = encode(manifest, self._chain_id)
        row = (manifest.record_id, data, manifest_check(manifest.record_id, data))
        with self._database.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO objects VALUES (?, ?, ?)", row)

    def _is_kept(self, record_id: bytes) -> bool:
        """Whether it is an object, its manifest damaged or not: what can be healed is no orphan."""
        return bool(self._database.rows("SELECT 1 FROM objects WHERE record_id = ?", record_id))

    def _load(self, record_id: bytes) -> Manifest | None:
        rows = self._database.rows("SELECT CAST(manifest AS BLOB), digest FROM objects WHERE record_id = ?", record_id)
        return self._manifests.take(record_id, *rows[0]) if rows else None

    @contextmanager
    def _reading(self, path: Path) -> Iterator[File]:
        file = self._disk.open(path)
        try:
            yield file
        finally:
            file.close()

    def _path(self, record_id: bytes) -> Path:
        assert len(record_id) == RECORD_ID_BYTES, "a record id has 16 bytes"
        return self._directory / record_id.hex()


def disk_fault(path: Path, error: OSError) -> ResourceExhausted | DataLoss:
    """The disk's error as ours: DISK_FULL or DISK_FAILED."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ResourceExhausted("DISK_FULL", f"{path} cannot be written: {error}.", "S2")
    return DataLoss("DISK_FAILED", f"{path} cannot be written: {error}. Put it again.", "S2")
