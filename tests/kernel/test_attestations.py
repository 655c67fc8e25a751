"""An authority's binding to the member key that the ledger names (design section 8)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consilium.kernel.attestations import BoundAuthority, bind_authority, verify_authority
from consilium.kernel.encoding import decode, encode
from consilium.kernel.errors import BadSignature, FailedPrecondition
from consilium.kernel.hashing import sha256
from consilium.kernel.signing import Ed25519Signer, Ed25519Verifier

CHAIN_ID, OTHER_CHAIN = sha256(b"chain"), sha256(b"other chain")
MEMBER, OTHER = Ed25519Signer.from_seed(b"m" * 32), Ed25519Signer.from_seed(b"o" * 32)
ENDS_MS = 1_800_000_000_000
BOUND = bind_authority("anshan", b"a certificate", ENDS_MS, MEMBER, CHAIN_ID)


def verify(bound: BoundAuthority, key: bytes = MEMBER.public_key, chain_id: bytes = CHAIN_ID, now_ms: int = ENDS_MS) -> None:
    """Judges by the member key."""
    verify_authority(bound, key, chain_id, now_ms, Ed25519Verifier())


def test_verify_authority() -> None:
    verify(decode(BoundAuthority, encode(BOUND, CHAIN_ID), CHAIN_ID))


def test_another_certificate_key_chain_or_member_is_refused() -> None:
    with pytest.raises(BadSignature, match="OTHER_CERTIFICATE"):
        verify(replace(BOUND, certificate=b"another certificate"))
    with pytest.raises(BadSignature, match="BAD_SIGNATURE"):
        verify(BOUND, OTHER.public_key)
    with pytest.raises(BadSignature, match="BAD_SIGNATURE"):
        verify(BOUND, chain_id=OTHER_CHAIN)
    with pytest.raises(BadSignature, match="BAD_SIGNATURE"):
        verify(replace(BOUND, binding=replace(BOUND.binding, member_id="benxi")))
    with pytest.raises(BadSignature, match="BAD_SIGNATURE"):
        verify(replace(BOUND, binding=replace(BOUND.binding, not_after_ms=ENDS_MS + 1)))


def test_a_binding_ends() -> None:
    with pytest.raises(FailedPrecondition, match="BINDING_OVER"):
        verify(BOUND, now_ms=ENDS_MS + 1)
