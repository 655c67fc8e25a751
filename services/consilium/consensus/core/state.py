"""Where a replica stands: everything it knows, with the questions all its parts ask.

The functions that change it stand beside, one file for each part of the protocol: `batching`, `normal_case`,
`view_changing`, `checkpointing`, `resending`. Each takes the state and appends the effects it wants, in order.
"""

from dataclasses import dataclass, field

from consilium.consensus.core.attendance import Attendance
from consilium.consensus.core.checkpoints import Checkpoints
from consilium.consensus.core.events import Broadcast, Effect, Persist, Record, Send
from consilium.consensus.core.identity import Identity
from consilium.consensus.core.measures import Measures
from consilium.consensus.core.message_log import MessageLog
from consilium.consensus.core.messages import Checkpoint, Message, NewView
from consilium.consensus.core.pace import Pace
from consilium.consensus.core.pool import Pool
from consilium.consensus.core.proposals import Parent
from consilium.consensus.core.silence import Silence
from consilium.consensus.core.turnover import Turnover
from consilium.consensus.core.view_change import ViewChanges
from consilium.kernel.certificates import (
    CommitCertificate,
    Committee,
    Phase,
    Result,
    ResultCertificate,
    SignedVote,
    Vote,
)
from consilium.kernel.chain import Outlook
from consilium.kernel.encoding import encode
from consilium.kernel.errors import ConsiliumError
from consilium.kernel.parameters import Parameters
from consilium.kernel.recovery import RecoveryCertificate
from consilium.kernel.signing import Signer


@dataclass(slots=True)
class State:
    """One replica's knowledge. Times are milliseconds of the shell's clock; heights and views are counts."""

    identity: Identity
    outlook: Outlook
    tip: Parent
    log: MessageLog
    pool: Pool
    calls: ViewChanges
    turnover: Turnover
    now_ms: int = 0
    """This replica's own time, which only goes forward: what it waits by (C2). `wall_ms` is what its clock says, for L7."""
    wall_ms: int = 0
    view: int = 0
    entered: bool = True
    stable: ResultCertificate | None = None
    stable_height: int = 0
    delivered: int = 0
    previous_committee: Committee | None = None
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    blocks: dict[int, Parent] = field(default_factory=dict)
    results: dict[int, Result] = field(default_factory=dict)
    last_checkpoint: Checkpoint | None = None
    last_commit: CommitCertificate | None = None
    uncertified: dict[int, CommitCertificate] = field(default_factory=dict)
    pending: list[bytes] = field(default_factory=list)
    pending_bytes: int = 0
    gathered: int = 0
    """How many submissions wait in `pending`."""
    gathers: bool = False
    """Whether the last batch had waited for more than one submission."""
    new_view: NewView | None = None
    silence: Silence | None = None
    ahead: tuple[Record, ...] = ()
    """What the vote log holds of epochs above the ledger's, which lost its blocks; kept until the silence is over (C5)."""
    stopped_epoch: int | None = None
    recovery: RecoveryCertificate | None = None
    attempts: int = 0
    calls_complete_at: int | None = None
    view_entered_at: int = 0
    """Since when this view's primary may be blamed: it was entered, this replica caught up, or its epoch began (C2)."""
    progress_at: int = 0
    caught_up_at: int = 0
    """When a block last ordered what had waited for longest: its primary works off a backlog (C2)."""
    fetched_at: int | None = None
    """When the ledger last executed a block that this replica had not delivered."""
    heartbeat_due: bool = False
    deadline: int | None = None
    height_at_resend: int = -1
    asked_new_view: bool = False
    helped: dict[str, int] = field(default_factory=dict)
    """Who was sent the new view since the last beat."""
    handover_offered: bool = False
    attendance: Attendance = field(default_factory=Attendance)
    pace: Pace = field(default_factory=Pace)
    measures: Measures = field(default_factory=Measures)
    blamed: dict[str, int] = field(default_factory=dict)
    effects: list[Effect] = field(default_factory=list)
    refusals: list[tuple[str, ConsiliumError]] = field(default_factory=list)
    """What was refused in this step, and which member it came from."""
    index: int | None = field(init=False)
    """This member's place among the delegates of this epoch, or None when it has no vote."""
    consensus_signer: Signer = field(init=False)
    """What this epoch's committee knows this member by."""
    member_signer: Signer = field(init=False)
    """What this epoch's electors know this member by."""
    others: tuple[str, ...] = field(init=False)
    """The delegates of this epoch without this member."""

    def __post_init__(self) -> None:
        self.take_seat()

    def take_seat(self) -> None:
        """Look up this member's place and keys; to be called whenever another committee sits.

        Without the key that the committee holds there is no vote: another's signature would be taken for a forgery (G3).
        """
        signer, self.others = self.signer_in(self.committee), self.peers(self.committee)
        self.index = None if signer is None else self.committee.index_of(self.identity.member_id)
        self.consensus_signer = signer or self.identity.consensus_signer
        self.member_signer = self._elector_signer() or self.identity.member_signer

    def signer_in(self, committee: Committee) -> Signer | None:
        """What this member votes with in a committee, None where it is no delegate or has not the key at hand."""
        index = committee.index_of(self.identity.member_id)
        return None if index is None else self.identity.signer_of(committee.delegates[index].consensus_key)

    def _elector_signer(self) -> Signer | None:
        electors = self.outlook.electorate.electors
        own = next((each for each in electors if each.member_id == self.identity.member_id), None)
        return None if own is None else self.identity.signer_of(own.member_key)

    @property
    def committee(self) -> Committee:
        """The delegates of this epoch."""
        return self.outlook.committee

    @property
    def parameters(self) -> Parameters:
        """The numbers in force in this epoch."""
        return self.outlook.parameters

    @property
    def votes(self) -> bool:
        """Whether this replica may speak as a delegate now: it is one, not silenced (C5), and has not stopped (C10)."""
        return self.index is not None and self.silence is None and self.stopped_epoch != self.outlook.epoch

    @property
    def has_stopped(self) -> bool:
        """Whether this replica says nothing more in this epoch, as a delegate or as an elector (C10)."""
        return self.stopped_epoch == self.outlook.epoch

    @property
    def is_primary(self) -> bool:
        """Whether this replica proposes now."""
        is_turn = self.view % len(self.outlook.committee.delegates) == self.index
        return is_turn and self.entered and self.votes

    @property
    def low(self) -> int:
        """The low watermark: the stable height, never below the epoch's start (paper, section 4.3)."""
        stable, start = self.stable_height, self.outlook.epoch_start
        return stable if stable >= start else start - 1

    @property
    def high(self) -> int:
        """The high watermark, always below a height whose rules this build does not know (G5)."""
        high, stops_at = self.low + self.parameters.window_blocks, self.outlook.stops_at
        return high if stops_at is None else min(high, stops_at - 1)

    def tell_time(self, wall_ms: int) -> None:
        """Go forward with the clock; one that is set back takes none of the time back that has been waited (C2)."""
        self.now_ms += max(0, wall_ms - self.wall_ms)
        self.wall_ms = wall_ms

    def timeout_ms(self) -> int:
        """How long to wait for progress: doubled at every failed view, up to the cap (C2)."""
        parameters = self.parameters
        return min(parameters.view_timeout_ms << min(self.attempts, 16), parameters.view_timeout_max_ms)

    @property
    def is_behind(self) -> bool:
        """Whether an honest delegate has executed what this ledger still lacks: f + 1 results lie above the tip (C2)."""
        height, epoch = self.tip.height, self.outlook.epoch
        return self.low > height or self.checkpoints.ahead_of(height, epoch) > self.committee.faults_max

    def barred(self, height: int) -> bool:
        """Whether a block at this height must wait for one below to be executed: the draw, or a handover (C3, C6)."""
        election = self.outlook.election_height
        if election < height and self.tip.height < election:
            return True
        return any(slot.has_handover for each, slot in self.log.slots.items() if self.tip.height < each < height)

    @property
    def is_recovered(self) -> bool:
        """Whether the epoch before ended by a recovery, and nothing in this one is stable yet (C10)."""
        return self.recovery is not None and self.recovery.statement.epoch == self.outlook.epoch - 1

    def opening(self, height: int) -> RecoveryCertificate | None:
        """The recovery that the block at this height must carry: the first of the epoch that it opened."""
        recovery, outlook = self.recovery, self.outlook
        if recovery is None or height != outlook.epoch_start:
            return None
        return recovery if recovery.statement.mix == outlook.election_mix else None

    def block_at(self, height: int) -> Parent | None:
        """The executed block at a height, or the one accepted in this view."""
        executed = self.blocks.get(height)
        if executed is not None:
            return executed
        slot = self.log.slot(height, self.view)
        if slot is None or not slot.accepted:
            return None
        return Parent(height, slot.digest, slot.header.time_ms)

    def peers(self, *committees: Committee) -> tuple[str, ...]:
        """The delegates of these committees without this member."""
        names = [each.member_id for committee in committees for each in committee.delegates]
        return tuple([each for each in dict.fromkeys(names) if each != self.identity.member_id])

    def persist(self, *records: Record, at_leisure: bool = False) -> None:
        """Ask for records to be made durable before whatever is asked for next (C5), or with the next that are."""
        self.effects.append(Persist(records, at_leisure=at_leisure))

    def broadcast(self, message: Message, to: tuple[str, ...] | None = None) -> None:
        """Ask for a message to go to the other delegates, or to the members named."""
        self.effects.append(Broadcast(self.others if to is None else to, message))

    def send(self, to: str, message: Message) -> None:
        """Ask for a message to go to one member."""
        self.effects.append(Send(to, message))

    def sign_vote(self, phase: Phase, height: int, digest: bytes) -> SignedVote:
        """This replica's vote in the current view, kept in its own log as well."""
        vote = Vote(phase, self.outlook.epoch, self.view, height, digest)
        signed = SignedVote(vote, self.consensus_signer.sign(encode(vote, self.identity.chain_id)))
        assert self.index is not None, "only a delegate votes"
        conflict = self.log.record(self.index, signed)
        assert conflict is None, f"C5: a second {phase.name} in one slot would break this replica's word"
        return signed
