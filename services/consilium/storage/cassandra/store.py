"""Objects in a member's Cassandra: the `ObjectStore` of production (rule S2, design section 7).

A chunk's row is named by its hash and never changes; a manifest, written last, makes the object. Nothing rests on what
Cassandra promises beyond this: a write that a quorum acknowledged is seen by every later read of a quorum. Every chunk is
acknowledged by a quorum, which has synced it, and read back from an instance before the manifest is written; every read
is verified, and all of it may be tried again at any time. No batches, no counters; conditional updates only to reserve
timestamps.

`drafts` says which partitions may hold chunks of a record that has no manifest. It is written before the first chunk and
again before a deletion, so that whatever a crash leaves behind is found by the next sweep. One process at a time works on a
keyspace, as the lock on its state directory sees to. Two would lose objects: one's sweep drops the chunks under the
manifest that the other is about to write.
"""

import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from itertools import groupby
from threading import Lock
from typing import TypeAlias

from consilium.kernel.encoding import encode
from consilium.kernel.errors import FailedPrecondition, ResourceExhausted, Unavailable
from consilium.kernel.hashing import sha256
from consilium.kernel.manifest import CHUNKS_MAX, Manifest, verify_chunk
from consilium.kernel.merkle import leaf_hash
from consilium.runtime.logs import Log
from consilium.storage.cassandra.clock import Timestamps
from consilium.storage.cassandra.draft import Draft, Write
from consilium.storage.cassandra.schema import BUCKET_CHUNKS, check
from consilium.storage.cassandra.session import Database, Row
from consilium.storage.cassandra.statements import Statements
from consilium.storage.core.manifest import check_chunk_place, check_manifest, chunk_place, manifest_check
from consilium.storage.settings import StorageSettings
from consilium.storage.store import HeldManifests, check_arrived, check_same_chunk, check_same_object

BUCKETS_MAX = CHUNKS_MAX // BUCKET_CHUNKS
READ_BACK_CHUNKS = 8
"""How many chunks one request reads back, all in one partition: 2 MiB that an instance reads at once."""
READ_BACK_TRIES = 3
"""So many instances are asked for a chunk that those before had not got yet: one of three may be behind the others."""
Place: TypeAlias = tuple[int, bytes]
"""A chunk's index and leaf hash."""
_log = Log("consilium.storage.cassandra")


class CassandraObjectStore:
    """Objects in the member's keyspace."""

    def __init__(self, database: Database, chain_id: bytes) -> None:
        """Not for callers: `open` makes stores."""
        self._database, self._chain_id = database, chain_id
        self._timestamps, self._cql = Timestamps(database), Statements(database)
        self._lock = Lock()
        self._drafts: dict[bytes, Draft] = {}
        self._manifests = HeldManifests(chain_id)

    @classmethod
    def open(cls, settings: StorageSettings, chain_id: bytes) -> "CassandraObjectStore":
        """The member's store; its keyspace has been migrated.

        Raises as `Database.open` and `schema.check`.
        """
        database = Database.open(settings)
        try:
            check(database, settings, chain_id)
            return cls(database, chain_id)
        except BaseException:
            database.close()
            raise

    def put_chunk(self, record_id: bytes, index: int, chunk: bytes) -> None:
        """Take in one chunk; raises as `ObjectStore.put_chunk`, and as `Pending.rows` for this chunk or one before.

        It returns while the chunk is under way, so that several are; `complete` waits for all.
        """
        check_chunk_place(index, len(chunk))
        with self._drafting(record_id) as draft:
            if draft is None:
                check_same_chunk(self.read_manifest(record_id), index, chunk)
                return
            draft.settle(self._database.in_flight - 1)
            bucket, digest = index // BUCKET_CHUNKS, leaf_hash(chunk)
            self._widen(record_id, draft, bucket)
            row = (record_id, bucket, index, digest, bytes(chunk), self._timestamps.draw())
            draft.put(index, digest)
            pending = self._database.begin(self._cql.put, *row)
            draft.under_way.append(Write((index, digest), sha256(chunk), pending))

    def staged(self, record_id: bytes) -> list[bytes]:
        """The leaf hashes of the chunks put so far; raises as `Pending.rows`, and counts no chunk of unknown outcome."""
        with self._drafting(record_id) as draft:
            if draft is None:
                return list(self.read_manifest(record_id).chunk_hashes)
            draft.settle(0)
            return [draft.staged(index) for index in range(max(draft.chunks, default=-1) + 1)]

    def complete(self, manifest: Manifest) -> None:
        """Make an object of the chunks put; raises as `ObjectStore.complete`, and as `Pending.rows`."""
        check_manifest(manifest)
        record_id = manifest.record_id
        with self._drafting(record_id) as draft:
            if draft is None:
                check_same_object(self.read_manifest(record_id), manifest)
                return
            draft.settle(0)
            self._read_back(manifest, draft)
            self._drop_strays(manifest, draft)
            self._save(manifest, self._timestamps.draw())
            self._end_draft(record_id, draft)
            self._database.run(self._cql.forget_draft, self._timestamps.draw(), record_id)

    def read_manifest(self, record_id: bytes) -> Manifest:
        """What the object consists of; raises NotFound (NO_SUCH_OBJECT), DataLoss (BAD_MANIFEST), and as `Pending.rows`."""
        return self._manifests.read(record_id, self._load)

    def read_chunk(self, record_id: bytes, index: int) -> bytes:
        """One chunk, verified; raises as `ObjectStore.read_chunk`, and as `Pending.rows`."""
        manifest = self.read_manifest(record_id)
        chunk_place(manifest, index)
        chunk = _chunk(self._database.run(self._cql.read, *_place(manifest, index)))
        verify_chunk(manifest.chunk_hashes, index, chunk)
        return chunk

    def heal(self, record_id: bytes, index: int, chunk: bytes) -> None:
        """Put a good chunk in the place of a damaged one; raises as `ObjectStore.heal`, and as `Pending.rows`."""
        manifest = self.read_manifest(record_id)
        verify_chunk(manifest.chunk_hashes, index, chunk)
        row = (*_place(manifest, index), bytes(chunk), self._timestamps.lift())
        self._database.run(self._cql.put, *row)
        self.read_chunk(record_id, index)

    def mend_manifest(self, manifest: Manifest) -> None:
        """Put a good manifest in the place of a damaged one; raises as `ObjectStore.mend_manifest` and `Pending.rows`."""
        check_manifest(manifest)
        self._save(manifest, self._timestamps.lift())
        self._manifests.forget(manifest.record_id)

    def delete(self, record_id: bytes) -> None:
        """Forget the object, or what was put of it, durably: first that it is one, then its chunks.

        Raises as `Pending.rows`; whatever is left then is found by the next call, or by a sweep.
        """
        with self._drafting(record_id, even_complete=True) as draft:
            assert draft is not None, "a deletion has a draft of its own"
            draft.under_way.clear()
            buckets = max(draft.buckets, self._buckets_of(record_id))
            self._end_draft(record_id, draft)
            self._manifests.forget(record_id)
            if buckets:
                self._drop(record_id, buckets)

    def drop(self, record_id: bytes) -> None:
        """Forget what was put of an unfinished object; raises as `Pending.rows`."""
        with self._drafting(record_id) as draft:
            if draft is not None:
                draft.under_way.clear()
                self._end_draft(record_id, draft)
                if draft.buckets:
                    self._drop(record_id, draft.buckets)

    def record_ids(self) -> list[bytes]:
        """The records whose objects are complete, sorted."""
        return sorted(row.record_id for row in self._database.scan(self._cql.record_ids))

    def sweep(self, keep: Collection[bytes]) -> int:
        """Drop the chunks of unfinished objects other than `keep`; how many objects that were.

        A ring with a full disk refuses even this: what is left is for the next sweep, and keeps nobody from reading.
        """
        dropped = 0
        for record_id in [row.record_id for row in self._database.scan(self._cql.drafts)]:
            if record_id in keep:
                continue
            try:
                dropped += self._sweep_draft(record_id)
            except ResourceExhausted as error:
                _log.write(logging.WARNING, "draft_not_dropped", error)
        return dropped

    def _sweep_draft(self, record_id: bytes) -> bool:
        """Forget a draft that became an object, or else drop it; whether it was dropped."""
        if self._database.run(self._cql.find, record_id):
            self._database.run(self._cql.forget_draft, self._timestamps.lift(), record_id)
            return False
        self.delete(record_id)
        return True

    def close(self) -> None:
        """Let go of the database; what was put and not completed may be lost."""
        with suppress(Unavailable):
            self._timestamps.close()
        self._database.close()

    # --- drafts ---

    @contextmanager
    def _drafting(self, record_id: bytes, *, even_complete: bool = False) -> Iterator[Draft | None]:
        """The object's draft, held alone; None when the object is complete, unless that is asked for."""
        while True:
            with self._lock:
                draft = self._drafts.setdefault(record_id, Draft())
            with draft.lock:
                if draft.closed:
                    continue
                if not draft.is_loaded and not even_complete and self._is_complete(record_id):
                    self._end_draft(record_id, draft)
                    yield None
                    return
                self._load_draft(record_id, draft)
                yield draft
                return

    def _is_complete(self, record_id: bytes) -> bool:
        """Whether there is a manifest, good or damaged."""
        return self._manifests.find(record_id) is not None or bool(self._database.run(self._cql.find, record_id))

    def _load_draft(self, record_id: bytes, draft: Draft) -> None:
        if draft.is_loaded:
            return
        draft.buckets = _noted(self._database.run(self._cql.draft, record_id))
        places = ((record_id, bucket) for bucket in range(draft.buckets))
        for found in self._database.each(self._cql.hashes, places):
            for row in found:
                draft.put(row.chunk_index, row.chunk_hash)
                draft.arrived[row.chunk_index, row.chunk_hash] = None
        draft.is_loaded = True

    def _end_draft(self, record_id: bytes, draft: Draft) -> None:
        with self._lock:
            draft.closed = True
            self._drafts.pop(record_id, None)

    def _widen(self, record_id: bytes, draft: Draft, bucket: int) -> None:
        """Note that chunks may lie in this partition, doubling what is noted so that it is seldom done."""
        if bucket >= draft.buckets:
            buckets = 1 << bucket.bit_length()
            self._database.run(self._cql.save_draft, record_id, buckets, self._timestamps.draw())
            draft.buckets = buckets

    # --- objects ---

    def _read_back(self, manifest: Manifest, draft: Draft) -> None:
        """Raise FailedPrecondition (CHUNKS_MISSING) unless every chunk is there as it was put.

        Of those that a quorum acknowledged, an instance hashes what it would give: no bytes need come back. One that has not
        got a chunk yet is not the last to be asked, for others have. Where an instance has something else, the chunk itself
        is read from a quorum. So is one that no quorum acknowledged to this process: who was asked may be the only one that
        has it.
        """
        places = list(enumerate(manifest.chunk_hashes))
        for _ in range(READ_BACK_TRIES):
            places = self._not_seen(manifest, places, draft)
        for index, _ in places:
            self._read_whole(manifest, index, draft)

    def _not_seen(self, manifest: Manifest, places: list[Place], draft: Draft) -> list[Place]:
        """Those of the chunks that the instances asked had not got; raises as `_read_back` for any other."""
        runs, missed = [list(run) for _, run in groupby(places, lambda place: place[0] // READ_BACK_CHUNKS)], list[Place]()
        asked = ((manifest.record_id, run[0][0] // BUCKET_CHUNKS, run) for run in runs)
        for run, rows in zip(runs, self._database.each(self._cql.digests, asked), strict=True):
            digests = {(row.chunk_index, row.chunk_hash): row.digest for row in rows}
            for place in run:
                expected, found = draft.arrived.get(place), digests.get(place)
                if expected is not None and found is None:
                    missed.append(place)
                elif expected is None or found != expected:
                    self._read_whole(manifest, place[0], draft)
        return missed

    def _read_whole(self, manifest: Manifest, index: int, draft: Draft) -> None:
        try:
            check_arrived(manifest, index, _chunk(self._database.run(self._cql.read, *_place(manifest, index))))
        except FailedPrecondition:
            # Else a put that goes on where it stopped would take it for there.
            draft.arrived.pop((index, manifest.chunk_hashes[index]), None)
            raise

    def _drop_strays(self, manifest: Manifest, draft: Draft) -> None:
        """Delete what was put and is not in the object."""
        strays = [
            (self._timestamps.draw(), manifest.record_id, index // BUCKET_CHUNKS, index, digest)
            for index, digests in draft.chunks.items()
            for digest in digests
            if index >= len(manifest.chunk_hashes) or digest != manifest.chunk_hashes[index]
        ]
        for _ in self._database.each(self._cql.drop, strays):
            pass

    def _buckets_of(self, record_id: bytes) -> int:
        """How many partitions an object's chunks may lie in; 0 when there is none. Its manifest may be damaged."""
        return _noted(self._database.run(self._cql.find, record_id))

    def _drop(self, record_id: bytes, buckets: int) -> None:
        """Delete manifest and chunks, above whatever was written by hand."""
        timestamp = self._timestamps.lift()
        self._database.run(self._cql.save_draft, record_id, buckets, timestamp)
        self._database.run(self._cql.forget, timestamp, record_id)
        for _ in self._database.each(self._cql.drop_bucket, ((timestamp, record_id, each) for each in range(buckets))):
            pass
        self._database.run(self._cql.forget_draft, self._timestamps.draw(), record_id)

    def _save(self, manifest: Manifest, timestamp: int) -> None:
        record_id, data = manifest.record_id, encode(manifest, self._chain_id)
        digest, buckets = manifest_check(record_id, data), _buckets(len(manifest.chunk_hashes))
        self._database.run(self._cql.save, record_id, data, digest, buckets, timestamp)

    def _load(self, record_id: bytes) -> Manifest | None:
        rows = self._database.run(self._cql.find, record_id)
        return self._manifests.take(record_id, rows[0].manifest or b"", rows[0].digest) if rows else None


def _buckets(chunks: int) -> int:
    """How many partitions so many chunks lie in."""
    return -(-chunks // BUCKET_CHUNKS)


def _noted(rows: list[Row]) -> int:
    """How many partitions a row says there may be; all there can be, where somebody else has written what it says."""
    if not rows:
        return 0
    found = int(rows[0].buckets or 0)
    return found if 0 < found <= BUCKETS_MAX else BUCKETS_MAX


def _place(manifest: Manifest, index: int) -> tuple[bytes, int, int, bytes]:
    """The key of a chunk's row."""
    return manifest.record_id, index // BUCKET_CHUNKS, index, manifest.chunk_hashes[index]


def _chunk(rows: list[object]) -> bytes:
    """What lies in a chunk's row; nothing when there is none."""
    return (getattr(rows[0], "chunk", None) or b"") if rows else b""
