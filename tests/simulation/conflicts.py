"""S11: evidence on the ledger never blames a member that kept its word, and what an honest delegate could prove gets there.

Complete is judged where nothing can be lost any more: two different votes of one delegate for one slot, both heard by one
honest delegate within its watermarks and under one session, after the faults are over and some blocks before the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from consilium.consensus.core.messages import Commit, Prepare, PrePrepare
from consilium.kernel.codes import is_refusal
from consilium.kernel.transactions import EvidenceBody
from tests.simulation.checkers import Checker
from tests.simulation.observed import Violation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consilium.consensus.core.events import Received
    from tests.simulation.member import Member
    from tests.simulation.observed import Execution

BLOCKS_TO_PROVE = 20
"""Within how many blocks a contradiction that was seen stands on the ledger."""


class Evidence(Checker):
    """S11. `faulty` are the members that may have broken their word, a list that grows."""

    def __init__(self, faulty: Sequence[str]) -> None:
        self._faulty = faulty
        self._convicted: dict[str, None] = {}
        self._heard: dict[tuple[object, ...], bytes] = {}
        self._seen: dict[str, tuple[int, str]] = {}

    def first_executed(self, execution: Execution) -> None:
        for _, transaction, code in execution.outcomes():
            body = transaction.payload.body
            if type(body) is not EvidenceBody or is_refusal(code):
                continue
            if body.proof.member_id not in self._faulty:
                raise Violation("S11 evidence", f"{body.proof.member_id} is blamed and kept its word.")
            self._convicted[body.proof.member_id] = None
        self._judge(execution.height)

    def received(self, member: Member, received: Received) -> None:
        """Keep the votes an honest delegate hears once the faults are over."""
        message = received.message
        if not member.honest or not member.world.calm:
            return
        assert isinstance(message, (PrePrepare, Prepare, Commit)), "checkers hear of nothing else"
        vote, state = message.signed.vote, member.replica.state
        if not state.votes or vote.epoch != state.outlook.epoch or not state.low < vote.height <= state.high:
            return
        offender = received.sender
        if isinstance(received.message, PrePrepare):
            offender = state.committee.primary(vote.view)
        slot = (member.endpoint, member.life, offender, received.session, vote.phase, vote.epoch, vote.view, vote.height)
        if self._heard.setdefault(slot, vote.digest) != vote.digest:
            self._seen.setdefault(offender, (member.world.top, member.endpoint))

    def _judge(self, height: int) -> None:
        for offender, (seen_at, witness) in self._seen.items():
            if offender not in self._convicted and height > seen_at + BLOCKS_TO_PROVE:
                raise Violation(
                    "S11 evidence", f"{witness} saw {offender} contradict itself at {seen_at}, and never said so."
                )
