"""The object store: ciphertext in chunks, and a manifest that makes them an object (rule S2, design section 7).

Chunks of a record are put in any order, again if need be; `complete` reads all of them back against the manifest, makes
them durable, and only then keeps the manifest: before that there is no object, after it nothing in it changes but by `heal`,
to what it was. Every read is verified, so a damaged, swapped or cut chunk is DataLoss, for the caller to fetch from another
copy. A restored backup may show objects that were deleted since: who serves them asks the ledger's erased set first.

Three back ends under one contract: `memory`, `embedded`, and `cassandra.store`. What they have in common is here.
"""

from collections.abc import Callable, Collection
from threading import Lock
from typing import Protocol

from consilium.kernel.encoding import decode
from consilium.kernel.errors import Conflict, DataLoss, FailedPrecondition, NotFound
from consilium.kernel.manifest import Manifest
from consilium.kernel.merkle import leaf_hash
from consilium.storage.core.manifest import manifest_check

MANIFESTS_HELD_MAX = 64
"""How many manifests are held decoded."""


class ObjectStore(Protocol):
    """Objects by record id (16 bytes). Indexes count chunks from 0."""

    def put_chunk(self, record_id: bytes, index: int, chunk: bytes) -> None:
        """Take in one chunk; the same again is no fault. Not durable before `complete`.

        Raises InvalidArgument: BAD_CHUNK_PLACE; Conflict (OBJECT_EXISTS) when the object is complete and differs.
        """

    def staged(self, record_id: bytes) -> list[bytes]:
        """The leaf hashes of the chunks put so far, for resuming; a gap has some hash that fits no chunk."""

    def complete(self, manifest: Manifest) -> None:
        """Make an object of the chunks put; durable and read back on return. The same again is no fault.

        Raises InvalidArgument: BAD_MANIFEST; Conflict: OBJECT_EXISTS; FailedPrecondition: CHUNKS_MISSING.
        """

    def read_manifest(self, record_id: bytes) -> Manifest:
        """What the object consists of.

        Raises NotFound: NO_SUCH_OBJECT; DataLoss: BAD_MANIFEST.
        """

    def read_chunk(self, record_id: bytes, index: int) -> bytes:
        """One chunk, verified.

        Raises NotFound: NO_SUCH_OBJECT; InvalidArgument: NO_SUCH_CHUNK; DataLoss: BAD_CHUNK or BAD_MANIFEST.
        """

    def heal(self, record_id: bytes, index: int, chunk: bytes) -> None:
        """Put a chunk from another copy in the place of a damaged one, durably.

        Raises NotFound: NO_SUCH_OBJECT; DataLoss (BAD_CHUNK) when the other copy is damaged too.
        """

    def mend_manifest(self, manifest: Manifest) -> None:
        """Put a manifest from another copy in the place of a damaged one; the chunks stay as they are, good or not.

        For who has compared it with the record. Raises InvalidArgument: BAD_MANIFEST.
        """

    def delete(self, record_id: bytes) -> None:
        """Forget the object, or what was put of it, durably; one that is not there is no fault."""

    def drop(self, record_id: bytes) -> None:
        """Forget what was put of an unfinished object, so that others have the room; a complete one stays as it is."""

    def record_ids(self) -> list[bytes]:
        """The records whose objects are complete, sorted."""

    def sweep(self, keep: Collection[bytes]) -> int:
        """Drop the chunks of unfinished objects other than `keep`; how many objects that were."""


class HeldManifests:
    """Manifests as they were decoded last: reading a large object chunk by chunk asks for one again and again."""

    def __init__(self, chain_id: bytes) -> None:
        self._chain_id, self._lock = chain_id, Lock()
        self._held: dict[bytes, Manifest] = {}

    def find(self, record_id: bytes) -> Manifest | None:
        """One that is held."""
        return self._held.get(record_id)

    def read(self, record_id: bytes, load: Callable[[bytes], Manifest | None]) -> Manifest:
        """One that is held, or else as `load` takes it from the store. Raises NotFound: NO_SUCH_OBJECT; and as `load`."""
        manifest = self.find(record_id) or load(record_id)
        if manifest is None:
            raise no_such_object(record_id)
        return manifest

    def take(self, record_id: bytes, data: bytes, digest: bytes) -> Manifest:
        """One as it lies in the store, held from now on. Raises DataLoss: BAD_MANIFEST."""
        if manifest_check(record_id, data) != digest:
            raise DataLoss("BAD_MANIFEST", f"The manifest of record {record_id.hex()} is not what was stored.", "S2")
        manifest = decode(Manifest, data, self._chain_id)
        with self._lock:
            while len(self._held) >= MANIFESTS_HELD_MAX:
                del self._held[next(iter(self._held))]
            self._held[record_id] = manifest
        return manifest

    def forget(self, record_id: bytes) -> None:
        """Let go of one that has changed, or is gone."""
        with self._lock:
            self._held.pop(record_id, None)


def check_arrived(manifest: Manifest, index: int, chunk: bytes) -> None:
    """Raise FailedPrecondition (CHUNKS_MISSING) unless this is the chunk the manifest names."""
    check_leaf(manifest, index, leaf_hash(chunk))


def check_leaf(manifest: Manifest, index: int, leaf: bytes) -> None:
    """Raise FailedPrecondition (CHUNKS_MISSING) unless this is the leaf hash of the chunk the manifest names."""
    if leaf != manifest.chunk_hashes[index]:
        raise FailedPrecondition("CHUNKS_MISSING", f"Chunk {index} is missing or is another: put it again.", "S2")


def check_same_chunk(manifest: Manifest, index: int, chunk: bytes) -> None:
    """Raise Conflict (OBJECT_EXISTS) unless the complete object has this very chunk."""
    if index >= len(manifest.chunk_hashes) or leaf_hash(chunk) != manifest.chunk_hashes[index]:
        raise object_exists(manifest.record_id)


def check_same_object(kept: Manifest, offered: Manifest) -> None:
    """Raise Conflict (OBJECT_EXISTS) unless both manifests are the same."""
    if kept != offered:
        raise object_exists(kept.record_id)


def object_exists(record_id: bytes) -> Conflict:
    """The refusal to change a complete object."""
    return Conflict("OBJECT_EXISTS", f"Record {record_id.hex()} has another object already.", "S2")


def no_such_object(record_id: bytes) -> NotFound:
    """The refusal for a record without a complete object."""
    return NotFound("NO_SUCH_OBJECT", f"There is no complete object of record {record_id.hex()} here.")
