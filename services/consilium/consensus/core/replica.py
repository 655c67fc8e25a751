"""One member's replica: Castro and Liskov's PBFT as a state machine without input or output (rules C1 to C8, L3, L7).

`step` takes what happened and returns what to do, in order; the shell owns clocks, disks, links and the ledger. A member
without a vote in this epoch runs one too: it forms batches and signs the ends of terms.

Read next: `normal_case` (the three phases), `view_changing`, `checkpointing`, `batching`; `admission` judges signatures.
"""

from consilium.consensus.core import batching, checkpointing, complaining, normal_case, recovering, resending, view_changing
from consilium.consensus.core.events import (
    Effect,
    Executed,
    Input,
    Received,
    RecoverySigned,
    StopAsked,
    Submitted,
    Timer,
    TimerExpired,
)
from consilium.consensus.core.evidence import find_amnesia, find_equivocation
from consilium.consensus.core.identity import Identity, Recovered, Tip
from consilium.consensus.core.messages import (
    AllianceVote,
    BatchOffer,
    BatchReady,
    Checkpoint,
    Commit,
    Complaint,
    FetchBatches,
    FetchNewView,
    NewView,
    Prepare,
    PrePrepare,
    ResultProof,
    SignedViewChange,
    StatusReply,
    StatusRequest,
    Stored,
)
from consilium.consensus.core.own_words import accuse
from consilium.consensus.core.recovery import recover
from consilium.consensus.core.screening import screen_vote
from consilium.consensus.core.state import State
from consilium.kernel.certificates import SignedVote
from consilium.kernel.chain import Outlook
from consilium.kernel.errors import Conflict, ConsiliumError, FailedPrecondition
from consilium.kernel.transactions import EvidenceBody

ADDS_UP = (BatchOffer, Checkpoint)
"""What follows from one is asked for at once: a new batch is written, a certificate delivered. Else nothing follows."""
VOTES = (Prepare, Commit)
"""Most complete no quorum. Then nothing is asked for, and the alarm stands as it stood."""


class Replica:
    """The state machine; all it knows is in `state`."""

    def __init__(self, identity: Identity, outlook: Outlook, tip: Tip, recovered: Recovered) -> None:
        self.state: State = recover(identity, outlook, tip, recovered)
        self._peers: dict[str, tuple[int, bytes]] = {}

    def start(self, now_ms: int) -> list[Effect]:
        """The first effects after a start or restart: alarms, and what may have been lost with the last session."""
        state = self.state
        state.now_ms = state.wall_ms = state.progress_at = state.view_entered_at = now_ms
        state.height_at_resend = state.tip.height
        state.pool.begin_view()
        checkpointing.sign_tip(state)
        resending.resend(state)
        normal_case.arm_heartbeat(state)
        return self._finish()

    def step(self, event: Input) -> list[Effect]:
        """Take one input. What a peer did wrong leaves no trace but `state.refusals`, for the shell to count."""
        self.state.tell_time(event.now_ms)
        self.state.refusals = []
        try:
            match event:
                case Received():
                    self._receive(event)
                case Submitted(transactions=transactions):
                    batching.submit(self.state, transactions)
                case TimerExpired(timer=timer):
                    self._ring(timer)
                case Executed():
                    complaining.watch_pace(self.state, event)
                    checkpointing.on_executed(self.state, event)
                    batching.cut_when_ordered(self.state)
                    normal_case.arm_heartbeat(self.state)
                case StopAsked(epoch=epoch):
                    recovering.stop(self.state, epoch)
                case RecoverySigned(certificate=certificate):
                    recovering.take(self.state, certificate)
        except ConsiliumError as error:
            whose = event.sender if isinstance(event, Received) else self.state.identity.member_id
            self.state.refusals.append((whose, error))
        return self._finish(type(event.message) if isinstance(event, Received) else None)

    @property
    def refused(self) -> ConsiliumError | None:
        """What the last step refused, the latest if there were several."""
        return self.state.refusals[-1][1] if self.state.refusals else None

    def _finish(self, heard: type | None = None) -> list[Effect]:
        """What has become possible, then the alarm by which something must move; `heard` is a message's class."""
        state = self.state
        if heard in ADDS_UP and not state.effects:
            return []
        if recovering.proceed(state):
            normal_case.arm_heartbeat(state)
        if state.turnover.own is not None and state.is_primary:
            checkpointing.hand_over(state)
        normal_case.advance(state)
        if state.effects or heard not in VOTES:
            resending.arm_progress(state)
        effects, state.effects = state.effects, []
        return effects

    def _ring(self, timer: Timer) -> None:
        state = self.state
        match timer:
            case Timer.BATCH:
                batching.cut_batch(state)
            case Timer.HEARTBEAT:
                state.heartbeat_due = state.is_primary and state.log.top(state.view) <= state.tip.height
            case Timer.RESEND:
                resending.resend(state)
                complaining.repeat_complaint(state)
            case Timer.PROGRESS:
                due, state.deadline = state.deadline, None
                if due is not None and state.now_ms >= due:
                    view_changing.on_time_out(state)

    def _receive(self, event: Received) -> None:
        """Hand a message to its part of the protocol; its sender must be who last spoke in that name (C5)."""
        self._check_current(event)
        state, message, sender = self.state, event.message, event.sender
        match message:
            case PrePrepare():
                view_changing.on_higher_view(state, sender, message.signed.vote.view)
                self._watch(message.signed)
                normal_case.on_pre_prepare(state, message, event.batches)
            case Prepare() | Commit():
                self._watch(message.signed, sender)
            case Checkpoint():
                checkpointing.on_checkpoint(state, message, sender)
            case SignedViewChange():
                try:
                    self._watch_call(message)
                finally:  # proof that no transaction holds keeps nobody in an old view
                    view_changing.on_call(state, message, sender)
            case NewView():
                view_changing.on_new_view(state, message)
            case BatchOffer():
                batching.on_offer(state, event, event.batches[0])
            case Stored():
                batching.on_stored(state, message)
            case BatchReady():
                batching.on_ready(state, sender, message)
            case _:
                self._receive_other(event)

    def _receive_other(self, event: Received) -> None:
        """The messages outside ordering: fetching, catching up, ends of terms."""
        state = self.state
        match event.message:
            case FetchBatches() as message:
                batching.on_fetch(state, event, message)
            case StatusRequest(epoch=epoch):
                view_changing.on_status_request(state, event.sender, epoch)
            case StatusReply(tip=tip):
                if state.silence is not None and state.committee.index_of(event.sender) is not None:
                    state.silence.answer(event.sender, tip)
                elif tip is not None:
                    normal_case.on_decided(state, tip)
            case AllianceVote() as message:
                checkpointing.on_alliance_vote(state, message)
            case ResultProof(certificate=certificate):
                checkpointing.on_proof(state, certificate)
            case Complaint() as message:
                complaining.on_complaint(state, message, event.sender)
            case FetchNewView() as message:
                view_changing.on_fetch_new_view(state, event.sender, message)
            case _:
                pass

    def _check_current(self, event: Received) -> None:
        """Refuse a lower incarnation, and a second session of the same one: an old or a cloned replica (C5)."""
        known = self._peers.get(event.sender)
        if known is None or event.incarnation > known[0]:
            self._peers[event.sender] = (event.incarnation, event.session)
        elif event.incarnation < known[0]:
            raise FailedPrecondition("OLD_INCARNATION", f"{event.sender} has spoken in incarnation {known[0]}.", "C5")
        elif event.session != known[1]:
            raise Conflict("CLONED", f"{event.sender} has spoken in another session of this incarnation.", "C5")

    def _watch(self, signed: SignedVote, sender: str | None = None) -> None:
        """Keep a vote within the watermarks; a second, different one in its slot goes to the ledger as evidence (C8)."""
        state, vote = self.state, signed.vote
        if vote.epoch != state.outlook.epoch or state.index is None:
            return
        screen_vote(state, vote)
        index = state.committee.index_of(sender or state.committee.primary(vote.view))
        if index is None or index == state.index:
            return
        if vote.height <= state.low:
            state.attendance.note_vote(index, vote)
            return
        proof = find_equivocation(state.log, state.committee, index, signed)
        if proof is not None:
            accuse(state, proof.member_id, EvidenceBody(proof))

    def _watch_call(self, message: SignedViewChange) -> None:
        state = self.state
        if message.view_change.epoch == state.outlook.epoch and state.index is not None:
            proof = find_amnesia(state.log, state.committee, message, state.identity.chain_id)
            if proof is not None:
                accuse(state, proof.member_id, EvidenceBody(proof))
