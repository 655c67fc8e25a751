"""Evidence against delegates (C8)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from consilium.kernel.certificates import (
    Phase,
    PreparedCertificate,
    Result,
    ResultCertificate,
    SignedVote,
    ViewChange,
    Vote,
    call_of,
)
from consilium.kernel.chain import Header
from consilium.kernel.codes import Code
from consilium.kernel.encoding import encode
from consilium.kernel.hashing import ZERO_DIGEST
from consilium.kernel.transactions import Amnesia, Equivocation, EvidenceBody, Grade, KeysAct, NewKeys
from tests.alliance import GRADES, Alliance, MemberKeys, Scribe, seed_of

if TYPE_CHECKING:
    from consilium.kernel.encoding import Encodable
    from consilium.kernel.state_values import MemberState


def member(scribe: Scribe, name: str) -> MemberState:
    state = scribe.chain.member(name)
    assert state is not None
    return state


def keys_of(name: str) -> NewKeys:
    profile = MemberKeys.of(name, Grade.A1).profile
    return NewKeys(profile.member_key, profile.consensus_key, profile.reveal_anchor)


def others(name: str) -> list[str]:
    return [each for each in GRADES if each != name]


@pytest.fixture
def scribe() -> Scribe:
    return Scribe(Alliance.founded())


@pytest.fixture
def offender(scribe: Scribe) -> MemberKeys:
    return scribe.alliance.keys[scribe.chain.tip.outlook.committee.delegates[0].member_id]


def signed(scribe: Scribe, keys: MemberKeys, value: Encodable) -> bytes:
    return keys.consensus.sign(encode(value, scribe.alliance.chain_id))


def vote(scribe: Scribe, keys: MemberKeys, digest: str, **slot: int) -> SignedVote:
    made = Vote(**{"phase": Phase.COMMIT, "epoch": 0, "view": 2, "height": 3, **slot}, digest=seed_of(digest))  # type: ignore[arg-type]
    return SignedVote(made, signed(scribe, keys, made))


def submit(scribe: Scribe, proof: Equivocation | Amnesia) -> Code:
    """Anybody may hand evidence in, under any key."""
    return scribe.write(scribe.signed(MemberKeys.of("witness", Grade.A1).member, EvidenceBody(proof))).codes[0]


def equivocation(scribe: Scribe, keys: MemberKeys, **second: int) -> Equivocation:
    return Equivocation(
        keys.profile.member_id, vote(scribe, keys, "a"), vote(scribe, keys, "a" if second else "b", **second)
    )


def test_two_digests_in_one_slot_are_an_offence(scribe: Scribe, offender: MemberKeys) -> None:
    """C8: score 0, tombstoned, once."""
    name = offender.profile.member_id
    assert submit(scribe, equivocation(scribe, offender)) == Code.APPLIED
    state = member(scribe, name)
    assert (state.score, state.tombstoned, state.evidence_count) == (0, True, 1)
    assert submit(scribe, equivocation(scribe, offender)) == Code.OFFENDER_KNOWN


@pytest.mark.parametrize("slot", [{"phase": Phase.PREPARE}, {"epoch": 1}, {"view": 3}, {"height": 4}])
def test_votes_in_different_slots_do_not_contradict(scribe: Scribe, offender: MemberKeys, slot: dict[str, int]) -> None:
    """C8: honest delegates vote for other blocks in other slots."""
    first = vote(scribe, offender, "a")
    proof = Equivocation(offender.profile.member_id, first, vote(scribe, offender, "b", **slot))
    assert submit(scribe, proof) == Code.BAD_EVIDENCE


def test_nobody_is_framed(scribe: Scribe, offender: MemberKeys) -> None:
    """R10, C8: not by equal votes, another's signatures, or an epoch it did not serve in."""
    name = offender.profile.member_id
    other = next(keys for keys in scribe.alliance.keys.values() if keys is not offender)
    same = Equivocation(name, vote(scribe, offender, "a"), vote(scribe, offender, "a"))
    forged = replace(equivocation(scribe, other), member_id=name)
    half = Equivocation(name, vote(scribe, offender, "a"), vote(scribe, other, "b"))
    future = Equivocation(name, vote(scribe, offender, "a", epoch=1), vote(scribe, offender, "b", epoch=1))
    for proof in (same, forged, half, future):
        assert submit(scribe, proof) == Code.BAD_EVIDENCE
    assert submit(scribe, replace(same, member_id="nobody")) == Code.MEMBER_UNKNOWN
    sitting = [each.member_id for each in scribe.chain.tip.outlook.committee.delegates]
    follower = next(keys for name, keys in scribe.alliance.keys.items() if name not in sitting)
    assert submit(scribe, equivocation(scribe, follower)) == Code.BAD_EVIDENCE
    assert not member(scribe, name).tombstoned


def amnesia(scribe: Scribe, keys: MemberKeys, change: ViewChange) -> Amnesia:
    """A commit at (view 2, height 3), and this view change."""
    commit = vote(scribe, keys, "a")
    signature = keys.consensus.sign(call_of(change, scribe.alliance.chain_id))
    return Amnesia(keys.profile.member_id, commit, change, signature)


def prepared(scribe: Scribe, view: int, height: int) -> PreparedCertificate:
    header = Header(0, height, ZERO_DIGEST, (), ZERO_DIGEST, 1, ZERO_DIGEST, ZERO_DIGEST, 0, ZERO_DIGEST)
    return PreparedCertificate(view, encode(header, scribe.alliance.chain_id), bytes(64), ())


def stable(height: int) -> ResultCertificate:
    return ResultCertificate(Result(0, height, ZERO_DIGEST, 0, ZERO_DIGEST, ZERO_DIGEST, ZERO_DIGEST), ())


def test_a_view_change_that_hides_a_commit_is_an_offence(scribe: Scribe, offender: MemberKeys) -> None:
    """C8, across views: committed in view 2, then nothing prepared shown, or only from an earlier view."""
    for change in (
        ViewChange(0, 3, None, (prepared(scribe, 1, 3), prepared(scribe, 2, 4))),
        ViewChange(0, 3, stable(2), ()),
    ):
        one = Scribe(scribe.alliance)
        assert submit(one, amnesia(one, offender, change)) == Code.APPLIED
        assert member(one, offender.profile.member_id).tombstoned


def test_an_honest_view_change_is_no_offence(scribe: Scribe, offender: MemberKeys) -> None:
    """C8: what it committed is shown, is below the stable checkpoint, came later, or was in another epoch."""
    for change in (
        ViewChange(0, 3, None, (prepared(scribe, 2, 3),)),
        ViewChange(0, 5, None, (prepared(scribe, 4, 3),)),
        ViewChange(0, 3, stable(3), ()),
        ViewChange(0, 2, None, ()),
        ViewChange(1, 3, None, ()),
    ):
        assert submit(scribe, amnesia(scribe, offender, change)) == Code.BAD_EVIDENCE
    unsigned = replace(amnesia(scribe, offender, ViewChange(0, 3, None, ())), signature=bytes(64))
    assert submit(scribe, unsigned) == Code.BAD_EVIDENCE
    other = next(keys for keys in scribe.alliance.keys.values() if keys is not offender)
    framed = replace(amnesia(scribe, offender, ViewChange(0, 3, None, ())), commit=vote(scribe, other, "a"))
    assert submit(scribe, framed) == Code.BAD_EVIDENCE
    prepare = vote(scribe, offender, "a", phase=Phase.PREPARE)
    change = ViewChange(0, 3, None, ())
    proof = Amnesia(offender.profile.member_id, prepare, change, signed(scribe, offender, change))
    assert submit(scribe, proof) == Code.BAD_EVIDENCE
    torn = ViewChange(0, 3, None, (replace(prepared(scribe, 2, 3), header=b"\x80"),))
    assert submit(scribe, amnesia(scribe, offender, torn)) == Code.BAD_EVIDENCE


def test_views_of_different_epochs_are_not_compared(scribe: Scribe) -> None:
    """C8: each epoch counts its views from 0, so a view change of the next one hides nothing of this one."""
    before = [each.member_id for each in scribe.chain.tip.outlook.committee.delegates]
    scribe.cross_epoch()
    both = next(e.member_id for e in scribe.chain.tip.outlook.committee.delegates if e.member_id in before)
    keys = scribe.alliance.keys[both]
    assert submit(scribe, amnesia(scribe, keys, ViewChange(1, 3, None, ()))) == Code.BAD_EVIDENCE
    assert submit(scribe, amnesia(scribe, keys, ViewChange(0, 3, None, ()))) == Code.APPLIED


def test_the_fourth_of_four_members_is_freed_by_new_keys_though_no_committee_can_be_drawn() -> None:
    """C6, C8, G3: the sitting four serve on under the keys adopted, so that these need not wait for a draw for ever."""
    scribe = Scribe(Alliance.founded({name: GRADES[name] for name in ("anshan", "benxi", "chaoyang", "dalian")}))
    offender = scribe.alliance.keys["dalian"]
    assert submit(scribe, equivocation(scribe, offender)) == Code.APPLIED
    scribe.cross_epoch()
    fresh = keys_of("dalian anew")
    assert scribe.govern(KeysAct(offender.profile, fresh), ["anshan", "benxi", "chaoyang"]) == Code.APPLIED
    scribe.cross_epoch()
    committee = scribe.chain.tip.outlook.committee
    assert {each.member_id: each.consensus_key for each in committee.delegates}["dalian"] == fresh.consensus_key
    state = member(scribe, "dalian")
    assert (state.tombstoned, state.next_keys, state.profile.consensus_key) == (False, None, fresh.consensus_key)


def test_a_tombstoned_member_is_not_drawn_and_returns_under_a_new_key_only(scribe: Scribe, offender: MemberKeys) -> None:
    """C8, G3: two draws later it is gone; governance brings it back with another consensus key."""
    profile = offender.profile
    submit(scribe, equivocation(scribe, offender))
    scribe.cross_epoch()
    scribe.cross_epoch()
    seated = [each.member_id for each in scribe.chain.tip.outlook.committee.delegates]
    assert profile.member_id not in seated
    same = replace(keys_of("anew"), consensus_key=profile.consensus_key)
    assert scribe.govern(KeysAct(profile, same)) == Code.APPLIED
    scribe.cross_epoch()
    state = member(scribe, profile.member_id)
    assert (state.tombstoned, state.profile.member_key) == (True, same.member_key)
    assert scribe.govern(KeysAct(state.profile, keys_of("anew once more")), others(profile.member_id)) == Code.APPLIED
    scribe.write_until(scribe.chain.tip.outlook.term_end)
    scribe.write(scribe.handover(others(profile.member_id)))
    state = member(scribe, profile.member_id)
    assert (state.tombstoned, state.score, state.evidence_count) == (False, 700, 1)
    assert submit(scribe, equivocation(scribe, offender)) == Code.BAD_EVIDENCE
