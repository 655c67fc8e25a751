"""Made-up objects for the tests of the object store: bytes that nobody can open, with a manifest that fits them."""

from __future__ import annotations

from hashlib import shake_128

from consilium.kernel.manifest import Manifest
from consilium.kernel.merkle import leaf_hash
from consilium.kernel.sealing import SealHeader, chunk_count, sealed_chunk_bytes
from consilium.kernel.umbral import CAPSULE_BYTES, Sealed

CHAIN_ID = b"c" * 32
TWO_CHUNKS = 52
"""The size class of 384 KiB: one full chunk and a short one."""
ONE_CHUNK = 0
"""The size class of 4 KiB."""


def record_id(name: str) -> bytes:
    """A record's id of 16 bytes."""
    return shake_128(name.encode()).digest(16)


def make_chunks(name: str, size_class: int) -> list[bytes]:
    """The chunks of an object of this class, different for every name and index."""
    return [
        shake_128(b"%s %d" % (name.encode(), index)).digest(sealed_chunk_bytes(size_class, index))
        for index in range(chunk_count(size_class))
    ]


def make_manifest(name: str, size_class: int, chunks: list[bytes]) -> Manifest:
    """The manifest of these chunks."""
    return Manifest(
        record_id(name),
        0,
        1,
        size_class,
        SealHeader(b"s" * 24, b"k" * 32),
        Sealed(b"p" * CAPSULE_BYTES, b"sealed"),
        tuple(leaf_hash(each) for each in chunks),
    )
