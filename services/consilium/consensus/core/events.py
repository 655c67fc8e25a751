"""What happens to a replica, and what it asks for (rule C1; reference: house.md, "The replica's shape").

Inputs are past participles: they happened. Effects are imperatives: please do. The driver obeys the effects of one step in
their order, so "made durable before it is sent" is written once, in the core (C5). Both live for one step; the core neither
changes nor keeps an input, and they are not frozen because making a frozen one takes four times as long. Records are.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

from consilium.consensus.core.messages import BatchBytes, Message, NewView
from consilium.kernel.certificates import CommitCertificate, PreparedCertificate, Result, ResultCertificate
from consilium.kernel.chain import CertifiedBlock, Header, Outlook
from consilium.kernel.encoding import Identifier, MemberId, Signature
from consilium.kernel.opening import OpenedBatch
from consilium.kernel.recovery import RecoveryCertificate


class Timer(IntEnum):
    """The four alarms of a replica; setting one again moves it."""

    BATCH = 1
    HEARTBEAT = 2
    PROGRESS = 3
    RESEND = 4


@dataclass(slots=True)
class Submitted:
    """Transactions, each as its author made it, were handed in at this member; all have been opened and verified."""

    now_ms: int
    transactions: tuple[bytes, ...]


@dataclass(slots=True)
class Received:
    """A message arrived whose signatures `admission.admit` has verified; the batches it carries stand opened beside."""

    now_ms: int
    sender: MemberId
    incarnation: int
    session: Identifier
    message: Message
    batches: tuple[OpenedBatch, ...] = ()


@dataclass(slots=True)
class TimerExpired:
    """An alarm rang."""

    now_ms: int
    timer: Timer


@dataclass(slots=True)
class Executed:
    """The ledger executed a block and made it durable, whether this replica delivered it or block sync did."""

    now_ms: int
    result: Result
    header: Header
    commit: CommitCertificate
    outlook: Outlook


@dataclass(slots=True)
class StopAsked:
    """The member's people asked that its replica says nothing more in this epoch (C10)."""

    now_ms: int
    epoch: int


@dataclass(slots=True)
class RecoverySigned:
    """More than two thirds of the electors have signed a recovery; all signatures in it were verified (C10)."""

    now_ms: int
    certificate: RecoveryCertificate


Input = Submitted | Received | TimerExpired | Executed | StopAsked | RecoverySigned


@dataclass(frozen=True, slots=True)
class ProposalRecord:
    """This replica accepted (or, as primary, made) this proposal: it fixes its pre-prepare and prepare in the slot."""

    KIND: ClassVar[int] = 1
    epoch: int
    view: int
    header: bytes
    primary_signature: Signature


@dataclass(frozen=True, slots=True)
class PreparedRecord:
    """The proposal is prepared here: it fixes the commit in the slot, and is what a view change must show."""

    KIND: ClassVar[int] = 2
    epoch: int
    height: int
    certificate: PreparedCertificate


@dataclass(frozen=True, slots=True)
class ViewRecord:
    """This replica left all lower views; `entered` only at view 0, which needs no proof."""

    KIND: ClassVar[int] = 3
    epoch: int
    view: int
    entered: bool


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """A batch this replica answers for."""

    KIND: ClassVar[int] = 4
    batch: BatchBytes


@dataclass(frozen=True, slots=True)
class StableRecord:
    """A stable checkpoint: nothing at or below its height is needed any more."""

    KIND: ClassVar[int] = 5
    certificate: ResultCertificate


@dataclass(frozen=True, slots=True)
class NewViewRecord:
    """This replica entered a view on this proof: it fixes what the view proposes again, and is there for who asks."""

    KIND: ClassVar[int] = 6
    new_view: NewView


@dataclass(frozen=True, slots=True)
class StopRecord:
    """This replica says nothing more in the epoch: its report on it was given out, and must stay true (C10)."""

    KIND: ClassVar[int] = 7
    epoch: int


@dataclass(frozen=True, slots=True)
class RecoveryRecord:
    """The epoch ends as this certificate says, whatever its old committee may still say (C10)."""

    KIND: ClassVar[int] = 8
    certificate: RecoveryCertificate


Record = (
    ProposalRecord | PreparedRecord | ViewRecord | BatchRecord | StableRecord | NewViewRecord | StopRecord | RecoveryRecord
)


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One record as it lies in the vote log."""

    DOMAIN: ClassVar[str] = "consilium.vote-log"
    record: Record


@dataclass(slots=True)
class Persist:
    """Make these records durable before going on. With `replace`, they are all the log needs to hold from now on.

    With `at_leisure` nothing that is said rests on them yet: they are written now, and durable with the next that is not.
    """

    records: tuple[Record, ...]
    replace: bool = False
    at_leisure: bool = False


@dataclass(slots=True)
class Send:
    """Hand a message to one member's link; it may be lost."""

    to: MemberId
    message: Message


@dataclass(slots=True)
class Broadcast:
    """Hand a message to several members' links, this replica's own never among them."""

    to: tuple[MemberId, ...]
    message: Message


@dataclass(slots=True)
class SetTimer:
    """Ring the alarm after so many milliseconds, instead of any earlier setting."""

    timer: Timer
    delay_ms: int


@dataclass(slots=True)
class CancelTimer:
    """Do not ring the alarm."""

    timer: Timer


@dataclass(slots=True)
class Deliver:
    """Hand a committed block, or a result certificate, to this member's own ledger; blocks come in height order."""

    item: CertifiedBlock | ResultCertificate


Effect = Persist | Send | Broadcast | SetTimer | CancelTimer | Deliver
