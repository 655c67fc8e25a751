"""The voting rule written down a second time, as a member would count by hand: the oracle of tests and simulator (G1).

It knows names, ballots and heights only. Whether an adopted thing can be done is not its business: `done` is asked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from consilium.kernel.transactions import MemberAct, MemberAction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from consilium.kernel.transactions import ProposalBody


@dataclass
class Question:
    """A proposal on the table."""

    body: ProposalBody
    said: dict[str, bool]
    ended: str = ""


@dataclass
class Assembly:
    """The members that may vote, and what is on the table, in the order it came."""

    active: dict[str, None]
    questions: dict[bytes, Question] = field(default_factory=dict)
    done: Callable[[bytes], bool] = lambda _: True

    @classmethod
    def of(cls, names: Iterable[str]) -> Assembly:
        """Nothing is on the table yet."""
        return cls(dict.fromkeys(names))

    def open(self, proposal_id: bytes, author: str, body: ProposalBody) -> None:
        """Its author says yes by it."""
        self.questions[proposal_id] = Question(body, {author: True})

    def say(self, proposal_id: bytes, name: str, *, yes: bool) -> None:
        """The first word stands."""
        self.questions[proposal_id].said.setdefault(name, yes)

    def end_of_block(self, height: int) -> list[tuple[bytes, str, ProposalBody]]:
        """What ended with this block, in order: `adopted`, `refused` or `expired`."""
        ended = []
        while (found := self._next(height)) is not None:
            proposal_id, how = found
            question = self.questions[proposal_id]
            question.ended = how
            ended.append((proposal_id, how, question.body))
            if how == "adopted" and self.done(proposal_id):
                self.apply(question.body)
        return ended

    def apply(self, body: ProposalBody) -> None:
        """What an adopted proposal does to who may vote."""
        if isinstance(body.act, MemberAct):
            name = body.act.profile.member_id
            if body.act.action in (MemberAction.ADMIT, MemberAction.REINSTATE):
                self.active[name] = None
            else:
                self.active.pop(name, None)

    def _next(self, height: int) -> tuple[bytes, str] | None:
        for proposal_id, question in self.questions.items():
            if not question.ended and (how := self._verdict(question, height)):
                return proposal_id, how
        return None

    def _verdict(self, question: Question, height: int) -> str:
        yes = sum(question.said.get(name) is True for name in self.active)
        undecided = sum(name not in question.said for name in self.active)
        if yes * 3 > len(self.active) * 2:
            return "adopted"
        if (yes + undecided) * 3 <= len(self.active) * 2:
            return "refused"
        return "expired" if height >= question.body.decide_by else ""
