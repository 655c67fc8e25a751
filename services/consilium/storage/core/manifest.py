"""Where an object's chunks lie, which of them a range needs, and what a kept manifest is checked by (rule S2). Pure.

Chunk i of every object begins at i * CHUNK_BYTES; only the last is shorter (`kernel.sealing`). What a manifest says, and how
a chunk is verified against it, stands in `kernel.manifest`, since the client needs it too.
"""

from consilium.kernel.errors import InvalidArgument
from consilium.kernel.hashing import domain_hash
from consilium.kernel.manifest import CHUNKS_MAX, Manifest
from consilium.kernel.sealing import CHUNK_BYTES, chunk_count, sealed_chunk_bytes


def check_manifest(manifest: Manifest) -> None:
    """Raise InvalidArgument (BAD_MANIFEST) unless it names as many chunks as its size class has."""
    if len(manifest.chunk_hashes) != chunk_count(manifest.size_class):
        raise InvalidArgument("BAD_MANIFEST", "The manifest names more or fewer chunks than its size class has.", "S2")


def check_chunk_place(index: int, length: int) -> None:
    """Raise InvalidArgument (BAD_CHUNK_PLACE) unless a chunk of `length` bytes may stand at `index`."""
    if not 0 <= index < CHUNKS_MAX or not 0 < length <= CHUNK_BYTES:
        raise InvalidArgument("BAD_CHUNK_PLACE", f"There is no chunk {index} of {length} bytes in any object.", "S2")


def ciphertext_bytes(manifest: Manifest) -> int:
    """How many bytes all chunks of the object have together."""
    return sum(chunk_place(manifest, len(manifest.chunk_hashes) - 1))


def chunk_place(manifest: Manifest, index: int) -> tuple[int, int]:
    """The offset and the length of a chunk, in bytes of ciphertext.

    Raises InvalidArgument: NO_SUCH_CHUNK.
    """
    if not 0 <= index < len(manifest.chunk_hashes):
        raise InvalidArgument("NO_SUCH_CHUNK", f"The object has {len(manifest.chunk_hashes)} chunks, not {index}.", "S2")
    return index * CHUNK_BYTES, sealed_chunk_bytes(manifest.size_class, index)


def chunks_of_range(manifest: Manifest, offset: int, length: int) -> range:
    """The chunks that hold `length` bytes of ciphertext from `offset` on; what lies past the end is left out.

    Raises InvalidArgument: BAD_RANGE, when the range is empty or begins past the end.
    """
    if not 0 <= offset < ciphertext_bytes(manifest) or length <= 0:
        raise InvalidArgument("BAD_RANGE", f"The object has no {length} bytes at {offset}.", "S2")
    last = min(offset + length, ciphertext_bytes(manifest)) - 1
    return range(offset // CHUNK_BYTES, last // CHUNK_BYTES + 1)


def manifest_check(record_id: bytes, manifest: bytes) -> bytes:
    """What lies beside a stored manifest, so that one that changed or moved to another record is known for it."""
    return domain_hash("consilium.stored-manifest", record_id, manifest)
