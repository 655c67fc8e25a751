"""Where chunks lie and which a range needs (S2): compared with slicing the whole ciphertext."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consilium.kernel.errors import InvalidArgument
from consilium.kernel.manifest import Manifest
from consilium.kernel.sealing import CHUNK_BYTES, chunk_count, sealed_chunk_bytes
from consilium.storage.core.manifest import (
    check_chunk_place,
    check_manifest,
    chunk_place,
    chunks_of_range,
    ciphertext_bytes,
    manifest_check,
)
from tests.stores.objects import ONE_CHUNK, TWO_CHUNKS, make_manifest

CLASSES = (ONE_CHUNK, TWO_CHUNKS, 60, 75)


def manifest_of(size_class: int) -> Manifest:
    return make_manifest("any", size_class, [b"%d" % index for index in range(chunk_count(size_class))])


@pytest.mark.parametrize("size_class", CLASSES)
def test_s2_chunks_lie_side_by_side(size_class: int) -> None:
    manifest = manifest_of(size_class)
    offset = 0
    for index in range(chunk_count(size_class)):
        assert chunk_place(manifest, index) == (offset, sealed_chunk_bytes(size_class, index))
        assert offset == index * CHUNK_BYTES
        offset += sealed_chunk_bytes(size_class, index)
    assert ciphertext_bytes(manifest) == offset
    for index in (-1, chunk_count(size_class)):
        with pytest.raises(InvalidArgument, match="NO_SUCH_CHUNK"):
            chunk_place(manifest, index)


@given(st.sampled_from(CLASSES), st.integers(0, 2**23), st.integers(1, 2**23))
def test_s2_a_range_needs_exactly_the_chunks_it_touches(size_class: int, offset: int, length: int) -> None:
    manifest = manifest_of(size_class)
    total = ciphertext_bytes(manifest)
    offset %= total
    touched = []
    for index in range(chunk_count(size_class)):
        start, size = chunk_place(manifest, index)
        if start < offset + length and offset < start + size:
            touched.append(index)
    assert list(chunks_of_range(manifest, offset, length)) == touched


@pytest.mark.parametrize(("offset", "length"), [(-1, 5), (0, 0), (0, -1), (2**40, 1)])
def test_s2_a_range_outside_the_object_is_refused(offset: int, length: int) -> None:
    manifest = make_manifest("any", ONE_CHUNK, [b"x"])
    with pytest.raises(InvalidArgument, match="BAD_RANGE"):
        chunks_of_range(manifest, offset, length)
    with pytest.raises(InvalidArgument, match="BAD_RANGE"):
        chunks_of_range(manifest, ciphertext_bytes(manifest), 1)


def test_s2_a_manifest_names_as_many_chunks_as_its_class_has() -> None:
    manifest = make_manifest("any", TWO_CHUNKS, [b"0", b"1"])
    check_manifest(manifest)
    for wrong in ((), manifest.chunk_hashes[:1], manifest.chunk_hashes * 2):
        with pytest.raises(InvalidArgument, match="BAD_MANIFEST"):
            check_manifest(dataclasses.replace(manifest, chunk_hashes=wrong))


def test_s2_chunk_places_are_bounded() -> None:
    check_chunk_place(0, 1)
    check_chunk_place(65_535, CHUNK_BYTES)
    for index, length in ((-1, 1), (65_536, 1), (0, 0), (0, CHUNK_BYTES + 1)):
        with pytest.raises(InvalidArgument, match="BAD_CHUNK_PLACE"):
            check_chunk_place(index, length)


def test_a_manifest_check_is_of_one_record_and_one_manifest() -> None:
    checks = {manifest_check(record, data) for record in (b"1" * 16, b"2" * 16) for data in (b"a", b"b")}
    assert len(checks) == 4
