"""What replicas say to one another (Castro and Liskov 1999, sections 4.2 to 4.4; rules C1 to C8).

Signed parts are values of `kernel.certificates`; what is attached to them is bound by hashes inside. An envelope adds who
speaks: member, incarnation and session. The link authenticates these three (mutual TLS), the votes authenticate
themselves, so a vote keeps its worth inside a certificate whoever carries it.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from consilium.kernel.certificates import (
    COMMITTEE_MAX,
    HEADER_BYTES_MAX,
    WINDOW_MAX,
    CommitCertificate,
    MemberSignature,
    QuorumSignature,
    Result,
    ResultCertificate,
    Signatures,
    SignedVote,
    ViewChange,
)
from consilium.kernel.chain import BATCHES_MAX
from consilium.kernel.encoding import ENCODED_BYTES_MAX, AtMost, Digest, Identifier, MemberId, Signature

BatchBytes = Annotated[bytes, AtMost(ENCODED_BYTES_MAX)]
"""An encoded `kernel.chain.Batch`."""


@dataclass(frozen=True, slots=True)
class StoredStatement:
    """What a delegate signs when a batch lies on its disk (C4)."""

    DOMAIN: ClassVar[str] = "consilium.stored"
    epoch: int
    digest: Digest


@dataclass(frozen=True, slots=True)
class StoredCertificate:
    """2f+1 "stored" answers: at least f+1 honest delegates can hand the batch out (C4)."""

    digest: Digest
    signatures: Signatures


@dataclass(frozen=True, slots=True)
class PrePrepare:
    """The primary's proposal: a signed pre-prepare, the header it names, small batches inline, proof of the others."""

    KIND: ClassVar[int] = 1
    signed: SignedVote
    header: Annotated[bytes, AtMost(HEADER_BYTES_MAX)]
    inline: Annotated[tuple[BatchBytes, ...], AtMost(BATCHES_MAX)]
    stored: Annotated[tuple[StoredCertificate, ...], AtMost(BATCHES_MAX)]


@dataclass(frozen=True, slots=True)
class Prepare:
    """A backup's word that it accepted the proposal."""

    KIND: ClassVar[int] = 2
    signed: SignedVote


@dataclass(frozen=True, slots=True)
class Commit:
    """A delegate's word that the proposal is prepared with it."""

    KIND: ClassVar[int] = 3
    signed: SignedVote


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What executing a block gave at this delegate: PBFT's checkpoint, at every block (L3)."""

    KIND: ClassVar[int] = 4
    result: Result
    signature: Signature


@dataclass(frozen=True, slots=True)
class SignedViewChange:
    """A call for a later view, under the caller's consensus key."""

    KIND: ClassVar[int] = 5
    view_change: ViewChange
    index: int
    signature: Signature


@dataclass(frozen=True, slots=True)
class NewViewStatement:
    """What the primary of a new view signs: it opens the view with these calls and these proposals (paper, section 4.4)."""

    DOMAIN: ClassVar[str] = "consilium.new-view"
    epoch: int
    view: int
    view_changes: Annotated[tuple[SignedViewChange, ...], AtMost(COMMITTEE_MAX)]
    proposals: Annotated[tuple[SignedVote, ...], AtMost(WINDOW_MAX)]


@dataclass(frozen=True, slots=True)
class NewView:
    """2f+1 view changes and the proposals that follow from them; anybody can recompute the one from the other.

    Its primary signs it as a whole: different quorums may call for different proposals, and only one of them opens the view.
    """

    KIND: ClassVar[int] = 6
    epoch: int
    view: int
    view_changes: Annotated[tuple[SignedViewChange, ...], AtMost(COMMITTEE_MAX)]
    proposals: Annotated[tuple[SignedVote, ...], AtMost(WINDOW_MAX)]
    signature: Signature

    @property
    def statement(self) -> NewViewStatement:
        """The part that is signed."""
        return NewViewStatement(self.epoch, self.view, self.view_changes, self.proposals)


@dataclass(frozen=True, slots=True)
class BatchOffer:
    """A batch on its way: from the member that formed it, or from a delegate that was asked for it (C4)."""

    KIND: ClassVar[int] = 7
    batch: BatchBytes


@dataclass(frozen=True, slots=True)
class Stored:
    """The answer to an offer too large to travel inline: it lies on my disk (C4)."""

    KIND: ClassVar[int] = 8
    digest: Digest
    stored: QuorumSignature


@dataclass(frozen=True, slots=True)
class BatchReady:
    """A batch may be ordered now; from here on every replica watches that it is (C2, C4)."""

    KIND: ClassVar[int] = 9
    certificate: StoredCertificate


@dataclass(frozen=True, slots=True)
class FetchBatches:
    """Please send me these batches."""

    KIND: ClassVar[int] = 10
    digests: Annotated[tuple[Digest, ...], AtMost(BATCHES_MAX)]


@dataclass(frozen=True, slots=True)
class StatusRequest:
    """How far are you? Asked by a replica whose vote log is lost (C5), or that others are ahead of (C2)."""

    KIND: ClassVar[int] = 11
    epoch: int


@dataclass(frozen=True, slots=True)
class StatusReply:
    """The highest committed block I know, with its proof; none before the first block of the epoch (C5)."""

    KIND: ClassVar[int] = 12
    epoch: int
    tip: CommitCertificate | None


@dataclass(frozen=True, slots=True)
class AllianceVote:
    """A member's signature on the end of a term (C7)."""

    KIND: ClassVar[int] = 13
    result: Result
    signed: MemberSignature


@dataclass(frozen=True, slots=True)
class ResultProof:
    """A result certificate for one that lags."""

    KIND: ClassVar[int] = 14
    certificate: ResultCertificate


@dataclass(frozen=True, slots=True)
class FetchNewView:
    """Please send me the proof of the view you work in; mine is lower."""

    KIND: ClassVar[int] = 15
    epoch: int


@dataclass(frozen=True, slots=True)
class Complaint:
    """The primary of this view lets work lie; I go on voting until 2f+1 say so (C2)."""

    KIND: ClassVar[int] = 16
    epoch: int
    view: int


Message = (
    PrePrepare
    | Prepare
    | Commit
    | Checkpoint
    | SignedViewChange
    | NewView
    | BatchOffer
    | Stored
    | BatchReady
    | FetchBatches
    | StatusRequest
    | StatusReply
    | AllianceVote
    | ResultProof
    | FetchNewView
    | Complaint
)


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message and who speaks. A peer refuses a lower incarnation, and a second session of the same one (C5)."""

    DOMAIN: ClassVar[str] = "consilium.envelope"
    sender: MemberId
    incarnation: int
    session: Identifier
    message: Message
