from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from hypothesis import given
from hypothesis import strategies as st

from consilium.kernel.errors import ConsiliumError, DataLoss, FailedPrecondition, InvalidArgument
from consilium.kernel.sealing import (
    CHUNK_BYTES,
    CHUNK_DATA_BYTES,
    LENGTH_BYTES,
    SIZE_CLASS_MAX,
    ObjectOpener,
    ObjectSealer,
    RecordContext,
    SealHeader,
    bind_secret,
    chunk_count,
    data_key,
    padded_bytes,
    seal_header,
    sealed_chunk_bytes,
    size_class_of,
    unbind_secret,
)
from tests.vectors import make
from tests.vectors.make import CHAIN_ID, pattern

KEY, SALT, CONTEXT = pattern(32), pattern(24), pattern(64)[32:]
FULL = CHUNK_DATA_BYTES - LENGTH_BYTES
LONG = pattern(3 * CHUNK_DATA_BYTES)
EDGES = [0, 1, 2, 4087, 4088, 4089, FULL - 1, FULL, FULL + 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * FULL, len(LONG)]
RECORD = RecordContext(bytes(16), 1, pattern(32), "north", 3, 17)


def seal(data: bytes, key: bytes = KEY, salt: bytes = SALT, context: bytes = CONTEXT, step: int = 100_000) -> list[bytes]:
    """The chunks of one object, handed over in pieces."""
    sealer, chunks = ObjectSealer(key, salt, context, len(data)), list[bytes]()
    for start in range(0, len(data), step):
        chunks += sealer.update(data[start : start + step])
    return [*chunks, *sealer.finish()]


def opener(length: int) -> ObjectOpener:
    """An opener with the right key, header, context and class."""
    return ObjectOpener(KEY, seal_header(KEY, SALT, CONTEXT), CONTEXT, size_class_of(length))


def open_all(chunks: list[bytes], length: int) -> bytes:
    """The object, streamed."""
    stream = opener(length)
    data = b"".join([stream.update(each) for each in chunks])
    stream.finish()
    return data


def refused_chunk(length: int, index: int, chunk: bytes, reason: str = "BAD_CHUNK") -> None:
    """S2: not one byte of a bad chunk is released, streaming or at random."""
    at_random = opener(length)
    if index:
        at_random.open_chunk(0, seal(LONG[:length])[0])
    with pytest.raises(DataLoss, match=reason):
        at_random.open_chunk(index, chunk)
    streaming = opener(length)
    for each in seal(LONG[:length])[:index]:
        streaming.update(each)
    with pytest.raises(DataLoss, match=reason):
        streaming.update(chunk)


@pytest.mark.parametrize("length", EDGES)
@pytest.mark.parametrize("step", [1_000_000, 99_991])
def test_an_object_comes_back(length: int, step: int) -> None:
    chunks = seal(LONG[:length], step=step)
    assert open_all(chunks, length) == LONG[:length]
    assert chunks == seal(LONG[:length])


@pytest.mark.parametrize("length", EDGES)
def test_every_length_follows_from_the_class(length: int) -> None:
    """S2: an observer of chunks learns the class and nothing else."""
    size_class = size_class_of(length)
    chunks = seal(LONG[:length])
    assert [len(each) for each in chunks] == [sealed_chunk_bytes(size_class, index) for index in range(len(chunks))]
    assert len(chunks) == chunk_count(size_class)
    assert all(len(each) == CHUNK_BYTES for each in chunks[:-1])
    assert len(chunks[-1]) < CHUNK_BYTES


def test_padding_hides_sizes_within_a_class() -> None:
    """S2: padded to size classes."""
    shapes = {tuple(len(each) for each in seal(LONG[:length])) for length in (4089, 4200, 4600)}
    assert len({size_class_of(length) for length in (4089, 4200, 4600)}) == 1
    assert shapes == {(4608 + 16,)}


@given(st.integers(0, 2**40 - 8))
def test_a_class_is_the_least_that_fits_and_wastes_an_eighth(length: int) -> None:
    size_class = size_class_of(length)
    padded = padded_bytes(size_class)
    assert length + LENGTH_BYTES <= padded
    assert size_class == 0 or padded_bytes(size_class - 1) < length + LENGTH_BYTES
    assert padded <= max(4096, (length + LENGTH_BYTES) * 9 // 8)


def test_no_class_is_a_whole_number_of_chunks() -> None:
    """C2SP: the last chunk is always shorter, or a cut object could pass for a whole one."""
    classes = [padded_bytes(each) for each in range(SIZE_CLASS_MAX + 1)]
    assert classes == sorted(set(classes))
    assert all(each % CHUNK_DATA_BYTES for each in classes)
    assert (classes[0], classes[-1]) == (4096, 2**40)


@pytest.mark.parametrize("size_class", [-1, SIZE_CLASS_MAX + 1])
def test_no_other_classes(size_class: int) -> None:
    with pytest.raises(InvalidArgument, match="BAD_SIZE_CLASS"):
        padded_bytes(size_class)
    with pytest.raises(InvalidArgument, match="BAD_SIZE_CLASS"):
        ObjectOpener(KEY, seal_header(KEY, SALT, CONTEXT), CONTEXT, size_class)
    with pytest.raises(InvalidArgument, match="OBJECT_TOO_LARGE"):
        size_class_of(2**40 - 7)


@pytest.mark.parametrize("length", [5, 300_000, len(LONG)])
def test_altered_chunks_are_refused(length: int) -> None:
    """S2: flipped, cut and stretched chunks."""
    for index, chunk in enumerate(seal(LONG[:length])):
        for place in (0, len(chunk) // 2, len(chunk) - 1):
            flipped = bytearray(chunk)
            flipped[place] ^= 1
            refused_chunk(length, index, bytes(flipped))
        for cut in (b"", chunk[:-1], chunk[1:], chunk + b"\0", chunk[:15], bytes(len(chunk))):
            refused_chunk(length, index, cut)


def test_reordered_and_repeated_chunks_are_refused() -> None:
    """S2: each chunk has one place."""
    chunks = seal(LONG)
    for index, other in [(0, 1), (1, 0), (1, 2), (2, 1), (2, 0)]:
        refused_chunk(len(LONG), index, chunks[other])


def test_chunks_of_two_objects_do_not_splice() -> None:
    """S2: nor with another salt, key or context."""
    ours, theirs = seal(LONG), seal(LONG, salt=bytes(24))
    for other in (theirs, seal(LONG, key=bytes(32)), seal(LONG, context=bytes(32))):
        for index in range(len(ours)):
            refused_chunk(len(LONG), index, other[index])


def test_a_cut_object_is_refused() -> None:
    """S2: the last chunk is missing, and neither the stream nor a smaller class makes it whole."""
    chunks = seal(LONG)
    stream = opener(len(LONG))
    for each in chunks[:-1]:
        stream.update(each)
    with pytest.raises(DataLoss, match="TRUNCATED"):
        stream.finish()
    with pytest.raises(DataLoss, match="TRUNCATED"):
        opener(0).finish()
    for size_class in range(size_class_of(len(LONG))):
        smaller = ObjectOpener(KEY, seal_header(KEY, SALT, CONTEXT), CONTEXT, size_class)
        with pytest.raises(DataLoss):
            smaller.update(chunks[0])


def test_an_extra_chunk_is_refused() -> None:
    """S2."""
    chunks = seal(LONG[:9])
    stream = opener(9)
    stream.update(chunks[0])
    for extra in (chunks[0], seal(LONG)[0], b""):
        with pytest.raises(DataLoss, match="EXTRA_CHUNK"):
            stream.update(extra)
        with pytest.raises(DataLoss, match="EXTRA_CHUNK"):
            stream.open_chunk(-1, extra)
    stream.finish()


def test_a_refused_chunk_may_be_tried_again() -> None:
    """Section 7: reads repair from another copy."""
    chunks, stream = seal(LONG), opener(len(LONG))
    data = stream.update(chunks[0])
    with pytest.raises(DataLoss):
        stream.update(bytes(CHUNK_BYTES))
    assert data + b"".join([stream.update(each) for each in chunks[1:]]) == LONG
    stream.finish()


HEADER = seal_header(KEY, SALT, CONTEXT)


@pytest.mark.parametrize(
    ("key", "header", "context"),
    [
        (bytes(32), HEADER, CONTEXT),
        (KEY, replace(HEADER, salt=bytes(24)), CONTEXT),
        (KEY, replace(HEADER, commitment=bytes(32)), CONTEXT),
        (KEY, HEADER, bytes(32)),
    ],
    ids=["key", "salt", "commitment", "context"],
)
def test_a_wrong_key_is_told_before_any_chunk(key: bytes, header: SealHeader, context: bytes) -> None:
    """S2: key commitment and context binding."""
    ObjectOpener(KEY, HEADER, CONTEXT, 0)
    with pytest.raises(InvalidArgument, match="WRONG_KEY"):
        ObjectOpener(key, header, context, 0)


def test_ranges_open_at_random() -> None:
    """S2: chunk 0 tells the length, then any chunk opens alone, in any order."""
    chunks, random = seal(LONG), opener(len(LONG))
    with pytest.raises(FailedPrecondition, match="LENGTH_UNKNOWN"):
        random.open_chunk(1, chunks[1])
    with pytest.raises(FailedPrecondition, match="LENGTH_UNKNOWN"):
        _ = random.length
    assert random.open_chunk(0, chunks[0]) == LONG[:FULL]
    assert random.length == len(LONG)
    assert random.open_chunk(2, chunks[2]) == LONG[FULL + CHUNK_DATA_BYTES :][:CHUNK_DATA_BYTES]
    assert random.open_chunk(1, chunks[1]) == LONG[FULL:][:CHUNK_DATA_BYTES]
    assert b"".join(random.open_chunk(index, each) for index, each in enumerate(chunks)) == LONG


@pytest.mark.parametrize("length", [4089, 2**63, 2**64 - 1])
def test_a_sealed_length_must_fit_its_class(length: int) -> None:
    """One object, one form: a length of another class is refused even from someone who holds the key."""
    sealer = ObjectSealer(KEY, SALT, CONTEXT, 4088)
    sealer._buffer[:] = length.to_bytes(LENGTH_BYTES)  # noqa: SLF001
    sealer.update(bytes(4088))
    (chunk,) = sealer.finish()
    refused_chunk(0, 0, chunk, "BAD_LENGTH")


def test_a_chunk_of_another_length_is_refused() -> None:
    """One object, one form: even a chunk that someone with the key sealed so."""
    derived = HKDFExpand(SHA256(), 76, b"consilium/chunked-encryption@v1+AEAD_AES_256_GCM\0" + SALT + CONTEXT).derive(KEY)
    for length in (LENGTH_BYTES, 4095, 4097):
        refused_chunk(0, 0, AESGCM(derived[:32]).encrypt(derived[32:44], bytes(length), None))


def test_a_larger_class_than_needed_is_refused() -> None:
    sealer = ObjectSealer(KEY, SALT, CONTEXT, 4089)
    sealer._buffer[:] = (17).to_bytes(LENGTH_BYTES)  # noqa: SLF001
    sealer.update(bytes(4089))
    (chunk,) = sealer.finish()
    refused_chunk(4089, 0, chunk, "BAD_LENGTH")


def test_the_announced_length_is_kept() -> None:
    sealer = ObjectSealer(KEY, SALT, CONTEXT, 10)
    sealer.update(bytes(9))
    with pytest.raises(InvalidArgument, match="OTHER_LENGTH"):
        sealer.finish()
    with pytest.raises(InvalidArgument, match="OTHER_LENGTH"):
        sealer.update(bytes(2))
    sealer.update(b"!")
    assert open_all(list(sealer.finish()), 10) == bytes(9) + b"!"


def test_a_capsule_serves_its_record_alone() -> None:
    """S2: the capsule carries the secret and the digest of its context."""
    bound = bind_secret(KEY, RECORD.digest(CHAIN_ID))
    assert unbind_secret(bound, RECORD.digest(CHAIN_ID)) == KEY
    others = [
        replace(RECORD, record_id=b"\1" * 16),
        replace(RECORD, version=2),
        replace(RECORD, owner_commitment=bytes(32)),
        replace(RECORD, holder="south"),
        replace(RECORD, media_class=4),
        replace(RECORD, size_class=18),
    ]
    for digest in [each.digest(CHAIN_ID) for each in others] + [RECORD.digest(bytes(32)), b""]:
        with pytest.raises(InvalidArgument, match="FOREIGN_CAPSULE"):
            unbind_secret(bound, digest)
    for opened in (b"", bound[:-1], bound + b"\0", bound[32:]):
        with pytest.raises(InvalidArgument, match="FOREIGN_CAPSULE"):
            unbind_secret(opened, RECORD.digest(CHAIN_ID))


def test_the_data_key_needs_both_secrets_and_the_context() -> None:
    """S2, promise 6: destroy the shred secret, and the capsule's secret opens nothing."""
    zeros = bytes(32)
    key = data_key(KEY, CONTEXT, zeros)
    assert len({key, data_key(zeros, CONTEXT, zeros), data_key(KEY, zeros, zeros), data_key(KEY, CONTEXT, KEY)}) == 4
    assert key != data_key(CONTEXT, KEY, zeros)
    for wrong in (b"", bytes(31), bytes(33)):
        with pytest.raises(InvalidArgument, match="BAD_SECRET"):
            data_key(wrong, CONTEXT, zeros)
        with pytest.raises(InvalidArgument, match="BAD_SECRET"):
            data_key(KEY, wrong, zeros)


def test_the_scheme_is_the_one_described() -> None:
    """The first lines of the module, computed once more from their parts."""
    info = b"consilium/chunked-encryption@v1+AEAD_AES_256_GCM\0" + SALT + CONTEXT
    derived = HKDFExpand(SHA256(), 76, info).derive(KEY)
    key, base_nonce, commitment = derived[:32], derived[32:44], derived[44:]
    assert seal_header(KEY, SALT, CONTEXT).commitment == commitment
    chunks = seal(LONG[:300_000])
    nonces = [base_nonce[:-1] + bytes([base_nonce[-1] ^ index]) for index in range(len(chunks))]
    padded = b"".join(AESGCM(key).decrypt(nonce, each, None) for nonce, each in zip(nonces, chunks, strict=True))
    assert padded == (300_000).to_bytes(8) + LONG[:300_000] + bytes(padded_bytes(size_class_of(300_000)) - 300_008)


@given(st.binary(max_size=5000), st.integers(0, 3))
def test_foreign_bytes_are_refused(chunk: bytes, index: int) -> None:
    stream = opener(len(LONG))
    with pytest.raises(ConsiliumError):
        stream.open_chunk(index, chunk)
    with pytest.raises(DataLoss):
        opener(5).update(chunk)


def test_frozen_vectors() -> None:
    """Old objects stay readable."""
    assert make.sealed_objects() == make.read("sealing")
