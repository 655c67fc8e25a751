"""What every kind of transaction has in common: expiry, request ids, vouchers, codes (L2, L4, L6, L8)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consilium.kernel.codes import Code, outcome_leaves
from consilium.kernel.merkle import MerkleLog, merkle_root
from consilium.kernel.opening import open_block
from consilium.kernel.transactions import MemberAct, MemberAction, RevealBody
from tests.alliance import PARAMETERS, Alliance, Scribe, id_of, record_body


@pytest.fixture
def scribe() -> Scribe:
    return Scribe(Alliance.founded())


def test_a_second_copy_has_no_effect(scribe: Scribe) -> None:
    """L6: exactly once, in the same block or a later one."""
    record = scribe.record("r")
    assert scribe.write(record, record).codes == (Code.APPLIED, Code.DUPLICATE)
    assert scribe.write(record).codes == (Code.DUPLICATE,)


def test_one_request_id_is_one_act_whatever_it_holds(scribe: Scribe) -> None:
    """L6: another payload under the same author and request id is refused; another author's is not."""
    first = scribe.alliance.registration("anshan", record_body("a"), id_of("same"), 50)
    second = scribe.alliance.registration("anshan", record_body("b"), id_of("same"), 60)
    other = scribe.alliance.registration("benxi", record_body("c", "benxi"), id_of("same"), 50)
    assert scribe.write(first, second).codes == (Code.APPLIED, Code.DUPLICATE)
    assert scribe.write(other, member="benxi").codes == (Code.APPLIED,)


def test_what_is_refused_on_its_merits_has_used_its_request_id(scribe: Scribe) -> None:
    """L6: nobody asks twice with one request."""
    refused = scribe.alliance.registration("anshan", record_body("x", "benxi"), id_of("q"), 50)
    good = scribe.alliance.registration("anshan", record_body("x"), id_of("q"), 50)
    assert scribe.write(refused, good).codes == (Code.AUTHOR_NOT_HOLDER, Code.DUPLICATE)


def test_what_is_refused_by_its_form_keeps_its_request_id(scribe: Scribe) -> None:
    """L6: so that a resend may still succeed, and nobody burns another's ids."""
    far = scribe.alliance.registration("anshan", record_body("r"), id_of("q"), 2 + PARAMETERS.expiry_blocks_max)
    foreign = scribe.alliance.registration("anshan", record_body("r"), id_of("q"), 50)
    good = scribe.alliance.registration("anshan", record_body("r"), id_of("q"), 51)
    assert scribe.write(far).codes == (Code.EXPIRES_TOO_LATE,)
    batch = scribe.alliance.batch("benxi", [foreign], signed_by="anshan")
    assert scribe.append(scribe.block(batch)).codes == (Code.FOREIGN_VOUCHER,)
    assert scribe.write(good).codes == (Code.APPLIED,)


def test_an_expiry_is_required_bounded_and_kept(scribe: Scribe) -> None:
    """L6: good up to and including its height, and at most so far ahead."""
    scribe.write_until(4)
    most = 5 + PARAMETERS.expiry_blocks_max
    made = [
        scribe.alliance.registration("anshan", record_body(str(height)), id_of(str(height)), height)
        for height in (0, 4, 5, most, most + 1)
    ]
    assert scribe.write(*made).codes == (
        Code.EXPIRED,
        Code.EXPIRED,
        Code.APPLIED,
        Code.APPLIED,
        Code.EXPIRES_TOO_LATE,
    )


def test_request_ids_are_pruned_only_once_they_have_expired() -> None:
    """L6: a copy is refused as a duplicate until it is refused as expired; there is no gap."""
    parameters = replace(PARAMETERS, term_blocks=1_000)
    long = Scribe(Alliance.founded(parameters=parameters))
    record = long.alliance.registration("anshan", record_body("r"), id_of("q"), 130)
    again = long.alliance.registration("anshan", record_body("s"), id_of("q"), 300)
    assert long.write(record).codes == (Code.APPLIED,)
    long.write_until(129)
    assert long.write(record).codes == (Code.DUPLICATE,)
    assert long.write(record).codes == (Code.EXPIRED,)
    long.write_until(198)
    assert long.write(again).codes == (Code.DUPLICATE,)
    # From 200 on the bucket of 100 to 199 is gone; the id may stand for something new.
    assert long.write(again).codes == (Code.APPLIED,)


def test_the_request_ids_are_part_of_the_certified_state(scribe: Scribe) -> None:
    """L6: two ledgers that agree on everything but a used id have different state roots."""
    other = Scribe(scribe.alliance)
    one = scribe.alliance.registration("anshan", record_body("x", "benxi"), id_of("one"), 50)
    two = scribe.alliance.registration("anshan", record_body("x", "benxi"), id_of("two"), 50)
    first, second = scribe.write(one), other.write(two)
    assert first.codes == second.codes == (Code.AUTHOR_NOT_HOLDER,)
    assert first.result.results_root != second.result.results_root
    assert first.result.state_root != second.result.state_root


def test_a_vouched_record_needs_the_vouching_members_own_batch(scribe: Scribe) -> None:
    """L2: the member answers for its registrations, and for nobody else's."""
    batch = scribe.alliance.batch("benxi", [scribe.record("a")], signed_by="anshan")
    assert scribe.append(scribe.block(batch)).codes == (Code.FOREIGN_VOUCHER,)
    keys = scribe.alliance.keys["anshan"]
    signed = scribe.signed(keys.member, record_body("a"))
    assert scribe.write(signed, member="benxi").codes == (Code.APPLIED,)


def test_a_suspended_member_vouches_for_nothing(scribe: Scribe) -> None:
    """L2, G1: from the block on that follows the one that suspends it."""
    profile = scribe.alliance.keys["dalian"].profile
    suspend = scribe.motion(MemberAct(MemberAction.SUSPEND, profile))
    before, after = scribe.record("a", "dalian"), scribe.record("b", "dalian")
    assert set(scribe.write(*suspend, before, member="dalian").codes) == {Code.APPLIED}
    assert scribe.write(after, member="dalian").codes == (Code.FOREIGN_VOUCHER,)


def test_a_rejected_transaction_stays_in_the_block_with_its_code(scribe: Scribe) -> None:
    """L8, L4: it stands in the log and, with its code, under the results root."""
    good, bad = scribe.record("a"), scribe.signed(scribe.alliance.keys["benxi"].member, record_body("b"))
    block = scribe.block(scribe.alliance.batch("anshan", [good, bad]))
    outcome = scribe.append(block)
    leaves = open_block(block, scribe.alliance.chain_id).leaves
    assert outcome.codes == (Code.APPLIED, Code.AUTHOR_NOT_HOLDER)
    assert (outcome.result.log_size, outcome.result.log_root) == (2, MerkleLog(leaves).root())
    assert outcome.result.results_root == merkle_root(outcome_leaves(leaves, outcome.codes))


def test_a_heartbeat_block_changes_the_block_hash_alone(scribe: Scribe) -> None:
    """L7: an empty block has a result too, with nothing moved but the tip."""
    before, after = scribe.write(scribe.record("a")).result, scribe.write().result
    assert (after.log_size, after.log_root, after.state_root) == (before.log_size, before.log_root, before.state_root)
    assert after.height == before.height + 1


def test_order_decides(scribe: Scribe) -> None:
    """L8: first come, first served, within a block too."""
    assert scribe.write(scribe.record("a"), scribe.record("a")).codes == (Code.APPLIED, Code.RECORD_EXISTS)


def test_a_reveal_needs_its_authors_own_signature(scribe: Scribe) -> None:
    """L2: somebody else's reveal is nobody's."""
    preimage = scribe.alliance.keys["anshan"].preimages[0]
    stranger = scribe.signed(scribe.alliance.keys["anshan"].consensus, RevealBody(0, preimage))
    assert scribe.write(stranger).codes == (Code.NOT_A_DELEGATE,)
