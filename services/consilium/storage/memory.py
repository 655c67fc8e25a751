"""The object store in memory: what the contract asks for and nothing else; gone with its process (rule S2).

For tests that need a store and no disk; no service can be told to use it.
"""

from collections.abc import Collection

from consilium.kernel.manifest import Manifest, verify_chunk
from consilium.kernel.merkle import leaf_hash
from consilium.storage.core.manifest import check_chunk_place, check_manifest, chunk_place
from consilium.storage.store import check_arrived, check_same_chunk, check_same_object, no_such_object


class MemoryObjectStore:
    """Objects in memory."""

    def __init__(self) -> None:
        self._manifests: dict[bytes, Manifest] = {}
        self._chunks: dict[bytes, dict[int, bytes]] = {}

    def put_chunk(self, record_id: bytes, index: int, chunk: bytes) -> None:
        """Take in one chunk; raises as `ObjectStore.put_chunk`."""
        check_chunk_place(index, len(chunk))
        if record_id in self._manifests:
            check_same_chunk(self._manifests[record_id], index, chunk)
        else:
            self._chunks.setdefault(record_id, {})[index] = bytes(chunk)

    def staged(self, record_id: bytes) -> list[bytes]:
        """The leaf hashes of the chunks put so far."""
        chunks = self._chunks.get(record_id, {})
        return [leaf_hash(chunks.get(index, b"")) for index in range(max(chunks, default=-1) + 1)]

    def complete(self, manifest: Manifest) -> None:
        """Make an object of the chunks put; raises as `ObjectStore.complete`."""
        check_manifest(manifest)
        kept = self._manifests.get(manifest.record_id)
        if kept is not None:
            check_same_object(kept, manifest)
            return
        chunks = self._chunks.get(manifest.record_id, {})
        for index in range(len(manifest.chunk_hashes)):
            check_arrived(manifest, index, chunks.get(index, b""))
        self._manifests[manifest.record_id] = manifest

    def read_manifest(self, record_id: bytes) -> Manifest:
        """What the object consists of; raises NotFound (NO_SUCH_OBJECT)."""
        if record_id not in self._manifests:
            raise no_such_object(record_id)
        return self._manifests[record_id]

    def read_chunk(self, record_id: bytes, index: int) -> bytes:
        """One chunk, verified; raises as `ObjectStore.read_chunk`."""
        manifest = self.read_manifest(record_id)
        chunk_place(manifest, index)
        chunk = self._chunks[record_id].get(index, b"")
        verify_chunk(manifest.chunk_hashes, index, chunk)
        return chunk

    def heal(self, record_id: bytes, index: int, chunk: bytes) -> None:
        """Put a good chunk in the place of a damaged one; raises as `ObjectStore.heal`."""
        verify_chunk(self.read_manifest(record_id).chunk_hashes, index, chunk)
        self._chunks[record_id][index] = bytes(chunk)

    def mend_manifest(self, manifest: Manifest) -> None:
        """Put a good manifest in the place of a damaged one; raises as `ObjectStore.mend_manifest`."""
        check_manifest(manifest)
        self._manifests[manifest.record_id] = manifest
        self._chunks.setdefault(manifest.record_id, {})

    def delete(self, record_id: bytes) -> None:
        """Forget the object, or what was put of it."""
        self._manifests.pop(record_id, None)
        self._chunks.pop(record_id, None)

    def drop(self, record_id: bytes) -> None:
        """Forget what was put of an unfinished object."""
        if record_id not in self._manifests:
            self._chunks.pop(record_id, None)

    def record_ids(self) -> list[bytes]:
        """The records whose objects are complete, sorted."""
        return sorted(self._manifests)

    def sweep(self, keep: Collection[bytes]) -> int:
        """Drop the chunks of unfinished objects other than `keep`; how many objects that were."""
        orphans = [each for each in self._chunks if each not in self._manifests and each not in keep]
        for each in orphans:
            del self._chunks[each]
        return len(orphans)
