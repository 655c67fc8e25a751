"""Which blocks may follow a tip: from a certified block to a verified one (rules L1, L2, L3, C6, C7).

A header must take the next place and carry exactly what the state says about epoch, committees and mix; a quorum of the
sitting committee must have committed it; its batches must be the ones it orders, and every signature in them good. All that
is judged before anything is executed, by delegates and followers alike (L8), and by block sync before it trusts a peer.
Where an epoch ended by a recovery (C10), its certificate stands for the commits of the blocks it names, and opens the next
epoch with the block that follows them. At a start, signatures are verified by another measure (`replay`).
"""

from dataclasses import dataclass, replace

from consilium.kernel.certificates import Committee, verify_commit_certificate
from consilium.kernel.chain import GENESIS_HEIGHT, CertifiedBlock, Genesis, Header, Outlook, recovered
from consilium.kernel.errors import Conflict, FailedPrecondition
from consilium.kernel.hashing import ZERO_DIGEST
from consilium.kernel.opening import OpenedBlock, open_block, verify_copy
from consilium.kernel.parameters import PROTOCOL_VERSION
from consilium.kernel.recovery import RecoveryCertificate, verify_recovery
from consilium.kernel.signing import Verifier
from consilium.ledger.core.terms import first_alliance, first_terms, outlook


@dataclass(frozen=True, slots=True)
class Tip:
    """The last executed block, and what must follow it. `time_ms` is its certified time."""

    height: int
    block_hash: bytes
    time_ms: int
    outlook: Outlook


@dataclass(frozen=True, slots=True)
class VerifiedBlock:
    """A block that may follow the tip it was judged against, and its epoch's committee. Only `fitting_block` makes one."""

    opened: OpenedBlock
    committee: Committee

    @property
    def is_named(self) -> bool:
        """Whether a recovery stands for its commit (C10)."""
        return _is_named(self.opened)


def genesis_tip(genesis: Genesis) -> Tip:
    """Before block 1, whose parent hash is the chain id."""
    first = outlook(first_terms(genesis), first_alliance(genesis))
    return Tip(GENESIS_HEIGHT, genesis.chain_id, genesis.time_ms, first)


def verify_block(block: CertifiedBlock, tip: Tip, chain_id: bytes, verifier: Verifier) -> VerifiedBlock:
    """The block, fit to be executed on this tip.

    Raises as `fitting_block`, and BadSignature as `verify_signatures`.
    """
    fitting = fitting_block(block, tip, chain_id, verifier)
    verify_signatures(fitting, chain_id, verifier)
    return fitting


def fitting_block(block: CertifiedBlock, tip: Tip, chain_id: bytes, verifier: Verifier) -> VerifiedBlock:
    """The block as it follows this tip, but for the signatures that `verify_signatures` looks at.

    Raises FailedPrecondition (UPGRADE_NEEDED) where this build does not know the rules, Malformed for content that is not in
    form or not the header's, Conflict for a header that does not follow the tip, BadSignature for a recovery certificate.
    """
    refuse_unknown_rules(tip)
    opened = open_block(block, chain_id)
    commit, recovery = block.commit, block.recovery
    if recovery is not None:
        ahead = tip.outlook
        verify_recovery(ahead.committee, ahead.electorate, ahead.epoch_start, recovery, chain_id, verifier)
        tip = tip if _is_named(opened) else _across(tip, recovery)
    verify_header(opened.header, tip, chain_id)
    if (commit.height, commit.digest) != (opened.header.height, opened.block_hash):
        raise Conflict("OTHER_COMMIT", "The commit certificate is for another block.", "L3")
    return VerifiedBlock(opened, tip.outlook.committee)


def verify_signatures(fitting: VerifiedBlock, chain_id: bytes, verifier: Verifier) -> None:
    """Raise BadSignature unless a quorum committed the block and every batch and transaction in it is signed (L2, L3)."""
    if not fitting.is_named:
        verify_commit_certificate(fitting.committee, fitting.opened.block.commit, chain_id, verifier)
    for batch in fitting.opened.batches:
        verify_copy(batch, verifier)


def _is_named(opened: OpenedBlock) -> bool:
    """Whether the recovery that a block carries names the block itself, and does not end the epoch before it (C10)."""
    recovery = opened.block.recovery
    return recovery is not None and recovery.statement.names(opened.header.height, opened.block_hash)


def _across(tip: Tip, recovery: RecoveryCertificate) -> Tip:
    """The tip with the epoch that a recovery opens on it. Raises Conflict: WRONG_RECOVERY unless it ends there (C10)."""
    ends = recovery.statement.ends_with(tip.height, tip.block_hash)
    _expect("RECOVERY", "a recovery that ends the epoch at the tip", ends, "C10")
    return replace(tip, outlook=recovered(tip.outlook, recovery.statement))


def refuse_unknown_rules(tip: Tip) -> None:
    """Raise FailedPrecondition UPGRADE_NEEDED where the next block is to be executed by rules this build does not know."""
    upgrade = tip.outlook.upgrade
    if upgrade is not None and not tip.outlook.knows(tip.height + 1):
        raise FailedPrecondition(
            "UPGRADE_NEEDED",
            f"From height {upgrade.height} on the alliance goes by protocol version {upgrade.version}, this build knows"
            f" {PROTOCOL_VERSION}: install a release that knows it.",
            "G5",
        )


def verify_header(header: Header, tip: Tip, chain_id: bytes) -> None:
    """Raise Conflict, naming the field, unless the header follows the tip (L3, L7, C6)."""
    ahead = tip.outlook
    following = ahead.next_committee
    _expect("HEIGHT", "the next height", header.height == tip.height + 1, "C8")
    _expect("PARENT", "its parent", header.parent_hash == tip.block_hash, "L3")
    _expect("TIME", "above the parent's time", header.time_ms > tip.time_ms, "L7")
    _expect("EPOCH", "the epoch", header.epoch == ahead.epoch, "C7")
    _expect("COMMITTEE", "the sitting committee", header.committee_hash == ahead.committee.hash(chain_id), "C6")
    next_hash = ZERO_DIGEST if following is None else following.hash(chain_id)
    _expect("NEXT_COMMITTEE", "the drawn committee", header.next_committee_hash == next_hash, "C6")
    _expect("MIX", "the election mix", header.election_mix == ahead.election_mix, "C6")


def _expect(field: str, what: str, holds: bool, rule: str) -> None:  # noqa: FBT001  the claim itself
    if not holds:
        raise Conflict(f"WRONG_{field}", f"The header does not carry {what} that follows from the chain.", rule)
