"""S12: every committee is the one that anybody recomputes from the blocks and the members as the term began.

The draw is recomputed by `tests/kernel/recomputed_election.py`, which shares no code with the product; the mix is folded
here from the reveals that took effect before the draw, and votes are counted here. What a member's conduct came to is taken
from the state. A committee may serve on only where none could be drawn.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from consilium.kernel.codes import is_refusal
from consilium.kernel.hashing import ZERO_DIGEST, domain_hash
from consilium.kernel.transactions import RevealBody, VoteBody
from tests.kernel.recomputed_election import GRADES, Person, recompute
from tests.simulation.checkers import Checker
from tests.simulation.observed import Violation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from consilium.kernel.certificates import Committee
    from consilium.kernel.chain import Genesis, Outlook
    from consilium.kernel.recovery import RecoveryStatement
    from consilium.kernel.state_values import MemberState
    from consilium.kernel.transactions import Points
    from tests.simulation.member import Member
    from tests.simulation.observed import Execution

VOTE_TERMS = 3
"""For how many terms a vote counts (C6)."""


class Elections(Checker):
    """S12."""

    def __init__(self, genesis: Genesis, members: Mapping[str, Member]) -> None:
        self._chain_id = genesis.chain_id
        self._members = members
        self._people = [Person(each.member_id, each.owner_group, GRADES[each.grade]) for each in genesis.members]
        self._names = {each.member_key: each.member_id for each in genesis.members}
        self._votes: dict[str, tuple[int, tuple[Points, ...]]] = {}
        self._mix = ZERO_DIGEST
        self._epoch = 0
        self._drawn: Committee | None = None

    def first_executed(self, execution: Execution) -> None:
        if execution.opened.block.recovery is not None:
            self._recover(execution, execution.opened.block.recovery.statement)
        self._count(execution)
        outlook = execution.outlook
        if outlook.epoch != self._epoch:
            self._begin(execution)
        elif outlook.next_committee is not None and self._drawn is None:
            self._drawn = outlook.next_committee
            names = [each.profile.member_id for each in self._members[execution.endpoint].ledger.chain.active_members()]
            self.judge(outlook, [each for each in self._people if each.name in names], self._mix)

    def _recover(self, execution: Execution, statement: RecoveryStatement) -> None:
        """A recovery draws from the same people, less those it names as lost, with a mix of its own (C10)."""
        left = [each for each in self._people if each.name not in statement.lost]
        self._drawn, self._mix = statement.next_committee, statement.mix
        self.judge(replace(execution.outlook, next_committee=self._drawn), left, self._mix)

    def _count(self, execution: Execution) -> None:
        """Fold reveals, until the draw, and take note of votes."""
        for _, transaction, code in execution.outcomes():
            if is_refusal(code):
                continue
            match transaction.payload.body:
                case RevealBody(preimage=preimage) if self._drawn is None:
                    self._mix = domain_hash("consilium.mix", self._mix, preimage)
                case VoteBody(points=points):  # counts though the same block suspends who gave it
                    self._votes[self._names[transaction.payload.author]] = self._epoch, points

    def _begin(self, execution: Execution) -> None:
        """The committee that was drawn sits, and no other; the candidates of the next draw are settled."""
        if execution.committee != self._drawn:
            raise Violation("S12 election", f"At {execution.height} another committee sits than was drawn.")
        chain = self._members[execution.endpoint].ledger.chain
        active = chain.active_members()
        self._epoch, self._drawn = execution.outlook.epoch, None
        votes = self._points(active, execution.height)
        self._people = [_person(each, execution.height, votes) for each in active if not each.tombstoned]

    def _points(self, voters: Sequence[MemberState], height: int) -> Counter[str]:
        """Points of active members, for three terms after they were given, and never more than the grade of today allows."""
        counted: Counter[str] = Counter()
        for voter in voters:
            cast_in, points = self._votes.get(voter.profile.member_id, (0, ()))
            allowed = max(1, int(voter.grade_at(height)))
            if self._epoch - cast_in <= VOTE_TERMS and sum(each.points for each in points) <= allowed:
                for each in points:
                    counted[each.member_id] += each.points
        return counted

    def judge(self, outlook: Outlook, people: list[Person], mix: bytes) -> None:
        """Raise Violation unless the committee that was drawn follows from members and mix."""
        drawn, parameters = outlook.next_committee, outlook.parameters
        assert drawn is not None, "judged when it is drawn"
        outcome = recompute(people, parameters.committee_target, parameters.seat_shares, self._chain_id, drawn.epoch, mix)
        expected = [each.member_id for each in outlook.committee.delegates] if outcome is None else outcome.order
        if [each.member_id for each in drawn.delegates] != expected:
            raise Violation("S12 election", f"The committee of epoch {drawn.epoch} is not {', '.join(expected)}.")


def _person(member: MemberState, height: int, votes: Counter[str]) -> Person:
    profile, conduct = member.profile, member.conduct
    return Person(
        name=profile.member_id,
        owner=profile.owner_group,
        grade=GRADES[member.grade_at(height)],
        score=member.score,
        votes=votes[profile.member_id],
        jailed_until=conduct.jailed_until,
        running=conduct.terms_running,
        silent=conduct.silent,
    )
