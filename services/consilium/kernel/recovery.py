"""Recovery of a lost quorum: what members sign when too many delegates are lost for good (rule C10, ADR 14).

The electors of an epoch sign one statement: where the epoch ends, which blocks stand up to there, who is lost, and the
committee that is drawn without them. It is worked out from what their stopped replicas report (`kernel.recovery_reports`).
The ledger cannot order any of this: blocks have stopped. So the certificate travels with the blocks that stand on it, and a
light client crosses into the next epoch by it, as it does by the alliance certificate at a handover (C7).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from consilium.kernel.certificates import (
    COMMITTEE_MAX,
    MEMBERS_MAX,
    WINDOW_MAX,
    CommitCertificate,
    Committee,
    Electorate,
    MemberSignature,
    PreparedCertificate,
    verify_commit_certificate,
    verify_prepared_certificate,
)
from consilium.kernel.encoding import AtMost, Digest, MemberId, encode
from consilium.kernel.errors import BadSignature, Conflict
from consilium.kernel.hashing import ZERO_DIGEST, sha256
from consilium.kernel.signing import Verifier

RECOVERY_BYTES_MAX = 4 * 1024 * 1024
"""The most bytes an encoded certificate or report may have: a window of prepared headers."""


@dataclass(frozen=True, slots=True)
class RecoveryStatement:
    """What more than two thirds of the electors sign, each one statement an epoch.

    The epoch's blocks up to `height` were committed; `block_hash` is that of the last one, zero where the epoch has none.
    `prepared` are the hashes of the blocks that stand above it. `next_committee` is drawn without the `lost`, sorted by id,
    and begins the next epoch at the height after them, with `mix`.
    """

    DOMAIN: ClassVar[str] = "consilium.recovery"
    epoch: int
    height: int
    block_hash: Digest
    prepared: Annotated[tuple[Digest, ...], AtMost(WINDOW_MAX)]
    lost: Annotated[tuple[MemberId, ...], AtMost(COMMITTEE_MAX)]
    next_committee: Committee
    mix: Digest

    @property
    def last_height(self) -> int:
        """The epoch's last height."""
        return self.height + len(self.prepared)

    def ends_with(self, height: int, block_hash: bytes) -> bool:
        """Whether this block is the epoch's last."""
        last = self.prepared[-1] if self.prepared else self.block_hash
        return height == self.last_height and last in (block_hash, ZERO_DIGEST)

    def names(self, height: int, block_hash: bytes) -> bool:
        """Whether this block stands by the statement, above what was committed."""
        place = height - self.height - 1
        return 0 <= place < len(self.prepared) and self.prepared[place] == block_hash

    def successors(self, electorate: Electorate) -> Electorate:
        """Who may sign the end of the next epoch: the same electors, without the lost (C7)."""
        staying = [each for each in electorate.electors if each.member_id not in self.lost]
        return Electorate(self.epoch + 1, tuple(staying))


@dataclass(frozen=True, slots=True)
class RecoveryCertificate:
    """A statement, the old committee's proofs of the blocks it names, and the electors' signatures on it."""

    DOMAIN: ClassVar[str] = "consilium.recovery-certificate"
    statement: RecoveryStatement
    commit: CommitCertificate | None
    prepared: Annotated[tuple[PreparedCertificate, ...], AtMost(WINDOW_MAX)]
    signatures: Annotated[tuple[MemberSignature, ...], AtMost(MEMBERS_MAX)]


def verify_recovery(
    committee: Committee,
    electorate: Electorate,
    epoch_start: int,
    certificate: RecoveryCertificate,
    chain_id: bytes,
    verifier: Verifier,
) -> None:
    """Raise BadSignature unless the epoch's electors signed, and its committee stands behind every block that is named.

    Raises Conflict (OTHER_RECOVERY) for proofs that are not those of the statement. Whether the next committee was drawn
    rightly is for those to check who have the candidates.
    """
    statement = certificate.statement
    proven = tuple([sha256(each.header) for each in certificate.prepared])
    tip = committed_tip(certificate.commit, epoch_start)
    if (*tip, proven) != (statement.height, statement.block_hash, statement.prepared):
        raise Conflict("OTHER_RECOVERY", "The recovery's proofs are not those of its statement.", "C10")
    if statement.next_committee.epoch != statement.epoch + 1:
        raise Conflict("OTHER_RECOVERY", "The recovery's committee is for another epoch than the next.", "C10")
    verify_signatures(electorate, statement, certificate.signatures, chain_id, verifier)
    if certificate.commit is not None:
        verify_commit_certificate(committee, certificate.commit, chain_id, verifier)
    for height, each in enumerate(certificate.prepared, start=statement.height + 1):
        verify_prepared_certificate(committee, statement.epoch, height, each, chain_id, verifier)


def verify_signatures(
    electorate: Electorate,
    statement: RecoveryStatement,
    signatures: Sequence[MemberSignature],
    chain_id: bytes,
    verifier: Verifier,
) -> None:
    """Raise BadSignature unless more than two thirds of the epoch's electors signed the statement."""
    names = [each.member_id for each in signatures]
    if statement.epoch != electorate.epoch or names != sorted(set(names)):
        raise BadSignature("BAD_SIGNERS", "The signers are not different electors of this epoch, in order.", "C10")
    if len(names) < electorate.quorum:
        raise BadSignature("SHORT_QUORUM", f"Fewer than {electorate.quorum} electors signed the recovery.", "C10")
    message = encode(statement, chain_id)
    for each in signatures:
        verifier.verify(elector_key(electorate, each.member_id), message, each.signature)


def committed_tip(commit: CommitCertificate | None, epoch_start: int) -> tuple[int, bytes]:
    """The height and hash of a highest committed block; without a certificate the epoch has none yet."""
    return (epoch_start - 1, ZERO_DIGEST) if commit is None else (commit.height, commit.digest)


def elector_key(electorate: Electorate, member_id: str) -> bytes:
    """An elector's member key. Raises BadSignature: UNKNOWN_MEMBER."""
    for elector in electorate.electors:
        if elector.member_id == member_id:
            return elector.member_key
    raise BadSignature("UNKNOWN_MEMBER", f"{member_id} is not an elector of epoch {electorate.epoch}.", "C10")
