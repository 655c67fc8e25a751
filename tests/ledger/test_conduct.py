"""Votes, attendance, views left, scores, jail, rest and silence (C6)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from consilium.kernel.certificates import Call, Departure, ViewChange, call_of
from consilium.kernel.codes import Code
from consilium.kernel.encoding import encode
from consilium.kernel.hashing import sha256
from consilium.kernel.state_values import DUTIES_KEPT, Conduct, MemberState
from consilium.kernel.transactions import (
    Absence,
    AttendanceBody,
    Grade,
    GradeAct,
    LeftViewBody,
    MemberAct,
    MemberAction,
    Points,
    VoteBody,
)
from tests.alliance import GRADES, PARAMETERS, Alliance, Scribe
from tests.simulation.signing import KeyedHashSigner, KeyedHashVerifier

if TYPE_CHECKING:
    from collections.abc import Sequence

PRESENT = Absence(0, 0)
DUTIES = 9
"""Up to the election height of a term of ten blocks."""
ABSENT = Absence(DUTIES, (1 << DUTIES) - 1)
EIGHT = {**GRADES, "jinzhou": Grade.B1, "panjin": Grade.C2, "yingkou": Grade.SPECIAL3}


@pytest.fixture
def scribe() -> Scribe:
    return Scribe(Alliance.founded())


def sitting(scribe: Scribe) -> list[str]:
    return [each.member_id for each in scribe.chain.tip.outlook.committee.delegates]


def member(scribe: Scribe, name: str) -> MemberState:
    state = scribe.chain.member(name)
    assert state is not None
    return state


def vote(scribe: Scribe, voter: str, **points: int) -> Code:
    body = VoteBody(tuple(Points(name, given) for name, given in points.items()))
    return scribe.write(scribe.signed(scribe.alliance.keys[voter].member, body)).codes[0]


def report(scribe: Scribe, name: str, absences: Sequence[Absence], epoch: int | None = None) -> bytes:
    number = scribe.chain.tip.outlook.epoch if epoch is None else epoch
    return scribe.signed(scribe.alliance.keys[name].member, AttendanceBody(number, tuple(absences)))


def serve_a_term(scribe: Scribe, absent: str = "", liars: Sequence[str] = (), signers: Sequence[str] | None = None) -> None:
    """A term in which all delegates reveal, and report one of them absent; liars say the contrary of everybody."""
    names = sitting(scribe)
    scribe.write(*[scribe.reveal(name) for name in names])
    scribe.write_until(scribe.chain.tip.outlook.election_height)
    truth = [ABSENT if name == absent else PRESENT for name in names]
    lies = [PRESENT if name == absent else ABSENT for name in names]
    scribe.write(*[report(scribe, name, lies if name in liars else truth) for name in names])
    scribe.write_until(scribe.chain.tip.outlook.term_end)
    scribe.write(scribe.handover(signers))


# --- votes ---


def test_points_are_bounded_by_the_grade_and_spread_over_strata(scribe: Scribe) -> None:
    """C6: 3A has nine points, 1A three; one point may go anywhere else, more go to two strata."""
    assert vote(scribe, "anshan", benxi=4, chaoyang=5) == Code.APPLIED
    assert vote(scribe, "anshan", benxi=5, chaoyang=5) == Code.TOO_MANY_POINTS
    assert vote(scribe, "anshan", benxi=1, chaoyang=0) == Code.TOO_MANY_POINTS
    assert vote(scribe, "fushun", chaoyang=2, dalian=1) == Code.ONE_STRATUM
    assert vote(scribe, "fushun", chaoyang=1) == Code.APPLIED
    assert vote(scribe, "fushun", chaoyang=2) == Code.ONE_STRATUM
    assert vote(scribe, "fushun", nobody=1) == Code.CANDIDATE_UNKNOWN
    assert vote(scribe, "fushun", fushun=1) == Code.OWN_CANDIDATE
    assert member(scribe, "anshan").vote is not None
    assert vote(scribe, "anshan") == Code.APPLIED
    assert member(scribe, "anshan").vote is None


def test_nobody_votes_for_its_owner_group_nor_twice_for_one(scribe: Scribe) -> None:
    """C6: a group that votes for itself would buy its own seats."""
    grouped = Scribe(Alliance.founded(owner_groups={"anshan": "group", "benxi": "group"}))
    assert vote(grouped, "anshan", benxi=1) == Code.OWN_CANDIDATE
    twice = VoteBody((Points("benxi", 1), Points("benxi", 1)))
    assert scribe.write(scribe.signed(scribe.alliance.keys["anshan"].member, twice)).codes == (Code.CANDIDATE_UNKNOWN,)
    stranger = scribe.alliance.keys["anshan"].consensus
    assert scribe.write(scribe.signed(stranger, VoteBody(()))).codes == (Code.NOT_A_MEMBER,)


def votes_counted(scribe: Scribe) -> dict[str, int]:
    """The points in the snapshot of the sitting epoch."""
    return {each.member_id: each.votes for each in scribe.chain.candidates if each.votes}


def test_votes_count_from_the_next_snapshot_for_three_terms(scribe: Scribe) -> None:
    """C6: so nobody votes knowing the seed; old points go."""
    assert vote(scribe, "anshan", benxi=4, chaoyang=5) == Code.APPLIED
    assert votes_counted(scribe) == {}
    for _ in range(3):
        scribe.cross_epoch()
        assert votes_counted(scribe) == {"benxi": 4, "chaoyang": 5}
    scribe.cross_epoch()
    assert votes_counted(scribe) == {}


def test_votes_of_the_suspended_and_above_a_fallen_grade_do_not_count(scribe: Scribe) -> None:
    """C6: who has no say, or no longer so many points, gives none."""
    vote(scribe, "anshan", benxi=4, chaoyang=5)
    vote(scribe, "fushun", dalian=1)
    scribe.govern(GradeAct("anshan", Grade.A2, 10_000))
    scribe.cross_epoch()
    assert votes_counted(scribe) == {"dalian": 1}
    profile = scribe.alliance.keys["fushun"].profile
    scribe.govern(MemberAct(MemberAction.SUSPEND, profile))
    scribe.cross_epoch()
    assert votes_counted(scribe) == {}


# --- attendance and scores ---


def test_scores_follow_attendance_and_drift_back_without_a_seat(scribe: Scribe) -> None:
    """C6: (3 * 700 + 1000) / 4 = 775 for who was there, (3 * 700 + 0) / 4 = 525 for who was not; the follower stays."""
    absent, *others = sitting(scribe)
    serve_a_term(scribe, absent)
    scores = {name: member(scribe, name).score for name in scribe.alliance.keys}
    follower = next(name for name in scores if name not in (absent, *others))
    assert scores == {absent: 525, follower: 700} | dict.fromkeys(others, 775)
    assert member(scribe, absent).conduct.missed == (1 << DUTIES) - 1


def test_f_liars_neither_frame_nor_whitewash(scribe: Scribe) -> None:
    """C6: the same scores, whatever one of four reports."""
    absent, liar, *others = sitting(scribe)
    serve_a_term(scribe, absent, [liar])
    assert member(scribe, absent).score == 525
    assert [member(scribe, name).score for name in (liar, *others)] == [775] * 3


def test_a_delegate_cannot_whitewash_itself_with_f_minus_1_friends() -> None:
    """C6: n = 7, f = 2: the absent one and a friend are not enough; two slanderers frame nobody."""
    scribe = Scribe(Alliance.founded(EIGHT))
    absent, friend, *_ = sitting(scribe)
    assert len(sitting(scribe)) == 7
    serve_a_term(scribe, absent, [absent, friend])
    assert member(scribe, absent).score == 525
    assert member(scribe, friend).score == 775


def test_fewer_than_a_quorum_of_reports_say_nothing(scribe: Scribe) -> None:
    """C6: two of four reports; the scores stay."""
    names = sitting(scribe)
    scribe.write_until(9)
    absences = [ABSENT] * 4
    scribe.write(*[report(scribe, name, absences) for name in names[:2]])
    scribe.cross_epoch()
    assert [member(scribe, name).score for name in names] == [700] * 4


def test_reports_are_judged(scribe: Scribe) -> None:
    """C6: refused are reports of strangers, of another epoch, too early, twice, and of what cannot have been."""
    name, other, *_ = sitting(scribe)
    follower = next(each for each in scribe.alliance.keys if each not in sitting(scribe))
    full = [PRESENT] * 4
    assert scribe.write(report(scribe, name, full)).codes == (Code.ATTENDANCE_EARLY,)
    scribe.write_until(9)
    stranger = scribe.signed(scribe.alliance.keys[name].consensus, AttendanceBody(0, tuple(full)))
    assert scribe.write(
        report(scribe, name, full),
        report(scribe, name, full),
        report(scribe, other, full[:3]),
        report(scribe, other, [*full[:3], Absence(DUTIES + 1, 0)]),
        report(scribe, other, [*full[:3], Absence(0, 1 << DUTIES)]),
        report(scribe, other, full, epoch=1),
        report(scribe, follower, full),
        report(scribe, follower, []),
        stranger,
    ).codes == (
        Code.APPLIED,
        Code.ATTENDANCE_REPEATED,
        Code.BAD_ATTENDANCE,
        Code.BAD_ATTENDANCE,
        Code.BAD_ATTENDANCE,
        Code.WRONG_EPOCH,
        Code.NOT_A_DELEGATE,
        Code.APPLIED,
        Code.NOT_A_MEMBER,
    )


def test_a_reveal_withheld_costs_a_missed_proposal(scribe: Scribe) -> None:
    """C6: (3 * 700 + 1000 - 150) / 4 = 737."""
    names = sitting(scribe)
    scribe.write(*[scribe.reveal(name) for name in names[1:]])
    scribe.write_until(9)
    scribe.write(*[report(scribe, name, [PRESENT] * 4) for name in names])
    scribe.cross_epoch()
    assert [member(scribe, name).score for name in names] == [737, 775, 775, 775]


# --- views left ---


def departures(scribe: Scribe, view: int, indexes: Sequence[int], epoch: int = 0) -> tuple[Departure, ...]:
    """The calls of these delegates, as a replica shortens them."""
    change, chain_id = ViewChange(epoch, view, None, ()), scribe.alliance.chain_id
    names = sitting(scribe)
    signers = [scribe.alliance.keys[names[index]].consensus for index in indexes]
    digest = sha256(encode(change, chain_id))
    return tuple(
        Departure(i, digest, each.sign(call_of(change, chain_id))) for i, each in zip(indexes, signers, strict=True)
    )


def left(scribe: Scribe, body: LeftViewBody, author: str = "") -> Code:
    keys = scribe.alliance.keys[author or sitting(scribe)[0]]
    return scribe.write(scribe.signed(keys.member, body)).codes[0]


def test_a_quorum_that_left_a_view_costs_its_primary(scribe: Scribe) -> None:
    """C6: view 1 was called for, so the primary of view 0 missed; counted once. (3 * 700 + 1000 - 150) / 4 = 737."""
    names = sitting(scribe)
    body = LeftViewBody(0, 1, departures(scribe, 1, (0, 1, 2)))
    assert left(scribe, body) == Code.APPLIED
    assert left(scribe, LeftViewBody(0, 1, departures(scribe, 1, (1, 2, 3)))) == Code.VIEW_COUNTED
    serve_a_term(scribe)
    assert [member(scribe, name).score for name in names] == [737, 775, 775, 775]


def test_nobody_is_framed_by_fewer_or_by_other_calls(scribe: Scribe) -> None:
    """C6: refused are f+1 calls, one delegate twice, calls for another view or epoch, view 0, and strangers' papers."""
    good = departures(scribe, 1, (0, 1, 2))
    for body in (
        LeftViewBody(0, 1, good[:2]),
        LeftViewBody(0, 1, (good[0], good[0], good[1])),
        LeftViewBody(0, 2, good),
        LeftViewBody(0, 1, departures(scribe, 1, (0, 1, 2), epoch=1)),
        LeftViewBody(0, 1, (*good[:2], replace(good[2], view_change=bytes(32)))),
        LeftViewBody(0, 1, (*good[:2], replace(good[2], index=4))),
        LeftViewBody(0, 0, departures(scribe, 0, (0, 1, 2))),
        LeftViewBody(0, 1, ()),
    ):
        assert left(scribe, body) == Code.BAD_DEPARTURES
    assert left(scribe, LeftViewBody(1, 1, good)) == Code.WRONG_EPOCH
    follower = next(each for each in scribe.alliance.keys if each not in sitting(scribe))
    assert left(scribe, LeftViewBody(0, 1, good), follower) == Code.NOT_A_DELEGATE


def test_a_call_is_not_a_view_change(scribe: Scribe) -> None:
    """L1: what is signed names epoch, view and the digest of all the view change carries."""
    chain_id = scribe.alliance.chain_id
    change = ViewChange(0, 3, None, ())
    assert call_of(change, chain_id) == encode(Call(0, 3, sha256(encode(change, chain_id))), chain_id)


# --- jail, rest, silence ---


def long_terms() -> Scribe:
    """Terms with more duties than are kept; with signatures that cost next to nothing, because many blocks pass."""
    parameters = replace(PARAMETERS, term_blocks=60)
    alliance = Alliance.founded(parameters=parameters, signer=lambda seed: KeyedHashSigner(seed.hex()))
    return Scribe(alliance, KeyedHashVerifier())


def jail_one(scribe: Scribe, absent: str, missed: int) -> MemberState:
    """A term at whose end one delegate has missed so many of its last fifty duties; that member."""
    names = sitting(scribe)
    scribe.write_until(scribe.chain.tip.outlook.election_height)
    absences = [Absence(missed, (1 << missed) - 1) if name == absent else PRESENT for name in names]
    scribe.write(*[report(scribe, name, absences) for name in names])
    scribe.cross_epoch()
    return member(scribe, absent)


def test_more_than_half_of_the_last_fifty_duties_missed_is_jail() -> None:
    """C6: 25 are not, 26 are: five draws, from the first that is not made yet."""
    assert jail_one(long_terms(), "anshan", DUTIES_KEPT // 2).conduct == Conduct((1 << 25) - 1, 0, 0, 2, silent=False)
    jailed = jail_one(long_terms(), "anshan", DUTIES_KEPT // 2 + 1).conduct
    assert (jailed.missed, jailed.jailed_since, jailed.jailed_until) == (0, 0, 7)


def test_the_jailed_sit_out_their_draws() -> None:
    """C6: of five members one is jailed in epoch 0: drawn for epoch 1 before, not for 2 to 6, for 7 again."""
    scribe = long_terms()
    name = jail_one(scribe, "anshan", 40).profile.member_id
    served = []
    for _ in range(8):
        served.append(name in sitting(scribe))
        scribe.cross_epoch()
    assert served[:6] == [True, False, False, False, False, False]
    assert any(served[6:])


def test_no_more_than_a_third_are_jailed_and_the_oldest_is_freed_first() -> None:
    """C6: of five members floor(4/3) = 1 may be jailed; the second takes the first one's place."""
    scribe = long_terms()
    jail_one(scribe, "anshan", 40)
    second = jail_one(scribe, "benxi", 40)
    assert second.conduct.jailed_until == 8
    assert member(scribe, "anshan").conduct.jailed_until == 3


def test_three_terms_running_then_a_substitute() -> None:
    """C6: of the two level-2 hospitals neither serves a fourth term in a row; the others have no substitute and do."""
    scribe = Scribe(Alliance.founded())
    served = []
    for _ in range(12):
        served.append(sitting(scribe))
        scribe.cross_epoch()
    for name in ("chaoyang", "dalian"):
        runs = "".join("x" if name in names else "." for names in served).split(".")
        assert max(map(len, runs)) <= 3
    assert all({"anshan", "benxi", "fushun"} <= set(names) for names in served)


def test_who_gives_no_sign_of_life_is_not_drawn() -> None:
    """C6: a member that neither signed the term's end nor anything else is passed over from the draw after the next."""
    scribe = Scribe(Alliance.founded(EIGHT))
    absent = "chaoyang"
    others = [name for name in EIGHT if name != absent]
    scribe.write_until(scribe.chain.tip.outlook.term_end)
    scribe.write(scribe.handover(others))
    assert member(scribe, absent).conduct.silent
    scribe.write_until(scribe.chain.tip.outlook.term_end)
    scribe.write(scribe.handover(others))
    assert absent not in sitting(scribe)


@pytest.mark.parametrize("act", ["record", "vote", "attendance"])
def test_signs_of_life(act: str) -> None:
    """C6: whatever the member key has signed on the ledger in the term counts."""
    scribe = Scribe(Alliance.founded(EIGHT))
    name = next(each for each in EIGHT if each not in sitting(scribe))
    if act == "record":
        scribe.write(scribe.record("r", name), member=name)
    elif act == "vote":
        vote(scribe, name)
    else:
        scribe.write(report(scribe, name, []))
    scribe.write_until(scribe.chain.tip.outlook.term_end)
    scribe.write(scribe.handover([each for each in EIGHT if each != name]))
    assert not member(scribe, name).conduct.silent


def test_a_sign_of_life_takes_effect_once_a_term() -> None:
    """C6, L6: said again after a restart, when the request id of the first is forgotten already, it changes nothing."""
    parameters = replace(PARAMETERS, term_blocks=400)
    alliance = Alliance.founded(EIGHT, parameters=parameters, signer=lambda seed: KeyedHashSigner(seed.hex()))
    scribe = Scribe(alliance, KeyedHashVerifier())
    name = next(each for each in EIGHT if each not in sitting(scribe))
    codes: list[Code] = []
    for height in (1, 111):
        scribe.write_until(height)
        said = alliance.sign(alliance.keys[name].member, AttendanceBody(0, ()), bytes(16), scribe.chain.height + 90)
        codes += scribe.write(said).codes
    assert codes == [Code.APPLIED, Code.ATTENDANCE_REPEATED]


def test_the_tombstoned_stay_at_nothing(scribe: Scribe) -> None:
    """C8: no drift lifts the score of a key that equivocated."""
    state = member(scribe, "anshan")
    scribe.chain._state.put_member(replace(state, score=0, tombstoned=True))  # noqa: SLF001  as evidence would
    scribe.cross_epoch()
    scribe.cross_epoch()
    assert member(scribe, "anshan").score == 0
