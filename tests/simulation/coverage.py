"""What a run went through: messages by kind, views that came to be, and marks: states that a search must have been in.

A promise is worth something only where it was put to the test. Each mark names a situation in which protocols have failed;
`make sim` prints how many seeds were in it, and a long search that never was is a failure of the search.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from consilium.consensus.core.messages import (
    FetchBatches,
    FetchNewView,
    NewView,
    PrePrepare,
    SignedViewChange,
)
from consilium.kernel.codes import Code, is_refusal
from consilium.kernel.founding import first_committee
from consilium.kernel.transactions import (
    Amnesia,
    BallotBody,
    Equivocation,
    EvidenceBody,
    HandoverBody,
    ProposalBody,
    RecordBody,
    RequestBody,
    RevokeBody,
)
from tests.simulation.builds import OLDER
from tests.simulation.checkers import Checker

if TYPE_CHECKING:
    from collections.abc import Mapping

    from consilium.consensus.core.events import Received
    from consilium.kernel.certificates import Committee, Result
    from consilium.kernel.chain import Genesis, Outlook
    from tests.simulation.member import Member
    from tests.simulation.observed import Execution, Released, Speech

MARKS = (
    "a view change shows a prepared value",
    "a new view proposes a value again",
    "a new view proposes nothing again",
    "a new view stands on different low watermarks",
    "a new view skips a view",
    "a third view in one epoch",
    "a view change in the middle of the pipeline",
    "a block is synced during a view change",
    "a committee changes while a delegate changes views",
    "a committee hands over in a later view",
    "a member becomes a delegate",
    "a delegate stops being one",
    "a term is extended",
    "a replica is silent while its epoch ends",
    "a silent replica speaks again",
    "a start in the middle of a view change",
    "a start with a value prepared and not executed",
    "a torn end is cut off the vote log",
    "a vote log is begun again",
    "a start without its ledger",
    "a batch is named and not carried",
    "a batch is fetched",
    "the proof of a view is fetched",
    "the pipeline is full",
    "the high watermark holds a proposal up",
    "an idle heartbeat",
    "evidence of equivocation",
    "evidence of amnesia",
    "evidence of another offence",
    "evidence that is refused",
    "a proposal is put to the members",
    "a member is suspended",
    "a suspended member comes back",
    "a suspended member's record",
    "a member stands still at the height of an upgrade",
    "a request and its revocation in one block",
    "a release on the last block of the window",
    "a release in the last block before the revocation",
)
"""What a search must have been through."""
RARE_MARKS = ("evidence from the epoch before",)
"""What is counted as well, and need not be seen in every search."""


class Coverage(Checker):
    """Counts; it never complains."""

    def __init__(self, genesis: Genesis, members: Mapping[str, Member]) -> None:
        self.messages: Counter[str] = Counter()
        self.marks: Counter[str] = Counter()
        self._window_blocks = genesis.parameters.release_window_blocks
        self._members = members
        self._views: dict[tuple[int, int], None] = {}
        self._delegates = _names(first_committee(genesis))
        self._active = frozenset(each.member_id for each in genesis.members)
        self._epoch = 0
        self._silent: dict[str, int] = {}
        self._upgrade: int | None = None
        self._released: dict[bytes, int] = {}

    @property
    def view_changes(self) -> int:
        """How many views above 0 were announced."""
        return len(self._views)

    # --- messages ---

    def sent(self, speech: Speech) -> None:
        message = speech.message
        self.messages[type(message).__name__] += 1
        match message:
            case SignedViewChange(view_change=change) if change.prepared:
                self.marks["a view change shows a prepared value"] += 1
                if len(change.prepared) > 1:
                    self.marks["a view change in the middle of the pipeline"] += 1
            case NewView():
                self._new_view(message)
            case PrePrepare(stored=stored) if stored:
                self.marks["a batch is named and not carried"] += 1
            case FetchBatches():
                self.marks["a batch is fetched"] += 1
            case FetchNewView():
                self.marks["the proof of a view is fetched"] += 1
            case _:
                pass

    def _new_view(self, message: NewView) -> None:
        if (message.epoch, message.view) in self._views:
            return
        highest = max((view for epoch, view in self._views if epoch == message.epoch), default=0)
        self._views[message.epoch, message.view] = None
        again = "a value" if message.proposals else "nothing"
        self.marks[f"a new view proposes {again} again"] += 1
        stables = [each.view_change.stable for each in message.view_changes]
        heights = [0 if each is None else each.result.height for each in stables]
        self.marks["a new view stands on different low watermarks"] += len(dict.fromkeys(heights)) > 1
        self.marks["a new view skips a view"] += message.view > highest + 1
        self.marks["a third view in one epoch"] += message.view >= 3

    def received(self, member: Member, received: Received) -> None:
        """Look at a delegate now and then: when a proposal reaches it."""
        if not isinstance(received.message, PrePrepare) or not member.replica.state.votes:
            return
        state = member.replica.state
        top = max(state.log.slots, default=0)
        self.marks["the pipeline is full"] += top - state.tip.height >= state.parameters.pipeline_blocks
        self.marks["the high watermark holds a proposal up"] += top == state.high

    # --- starts ---

    def restarted(self, endpoint: str, height: int, block_hash: bytes, result: Result | None) -> None:
        """A replica stands as its disk left it."""
        member = self._members[endpoint]
        state = member.replica.state
        self._look_at_silence(member)
        self.marks["a torn end is cut off the vote log"] += member.log.was_torn
        self.marks["a start in the middle of a view change"] += not state.entered
        self.marks["a start with a value prepared and not executed"] += any(each > height for each in state.log.prepared)
        self.marks["a start without its ledger"] += height == 0 and member.world.top > 1

    def forgot(self, member_id: str) -> None:
        self.marks["a vote log is begun again"] += 1

    def _look_at_silence(self, member: Member) -> None:
        state, name = member.replica.state, member.endpoint
        if state.silence is not None:
            self._silent.setdefault(name, state.outlook.epoch)
        elif self._silent.pop(name, None) is not None:
            self.marks["a silent replica speaks again"] += 1

    # --- blocks ---

    def executed(self, execution: Execution) -> None:
        """An endpoint has a block, and its replica is about to hear of it."""
        member = self._members[execution.endpoint]
        state = member.replica.state
        crosses = execution.outlook.epoch > state.outlook.epoch
        if state.index is not None and not state.entered:
            self.marks["a block is synced during a view change"] += execution.synced
            self.marks["a committee changes while a delegate changes views"] += crosses
        self.marks["a replica is silent while its epoch ends"] += crosses and state.silence is not None
        self._look_at_silence(member)

    def first_executed(self, execution: Execution) -> None:
        if not execution.opened.batches:
            self.marks["an idle heartbeat"] += 1
        self._cross(execution.outlook)
        self._look_at_builds(execution)
        self.marks["a term is extended"] += execution.height > execution.outlook.term_end
        for _, transaction, code in execution.outcomes():
            match transaction.payload.body:
                case EvidenceBody() as body:
                    self._evidence(body, code, execution.opened.header.epoch)
                case HandoverBody() if code is Code.APPLIED and execution.opened.block.commit.view > 0:
                    self.marks["a committee hands over in a later view"] += 1
                case ProposalBody() | BallotBody() if not is_refusal(code):
                    self.marks["a proposal is put to the members"] += 1
                    self._govern(execution.endpoint)
                case RecordBody() if code is Code.FOREIGN_VOUCHER:
                    self.marks["a suspended member's record"] += 1
                case RevokeBody(grant_id=grant_id) if not is_refusal(code):
                    self._revoked(grant_id, execution)
                case _:
                    pass

    def _evidence(self, body: EvidenceBody, code: Code, epoch: int) -> None:
        match body.proof:
            case _ if is_refusal(code):
                self.marks["evidence that is refused"] += 1
            case Amnesia(commit=signed):
                self.marks["evidence of amnesia"] += 1
                self.marks["evidence from the epoch before"] += signed.vote.epoch == epoch - 1
            case Equivocation(first=signed):
                self.marks["evidence of equivocation"] += 1
                self.marks["evidence from the epoch before"] += signed.vote.epoch == epoch - 1
            case _:
                self.marks["evidence of another offence"] += 1

    def _govern(self, endpoint: str) -> None:
        """Mark who has gone and who has come back with this block."""
        names = frozenset(each.profile.member_id for each in self._members[endpoint].ledger.chain.active_members())
        self.marks["a member is suspended"] += bool(self._active - names)
        self.marks["a suspended member comes back"] += bool(names - self._active)
        self._active = names

    def _cross(self, outlook: Outlook) -> None:
        if outlook.epoch == self._epoch:
            return
        self._epoch = outlook.epoch
        names = _names(outlook.committee)
        self.marks["a member becomes a delegate"] += bool(names - self._delegates)
        self.marks["a delegate stops being one"] += bool(self._delegates - names)
        self._delegates = names

    def _look_at_builds(self, execution: Execution) -> None:
        """Mark a member that does not know the version which begins with this block."""
        behind = any(each.honest and each.build == OLDER for each in self._members.values())
        self.marks["a member stands still at the height of an upgrade"] += execution.height == self._upgrade and behind
        if execution.outlook.upgrade is not None:
            self._upgrade = execution.outlook.upgrade.height

    def _revoked(self, grant_id: bytes, execution: Execution) -> None:
        """Mark a grant that was asked for in this block, or released in the block before."""
        bodies = [transaction.payload.body for _, transaction, _ in execution.outcomes()]
        asked = any(isinstance(each, RequestBody) and each.grant_id == grant_id for each in bodies)
        self.marks["a request and its revocation in one block"] += asked
        if self._released.get(grant_id) == execution.height - 1:
            self.marks["a release in the last block before the revocation"] += 1

    def released(self, released: Released) -> None:
        self._released[released.grant_id] = released.released_height
        waited = released.released_height - released.request_height
        self.marks["a release on the last block of the window"] += waited == self._window_blocks


def _names(committee: Committee) -> frozenset[str]:
    return frozenset(each.member_id for each in committee.delegates)
