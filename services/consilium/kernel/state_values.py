"""What the authenticated map holds: members, numbers, proposals, grants, closed keys, erasures, electorates (rule L4).

The ledger writes these values, holders and light clients read them under a state proof, so they live in the kernel. Every
key begins with the name of its kind of thing; the map itself is `kernel.state_map`.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, ClassVar

from consilium.kernel.certificates import MEMBERS_MAX
from consilium.kernel.codes import Code
from consilium.kernel.encoding import AtMost, Digest, MemberId, PublicKey
from consilium.kernel.hashing import domain_hash, sha256
from consilium.kernel.parameters import Parameters
from consilium.kernel.transactions import (
    CANDIDATES_MAX,
    Grade,
    GrantTerms,
    MemberProfile,
    NewKeys,
    Points,
    ProposalBody,
    UpgradeAct,
)

DUTIES_KEPT = 50
"""Over how many of its last duties a member may be jailed (C6; election.md section 5, point 10)."""

REVISIONS_MAX = 64
"""How many changes of members the registry lists; who missed more reads all members."""
PROPOSALS_MAX = 64
"""The most proposals of one member the map may hold, whatever the alliance's own bound."""


class MemberStatus(IntEnum):
    """Where a member stands; only an active one registers, holds and is drawn."""

    ACTIVE = 1
    SUSPENDED = 2
    EXPELLED = 3


@dataclass(frozen=True, slots=True)
class Conduct:
    """How a member has served, as of the last term's end; from the chain alone (C6).

    Bit i of `missed` says that it missed the duty i before its newest, of the last 50. `jailed_until` is the first epoch it
    may be drawn for again, `jailed_since` the epoch in which it was jailed. `terms_running` counts the terms it has served
    without a break, the one that goes on included. A `silent` member gave no sign of life in the term before.
    """

    missed: int = 0
    jailed_since: int = 0
    jailed_until: int = 0
    terms_running: int = 0
    silent: bool = False


@dataclass(frozen=True, slots=True)
class CastVote:
    """A member's newest vote, and the epoch it was cast in, from which its age counts (C6)."""

    epoch: int
    points: Annotated[tuple[Points, ...], AtMost(CANDIDATES_MAX)]


@dataclass(frozen=True, slots=True)
class MemberState:
    """A member as the ledger knows it.

    `grade_expires_height` is the last height the profile's grade counts at, None for no end. `reveal_anchor` moves down the
    member's hash chain with every reveal. `score` is 0 to 1000. A tombstoned member is never drawn again under its
    consensus key (C8). `next_keys` are adopted, and in force from a later epoch on (G3).
    """

    DOMAIN: ClassVar[str] = "consilium.member-state"
    profile: MemberProfile
    status: MemberStatus
    grade_expires_height: int | None
    reveal_anchor: Digest
    score: int
    evidence_count: int
    tombstoned: bool
    conduct: Conduct = Conduct()
    vote: CastVote | None = None
    next_keys: NewKeys | None = None

    @property
    def is_active(self) -> bool:
        """Whether the member takes part."""
        return self.status is MemberStatus.ACTIVE

    def grade_at(self, height: int) -> Grade:
        """The grade that counts at a height; an expired one counts as ungraded (C6)."""
        expires = self.grade_expires_height
        return self.profile.grade if expires is None or height <= expires else Grade.UNGRADED


@dataclass(frozen=True, slots=True)
class Revision:
    """A height at which a member's status or keys changed."""

    height: int
    member_id: MemberId


@dataclass(frozen=True, slots=True)
class Registry:
    """All members there have been, sorted by id, and the newest changes, oldest first: what a service has to read anew."""

    DOMAIN: ClassVar[str] = "consilium.registry"
    member_ids: Annotated[tuple[MemberId, ...], AtMost(MEMBERS_MAX)]
    revisions: Annotated[tuple[Revision, ...], AtMost(REVISIONS_MAX)]


@dataclass(frozen=True, slots=True)
class AllianceState:
    """What the alliance lives by at a height: its numbers, those of the next epoch, its version and the next (G4, G5)."""

    DOMAIN: ClassVar[str] = "consilium.alliance-state"
    parameters: Parameters
    next_parameters: Parameters | None
    protocol_version: int
    upgrade: UpgradeAct | None

    @property
    def newest_parameters(self) -> Parameters:
        """The numbers adopted last, in force or not yet."""
        return self.next_parameters or self.parameters


class ProposalStatus(IntEnum):
    """Where a proposal stands; a void one was adopted when it could not be done any more (G1)."""

    OPEN = 1
    ADOPTED = 2
    REFUSED = 3
    EXPIRED = 4
    VOID = 5


@dataclass(frozen=True, slots=True)
class Ballot:
    """What one member said to a proposal."""

    member_id: MemberId
    yes: bool


@dataclass(frozen=True, slots=True)
class ProposalState:
    """A proposal, the ballots in the order they came, and how it ended (G1).

    `outcome` is what doing it gave, None unless more than two thirds said yes.
    """

    DOMAIN: ClassVar[str] = "consilium.proposal-state"
    author: MemberId
    body: ProposalBody
    opened_height: int
    ballots: Annotated[tuple[Ballot, ...], AtMost(MEMBERS_MAX)]
    status: ProposalStatus
    closed_height: int | None
    outcome: Code | None

    def said(self, member_id: str) -> bool | None:
        """What a member said, None while it said nothing."""
        return next((each.yes for each in self.ballots if each.member_id == member_id), None)


@dataclass(frozen=True, slots=True)
class ProposalList:
    """One member's proposals that the map holds, oldest first."""

    DOMAIN: ClassVar[str] = "consilium.proposal-list"
    proposal_ids: Annotated[tuple[Digest, ...], AtMost(PROPOSALS_MAX)]


@dataclass(frozen=True, slots=True)
class GrantState:
    """A grant and what became of it; heights are None until it happened.

    `revoked_height` is set when the grant is revoked or its key closed. `deleted_by` are the holders that signed a deletion
    receipt, in the order of the ledger; once h - t + 1 have, too few fragments are left and the grant is dead (S6).
    """

    DOMAIN: ClassVar[str] = "consilium.grant-state"
    terms: GrantTerms
    author: PublicKey
    granted_height: int
    revoked_height: int | None
    deleted_by: Annotated[tuple[MemberId, ...], AtMost(16)]
    dead_height: int | None


@dataclass(frozen=True, slots=True)
class RetentionState:
    """A record that is erased for ever or under a legal hold; a record without an entry is neither (S8).

    One of the two heights is set: when the hold was placed, or when the record was erased.
    """

    DOMAIN: ClassVar[str] = "consilium.retention-state"
    held_height: int | None
    erased_height: int | None


def is_erased(retention: RetentionState | None) -> bool:
    """Whether the record is gone for ever."""
    return retention is not None and retention.erased_height is not None


def member_entry(member_id: str) -> bytes:
    """The map's key of a `MemberState`."""
    return b"member/" + member_id.encode()


def registry_entry() -> bytes:
    """The map's key of the `Registry`."""
    return b"registry"


def alliance_entry() -> bytes:
    """The map's key of the `AllianceState`."""
    return b"alliance"


def proposal_entry(proposal_id: bytes) -> bytes:
    """The map's key of a `ProposalState`."""
    return b"proposal/" + proposal_id


def proposals_entry(member_id: str) -> bytes:
    """The map's key of a member's `ProposalList`; nothing stands there while it has none."""
    return b"proposals/" + member_id.encode()


def grant_entry(grant_id: bytes) -> bytes:
    """The map's key of a `GrantState`."""
    return b"grant/" + grant_id


def closed_entry(delegating_pk: bytes) -> bytes:
    """The map's key of a closed delegating key; the value is its successor, 33 bytes: the key directory of S6."""
    return b"closed/" + sha256(delegating_pk)


def retention_entry(record_id: bytes) -> bytes:
    """The map's key of a record's `RetentionState`."""
    return b"erasure/" + record_id


def offence_entry(what: bytes) -> bytes:
    """The map's key of an offence that counts once, by the digest of what it was; the value is one byte."""
    return b"offence/" + what


def electorate_entry(epoch: int) -> bytes:
    """The map's key of an epoch's `certificates.Electorate`."""
    return b"electorate/" + epoch.to_bytes(8, "big")


def state_root(map_root: bytes, tables_root: bytes) -> bytes:
    """What results carry for the whole state: the map, which has proofs, and the tables, which have none (L4)."""
    return domain_hash("consilium.state", map_root, tables_root)
