"""Votes, and the certificates that quorums of them make (rules L3, C1, C7, C8).

A commit certificate fixes the order, a result certificate what executing it gave, an alliance certificate the end of a term.
The view stands in votes and commit certificates only, so a block proposed again in a later view keeps its hash.
`verify_*` raise `BadSignature` and never return a bool.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Annotated, ClassVar

from consilium.kernel.encoding import AtMost, Digest, MemberId, PublicKey, Signature, encode
from consilium.kernel.errors import BadSignature
from consilium.kernel.hashing import sha256
from consilium.kernel.signing import Verifier

COMMITTEE_MAX = 61
"""The most delegates a committee may have, the largest 3f + 1 whose bitmap fits an integer (L3); the target is 13 (C6)."""
MEMBERS_MAX = 512
"""The most members an alliance may have, which bounds an alliance certificate."""
HEADER_BYTES_MAX = 65_536
"""The most bytes an encoded header may have: 1,024 batch digests and the fixed fields, with room."""
WINDOW_MAX = 128
"""The most heights between the watermarks, which bounds what a view change carries."""


@dataclass(frozen=True, slots=True)
class Delegate:
    """A member elected to order blocks, and the key it votes with."""

    member_id: MemberId
    consensus_key: PublicKey


@dataclass(frozen=True, slots=True)
class Committee:
    """The delegates of one epoch in their order; n = 3f+1 (C1, C6)."""

    DOMAIN: ClassVar[str] = "consilium.committee"
    epoch: int
    delegates: Annotated[tuple[Delegate, ...], AtMost(COMMITTEE_MAX)]

    @property
    def faults_max(self) -> int:
        """How many faulty delegates are tolerated: f = (n - 1) // 3."""
        return (len(self.delegates) - 1) // 3

    @property
    def quorum(self) -> int:
        """How many votes decide: n - f, which is 2f + 1 as n = 3f + 1; any two quorums share an honest delegate."""
        size = len(self.delegates)
        return size - (size - 1) // 3

    def primary(self, view: int) -> str:
        """The member that proposes in a view: order[view mod n] (C2)."""
        return self.delegates[view % len(self.delegates)].member_id

    def index_of(self, member_id: str) -> int | None:
        """A member's place in the order, or None when it has no vote in this epoch."""
        for index, delegate in enumerate(self.delegates):
            if delegate.member_id == member_id:
                return index
        return None

    def hash(self, chain_id: bytes) -> bytes:
        """What headers name the committee by."""
        return _committee_hash(self, chain_id)


@lru_cache(64)
def _committee_hash(committee: Committee, chain_id: bytes) -> bytes:
    """Asked for twice a block, and the same for a whole epoch."""
    return sha256(encode(committee, chain_id))


class Phase(IntEnum):
    """The three phases of the normal case (Castro and Liskov 1999, section 4.2)."""

    PRE_PREPARE = 1
    PREPARE = 2
    COMMIT = 3


@dataclass(frozen=True, slots=True)
class Vote:
    """One delegate's word on one slot. A slot is (phase, epoch, view, height); an honest replica fills it once (C5)."""

    DOMAIN: ClassVar[str] = "consilium.vote"
    phase: Phase
    epoch: int
    view: int
    height: int
    digest: Digest


@dataclass(frozen=True, slots=True)
class SignedVote:
    """A vote and its signature under a delegate's consensus key."""

    vote: Vote
    signature: Signature


@dataclass(frozen=True, slots=True)
class QuorumSignature:
    """A signature and its signer's place in the committee's order."""

    index: int
    signature: Signature


Signatures = Annotated[tuple[QuorumSignature, ...], AtMost(COMMITTEE_MAX)]
"""Signatures in strictly rising order of their index."""


@dataclass(frozen=True, slots=True)
class CommitCertificate:
    """A quorum of commits: the block with this digest stands at this height (L3)."""

    DOMAIN: ClassVar[str] = "consilium.commit-certificate"
    epoch: int
    view: int
    height: int
    digest: Digest
    signatures: Signatures


@dataclass(frozen=True, slots=True)
class PreparedCertificate:
    """The primary's pre-prepare and 2f matching prepares; the header travels along (paper, section 4.2).

    `primary_signature` is over the pre-prepare; the other signatures are over prepares, the primary's not among them.
    """

    view: int
    header: Annotated[bytes, AtMost(HEADER_BYTES_MAX)]
    primary_signature: Signature
    signatures: Signatures


@dataclass(frozen=True, slots=True)
class Result:
    """What executing a block gave; equal at every honest member (L3, L4)."""

    DOMAIN: ClassVar[str] = "consilium.result"
    epoch: int
    height: int
    block_hash: Digest
    log_size: int
    log_root: Digest
    state_root: Digest
    results_root: Digest


@dataclass(frozen=True, slots=True)
class ResultCertificate:
    """A quorum of equal results: PBFT's stable checkpoint, at every block. "Final" stands only under it (L3)."""

    DOMAIN: ClassVar[str] = "consilium.result-certificate"
    result: Result
    signatures: Signatures


@dataclass(frozen=True, slots=True)
class AllianceStatement:
    """What each member signs at the end of a term: its result (C7)."""

    DOMAIN: ClassVar[str] = "consilium.alliance"
    result: Result


@dataclass(frozen=True, slots=True)
class MemberSignature:
    """A member's signature under its member key."""

    member_id: MemberId
    signature: Signature


@dataclass(frozen=True, slots=True)
class AllianceCertificate:
    """A term's last result, signed by more than two thirds of the members active at the term's start (C7)."""

    DOMAIN: ClassVar[str] = "consilium.alliance-certificate"
    result: Result
    signatures: Annotated[tuple[MemberSignature, ...], AtMost(MEMBERS_MAX)]


@dataclass(frozen=True, slots=True)
class Elector:
    """A member that was active when the term began, with the key it signs the term's end with."""

    member_id: MemberId
    member_key: PublicKey


@dataclass(frozen=True, slots=True)
class Electorate:
    """The members active at a term's start, sorted by id: who may sign its end (C7)."""

    DOMAIN: ClassVar[str] = "consilium.electorate"
    epoch: int
    electors: Annotated[tuple[Elector, ...], AtMost(MEMBERS_MAX)]

    @property
    def quorum(self) -> int:
        """The least number that is more than two thirds."""
        return 2 * len(self.electors) // 3 + 1


@dataclass(frozen=True, slots=True)
class ViewChange:
    """A delegate's call for a view: its stable checkpoint and all it has prepared above (paper, section 4.4)."""

    DOMAIN: ClassVar[str] = "consilium.view-change"
    epoch: int
    view: int
    stable: ResultCertificate | None
    prepared: Annotated[tuple[PreparedCertificate, ...], AtMost(WINDOW_MAX)]


@dataclass(frozen=True, slots=True)
class Call:
    """What a delegate signs to leave all views below one: the digest stands for its `ViewChange`.

    So that a quorum of calls, without what they carry, is a short proof that the view was left (C6).
    """

    DOMAIN: ClassVar[str] = "consilium.call"
    epoch: int
    view: int
    view_change: Digest


@dataclass(frozen=True, slots=True)
class Departure:
    """One delegate's call, shortened: its place, the digest of its view change, its signature."""

    index: int
    view_change: Digest
    signature: Signature


def call_of(change: ViewChange, chain_id: bytes) -> bytes:
    """The bytes that a delegate signs for its view change."""
    return encode(Call(change.epoch, change.view, sha256(encode(change, chain_id))), chain_id)


def verify_departures(
    committee: Committee, view: int, departures: Sequence[Departure], chain_id: bytes, verifier: Verifier
) -> None:
    """Raise BadSignature unless a quorum of different delegates called for this view (C6)."""
    indexes = [each.index for each in departures]
    if indexes != sorted(set(indexes)) or len(indexes) < committee.quorum or indexes[-1] >= len(committee.delegates):
        raise BadSignature("SHORT_QUORUM", "Fewer than 2f+1 different delegates called for this view.", "C6")
    for each in departures:
        call = encode(Call(committee.epoch, view, each.view_change), chain_id)
        verifier.verify(committee.delegates[each.index].consensus_key, call, each.signature)


def verify_vote(committee: Committee, index: int, signed: SignedVote, chain_id: bytes, verifier: Verifier) -> None:
    """Raise BadSignature unless the delegate at `index` signed the vote on this chain."""
    if not 0 <= index < len(committee.delegates):
        raise BadSignature("UNKNOWN_SIGNER", f"The committee of epoch {committee.epoch} has no place {index}.", "C1")
    verifier.verify(committee.delegates[index].consensus_key, encode(signed.vote, chain_id), signed.signature)


def verify_quorum(
    committee: Committee, message: bytes, signatures: Sequence[QuorumSignature], needed: int, verifier: Verifier
) -> None:
    """Raise BadSignature unless at least `needed` different delegates signed the message."""
    indexes = [each.index for each in signatures]
    if indexes != sorted(set(indexes)) or (indexes and indexes[-1] >= len(committee.delegates)):
        raise BadSignature("BAD_SIGNERS", "The signers are not different delegates in order.", "L3")
    if len(indexes) < needed:
        raise BadSignature("SHORT_QUORUM", f"{len(indexes)} signatures are fewer than the {needed} needed.", "L3")
    for each in signatures:
        verifier.verify(committee.delegates[each.index].consensus_key, message, each.signature)


def verify_commit_certificate(
    committee: Committee, certificate: CommitCertificate, chain_id: bytes, verifier: Verifier
) -> None:
    """Raise BadSignature unless a quorum of the epoch's committee committed this digest at this height (L3)."""
    _verify_epoch(committee, certificate.epoch)
    vote = Vote(Phase.COMMIT, certificate.epoch, certificate.view, certificate.height, certificate.digest)
    verify_quorum(committee, encode(vote, chain_id), certificate.signatures, committee.quorum, verifier)


def verify_result_certificate(
    committee: Committee, certificate: ResultCertificate, chain_id: bytes, verifier: Verifier
) -> None:
    """Raise BadSignature unless a quorum of the epoch's committee signed this result (L3)."""
    _verify_epoch(committee, certificate.result.epoch)
    verify_quorum(committee, encode(certificate.result, chain_id), certificate.signatures, committee.quorum, verifier)


def verify_alliance_certificate(
    electorate: Electorate, certificate: AllianceCertificate, chain_id: bytes, verifier: Verifier
) -> None:
    """Raise BadSignature unless more than two thirds of the term's electors signed its last result (C7)."""
    names = [each.member_id for each in certificate.signatures]
    keys = {elector.member_id: elector.member_key for elector in electorate.electors}
    if certificate.result.epoch != electorate.epoch or names != sorted(set(names)):
        raise BadSignature("BAD_SIGNERS", "The signers are not different electors of this epoch, in order.", "C7")
    if len(names) < electorate.quorum or any(name not in keys for name in names):
        raise BadSignature("SHORT_QUORUM", f"Fewer than {electorate.quorum} electors signed the term's end.", "C7")
    message = encode(AllianceStatement(certificate.result), chain_id)
    for each in certificate.signatures:
        verifier.verify(keys[each.member_id], message, each.signature)


def verify_prepared_certificate(
    committee: Committee, epoch: int, height: int, certificate: PreparedCertificate, chain_id: bytes, verifier: Verifier
) -> None:
    """Raise BadSignature unless the view's primary proposed this header and 2f others prepared it (paper, 4.2)."""
    view, digest = certificate.view, sha256(certificate.header)
    primary = view % len(committee.delegates)
    if any(each.index == primary for each in certificate.signatures):
        raise BadSignature("BAD_SIGNERS", "The primary's pre-prepare counts once, not as a prepare too.", "C1")
    proposal = Vote(Phase.PRE_PREPARE, epoch, view, height, digest)
    verify_vote(committee, primary, SignedVote(proposal, certificate.primary_signature), chain_id, verifier)
    prepare = Vote(Phase.PREPARE, epoch, view, height, digest)
    verify_quorum(committee, encode(prepare, chain_id), certificate.signatures, committee.quorum - 1, verifier)


def _verify_epoch(committee: Committee, epoch: int) -> None:
    if epoch != committee.epoch:
        raise BadSignature(
            "WRONG_EPOCH", f"Epoch {epoch}'s certificate cannot be judged by {committee.epoch}'s committee.", "L5"
        )
