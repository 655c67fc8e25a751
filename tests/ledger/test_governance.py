"""Proposals and ballots: who decides, when, and what becomes of it (G1, G2)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from consilium.kernel.codes import Code
from consilium.kernel.encoding import decode
from consilium.kernel.light_client import TrustedHistory
from consilium.kernel.merkle import leaf_hash
from consilium.kernel.state_values import (
    MemberState,
    MemberStatus,
    ProposalList,
    ProposalState,
    ProposalStatus,
    Registry,
    proposal_entry,
    proposals_entry,
    registry_entry,
)
from consilium.kernel.transactions import (
    BallotBody,
    Grade,
    GradeAct,
    MemberAct,
    MemberAction,
    MemberProfile,
    ProposalBody,
)
from tests.alliance import EVIDENCE, GRADES, PARAMETERS, Alliance, MemberKeys, Scribe, opened, seed_of
from tests.ledger.recomputed_governance import Assembly

FOUR = ["anshan", "benxi", "chaoyang", "dalian"]
NEWCOMER = MemberKeys.of("yingkou", Grade.UNGRADED).profile
ADMIT = MemberAct(MemberAction.ADMIT, NEWCOMER)


@pytest.fixture
def scribe() -> Scribe:
    return Scribe(Alliance.founded())


def act(
    scribe: Scribe, action: MemberAction, profile: MemberProfile, voters: list[str] | None = None
) -> Code | ProposalStatus:
    return scribe.govern(MemberAct(action, profile), voters)


def member(scribe: Scribe, name: str) -> MemberState:
    state = scribe.chain.member(name)
    assert state is not None
    return state


def profile_of(scribe: Scribe, name: str) -> MemberProfile:
    return scribe.alliance.keys[name].profile


def proposed(scribe: Scribe, *, by: str = "anshan", body: ProposalBody | None = None) -> bytes:
    """A proposal on the table; its id."""
    transaction = scribe.signed(
        scribe.alliance.keys[by].member, body or ProposalBody(ADMIT, EVIDENCE, scribe.chain.height + 9)
    )
    assert scribe.write(transaction).codes == (Code.APPLIED,)
    return leaf_hash(transaction)


def said(scribe: Scribe, proposal_id: bytes, name: str, *, yes: bool = True) -> Code:
    """One ballot in a block of its own; its code."""
    return scribe.write(scribe.signed(scribe.alliance.keys[name].member, BallotBody(proposal_id, yes))).codes[0]


def status(scribe: Scribe, proposal_id: bytes) -> ProposalStatus:
    state = scribe.chain.proposal(proposal_id)
    assert state is not None
    return state.status


# --- who decides ---


def test_more_than_two_thirds_of_the_active_members_decide_and_it_is_done_in_that_block(scribe: Scribe) -> None:
    """G1: four of five, the author's yes by proposing among them."""
    proposal_id = proposed(scribe)
    for name in ("benxi", "chaoyang"):
        assert said(scribe, proposal_id, name) == Code.APPLIED
        assert (status(scribe, proposal_id), scribe.chain.member("yingkou")) == (ProposalStatus.OPEN, None)
    assert said(scribe, proposal_id, "dalian") == Code.APPLIED
    state = scribe.chain.proposal(proposal_id)
    assert state is not None
    assert (state.status, state.outcome, state.closed_height) == (ProposalStatus.ADOPTED, Code.APPLIED, scribe.chain.height)
    assert member(scribe, "yingkou").is_active


def test_exactly_two_thirds_are_not_enough() -> None:
    """G1: four of six are not more than two thirds; five are."""
    scribe = Scribe(Alliance.founded({**GRADES, "jinzhou": Grade.B1}))
    assert scribe.govern(ADMIT, FOUR) is ProposalStatus.OPEN
    assert scribe.govern(ADMIT, [*FOUR, "fushun"]) == Code.APPLIED


def test_only_active_members_keys_propose_and_say(scribe: Scribe) -> None:
    """G1: a stranger's signature, and a suspended member's, are for nothing."""
    proposal_id = proposed(scribe)
    stranger = MemberKeys.of("stranger", Grade.A3).member
    delegate = scribe.alliance.keys["benxi"].consensus
    for signer in (stranger, delegate):
        body = ProposalBody(ADMIT, EVIDENCE, 20)
        codes = scribe.write(scribe.signed(signer, body), scribe.signed(signer, BallotBody(proposal_id, yes=True))).codes
        assert codes == (Code.NOT_A_MEMBER, Code.NOT_A_MEMBER)
    assert act(scribe, MemberAction.SUSPEND, profile_of(scribe, "fushun")) == Code.APPLIED
    assert said(scribe, proposal_id, "fushun") == Code.NOT_A_MEMBER


def test_a_suspended_members_ballot_no_longer_counts_and_the_others_are_counted_anew(scribe: Scribe) -> None:
    """G1: three of five say yes and it stays open; once the fifth is suspended, three of four are enough."""
    proposal_id = proposed(scribe, body=ProposalBody(ADMIT, EVIDENCE, 40))
    for name in ("benxi", "chaoyang"):
        said(scribe, proposal_id, name)
    assert said(scribe, proposal_id, "fushun", yes=False) == Code.APPLIED
    assert act(scribe, MemberAction.SUSPEND, profile_of(scribe, "fushun")) == Code.APPLIED
    assert status(scribe, proposal_id) is ProposalStatus.ADOPTED
    assert member(scribe, "yingkou").is_active


def test_a_proposal_that_can_no_longer_be_adopted_is_refused(scribe: Scribe) -> None:
    """G1: after two of five have said no, more than two thirds cannot say yes."""
    proposal_id = proposed(scribe)
    said(scribe, proposal_id, "benxi", yes=False)
    assert status(scribe, proposal_id) is ProposalStatus.OPEN
    said(scribe, proposal_id, "chaoyang", yes=False)
    assert status(scribe, proposal_id) is ProposalStatus.REFUSED
    assert said(scribe, proposal_id, "dalian") == Code.PROPOSAL_CLOSED


def test_a_proposal_expires_at_its_height(scribe: Scribe) -> None:
    """G1: ballots in the block at its last height still count, the next block's do not."""
    expired, adopted = (proposed(scribe, body=ProposalBody(ADMIT, EVIDENCE, 5)) for _ in range(2))
    for name in ("benxi", "chaoyang"):
        scribe.write(
            *[scribe.signed(scribe.alliance.keys[name].member, BallotBody(each, yes=True)) for each in (expired, adopted)]
        )
    assert scribe.chain.height == 4
    assert said(scribe, adopted, "dalian") == Code.APPLIED
    assert (status(scribe, expired), status(scribe, adopted)) == (ProposalStatus.EXPIRED, ProposalStatus.ADOPTED)
    assert said(scribe, expired, "dalian") == Code.PROPOSAL_CLOSED


def test_the_first_word_stands(scribe: Scribe) -> None:
    """G1: nobody says two things to one proposal, its author included."""
    proposal_id = proposed(scribe)
    assert said(scribe, proposal_id, "benxi") == Code.APPLIED
    for name in ("anshan", "benxi"):
        assert said(scribe, proposal_id, name, yes=False) == Code.BALLOT_REPEATED
    assert said(scribe, bytes(32), "benxi") == Code.PROPOSAL_UNKNOWN


def test_a_member_has_a_bounded_number_of_proposals() -> None:
    """G1: closed ones count until the state lets them go, and then there is room again."""
    short = Scribe(Alliance.founded(parameters=replace(PARAMETERS, proposals_max=2, expiry_blocks_max=100)))
    first, _ = (proposed(short) for _ in range(2))
    third = short.signed(short.alliance.keys["anshan"].member, ProposalBody(ADMIT, EVIDENCE, 20))
    assert short.write(third).codes == (Code.TOO_MANY_PROPOSALS,)
    proposed(short, by="benxi")
    ends = short.chain.proposal(first)
    assert ends is not None
    short.write_until(ends.body.decide_by + 99)
    assert short.chain.proposal(first) is not None
    short.write()
    assert short.chain.proposal(first) is None
    proposed(short)


@pytest.mark.parametrize("decide_by", [0, 1, 52, 10**9])
def test_a_proposal_is_for_a_while(decide_by: int) -> None:
    """G1: at least for the next block, at most for as long as the alliance allows."""
    scribe = Scribe(Alliance.founded(parameters=replace(PARAMETERS, proposal_blocks_max=50)))
    transaction = scribe.signed(scribe.alliance.keys["anshan"].member, ProposalBody(ADMIT, EVIDENCE, decide_by))
    assert scribe.write(transaction).codes == (Code.BAD_DEADLINE,)


# --- members and grades ---


def test_members_come_and_go_by_the_rules(scribe: Scribe) -> None:
    """G2: each act fits one status; what does not fit is no proposal."""
    profile = profile_of(scribe, "fushun")
    assert act(scribe, MemberAction.ADMIT, profile) == Code.MEMBER_EXISTS
    assert act(scribe, MemberAction.SUSPEND, NEWCOMER) == Code.MEMBER_UNKNOWN
    assert act(scribe, MemberAction.REINSTATE, profile) == Code.MEMBER_STATUS
    assert act(scribe, MemberAction.SUSPEND, profile) == Code.APPLIED
    assert act(scribe, MemberAction.SUSPEND, profile) == Code.MEMBER_STATUS
    assert act(scribe, MemberAction.REINSTATE, profile) == Code.APPLIED
    assert act(scribe, MemberAction.EXPEL, profile) == Code.APPLIED
    assert act(scribe, MemberAction.REINSTATE, profile) == Code.MEMBER_STATUS
    assert act(scribe, MemberAction.ADMIT, profile) == Code.MEMBER_EXISTS
    assert member(scribe, "fushun").status is MemberStatus.EXPELLED


def test_a_grade_is_not_slipped_in_with_an_admission(scribe: Scribe) -> None:
    """C6, G2: who joins is ungraded, evidence named or not; its grade is adopted by itself, and ends."""
    graded = MemberAct(MemberAction.ADMIT, replace(NEWCOMER, grade=Grade.A3))
    assert scribe.govern(graded) == Code.BAD_EVIDENCE
    assert scribe.chain.member("yingkou") is None
    assert scribe.govern(ADMIT) == Code.APPLIED
    assert member(scribe, "yingkou").grade_at(scribe.chain.height) is Grade.UNGRADED


def test_what_was_adopted_and_cannot_be_done_any_more_is_void(scribe: Scribe) -> None:
    """G1: two proposals suspend one member; the second finds it suspended."""
    first, second = (scribe.motion(MemberAct(MemberAction.SUSPEND, profile_of(scribe, "fushun")), FOUR) for _ in range(2))
    scribe.write(*first, *second)
    states = [scribe.chain.proposal(leaf_hash(each[0])) for each in (first, second)]
    assert [each and (each.status, each.outcome) for each in states] == [
        (ProposalStatus.ADOPTED, Code.APPLIED),
        (ProposalStatus.VOID, Code.MEMBER_STATUS),
    ]


def test_no_key_belongs_to_two_members(scribe: Scribe) -> None:
    """G3: nor to one member twice; and nobody is dismissed under a key that is not in force."""
    taken = profile_of(scribe, "anshan")
    for wrong in (
        replace(NEWCOMER, member_key=taken.member_key),
        replace(NEWCOMER, consensus_key=taken.member_key),
        replace(NEWCOMER, consensus_key=NEWCOMER.member_key),
        replace(NEWCOMER, member_id=""),
    ):
        assert act(scribe, MemberAction.ADMIT, wrong) == Code.MEMBER_KEYS
    other = replace(profile_of(scribe, "fushun"), consensus_key=seed_of("x"))
    assert act(scribe, MemberAction.EXPEL, other) == Code.MEMBER_KEYS


def test_nobody_is_dismissed_below_the_members_a_committee_needs(scribe: Scribe) -> None:
    """G2: four stay, whoever says yes; an alliance without electors could never hand over again."""
    codes = [act(scribe, MemberAction.SUSPEND, each) for each in scribe.alliance.genesis.members]
    assert sum(each.is_active for each in scribe.chain.members()) == 4
    assert sorted({each.name for each in codes}) == ["APPLIED", "TOO_FEW_LEFT"]


@pytest.fixture
def ten() -> Scribe:
    """Ten members, seven of them delegates."""
    names = ("huludao", "jinzhou", "panjin", "tieling", "yingkou")
    return Scribe(Alliance.founded(GRADES | dict.fromkeys(names, Grade.B1), replace(PARAMETERS, committee_target=7)))


def test_no_more_delegates_are_dismissed_in_a_term_than_may_fail(ten: Scribe) -> None:
    """G2: a dismissed delegate is refused everywhere, so it counts among the f; the next one waits for the next epoch."""
    sitting = [each.member_id for each in ten.chain.tip.outlook.committee.delegates]
    codes = [act(ten, MemberAction.SUSPEND, profile_of(ten, each)) for each in sitting[:3]]
    assert codes == [Code.APPLIED, Code.APPLIED, Code.TOO_FEW_LEFT]


def test_no_more_electors_are_dismissed_in_a_term_than_a_handover_can_spare(ten: Scribe) -> None:
    """G2: seven of ten electors have to sign the term's end (C7), so three may go, delegates or not."""
    sitting = [each.member_id for each in ten.chain.tip.outlook.committee.delegates]
    followers = [each for each in ten.alliance.keys if each not in sitting]
    assert [act(ten, MemberAction.SUSPEND, profile_of(ten, each)) for each in followers] == [Code.APPLIED] * 3
    assert act(ten, MemberAction.SUSPEND, profile_of(ten, sitting[0])) == Code.TOO_FEW_LEFT
    ten.write_until(ten.chain.tip.outlook.term_end)
    ten.write(ten.handover(sorted(sitting)))
    assert act(ten, MemberAction.SUSPEND, profile_of(ten, sitting[0])) == Code.APPLIED


def test_who_is_dismissed_before_the_draw_is_not_drawn() -> None:
    """G2: though the candidates are those of the term's start (C6)."""
    scribe = Scribe(Alliance.founded({**GRADES, "jinzhou": Grade.SPECIAL3}))
    sitting = scribe.chain.tip.outlook.committee.delegates[0].member_id
    assert act(scribe, MemberAction.EXPEL, profile_of(scribe, sitting)) == Code.APPLIED
    scribe.write_until(scribe.chain.tip.outlook.election_height)
    following = scribe.chain.tip.outlook.next_committee
    assert following is not None
    assert following.index_of(sitting) is None


def test_a_grade_is_set_until_a_height_with_evidence(scribe: Scribe) -> None:
    """C6: never self-declared, never without a document; after its height the member counts as ungraded."""
    good = GradeAct("fushun", Grade.A3, 50)
    assert scribe.govern(good, FOUR, within=9) == Code.APPLIED
    state = member(scribe, "fushun")
    assert (state.grade_at(50), state.grade_at(51)) == (Grade.A3, Grade.UNGRADED)
    assert scribe.govern(replace(good, member_id="nobody"), within=9) == Code.MEMBER_UNKNOWN
    assert scribe.govern(replace(good, expires_height=12), within=10) == Code.BAD_HEIGHT
    assert scribe.govern(good, evidence=bytes(32), within=9) == Code.BAD_EVIDENCE
    assert act(scribe, MemberAction.EXPEL, profile_of(scribe, "fushun")) == Code.APPLIED
    assert scribe.govern(good, within=9) == Code.MEMBER_STATUS


# --- what can be proven ---


def test_a_light_client_proves_a_proposal_its_ballots_and_its_end(scribe: Scribe) -> None:
    """Promise 8: with the genesis alone: who proposed what, who said what, how it ended, and who is a member since."""
    proposal_id = proposed(scribe)
    said(scribe, proposal_id, "fushun", yes=False)
    for name in ("benxi", "chaoyang", "dalian"):
        said(scribe, proposal_id, name)
    history, chain = TrustedHistory(scribe.alliance.genesis), scribe.chain

    def proven(key: bytes) -> bytes:
        return history.verify_state(chain.prove_state(key), scribe.verifier).value or b""

    state = decode(ProposalState, proven(proposal_entry(proposal_id)), chain.chain_id)
    assert (state.author, state.body.act, state.status) == ("anshan", ADMIT, ProposalStatus.ADOPTED)
    assert [(each.member_id, each.yes) for each in state.ballots] == [
        ("anshan", True), ("fushun", False), ("benxi", True), ("chaoyang", True), ("dalian", True),
    ]  # fmt: skip
    listed = decode(ProposalList, proven(proposals_entry("anshan")), chain.chain_id)
    assert listed.proposal_ids == (proposal_id,)
    assert proven(proposals_entry("benxi")) == b""
    registry = decode(Registry, proven(registry_entry()), chain.chain_id)
    assert registry.member_ids == (*GRADES, "yingkou")
    assert [(each.height, each.member_id) for each in registry.revisions] == [(chain.height, "yingkou")]


# --- against the rule written down a second time ---


class Meeting(RuleBasedStateMachine):
    """Any members propose and say anything in any order; every block ends as the oracle says (G1)."""

    def __init__(self) -> None:
        super().__init__()
        names = [*GRADES, "huludao", "jinzhou"]
        parameters = replace(PARAMETERS, term_blocks=100_000, proposals_max=64)
        self.scribe = Scribe(Alliance.founded({name: GRADES.get(name, Grade.B1) for name in names}, parameters))
        self.names, self.oracle = names, Assembly.of(names)
        self.waiting: list[bytes] = []
        self.open: list[bytes] = []

    @initialize()
    def begin(self) -> None:
        """Not in the first block: heights below 1 are no heights."""
        self.scribe.write()

    @rule(author=st.integers(0, 6), subject=st.integers(0, 6), within=st.integers(2, 8), grade=st.booleans())
    def propose(self, author: int, subject: int, within: int, *, grade: bool) -> None:
        """Grade a member, or suspend it, or take it back, as it stands now."""
        profile, height = profile_of(self.scribe, self.names[subject]), self.scribe.chain.height
        action = MemberAction.SUSPEND if member(self.scribe, self.names[subject]).is_active else MemberAction.REINSTATE
        act = GradeAct(profile.member_id, Grade.A2, height + 100) if grade else MemberAct(action, profile)
        body = ProposalBody(act, EVIDENCE, height + within)
        self.waiting.append(self.scribe.signed(self.scribe.alliance.keys[self.names[author]].member, body))

    @rule(voter=st.integers(0, 6), which=st.integers(0, 5), yes=st.booleans())
    def say(self, voter: int, which: int, *, yes: bool) -> None:
        """Something to one of the last proposals, open or not."""
        if self.open:
            ballot = BallotBody(self.open[-1 - which % len(self.open)], yes)
            self.waiting.append(self.scribe.signed(self.scribe.alliance.keys[self.names[voter]].member, ballot))

    @rule()
    def end_block(self) -> None:
        """Execute what waits, and compare."""
        transactions, self.waiting = self.waiting, []
        codes = self.scribe.write(*transactions).codes
        keys = {each.profile.member_key: name for name, each in self.scribe.alliance.keys.items()}
        for data, code in zip(transactions, codes, strict=True):
            payload = opened(self.scribe.alliance, data).payload
            if code is not Code.APPLIED:
                continue
            if isinstance(payload.body, ProposalBody):
                self.oracle.open(leaf_hash(data), keys[payload.author], payload.body)
                self.open.append(leaf_hash(data))
            elif isinstance(payload.body, BallotBody):
                self.oracle.say(payload.body.proposal_id, keys[payload.author], yes=payload.body.yes)
        self.oracle.done = self._was_done
        self.oracle.end_of_block(self.scribe.chain.height)

    def _was_done(self, proposal_id: bytes) -> bool:
        """Whether the ledger could do what was adopted: what may be done is another test's business."""
        return status(self.scribe, proposal_id) is not ProposalStatus.VOID

    @invariant()
    def everything_stands_as_counted(self) -> None:
        """Who is active, and how every proposal ended."""
        assert [each.profile.member_id for each in self.scribe.chain.active_members()] == sorted(self.oracle.active)
        ended = {"": "OPEN", "adopted": "ADOPTED", "refused": "REFUSED", "expired": "EXPIRED"}
        for proposal_id, question in self.oracle.questions.items():
            name = status(self.scribe, proposal_id).name
            assert (name if name != "VOID" else "ADOPTED") == ended[question.ended]


Meeting.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestMeeting = Meeting.TestCase
