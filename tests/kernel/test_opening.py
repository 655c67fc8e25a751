from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consilium.kernel.chain import Batch
from consilium.kernel.encoding import encode
from consilium.kernel.errors import BadSignature, Malformed
from consilium.kernel.merkle import leaf_hash
from consilium.kernel.opening import (
    open_batch,
    open_block,
    open_transaction,
    verify_author,
    verify_batch,
    verify_copy,
)
from consilium.kernel.signing import Ed25519Verifier
from consilium.kernel.transactions import Payload, RevealBody, Transaction
from consilium.ledger.core.acceptance import genesis_tip
from tests.alliance import Alliance, certified, id_of, make_block, make_header, record_body, seed_of

ALLIANCE = Alliance.founded()
CHAIN_ID = ALLIANCE.chain_id
VERIFIER = Ed25519Verifier()
KEYS = ALLIANCE.keys["anshan"]
REVEAL = RevealBody(0, KEYS.preimages[0])
BARE = ALLIANCE.registration("anshan", record_body("r"), id_of("r"), 9)
SIGNED = ALLIANCE.sign(KEYS.member, REVEAL, id_of("s"), 9)


def refusal(data: bytes) -> str:
    with pytest.raises(Malformed) as refused:
        open_transaction(data, CHAIN_ID)
    return refused.value.reason


def test_both_forms_are_told_apart_by_their_first_byte() -> None:
    bare, signed = open_transaction(BARE, CHAIN_ID), open_transaction(SIGNED, CHAIN_ID)
    assert bare.payload.body == record_body("r")
    assert bare.signature is None
    assert signed.payload.body == REVEAL
    verify_author(signed, VERIFIER)


def test_the_leaf_is_over_the_bytes_as_carried() -> None:
    """L1: hashed and signed as received, never re-serialised."""
    assert open_transaction(SIGNED, CHAIN_ID).leaf == leaf_hash(SIGNED)


def test_trailing_bytes_are_refused() -> None:
    """L1."""
    assert refusal(SIGNED + b"\x00") == "NOT_DETERMINISTIC"
    assert refusal(BARE + b"\x00") == "NOT_DETERMINISTIC"


def test_another_chains_transactions_are_refused() -> None:
    """L1: a replay on another chain, in either form."""
    other = Alliance.founded(parameters=replace(ALLIANCE.genesis.parameters, term_blocks=99))
    for data in (BARE, SIGNED):
        with pytest.raises(Malformed, match="FOREIGN_CHAIN"):
            open_transaction(data, other.chain_id)


def test_only_records_travel_unsigned() -> None:
    """L2: everything else carries its author's own signature."""
    assert refusal(encode(Payload(KEYS.profile.member_key, id_of("x"), 9, REVEAL), CHAIN_ID)) == "UNSIGNED_KIND"


def test_only_the_authors_signature_verifies() -> None:
    """L2: over the payload's bytes, under the key that the payload names."""
    payload = encode(Payload(KEYS.profile.member_key, id_of("x"), 9, REVEAL), CHAIN_ID)
    stranger = ALLIANCE.keys["benxi"].member.sign(payload)
    for signature in (bytes(64), stranger):
        with pytest.raises(BadSignature):
            verify_author(open_transaction(encode(Transaction(payload, signature), CHAIN_ID), CHAIN_ID), VERIFIER)


def test_a_batch_stands_under_its_members_signature() -> None:
    """L2: one signature for all; nobody vouches for another's registrations."""
    batch = open_batch(ALLIANCE.batch("anshan", [BARE, SIGNED]), CHAIN_ID)
    assert batch.voucher == KEYS.profile.member_key
    verify_batch(batch, KEYS.profile.member_key, VERIFIER)
    with pytest.raises(BadSignature, match="FOREIGN_VOUCHER"):
        verify_batch(batch, ALLIANCE.keys["benxi"].profile.member_key, VERIFIER)
    foreign = open_batch(ALLIANCE.batch("benxi", [BARE]), CHAIN_ID)
    with pytest.raises(BadSignature, match="FOREIGN_VOUCHER"):
        verify_batch(foreign, ALLIANCE.keys["benxi"].profile.member_key, VERIFIER)


def test_a_copy_of_a_batch_with_a_spoilt_signature_is_unusable() -> None:
    """L2: the digest does not cover the batch signature, so every copy is judged, state or no state."""
    batch = encode(Batch("anshan", (BARE,), bytes(64)), CHAIN_ID)
    good = open_batch(ALLIANCE.batch("anshan", [BARE]), CHAIN_ID)
    spoilt = open_batch(batch, CHAIN_ID)
    assert good.digest == spoilt.digest
    verify_copy(good, VERIFIER)
    with pytest.raises(BadSignature):
        verify_copy(spoilt, VERIFIER)


def test_one_batch_vouches_for_one_member() -> None:
    """L2."""
    other = ALLIANCE.registration("benxi", record_body("o", "benxi"), id_of("o"), 9)
    with pytest.raises(Malformed, match="MIXED_VOUCHERS"):
        open_batch(ALLIANCE.batch("anshan", [BARE, other]), CHAIN_ID)


def test_an_empty_batch_is_refused() -> None:
    """C4."""
    with pytest.raises(Malformed, match="EMPTY_BATCH"):
        open_batch(encode(Batch("anshan", (), bytes(64)), CHAIN_ID), CHAIN_ID)


def test_a_block_holds_exactly_the_batches_its_header_orders() -> None:
    """R13, L3."""
    tip = genesis_tip(ALLIANCE.genesis)
    one, two = ALLIANCE.batch("anshan", [BARE]), ALLIANCE.batch("anshan", [SIGNED])
    assert len(open_block(make_block(ALLIANCE, tip, [one, two]), CHAIN_ID).leaves) == 2
    for held in ([], [one], [two, one], [one, one], [one, two, two]):
        wrong = replace(make_block(ALLIANCE, tip, [one, two]), batches=tuple(held))
        with pytest.raises(Malformed, match="OTHER_BATCHES"):
            open_block(wrong, CHAIN_ID)
    twice = make_block(ALLIANCE, tip, [one, one])
    with pytest.raises(Malformed, match="OTHER_BATCHES"):
        open_block(twice, CHAIN_ID)
    header = replace(make_header(ALLIANCE, tip, [one]), transaction_root=seed_of("another root"))
    with pytest.raises(Malformed, match="OTHER_ROOT"):
        open_block(certified(ALLIANCE, tip, header, [one]), CHAIN_ID)


@given(st.binary(max_size=64))
def test_any_bytes_give_a_typed_refusal(data: bytes) -> None:
    """L1: never a traceback."""
    for opening in (open_transaction, open_batch):
        with pytest.raises(Malformed):
            opening(data, CHAIN_ID)


@given(st.integers(min_value=0), st.integers(min_value=0, max_value=255), st.booleans())
def test_a_changed_or_cut_transaction_is_refused_or_another(place: int, byte: int, cut: bool) -> None:  # noqa: FBT001
    """L1: whatever still opens after a change has another name."""
    place %= len(SIGNED)
    data = SIGNED[:place] if cut else SIGNED[:place] + bytes([byte]) + SIGNED[place + 1 :]
    with contextlib.suppress(Malformed):
        assert data == SIGNED or open_transaction(data, CHAIN_ID).leaf != leaf_hash(SIGNED)
