"""One contract for every pair of signer and verifier: Ed25519, and the simulator's keyed hash."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consilium.kernel.errors import BadSignature, Malformed
from consilium.kernel.signing import (
    PUBLIC_KEY_BYTES,
    SEED_BYTES,
    SIGNATURE_BYTES,
    Ed25519Signer,
    Ed25519Verifier,
    Signer,
    Verifier,
)
from tests.simulation.signing import KeyedHashSigner, KeyedHashVerifier
from tests.vectors import make

PUBLISHED = make.read("published")
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493
VERIFIER = Ed25519Verifier()

PAIRS = pytest.mark.parametrize(
    ("signers", "verifier"),
    [
        ((Ed25519Signer.from_seed(bytes(32)), Ed25519Signer.from_seed(b"\1" * 32)), VERIFIER),
        ((KeyedHashSigner("north"), KeyedHashSigner("south")), KeyedHashVerifier()),
    ],
    ids=["ed25519", "keyed hash"],
)


def refused(public_key: bytes, message: bytes, signature: bytes, verifier: Verifier = VERIFIER) -> None:
    with pytest.raises(BadSignature, match="BAD_SIGNATURE, rule L2"):
        verifier.verify(public_key, message, signature)


@PAIRS
@given(message=st.binary(max_size=200), bit=st.integers(0))
def test_a_signature_fits_one_key_and_one_message(
    signers: tuple[Signer, Signer], verifier: Verifier, message: bytes, bit: int
) -> None:
    """L2: who signs answers for these bytes, and nobody else does."""
    signer, other = signers
    signature = signer.sign(message)
    verifier.verify(signer.public_key, message, signature)
    refused(other.public_key, message, signature, verifier)
    refused(signer.public_key, message + b"\0", signature, verifier)
    flipped = bytearray(signature)
    flipped[bit // 8 % SIGNATURE_BYTES] ^= 1 << bit % 8
    refused(signer.public_key, message, bytes(flipped), verifier)


@PAIRS
def test_lengths_and_determinism(signers: tuple[Signer, Signer], verifier: Verifier) -> None:
    signer, other = signers
    signature = signer.sign(b"message")
    assert len(signer.public_key) == PUBLIC_KEY_BYTES
    assert len(signature) == SIGNATURE_BYTES
    assert signer.sign(b"message") == signature
    assert signer.public_key != other.public_key
    for wrong in (b"", signature[:-1], signature + b"\0"):
        refused(signer.public_key, b"message", wrong, verifier)


@PAIRS
def test_bytes_do_not_move_from_message_to_signature(signers: tuple[Signer, Signer], verifier: Verifier) -> None:
    """L2: libsodium takes both as one string; only their lengths keep them apart."""
    signer = signers[0]
    signature = signer.sign(b"message")
    refused(signer.public_key, b"essage", signature + b"m", verifier)
    refused(signer.public_key, signature[-1:] + b"message", signature[:-1], verifier)


@pytest.mark.parametrize("case", PUBLISHED["ed25519"]["cases"], ids=lambda case: case["message"] or "empty")
def test_published_signatures(case: dict[str, str]) -> None:
    """RFC 8032, section 7.1."""
    signer, message = Ed25519Signer.from_seed(bytes.fromhex(case["seed"])), bytes.fromhex(case["message"])
    assert signer.public_key.hex() == case["public_key"]
    assert signer.sign(message).hex() == case["signature"]
    VERIFIER.verify(signer.public_key, message, bytes.fromhex(case["signature"]))


@pytest.mark.parametrize("case", PUBLISHED["ed25519_edges"]["cases"], ids=lambda case: case["name"])
def test_what_rfc_8032_leaves_open_is_refused(case: dict[str, Any]) -> None:
    """L2: all members judge alike where implementations differ: small orders, forms that are not canonical."""
    parts = [bytes.fromhex(case[name]) for name in ("public_key", "message", "signature")]
    if case["valid"]:
        VERIFIER.verify(*parts)
    else:
        public_key, message, signature = parts
        refused(public_key, message, signature)


def test_a_signature_has_no_second_form() -> None:
    """L2: S + L would satisfy the equation too; libsodium refuses it."""
    signer = Ed25519Signer.from_seed(bytes(32))
    signature = signer.sign(b"message")
    above = int.from_bytes(signature[32:], "little") + GROUP_ORDER
    refused(signer.public_key, b"message", signature[:32] + above.to_bytes(32, "little"))


@pytest.mark.parametrize("public_key", ["01" + "00" * 31, "00" * 32, "ec" + "ff" * 30 + "7f", "ee" + "ff" * 30 + "7f"])
def test_a_key_of_small_order_fits_no_message(public_key: str) -> None:
    """L2: under the identity as key, R = identity and S = 0 would sign everything."""
    refused(bytes.fromhex(public_key), b"anything", bytes.fromhex("01" + "00" * 63))


@given(st.binary(max_size=40), st.binary(max_size=80))
def test_foreign_bytes_are_refused(public_key: bytes, signature: bytes) -> None:
    refused(public_key, b"message", signature)


def test_a_seed_has_its_length() -> None:
    for length in (0, SEED_BYTES - 1, SEED_BYTES + 1):
        with pytest.raises(Malformed, match="BAD_KEY"):
            Ed25519Signer.from_seed(bytes(length))


def test_the_secret_does_not_leak() -> None:
    seed = make.pattern(32)
    signer = Ed25519Signer.from_seed(seed)
    assert signer.to_secret_bytes() == seed
    assert seed.hex() not in repr(signer) + str(signer)
    with pytest.raises(TypeError):
        bytes(signer)  # type: ignore[call-overload]


def test_frozen_vectors() -> None:
    assert make.signing() == make.read("signing")
    frozen = {name: bytes.fromhex(value) for name, value in make.read("signing").items()}
    VERIFIER.verify(frozen["public_key"], b"consilium", frozen["signature"])
