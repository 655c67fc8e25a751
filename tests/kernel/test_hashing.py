from __future__ import annotations

from hashlib import sha256 as reference

from hypothesis import assume, given
from hypothesis import strategies as st

from consilium.kernel.hashing import DIGEST_BYTES, ZERO_DIGEST, domain_hash, sha256
from tests.vectors import make

PARTS = st.lists(st.binary(max_size=6), max_size=4)
DOMAINS = st.text(max_size=6)


@given(st.binary())
def test_sha256_is_sha256(data: bytes) -> None:
    assert sha256(data) == reference(data).digest()
    assert len(sha256(data)) == DIGEST_BYTES == len(ZERO_DIGEST)


@given(DOMAINS, PARTS, DOMAINS, PARTS)
def test_no_two_part_lists_collide(domain: str, parts: list[bytes], other: str, others: list[bytes]) -> None:
    """L1: each part stands behind its length, and the domain is one of them."""
    assume((domain, parts) != (other, others))
    assert domain_hash(domain, *parts) != domain_hash(other, *others)


@given(DOMAINS, PARTS, st.integers(0, 6))
def test_a_part_cut_in_two_is_another_list(domain: str, parts: list[bytes], at: int) -> None:
    for index, part in enumerate(parts):
        cut = [*parts[:index], part[:at], part[at:], *parts[index + 1 :]]
        assert domain_hash(domain, *cut) != domain_hash(domain, *parts)


def test_a_domain_hash_is_spelled_out() -> None:
    """The form another implementation would follow."""
    assert domain_hash("ab", b"c") == reference(b"\0\0\0\2ab\0\0\0\1c").digest()


def test_frozen_vectors() -> None:
    assert make.domain_hashes() == make.read("hashing")
