"""What a chain calls final, and what it proves (L3, L4, L5)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consilium.kernel.errors import (
    BadSignature,
    Conflict,
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
)
from consilium.kernel.merkle import verify_consistency
from consilium.kernel.state_values import member_entry
from consilium.ledger.core.acceptance import verify_block
from consilium.ledger.core.archive import BLOCKS_KEPT
from consilium.ledger.core.chain import Chain
from tests.alliance import PARAMETERS, Alliance, Scribe, opened, seed_of


@pytest.fixture
def scribe() -> Scribe:
    return Scribe(Alliance.founded())


def test_a_result_stands_only_under_its_certificate(scribe: Scribe) -> None:
    """L3: executed is not final."""
    record = scribe.record("r")
    block = scribe.block(scribe.alliance.batch("anshan", [record]))
    committee = scribe.chain.tip.outlook.committee
    outcome = scribe.chain.append_block(block)
    name = opened(scribe.alliance, record).leaf
    with pytest.raises(FailedPrecondition, match="NOT_FINAL"):
        scribe.chain.prove_transaction(name)
    with pytest.raises(FailedPrecondition, match="NOT_FINAL"):
        scribe.chain.prove_state(member_entry("anshan"), 1)
    assert (scribe.chain.height, scribe.chain.certified_height) == (1, 0)
    certificate = scribe.alliance.certify(committee, outcome.result)
    scribe.chain.add_result_certificate(certificate)
    assert scribe.chain.certified_height == 1
    assert scribe.chain.result_certificate(1) == scribe.chain.prove_transaction(name).certificate == certificate


def test_a_result_certificate_is_verified(scribe: Scribe) -> None:
    """L3: a quorum, of the right epoch, for an executed height."""
    result = scribe.write().result
    committee = scribe.chain.tip.outlook.committee
    good = scribe.alliance.certify(committee, result)
    with pytest.raises(BadSignature, match="SHORT_QUORUM"):
        scribe.chain.add_result_certificate(replace(good, signatures=good.signatures[:2]))
    with pytest.raises(BadSignature, match="WRONG_EPOCH"):
        scribe.chain.add_result_certificate(scribe.alliance.certify(committee, replace(result, epoch=1)))
    with pytest.raises(FailedPrecondition, match="NOT_EXECUTED"):
        scribe.chain.add_result_certificate(scribe.alliance.certify(committee, replace(result, height=2)))
    with pytest.raises(BadSignature):
        scribe.chain.add_result_certificate(replace(good, result=replace(result, state_root=seed_of("x"))))


def test_a_chain_that_differs_from_the_quorum_says_so(scribe: Scribe) -> None:
    """L3: a certified result other than ours is data loss, never overwritten."""
    result = scribe.write().result
    other = replace(result, state_root=seed_of("x"))
    certificate = scribe.alliance.certify(scribe.chain.tip.outlook.committee, other)
    with pytest.raises(DataLoss, match="DIVERGED"):
        scribe.chain.add_result_certificate(certificate)


def test_equal_blocks_give_equal_results(scribe: Scribe) -> None:
    """L8: a follower that re-executes gets what the delegates signed."""
    scribe.write(scribe.record("a"), scribe.record("b"))
    scribe.cross_epoch()
    follower = Chain(scribe.alliance.genesis, scribe.verifier)
    for height, block in enumerate(scribe.blocks, start=1):
        assert follower.append_block(block) == scribe.chain.outcome(height)
    assert follower.tip == scribe.chain.tip


def test_a_refused_block_changes_nothing(scribe: Scribe) -> None:
    """L8: the same chain still takes the right block, with the same result."""
    good = scribe.block(scribe.alliance.batch("anshan", [scribe.record("a")]))
    with pytest.raises(BadSignature):
        scribe.chain.append_block(replace(good, commit=replace(good.commit, signatures=())))
    twin = Chain(scribe.alliance.genesis, scribe.verifier)
    assert twin.append_block(good) == scribe.chain.append_block(good)


def test_a_block_is_executed_on_the_tip_it_was_verified_against(scribe: Scribe) -> None:
    verified = verify_block(scribe.block(), scribe.chain.tip, scribe.alliance.chain_id, scribe.verifier)
    scribe.write(scribe.record("a"))
    with pytest.raises(Conflict, match="WRONG_PARENT"):
        scribe.chain.append_verified(verified)


def test_the_log_only_grows(scribe: Scribe) -> None:
    """L4: consistency between any two heights."""
    for number in range(5):
        scribe.write(*[scribe.record(f"{number}.{each}") for each in range(number)])
    results = [scribe.chain.outcome(height).result for height in range(1, 6)]
    for old in results:
        for new in results[old.height - 1 :]:
            proof = scribe.chain.prove_consistency(old.height, new.height)
            verify_consistency(old.log_root, new.log_root, proof)
    with pytest.raises(InvalidArgument, match="NO_SUCH_SIZE"):
        scribe.chain.prove_consistency(5, 3)


def test_what_is_not_there_is_not_found(scribe: Scribe) -> None:
    for ask in (
        lambda: scribe.chain.prove_transaction(seed_of("x")),
        lambda: scribe.chain.code_of(seed_of("x")),
        lambda: scribe.chain.block(1),
        lambda: scribe.chain.outcome(0),
        lambda: scribe.chain.prove_state(b"member/anshan"),
        lambda: scribe.chain.epoch_hop(0),
        lambda: scribe.chain.committee_of(1),
    ):
        with pytest.raises(NotFound):
            ask()


def test_states_are_proven_at_recent_heights_only() -> None:
    """L4, habit 8: the newest certified height and a bounded number before it."""
    scribe = Scribe(Alliance.founded(parameters=replace(PARAMETERS, term_blocks=1_000)))
    scribe.write_until(BLOCKS_KEPT + 3)
    key = member_entry("anshan")
    assert scribe.chain.prove_state(key).certificate.result.height == BLOCKS_KEPT + 3
    assert scribe.chain.prove_state(key, 4).certificate.result.height == 4
    with pytest.raises(FailedPrecondition, match="STATE_GONE"):
        scribe.chain.prove_state(key, 3)


def test_an_epochs_hop_is_made_however_late_its_certificate_comes(scribe: Scribe) -> None:
    """L5: a member without it would never cross into that epoch; all other states go when they are old."""
    scribe.cross_epoch()
    boundary = scribe.chain.height
    while scribe.chain.height <= boundary + BLOCKS_KEPT:
        scribe.cross_epoch()
    late = Chain(scribe.alliance.genesis, scribe.verifier)
    certificates = {height: scribe.chain.result_certificate(height) for height in range(1, scribe.chain.height + 1)}
    for height, certificate in certificates.items():
        late.append_block(scribe.chain.block(height))
        assert certificate is not None
        if height != boundary:
            late.add_result_certificate(certificate)
    missed = certificates[boundary]
    assert missed is not None
    late.add_result_certificate(missed)
    assert late.result_certificate(boundary) == missed
    assert late.epoch_hop(0) == scribe.chain.epoch_hop(0)
    with pytest.raises(FailedPrecondition, match="STATE_GONE"):
        late.prove_state(member_entry("anshan"), boundary)


def test_several_places_of_a_block_are_proven_at_once(scribe: Scribe) -> None:
    """L4: over all its batches, each proof as by itself."""
    first, second, third = (scribe.record(name) for name in "abc")
    batches = [scribe.alliance.batch("anshan", [first, second]), scribe.alliance.batch("anshan", [third])]
    scribe.write(scribe.record("before"))
    scribe.append(scribe.block(*batches))
    alone = [scribe.chain.prove_transaction(opened(scribe.alliance, each).leaf) for each in (first, third)]
    assert scribe.chain.prove_places(2, [0, 2]) == alone
    assert [each.transaction for each in alone] == [first, third]


def test_a_transaction_ordered_twice_is_proven_where_it_was_judged(scribe: Scribe) -> None:
    """L6: the copy that came too early, or too late, is not the one that counts."""
    record = scribe.record("r")
    early = scribe.alliance.batch("benxi", [record], signed_by="anshan")
    scribe.append(scribe.block(early))
    scribe.write(scribe.record("x"), record)
    scribe.write(record)
    proof = scribe.chain.prove_transaction(opened(scribe.alliance, record).leaf)
    assert (proof.certificate.result.height, proof.log_proof.leaf_index, proof.code) == (2, 2, 0)


def test_a_genesis_that_contradicts_itself_founds_nothing(scribe: Scribe) -> None:
    """L5."""
    genesis = scribe.alliance.genesis
    first, second, *others = genesis.members
    for members in (
        (second, first, *others),
        (first, first, *others),
        (first, replace(second, member_key=first.member_key), *others),
        (first, replace(second, consensus_key=first.member_key), *others),
    ):
        with pytest.raises(InvalidArgument, match="BAD_FOUNDERS"):
            Chain(replace(genesis, members=members), scribe.verifier)
    with pytest.raises(InvalidArgument, match="BAD_PARAMETERS"):
        Chain(replace(genesis, parameters=replace(PARAMETERS, term_blocks=1)), scribe.verifier)
    with pytest.raises(FailedPrecondition, match="TOO_FEW_MEMBERS"):
        Chain(replace(genesis, members=genesis.members[:3]), scribe.verifier)
