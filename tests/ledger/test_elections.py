"""Reveals, draw, handover and what happens without one (C6, C7)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consilium.kernel.codes import Code
from consilium.kernel.election import Candidate, draw_committee
from consilium.kernel.errors import Conflict
from consilium.kernel.hashing import ZERO_DIGEST, domain_hash
from consilium.kernel.transactions import (
    Grade,
    GradeAct,
    HandoverBody,
    MemberAct,
    MemberAction,
    RevealBody,
)
from consilium.ledger.core.terms import drawn, first_terms
from tests.alliance import PARAMETERS, Alliance, Scribe, certified, make_header, record_body, seed_of


@pytest.fixture
def scribe() -> Scribe:
    return Scribe(Alliance.founded())


def delegates(scribe: Scribe) -> list[str]:
    return [each.member_id for each in scribe.chain.tip.outlook.committee.delegates]


def follower(scribe: Scribe) -> str:
    return next(name for name in scribe.alliance.keys if name not in delegates(scribe))


# --- reveals ---


def test_reveals_make_the_mix_in_their_order(scribe: Scribe) -> None:
    """C6: mix = H(mix, preimage), sealed at nine tenths of the term."""
    names = delegates(scribe)
    mix = ZERO_DIGEST
    for name in names:
        assert scribe.write(scribe.reveal(name)).codes == (Code.APPLIED,)
        mix = domain_hash("consilium.mix", mix, scribe.alliance.keys[name].preimages[0])
    assert scribe.chain.tip.outlook.election_mix == ZERO_DIGEST
    scribe.write_until(9)
    assert scribe.chain.tip.outlook.election_mix == mix


def test_a_delegate_reveals_its_next_preimage_once_before_the_draw(scribe: Scribe) -> None:
    """C6: refused are a follower, another epoch, a foreign preimage, a second time and too late."""
    first, second = delegates(scribe)[:2]
    keys = scribe.alliance.keys[first]
    skipped = scribe.signed(keys.member, RevealBody(0, keys.preimages[1]))
    early = scribe.signed(keys.member, RevealBody(1, keys.preimages[0]))
    anchor = scribe.signed(keys.member, RevealBody(0, keys.profile.reveal_anchor))
    assert scribe.write(scribe.reveal(follower(scribe)), skipped, early, anchor).codes == (
        Code.NOT_A_DELEGATE,
        Code.REVEAL_FOREIGN,
        Code.WRONG_EPOCH,
        Code.REVEAL_FOREIGN,
    )
    assert scribe.write(scribe.reveal(first)).codes == (Code.APPLIED,)
    assert scribe.write(scribe.reveal(first)).codes == (Code.REVEAL_REPEATED,)
    scribe.write_until(9)
    assert scribe.write(scribe.reveal(second)).codes == (Code.REVEAL_LATE,)


def test_the_chain_of_preimages_goes_on_in_the_next_epoch(scribe: Scribe) -> None:
    """C6: the preimage revealed is the next anchor, and never counts again."""
    before = delegates(scribe)
    scribe.write(*[scribe.reveal(name) for name in before])
    scribe.cross_epoch()
    again = next(name for name in delegates(scribe) if name in before)
    used = scribe.reveal(again, scribe.alliance.keys[again].preimages[0])
    assert scribe.write(used, scribe.reveal(again)).codes == (Code.REVEAL_FOREIGN, Code.APPLIED)


# --- the draw ---


def test_the_next_committee_is_drawn_from_the_epochs_first_members_and_the_sealed_mix(scribe: Scribe) -> None:
    """C6: recomputed here from the founders; what governance does meanwhile counts an epoch later."""
    first = delegates(scribe)[0]
    scribe.write(scribe.reveal(first))
    scribe.govern(GradeAct("fushun", Grade.SPECIAL3, 10_000))
    scribe.write_until(9)
    mix = domain_hash("consilium.mix", ZERO_DIGEST, scribe.alliance.keys[first].preimages[0])
    founders = [
        Candidate(each.profile.member_id, each.profile.owner_group, each.profile.grade, each.profile.consensus_key)
        for each in scribe.alliance.keys.values()
    ]
    expected = draw_committee(founders, PARAMETERS, scribe.alliance.chain_id, 1, mix).committee
    assert scribe.chain.tip.outlook.next_committee == expected


def test_a_grade_counts_until_its_height(scribe: Scribe) -> None:
    """C6: a candidate whose grade has expired when the epoch begins is drawn as ungraded."""
    assert scribe.govern(GradeAct("anshan", Grade.A3, 10), within=5) == Code.APPLIED
    scribe.cross_epoch()
    scribe.write_until(scribe.chain.tip.outlook.election_height)

    def drawn(grade: Grade) -> object:
        members = [(each.profile, each.profile.member_id == "anshan") for each in scribe.alliance.keys.values()]
        candidates = [
            Candidate(profile.member_id, profile.owner_group, grade if changed else profile.grade, profile.consensus_key)
            for profile, changed in members
        ]
        return draw_committee(candidates, PARAMETERS, scribe.alliance.chain_id, 2, ZERO_DIGEST).committee

    assert drawn(Grade.A3) != drawn(Grade.UNGRADED)
    assert scribe.chain.tip.outlook.next_committee == drawn(Grade.UNGRADED)


def test_where_nobody_can_be_drawn_the_sitting_committee_serves_on() -> None:
    """C6: with three candidates left the four delegates stay, as the next epoch's committee."""
    genesis = Alliance.founded().genesis
    terms = first_terms(genesis)
    short = replace(terms, candidates=terms.candidates[:3])
    sitting = terms.committee.delegates
    following = drawn(short, genesis.parameters, genesis.chain_id, sitting).next_committee
    assert following is not None
    assert (following.epoch, following.delegates) == (1, sitting)


# --- the handover ---


def test_the_block_of_the_handover_is_the_epochs_last(scribe: Scribe) -> None:
    """C7: the next height belongs to the next committee, with a new electorate."""
    scribe.write_until(10)
    following = scribe.chain.tip.outlook.next_committee
    assert scribe.write(scribe.handover()).codes == (Code.APPLIED,)
    outlook = scribe.chain.tip.outlook
    assert (outlook.epoch, outlook.epoch_start, outlook.committee) == (1, 12, following)
    assert (outlook.next_committee, outlook.electorate.epoch) == (None, 1)
    assert scribe.write().result.epoch == 1


def test_the_old_committee_orders_nothing_after_the_handover(scribe: Scribe) -> None:
    """C7."""
    scribe.write_until(10)
    before = scribe.chain.tip
    scribe.write(scribe.handover())
    tip = replace(scribe.chain.tip, outlook=before.outlook)
    with pytest.raises(Conflict, match="WRONG_EPOCH"):
        scribe.chain.append_block(certified(scribe.alliance, tip, make_header(scribe.alliance, tip, []), []))


def test_more_than_two_thirds_of_the_electors_hand_over(scribe: Scribe) -> None:
    """C7: four of five; three are 60 per cent."""
    scribe.write_until(10)
    names = list(scribe.alliance.keys)
    assert scribe.write(scribe.handover(names[:3])).codes == (Code.HANDOVER_SHORT,)
    assert scribe.chain.tip.outlook.epoch == 0
    assert scribe.write(scribe.handover(names[:4])).codes == (Code.APPLIED,)


def test_a_handover_is_for_the_terms_end_as_computed_here(scribe: Scribe) -> None:
    """C7: neither before it, nor for another block, nor for other roots."""
    scribe.write(scribe.record("r"))
    scribe.write_until(9)
    alliance, electorate = scribe.alliance, scribe.chain.tip.outlook.electorate

    def handover(result: object) -> bytes:
        certificate = alliance.alliance_certificate(electorate, result)  # type: ignore[arg-type]
        return scribe.signed(alliance.keys["anshan"].member, HandoverBody(certificate))

    early = scribe.chain.outcome(9).result
    assert scribe.write(handover(early)).codes == (Code.HANDOVER_NOT_DUE,)
    ended = scribe.chain.outcome(10).result
    for wrong in (early, replace(ended, state_root=seed_of("x")), replace(ended, block_hash=seed_of("x"))):
        assert scribe.write(handover(wrong)).codes == (Code.HANDOVER_OTHER_RESULT,)
    assert scribe.write(handover(ended), handover(ended)).codes == (Code.APPLIED, Code.HANDOVER_NOT_DUE)


def test_the_electorate_is_who_was_active_when_the_epoch_began(scribe: Scribe) -> None:
    """C7: a member suspended since still signs this term's end, and no longer the next one's."""
    profile = scribe.alliance.keys["fushun"].profile
    scribe.govern(MemberAct(MemberAction.SUSPEND, profile))
    names = [name for name in scribe.alliance.keys if name != "anshan"]
    scribe.write_until(10)
    assert scribe.write(scribe.handover(names)).codes == (Code.APPLIED,)
    assert [each.member_id for each in scribe.chain.tip.outlook.electorate.electors] == [
        name for name in scribe.alliance.keys if name != "fushun"
    ]


def test_without_a_handover_the_committee_serves_a_bounded_number_of_terms_more() -> None:
    """C7: then only governance, evidence and the handover take effect, and ids stay free."""
    scribe = Scribe(Alliance.founded(parameters=replace(PARAMETERS, terms_extended_max=1)))
    scribe.write_until(19)
    assert scribe.write(scribe.record("last")).codes == (Code.APPLIED,)
    waiting, reveal = scribe.record("late"), scribe.reveal(delegates(scribe)[0])
    grade = scribe.motion(GradeAct("fushun", Grade.B1, 10_000))
    codes = scribe.write(waiting, reveal, *grade).codes
    assert codes == (Code.TERM_EXHAUSTED, Code.TERM_EXHAUSTED, *[Code.APPLIED] * len(grade))
    assert scribe.write(scribe.handover()).codes == (Code.APPLIED,)
    assert scribe.write(waiting).codes == (Code.APPLIED,)
    assert scribe.chain.record(record_body("late").record_id) is not None


def test_heights_never_restart(scribe: Scribe) -> None:
    """C8: an epoch is a range of heights."""
    for epoch in range(3):
        assert scribe.chain.tip.outlook.epoch == epoch
        scribe.cross_epoch()
    assert [scribe.chain.outcome(height).result.height for height in range(1, 34)] == list(range(1, 34))
