"""How members serve, judged from the chain alone: votes, attendance, views left, scores and jail (rule C6).

No single delegate's word counts. A delegate missed what all but f of at least 2f+1 that report say it missed; a missed
proposal needs the calls of 2f+1 to leave the view. So f liars can neither frame a delegate nor whitewash one. ADR 13 says
why the header's `parent_commits`, a claim of the primary's, does not count.

A term is judged in its last block. What comes of it enters the snapshot that the draw after the next is made from.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from consilium.kernel.certificates import verify_departures
from consilium.kernel.codes import Code
from consilium.kernel.election import SCORE_START, stratum_of
from consilium.kernel.errors import BadSignature
from consilium.kernel.opening import OpenedTransaction
from consilium.kernel.state_values import DUTIES_KEPT, CastVote, Conduct, MemberState, MemberStatus
from consilium.kernel.transactions import Absence, AttendanceBody, LeftViewBody, Points, VoteBody
from consilium.ledger.core.block_scope import BlockScope
from consilium.ledger.core.state import LedgerState
from consilium.ledger.core.terms import LEFT_VIEWS_MAX, Report, Terms

MISSED_MAX = DUTIES_KEPT // 2
"""The most of them it may miss."""
JAIL_TERMS = 5
"""For how many draws a jailed member is passed over."""
VOTE_TERMS = 3
"""For how many terms a vote counts; the first is the one after it was cast in."""
MISS_COST = 150
"""What a missed proposal, or a reveal withheld, takes off a term's mark of 1,000 (point 9)."""

_ALL_KEPT = (1 << DUTIES_KEPT) - 1


# --- votes ---


def apply_vote(state: LedgerState, transaction: OpenedTransaction, body: VoteBody, scope: BlockScope) -> Code:
    """Take a member's points in; they count from the next term's snapshot on, so never knowing the seed (C6)."""
    voter = state.member_of_key(transaction.payload.author)
    if voter is None:
        return Code.NOT_A_MEMBER
    code = _judge_vote(state, voter, body.points, scope.height)
    if code is Code.APPLIED:
        state.put_member(replace(voter, vote=CastVote(state.terms.epoch, body.points) if body.points else None))
        note_alive(state, voter.profile.member_id)
    return code


def _judge_vote(state: LedgerState, voter: MemberState, given: Sequence[Points], height: int) -> Code:
    """At most five candidates, none of the voter's own; no more points than its grade; more than one in two strata."""
    candidates = [state.member(each.member_id) for each in given]
    known = [each for each in candidates if each is not None and each.status is not MemberStatus.EXPELLED]
    if len(known) < len(given) or len({each.member_id for each in given}) < len(given):
        return Code.CANDIDATE_UNKNOWN
    if any(each.profile.owner_group == voter.profile.owner_group for each in known):
        return Code.OWN_CANDIDATE
    spent = sum(each.points for each in given)
    if spent > points_of(voter, height) or any(each.points == 0 for each in given):
        return Code.TOO_MANY_POINTS
    strata = {stratum_of(each.grade_at(height)) for each in known}
    return Code.ONE_STRATUM if spent > 1 and len(strata) == 1 else Code.APPLIED


def points_of(member: MemberState, height: int) -> int:
    """How many points a member has to give: the number of its grade; ungraded counts as 1 (C6)."""
    return max(1, member.grade_at(height))


def votes_by_candidate(state: LedgerState, height: int) -> dict[str, int]:
    """The points that count for the epoch about to begin: of active members, not too old, within the grade of today."""
    epoch = state.terms.epoch + 1
    votes: dict[str, int] = {}
    for voter in state.active_members():
        cast = voter.vote
        if cast is None or epoch - cast.epoch > VOTE_TERMS:
            continue
        if sum(each.points for each in cast.points) <= points_of(voter, height):
            for each in cast.points:
                votes[each.member_id] = votes.get(each.member_id, 0) + each.points
    return votes


# --- what is reported of a term ---


def note_alive(state: LedgerState, member_id: str) -> None:
    """A member's key has signed something in this epoch: its sign of life (C6)."""
    terms = state.terms
    if member_id not in terms.alive:
        state.terms = replace(terms, alive=(*terms.alive, member_id))


def apply_attendance(state: LedgerState, transaction: OpenedTransaction, body: AttendanceBody, _: BlockScope) -> Code:
    """A sign of life, once a term; a delegate's behind the election height, with what it missed of all up to there."""
    terms = state.terms
    member = state.member_of_key(transaction.payload.author)
    if member is None:
        return Code.NOT_A_MEMBER
    if body.epoch != terms.epoch:
        return Code.WRONG_EPOCH
    name = member.profile.member_id
    if terms.committee.index_of(name) is not None:
        code = _take_report(state, Report(name, body.absences))
    else:
        code = _take_sign_of_life(terms, name, body)
    if code is Code.APPLIED:
        note_alive(state, name)
    return code


def _take_sign_of_life(terms: Terms, name: str, body: AttendanceBody) -> Code:
    """Take an empty report of a member without a vote, unless it has been heard of in this term.

    Its replica says the same again after a restart, and a term may last longer than a request id is remembered (L6).
    """
    if body.absences:
        return Code.NOT_A_DELEGATE
    return Code.ATTENDANCE_REPEATED if name in terms.alive else Code.APPLIED


def _take_report(state: LedgerState, report: Report) -> Code:
    """Keep what a delegate missed of all: its first word, of the whole time up to the election height."""
    terms = state.terms
    if terms.next_committee is None:
        return Code.ATTENDANCE_EARLY
    if any(each.member_id == report.member_id for each in terms.reports):
        return Code.ATTENDANCE_REPEATED
    if not _is_possible(report.absences, len(terms.committee.delegates), duties_of(state)):
        return Code.BAD_ATTENDANCE
    state.terms = replace(terms, reports=(*terms.reports, report))
    return Code.APPLIED


def duties_of(state: LedgerState) -> int:
    """How many blocks of the term a delegate is judged by: those up to the election height."""
    return state.outlook.election_height - state.terms.epoch_start + 1


def _is_possible(absences: Sequence[Absence], size: int, duties: int) -> bool:
    """Whether the report speaks of every delegate, and of no more duties than there were."""
    recent_most = 1 << min(DUTIES_KEPT, duties)
    return len(absences) == size and all(each.count <= duties and each.recent < recent_most for each in absences)


def apply_left_view(state: LedgerState, transaction: OpenedTransaction, body: LeftViewBody, scope: BlockScope) -> Code:
    """Count a missed proposal of the primary whose view a quorum has left; once for each view (C6)."""
    terms = state.terms
    author = state.member_of_key(transaction.payload.author)
    if author is None or terms.committee.index_of(author.profile.member_id) is None:
        return Code.NOT_A_DELEGATE
    if body.epoch != terms.epoch:
        return Code.WRONG_EPOCH
    if body.view in terms.left_views or len(terms.left_views) == LEFT_VIEWS_MAX:
        return Code.VIEW_COUNTED
    try:
        verify_departures(terms.committee, body.view, body.departures, state.chain_id, scope.verifier)
    except BadSignature:
        return Code.BAD_DEPARTURES
    if body.view == 0:
        return Code.BAD_DEPARTURES
    state.terms = replace(terms, left_views=(*terms.left_views, body.view))
    return Code.APPLIED


# --- the judgement ---


@dataclass(frozen=True, slots=True)
class _Service:
    """What the chain says of a delegate's term: its duties, those it missed, which of the last, and proposals missed."""

    duties: int
    absent: int
    recent: int
    proposals: int


def judge_term(state: LedgerState) -> None:
    """In a term's last block: every active member's score, jail, terms running and sign of life (C6)."""
    terms = state.terms
    following = terms.next_committee or terms.committee
    for member in state.active_members():
        name = member.profile.member_id
        index = terms.committee.index_of(name)
        served = None if index is None else _service_of(state, index)
        conduct = replace(
            _after_duties(member.conduct, served, terms.epoch),
            terms_running=_terms_running(
                member.conduct, served_now=index is not None, serves_next=following.index_of(name) is not None
            ),
            silent=_is_silent(terms, name),
        )
        score = _idle_score(member) if index is None else _served_score(member.score, served)
        state.put_member(replace(member, score=0 if member.tombstoned else score, conduct=conduct))
    _free_the_oldest(state)


def _service_of(state: LedgerState, index: int) -> _Service | None:
    """A delegate's term as the others report it; None where fewer than 2f+1 do.

    Of all reports the (f+1)-th lowest count stands: f flatterers cannot bring it below what an honest delegate missed, and
    f slanderers cannot raise it above. Likewise each of the last duties was missed only if no f+1 say otherwise.
    """
    terms, most = state.terms, state.terms.committee.faults_max
    if len(terms.reports) < terms.committee.quorum:
        return None
    said = [each.absences[index] for each in terms.reports]
    duties = duties_of(state)
    absent = sorted(each.count for each in said)[most]
    kept = range(min(DUTIES_KEPT, duties))
    recent = sum(1 << bit for bit in kept if sum(not each.recent >> bit & 1 for each in said) <= most)
    delegates = terms.committee.delegates
    left = sum((view - 1) % len(delegates) == index for view in terms.left_views)
    withheld = delegates[index].member_id not in terms.revealed
    return _Service(duties, absent, recent, left + withheld)


def _served_score(score: int, served: _Service | None) -> int:
    """A quarter of the new score is this term's mark (election.md section 5, point 9)."""
    if served is None:
        return score
    mark = max(0, 1_000 * (served.duties - served.absent) // served.duties - MISS_COST * served.proposals)
    return (3 * score + mark) // 4


def _idle_score(member: MemberState) -> int:
    """Who did not serve drifts towards the score everybody starts with, a tenth of the way a term, rounded down."""
    return member.score + (SCORE_START - member.score) // 10


def _after_duties(conduct: Conduct, served: _Service | None, epoch: int) -> Conduct:
    """The last duties with this term's in front; jailed when more than half of the last 50 were missed."""
    if served is None:
        return conduct
    count = min(DUTIES_KEPT, served.duties)
    missed = (conduct.missed << count | served.recent) & _ALL_KEPT
    if missed.bit_count() <= MISSED_MAX:
        return replace(conduct, missed=missed)
    # The draw for the next epoch is made already; the five terms begin behind it.
    until = max(conduct.jailed_until, epoch + 2 + JAIL_TERMS)
    return replace(conduct, missed=0, jailed_since=epoch, jailed_until=until)


def _terms_running(conduct: Conduct, *, served_now: bool, serves_next: bool) -> int:
    """How many terms a member has served without a break, the one that begins included; founders begin in epoch 0."""
    so_far = max(conduct.terms_running, 1) if served_now else 0
    return so_far + 1 if serves_next else 0


def _is_silent(terms: Terms, member_id: str) -> bool:
    """Whether a member that was there when the term began gave no sign of life in it."""
    was_there = any(each.member_id == member_id for each in terms.electorate.electors)
    return was_there and member_id not in terms.alive


def _free_the_oldest(state: LedgerState) -> None:
    """Never more than floor((N-1)/3) are jailed; those who sat longest are freed first."""
    members, drawn_for = state.active_members(), state.terms.epoch + 2
    jailed = [each for each in members if each.conduct.jailed_until > drawn_for]
    jailed.sort(key=lambda each: (each.conduct.jailed_since, each.profile.member_id))
    for member in jailed[: max(0, len(jailed) - (len(members) - 1) // 3)]:
        state.put_member(replace(member, conduct=replace(member.conduct, jailed_until=drawn_for)))
