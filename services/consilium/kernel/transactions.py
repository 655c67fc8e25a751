"""Every kind of transaction, and what it carries (rules L2, G1 to G5, S3 to S6, S8, C6 to C8).

The numbers of the kinds never change. Break-glass has its number reserved here, so that the formats need not move when it
comes. 12 stays free: a recovery (C10) is no transaction, for nobody could order it.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, ClassVar

from consilium.kernel.certificates import COMMITTEE_MAX, AllianceCertificate, Departure, SignedVote, ViewChange
from consilium.kernel.consent import Release
from consilium.kernel.encoding import AtMost, Digest, Exactly, Identifier, MemberId, PublicKey, Signature
from consilium.kernel.parameters import Parameters
from consilium.kernel.umbral import CAPSULE_BYTES

PAYLOAD_BYTES_MAX = 65_536
"""The most bytes a payload may have; the largest kind is a handover that carries an alliance certificate."""

PROVEN_HEADER_BYTES_MAX = 32_768
"""The longest header that is carried as evidence; the others of one primary's are as good."""
CANDIDATES_MAX = 5
"""How many members one vote may give points to (C6)."""

UmbralPublicKey = Annotated[bytes, Exactly(33)]
"""A secp256k1 point in compressed form, as Umbral writes it."""
OwnershipProof = Annotated[bytes, AtMost(80)]
"""A signature under a delegating key (`kernel.umbral.prove_ownership`)."""


class Kind(IntEnum):
    """What a transaction does; those without a body class below are reserved and refused."""

    REVEAL = 3
    RECORD = 4
    GRANT = 5
    REVOKE = 6
    REQUEST = 7
    RECEIPT = 8
    HANDOVER = 9
    EVIDENCE = 10
    VOTE = 11
    ERASURE = 13
    BREAK_GLASS = 14
    PROPOSAL = 16
    BALLOT = 17
    ATTENDANCE = 18
    LEFT_VIEW = 19


class Grade(IntEnum):
    """A hospital's grade in the national grading: three levels, ten grades (reference: election.md section 3)."""

    UNGRADED = 0
    C1 = 1
    B1 = 2
    A1 = 3
    C2 = 4
    B2 = 5
    A2 = 6
    C3 = 7
    B3 = 8
    A3 = 9
    SPECIAL3 = 10


class MemberAction(IntEnum):
    """What a proposal does to a member."""

    ADMIT = 1
    SUSPEND = 2
    REINSTATE = 3
    EXPEL = 4


class Purpose(IntEnum):
    """Why a record is asked for (after HL7's PurposeOfUse; its codes stay off the ledger)."""

    TREATMENT = 1
    PAYMENT = 2
    OPERATIONS = 3
    RESEARCH = 4
    PUBLIC_HEALTH = 5


class RetentionAct(IntEnum):
    """What a record's home does to its keeping (S8)."""

    ERASE = 1
    HOLD = 2
    LIFT = 3


class ReceiptKind(IntEnum):
    """What a holder attests: a fragment released (S5) or a key fragment deleted (S6)."""

    RELEASE = 1
    DELETION = 2


@dataclass(frozen=True, slots=True)
class MemberProfile:
    """Who a member is on the ledger: its owner, grade and keys. No TLS certificate stands here (design section 8)."""

    member_id: MemberId
    owner_group: MemberId
    grade: Grade
    member_key: PublicKey
    consensus_key: PublicKey
    reveal_anchor: Digest


@dataclass(frozen=True, slots=True)
class MemberAct:
    """Admit, suspend, reinstate or expel a member (G2).

    All but an admission name the keys in force in the profile, so that an old proposal does not hit a new key.
    """

    KIND: ClassVar[int] = 1
    action: MemberAction
    profile: MemberProfile


@dataclass(frozen=True, slots=True)
class GradeAct:
    """Set a member's grade until a height (C6)."""

    KIND: ClassVar[int] = 2
    member_id: MemberId
    grade: Grade
    expires_height: int


@dataclass(frozen=True, slots=True)
class NewKeys:
    """The keys and the chain of reveals a member goes over to."""

    member_key: PublicKey
    consensus_key: PublicKey
    reveal_anchor: Digest


@dataclass(frozen=True, slots=True)
class KeysAct:
    """Change a member's keys; `profile` names those in force (G3)."""

    KIND: ClassVar[int] = 3
    profile: MemberProfile
    keys: NewKeys


@dataclass(frozen=True, slots=True)
class ParametersAct:
    """Change the alliance's numbers from the next epoch on; `before` are the newest adopted (G4)."""

    KIND: ClassVar[int] = 4
    before: Parameters
    after: Parameters


@dataclass(frozen=True, slots=True)
class UpgradeAct:
    """Execute by the rules of a later protocol version from a height on (G5)."""

    KIND: ClassVar[int] = 5
    version: int
    height: int


Act = MemberAct | GradeAct | KeysAct | ParametersAct | UpgradeAct
"""What a proposal does once it is adopted."""


@dataclass(frozen=True, slots=True)
class ProposalBody:
    """What one active member proposes to all, to be decided up to a height; its author says yes by it (G1).

    `evidence_digest` is the SHA-256 of the document behind it, or zero; a grade needs one.
    """

    KIND: ClassVar[int] = Kind.PROPOSAL
    act: Act
    evidence_digest: Digest
    decide_by: int


@dataclass(frozen=True, slots=True)
class BallotBody:
    """A member's yes or no to a proposal, which is named by its transaction's hash; the first one stands (G1)."""

    KIND: ClassVar[int] = Kind.BALLOT
    proposal_id: Digest
    yes: bool


@dataclass(frozen=True, slots=True)
class RevealBody:
    """The next preimage of a delegate's hash chain, once an epoch: the seed of the draw (C6)."""

    KIND: ClassVar[int] = Kind.REVEAL
    epoch: int
    preimage: Digest


@dataclass(frozen=True, slots=True)
class RecordBody:
    """A record's metadata: no names, codes, types or exact sizes (promise 7, S3)."""

    KIND: ClassVar[int] = Kind.RECORD
    record_id: Identifier
    holder: MemberId
    owner_commitment: Digest
    ciphertext_root: Digest
    capsule_digest: Digest
    size_class: int


@dataclass(frozen=True, slots=True)
class GrantTerms:
    """What an owner permits: which key's records, to whom, why, when, and who holds the key fragments (S3, S4)."""

    grant_id: Identifier
    delegating_pk: UmbralPublicKey
    verifying_pk: UmbralPublicKey
    recipient_member: MemberId
    recipient_key: PublicKey
    receiving_pk: UmbralPublicKey
    purpose: Purpose
    actor: Digest
    not_before_ms: int
    not_after_ms: int
    holders: Annotated[tuple[MemberId, ...], AtMost(16)]
    threshold: int
    kfrag_commitments: Annotated[tuple[Digest, ...], AtMost(16)]
    weaker_budget: bool


@dataclass(frozen=True, slots=True)
class GrantBody:
    """Terms, and the proof that their author owns the delegating key; so nobody grants another's records."""

    KIND: ClassVar[int] = Kind.GRANT
    terms: GrantTerms
    ownership: OwnershipProof


@dataclass(frozen=True, slots=True)
class OwnershipStatement:
    """What the ownership proof signs: these terms, by this author, on this chain."""

    DOMAIN: ClassVar[str] = "consilium.ownership"
    author: PublicKey
    terms: GrantTerms


@dataclass(frozen=True, slots=True)
class RevokeBody:
    """End a grant. A successor key closes the delegating key and opens a new epoch for the scope (S6).

    The regrants give the scope's other recipients the new epoch, in the same block.
    """

    KIND: ClassVar[int] = Kind.REVOKE
    grant_id: Identifier
    successor_pk: UmbralPublicKey | None
    regrants: Annotated[tuple[GrantBody, ...], AtMost(32)]


@dataclass(frozen=True, slots=True)
class RequestBody:
    """Ask for one record under one grant; the opened salt ties the record to the grant's key (S3)."""

    KIND: ClassVar[int] = Kind.REQUEST
    grant_id: Identifier
    record_id: Identifier
    salt: Digest
    purpose: Purpose
    purpose_evidence: Digest


@dataclass(frozen=True, slots=True)
class ReceiptBody:
    """A holder's own word that it released a fragment for a request, or deleted its key fragment (S5, S6)."""

    KIND: ClassVar[int] = Kind.RECEIPT
    receipt: ReceiptKind
    holder: MemberId
    grant_id: Identifier
    request_hash: Digest
    released_height: int


@dataclass(frozen=True, slots=True)
class HandoverBody:
    """The alliance's signatures on the term's last block; the block this stands in is the epoch's last (C7)."""

    KIND: ClassVar[int] = Kind.HANDOVER
    certificate: AllianceCertificate


@dataclass(frozen=True, slots=True)
class Equivocation:
    """Two votes of one delegate for different digests in one slot (C8)."""

    KIND: ClassVar[int] = 1
    member_id: MemberId
    first: SignedVote
    second: SignedVote


@dataclass(frozen=True, slots=True)
class Amnesia:
    """A commit in view v, then a view change to a later view that hides the prepared certificate (C8, cross-view)."""

    KIND: ClassVar[int] = 2
    member_id: MemberId
    commit: SignedVote
    view_change: ViewChange
    signature: Signature


@dataclass(frozen=True, slots=True)
class BadFragment:
    """A capsule fragment that does not fit its grant, under the word of the holder that handed it out (S5)."""

    KIND: ClassVar[int] = 3
    member_id: MemberId
    release: Release
    capsule: Annotated[bytes, Exactly(CAPSULE_BYTES)]


@dataclass(frozen=True, slots=True)
class InvalidProposal:
    """A primary's signed proposal of a header that contradicts the chain on its face (C6)."""

    KIND: ClassVar[int] = 4
    member_id: MemberId
    proposal: SignedVote
    header: Annotated[bytes, AtMost(PROVEN_HEADER_BYTES_MAX)]


@dataclass(frozen=True, slots=True)
class EvidenceBody:
    """Proof of a member's misbehaviour: signatures only its own key can have made."""

    KIND: ClassVar[int] = Kind.EVIDENCE
    proof: Equivocation | Amnesia | BadFragment | InvalidProposal


@dataclass(frozen=True, slots=True)
class ErasureBody:
    """Erase a record for ever, or place or lift a legal hold that forbids it; its home's act (S8).

    The digest is of the paper behind it: the owner's order, a court's; its words stay off the ledger (promise 7).
    """

    KIND: ClassVar[int] = Kind.ERASURE
    record_id: Identifier
    act: RetentionAct
    evidence_digest: Digest


@dataclass(frozen=True, slots=True)
class Points:
    """What a vote gives to one candidate."""

    member_id: MemberId
    points: int


@dataclass(frozen=True, slots=True)
class VoteBody:
    """A member's points for those it wants as delegates; a new vote replaces the last, an empty one withdraws it (C6)."""

    KIND: ClassVar[int] = Kind.VOTE
    points: Annotated[tuple[Points, ...], AtMost(CANDIDATES_MAX)]


@dataclass(frozen=True, slots=True)
class Absence:
    """What one delegate missed of another in a term, up to the election height.

    `count` is on how many blocks it saw a quorum vote, and not the other. Bit i of `recent` says so of the block i below the
    election height, for the last 50, and that it did not see the other's result either.
    """

    count: int
    recent: int


@dataclass(frozen=True, slots=True)
class AttendanceBody:
    """A member's sign of life, once a term; from a delegate with what it missed of all delegates, in their order (C6)."""

    KIND: ClassVar[int] = Kind.ATTENDANCE
    epoch: int
    absences: Annotated[tuple[Absence, ...], AtMost(COMMITTEE_MAX)]


@dataclass(frozen=True, slots=True)
class LeftViewBody:
    """A quorum of delegates has called for a view: the primary of the view before it missed its proposal (C6)."""

    KIND: ClassVar[int] = Kind.LEFT_VIEW
    epoch: int
    view: int
    departures: Annotated[tuple[Departure, ...], AtMost(COMMITTEE_MAX)]


Body = (
    ProposalBody
    | BallotBody
    | RevealBody
    | RecordBody
    | GrantBody
    | RevokeBody
    | RequestBody
    | ReceiptBody
    | HandoverBody
    | EvidenceBody
    | ErasureBody
    | VoteBody
    | AttendanceBody
    | LeftViewBody
)


@dataclass(frozen=True, slots=True)
class Payload:
    """What an author signs. (author, request id) takes effect at most once, and never after the expiry height (L6)."""

    DOMAIN: ClassVar[str] = "consilium.payload"
    author: PublicKey
    request_id: Identifier
    expiry_height: int
    body: Body


@dataclass(frozen=True, slots=True)
class Endorsement:
    """A key and its signature over some bytes."""

    public_key: PublicKey
    signature: Signature


@dataclass(frozen=True, slots=True)
class Transaction:
    """A payload under its author's signature (L1, L2)."""

    DOMAIN: ClassVar[str] = "consilium.transaction"
    payload: Annotated[bytes, AtMost(PAYLOAD_BYTES_MAX)]
    signature: Signature
