"""A client that has nothing but the genesis file (promise 8; L3, L4, L5, C7)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consilium.kernel.certificates import Electorate, Result, ResultCertificate
from consilium.kernel.chain import Header
from consilium.kernel.codes import Code
from consilium.kernel.encoding import decode, encode
from consilium.kernel.errors import BadSignature, Conflict, InvalidArgument, Malformed, NotFound
from consilium.kernel.light_client import (
    EpochHop,
    Finality,
    StateProof,
    TransactionProof,
    TrustedHistory,
    verify_state,
    verify_transaction,
)
from consilium.kernel.state_values import electorate_entry, member_entry
from tests.alliance import Alliance, Scribe, opened, seed_of

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(scope="module")
def scribe() -> Scribe:
    """A chain over three epochs; block 1 holds a record and its duplicate, block 2 a refused one."""
    scribe = Scribe(Alliance.founded())
    record = scribe.record("a")
    scribe.write(record, scribe.record("b"), record)
    scribe.write(scribe.record("b"))
    scribe.cross_epoch()
    scribe.write(scribe.record("in epoch 1"))
    scribe.cross_epoch()
    scribe.write()
    return scribe


@pytest.fixture
def trusted(scribe: Scribe) -> TrustedHistory:
    return TrustedHistory(scribe.alliance.genesis)


@pytest.fixture(scope="module")
def proof(scribe: Scribe) -> TransactionProof:
    return scribe.chain.prove_transaction(first_leaf(scribe))


def first_leaf(scribe: Scribe) -> bytes:
    twin = Scribe(scribe.alliance)
    return opened(scribe.alliance, twin.record("a")).leaf


def forged(scribe: Scribe, **changes: object) -> ResultCertificate:
    """What the committee of epoch 0 would have to sign for a lie; here it did not."""
    certificate = scribe.chain.result_certificate(1)
    assert certificate is not None
    result: Result = replace(certificate.result, **changes)  # type: ignore[arg-type]
    return replace(certificate, result=result)


# --- transactions ---


def test_an_outcome_is_verified_from_genesis_alone(scribe: Scribe, trusted: TrustedHistory, proof: TransactionProof) -> None:
    """Promise 8, L4: what was ordered, at which height, and how it ended."""
    verified = trusted.verify_transaction(proof, scribe.verifier)
    assert (verified.height, verified.code, verified.transaction_hash) == (1, Code.APPLIED, first_leaf(scribe))
    assert verified.author == scribe.alliance.keys["anshan"].profile.member_key


def test_proofs_travel_as_bytes(scribe: Scribe, trusted: TrustedHistory, proof: TransactionProof) -> None:
    chain_id = scribe.alliance.chain_id
    again = decode(TransactionProof, encode(proof, chain_id), chain_id)
    assert trusted.verify_transaction(again, scribe.verifier).code == Code.APPLIED
    state = scribe.chain.prove_state(member_entry("anshan"), 1)
    assert decode(StateProof, encode(state, chain_id), chain_id) == state
    hop = scribe.chain.epoch_hop(0)
    assert decode(EpochHop, encode(hop, chain_id), chain_id) == hop


@pytest.mark.parametrize(
    ("forge", "error"),
    [
        (lambda _, proof: replace(proof, code=Code.GRANTED), InvalidArgument),
        (lambda _, proof: replace(proof, log_proof=replace(proof.log_proof, leaf_index=1)), InvalidArgument),
        (lambda _, proof: replace(proof, outcome_proof=replace(proof.outcome_proof, path=())), InvalidArgument),
        (lambda _, proof: replace(proof, outcome_proof=proof.log_proof), InvalidArgument),
        (lambda s, proof: replace(proof, transaction=s.record("never ordered")), InvalidArgument),
        (lambda _, proof: replace(proof, transaction=proof.transaction[:-1]), Malformed),
        (lambda s, proof: replace(proof, certificate=forged(s, results_root=seed_of("x"))), BadSignature),
        (
            lambda _, proof: replace(
                proof, certificate=replace(proof.certificate, signatures=proof.certificate.signatures[:2])
            ),
            BadSignature,
        ),
        (lambda s, proof: replace(proof, certificate=s.chain.result_certificate(2)), InvalidArgument),
    ],
)
def test_a_forged_transaction_proof_is_refused(
    scribe: Scribe,
    trusted: TrustedHistory,
    proof: TransactionProof,
    forge: Callable[[Scribe, TransactionProof], TransactionProof],
    error: type[Exception],
) -> None:
    """L3, L4: another code, place, path, transaction, root, quorum or height."""
    with pytest.raises(error):
        trusted.verify_transaction(forge(scribe, proof), scribe.verifier)


def test_another_committee_proves_nothing(scribe: Scribe, proof: TransactionProof) -> None:
    """L3, L5: a certificate is judged by its own epoch's committee."""
    other = scribe.chain.committee_of(1)
    with pytest.raises(BadSignature, match="WRONG_EPOCH"):
        verify_transaction(other, scribe.alliance.chain_id, proof, scribe.verifier)


@given(place=st.integers(min_value=0), byte=st.integers(min_value=0, max_value=255))
def test_no_changed_proof_says_anything_else(scribe: Scribe, proof: TransactionProof, place: int, byte: int) -> None:
    """Promise 8: one byte changed anywhere is refused, or changes nothing of what is verified."""
    chain_id = scribe.alliance.chain_id
    data = bytearray(encode(proof, chain_id))
    data[place % len(data)] = byte
    trusted = TrustedHistory(scribe.alliance.genesis)
    try:
        changed = decode(TransactionProof, bytes(data), chain_id)
        verified = trusted.verify_transaction(changed, scribe.verifier)
    except (Malformed, BadSignature, InvalidArgument, NotFound):
        return
    assert verified == trusted.verify_transaction(proof, scribe.verifier)


# --- state ---


def test_presence_and_absence_are_verified(scribe: Scribe, trusted: TrustedHistory) -> None:
    """L4."""
    there = trusted.verify_state(scribe.chain.prove_state(member_entry("anshan"), 1), scribe.verifier)
    gone = trusted.verify_state(scribe.chain.prove_state(b"grant/never", 1), scribe.verifier)
    assert there.value is not None
    assert (there.height, gone.value) == (1, None)


def test_a_forged_state_proof_is_refused(scribe: Scribe, trusted: TrustedHistory) -> None:
    """L4: other roots, another value, a denied presence, a claimed absence, another key."""
    proof = scribe.chain.prove_state(member_entry("anshan"), 1)
    for wrong, error in (
        (replace(proof, map_root=seed_of("x")), Conflict),
        (replace(proof, tables_root=seed_of("x")), Conflict),
        (replace(proof, value=b"another"), InvalidArgument),
        (replace(proof, value=None), InvalidArgument),
        (replace(proof, key=member_entry("benxi")), InvalidArgument),
        (replace(proof, certificate=forged(scribe, state_root=seed_of("x"))), BadSignature),
    ):
        with pytest.raises(error):
            trusted.verify_state(wrong, scribe.verifier)
    with pytest.raises(BadSignature):
        verify_state(scribe.chain.committee_of(1), scribe.alliance.chain_id, proof, scribe.verifier)


# --- hops ---


def test_a_client_hops_from_genesis_to_the_present(scribe: Scribe, trusted: TrustedHistory) -> None:
    """L5: and then verifies what stands in any epoch."""
    with pytest.raises(NotFound, match="UNKNOWN_EPOCH"):
        trusted.verify_state(scribe.chain.prove_state(member_entry("anshan")), scribe.verifier)
    for epoch in (0, 1):
        trusted.hop(scribe.chain.epoch_hop(epoch), scribe.verifier)
    assert trusted.epoch == 2
    assert [trusted.committee_of(epoch) for epoch in range(3)] == [scribe.chain.committee_of(epoch) for epoch in range(3)]
    for height in (1, 11, 12, 13, scribe.chain.height):
        assert trusted.verify_state(scribe.chain.prove_state(b"x", height), scribe.verifier).height == height


def test_a_hop_is_taken_in_order(scribe: Scribe, trusted: TrustedHistory) -> None:
    """L5: neither over an epoch nor twice."""
    with pytest.raises(BadSignature):
        trusted.hop(scribe.chain.epoch_hop(1), scribe.verifier)
    trusted.hop(scribe.chain.epoch_hop(0), scribe.verifier)
    with pytest.raises(BadSignature):
        trusted.hop(scribe.chain.epoch_hop(0), scribe.verifier)


def test_a_forged_hop_teaches_nothing(scribe: Scribe, trusted: TrustedHistory) -> None:
    """C7, L5: fewer than two thirds, another header, committee, electorate or boundary."""
    hop, later = scribe.chain.epoch_hop(0), scribe.chain.epoch_hop(1)
    assert isinstance(hop, EpochHop)
    assert isinstance(later, EpochHop)
    alliance = hop.alliance
    heirs = replace(hop.next_committee, delegates=hop.next_committee.delegates[::-1])
    electors = decode(Electorate, hop.electorate.value or b"", scribe.alliance.chain_id)
    fewer = encode(replace(electors, electors=electors.electors[:1]), scribe.alliance.chain_id)
    before = scribe.chain.prove_state(electorate_entry(1), 10)
    header = decode(Header, hop.term_end_header, scribe.alliance.chain_id)
    similar = encode(replace(header, time_ms=header.time_ms + 1), scribe.alliance.chain_id)
    for wrong, error in (
        (replace(hop, alliance=replace(alliance, signatures=alliance.signatures[:3])), BadSignature),
        (replace(hop, alliance=replace(alliance, result=replace(alliance.result, height=9))), BadSignature),
        (replace(hop, term_end_header=later.term_end_header), Conflict),
        (replace(hop, term_end_header=similar), Conflict),
        (replace(hop, next_committee=heirs), Conflict),
        (replace(hop, next_committee=replace(hop.next_committee, epoch=2)), Conflict),
        (replace(hop, electorate=replace(hop.electorate, value=fewer)), InvalidArgument),
        (replace(hop, electorate=before), Conflict),
        (replace(hop, electorate=scribe.chain.prove_state(electorate_entry(0), 11)), Conflict),
    ):
        with pytest.raises(error):
            trusted.hop(wrong, scribe.verifier)
    assert trusted.epoch == 0
    trusted.hop(hop, scribe.verifier)


def test_a_retired_committees_keys_say_nothing_after_its_handover(scribe: Scribe, trusted: TrustedHistory) -> None:
    """R14, L5: nor do the next one's before it; a key stolen later cannot rewrite the present."""
    trusted.hop(scribe.chain.epoch_hop(0), scribe.verifier)
    proof = scribe.chain.prove_state(b"x", 12)
    for epoch, height in ((0, 12), (0, 500), (1, 11), (1, 1)):
        result = replace(proof.certificate.result, epoch=epoch, height=height)
        certificate = scribe.alliance.certify(scribe.chain.committee_of(epoch), result)
        with pytest.raises(BadSignature, match="OUTSIDE_EPOCH"):
            trusted.verify_state(replace(proof, certificate=certificate), scribe.verifier)


def test_another_alliances_history_is_another_history(proof: TransactionProof, scribe: Scribe) -> None:
    """L1: a proof from another chain."""
    other = Alliance.founded(parameters=replace(scribe.alliance.genesis.parameters, heartbeat_ms=1))
    with pytest.raises(BadSignature):
        TrustedHistory(other.genesis).verify_transaction(proof, scribe.verifier)


def test_the_alliance_stands_behind_a_log_that_its_own_continues(scribe: Scribe, trusted: TrustedHistory) -> None:
    """C7, L4: up to the newest end of a term, by consistency with the log signed there; not above, not with other logs."""
    early = scribe.chain.outcome(2).result
    ends = [scribe.chain.last_height_of(epoch) for epoch in (0, 1)]
    proof = scribe.chain.prove_consistency(2, 10)
    with pytest.raises(NotFound, match="NOT_ALLIANCE_FINAL"):
        trusted.verify_covered(early, proof)
    trusted.hop(scribe.chain.epoch_hop(0), scribe.verifier)
    assert (trusted.alliance_height, ends[0]) == (10, 11)
    trusted.verify_covered(early, proof)
    for forged in (replace(early, log_root=bytes(32)), replace(early, log_size=early.log_size - 1)):
        with pytest.raises(InvalidArgument):
            trusted.verify_covered(forged, proof)
    with pytest.raises(NotFound, match="NOT_ALLIANCE_FINAL"):
        trusted.verify_covered(scribe.chain.outcome(11).result, scribe.chain.prove_consistency(11, 11))
    trusted.hop(scribe.chain.epoch_hop(1), scribe.verifier)
    trusted.verify_covered(scribe.chain.outcome(11).result, scribe.chain.prove_consistency(11, trusted.alliance_height))
    assert trusted.alliance_height == scribe.chain.alliance_height


def test_a_chain_says_how_final_a_height_is(scribe: Scribe) -> None:
    """L3, C7: by the alliance up to the term's end that was handed over, above it by the committee."""
    chain = scribe.chain
    assert chain.finality_of(chain.alliance_height) is Finality.ALLIANCE
    assert chain.finality_of(chain.alliance_height + 1) is Finality.COMMITTEE
    with pytest.raises(NotFound):
        chain.finality_of(chain.height + 1)
