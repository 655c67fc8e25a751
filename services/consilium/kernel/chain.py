"""The values the alliance orders and keeps: genesis, batches, headers, blocks (rules L1 to L5, C4, C6).

A batch is one member's transactions under one signature of that member over their RFC 9162 root (L2). A header orders
batches by their digests; it names the committee, the next committee and the election mix, but no view (L3).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from consilium.kernel.certificates import (
    HEADER_BYTES_MAX,
    CommitCertificate,
    Committee,
    Electorate,
)
from consilium.kernel.encoding import AtMost, Digest, MemberId, Signature, encode
from consilium.kernel.hashing import ZERO_DIGEST, sha256
from consilium.kernel.merkle import leaf_hash, merkle_root
from consilium.kernel.parameters import PROTOCOL_VERSION, Parameters
from consilium.kernel.recovery import RecoveryCertificate, RecoveryStatement
from consilium.kernel.transactions import PAYLOAD_BYTES_MAX, MemberProfile, UpgradeAct

GENESIS_HEIGHT = 0
"""The height of the state the genesis file describes; block 1 has the chain id as its parent."""
TRANSACTION_BYTES_MAX = PAYLOAD_BYTES_MAX + 1_024
"""The most bytes a transaction may have with its signature."""
BATCH_TRANSACTIONS_MAX = 4_096
"""The most transactions one member signature may vouch for (L2)."""
BATCHES_MAX = 1_024
"""The most batches a header may name."""


@dataclass(frozen=True, slots=True)
class Genesis:
    """What the founders signed off: the alliance's name, its parameters and its first members, sorted by id.

    `time_ms` is the chain's first time, in milliseconds since 1970 (UTC).
    """

    DOMAIN: ClassVar[str] = "consilium.genesis"
    alliance: Annotated[str, AtMost(80)]
    time_ms: int
    parameters: Parameters
    members: Annotated[tuple[MemberProfile, ...], AtMost(512)]

    @property
    def chain_id(self) -> bytes:
        """The hash of the genesis: the name of this chain in everything that is signed on it."""
        return sha256(encode(self, ZERO_DIGEST))


@dataclass(frozen=True, slots=True)
class BatchStatement:
    """What the member that formed a batch signs; the hash of it is the batch's digest (L2, C4)."""

    DOMAIN: ClassVar[str] = "consilium.batch-statement"
    member_id: MemberId
    count: int
    root: Digest


@dataclass(frozen=True, slots=True)
class Batch:
    """One member's transactions, each as its author made it, under that member's signature over their root (L2)."""

    DOMAIN: ClassVar[str] = "consilium.batch"
    member_id: MemberId
    transactions: Annotated[tuple[Annotated[bytes, AtMost(TRANSACTION_BYTES_MAX)], ...], AtMost(BATCH_TRANSACTIONS_MAX)]
    signature: Signature

    def leaf_hashes(self) -> list[bytes]:
        """The RFC 9162 leaf hash of every transaction as carried; the same leaves stand in the block and the log."""
        return [leaf_hash(transaction) for transaction in self.transactions]


def batch_statement(member_id: str, leaf_hashes: Sequence[bytes], chain_id: bytes) -> bytes:
    """The bytes a batch's member signs; `sha256` of them is the batch's digest."""
    return encode(BatchStatement(member_id, len(leaf_hashes), merkle_root(leaf_hashes)), chain_id)


@dataclass(frozen=True, slots=True)
class Header:
    """One block's place and content; its hash is what the replicas agree on (L3).

    `transaction_root` is over the leaves of all named batches in order. `time_ms` is the primary's claim, above the
    parent's (L7). `parent_commits` has bit i set when the primary had delegate i's commit for the parent at hand; it is
    0 for a block proposed while its parent was still on its way. `next_committee_hash` is zero until the draw.
    """

    DOMAIN: ClassVar[str] = "consilium.header"
    epoch: int
    height: int
    parent_hash: Digest
    batch_digests: Annotated[tuple[Digest, ...], AtMost(BATCHES_MAX)]
    transaction_root: Digest
    time_ms: int
    committee_hash: Digest
    next_committee_hash: Digest
    parent_commits: int
    election_mix: Digest


@dataclass(frozen=True, slots=True)
class CertifiedBlock:
    """A header, its batches in the header's order, and the proof that a quorum committed it.

    `recovery` is there where an epoch ended by one (C10): with the blocks that stand by it, whose `commit` then has no
    signatures, and with the first block of the epoch that it opened.
    """

    DOMAIN: ClassVar[str] = "consilium.block"
    header: Annotated[bytes, AtMost(HEADER_BYTES_MAX)]
    batches: Annotated[tuple[Annotated[bytes, AtMost(4 * 1024 * 1024)], ...], AtMost(BATCHES_MAX)]
    commit: CommitCertificate
    recovery: RecoveryCertificate | None = None


@dataclass(frozen=True, slots=True)
class Outlook:
    """What the ledger's state says about who orders the blocks that follow; a pure function of the chain (C6, C7).

    `epoch_start` is the first height of the epoch. `next_committee` is drawn at `election_height`; until then it is None
    and `election_mix` is the mix the sitting committee was drawn with. `parameters` are those in force in the epoch,
    `upgrade` is the next one, None where none is adopted (G4, G5).
    """

    epoch: int
    epoch_start: int
    committee: Committee
    next_committee: Committee | None
    election_mix: bytes
    electorate: Electorate
    parameters: Parameters
    upgrade: UpgradeAct | None = None

    @property
    def election_height(self) -> int:
        """The height whose state is drawn from: nine tenths into the term (C6)."""
        return self.epoch_start + self.parameters.term_blocks * 9 // 10 - 1

    @property
    def stops_at(self) -> int | None:
        """The height from which on this build cannot execute blocks, None for no such height (G5)."""
        upgrade = self.upgrade
        return None if upgrade is None or upgrade.version <= PROTOCOL_VERSION else upgrade.height

    def knows(self, height: int) -> bool:
        """Whether this build knows the rules of a height (G5)."""
        stops_at = self.stops_at
        return stops_at is None or height < stops_at

    @property
    def term_end(self) -> int:
        """The last height of the term, which the alliance signs (C7)."""
        return self.epoch_start + self.parameters.term_blocks - 1


def recovered(outlook: Outlook, statement: RecoveryStatement) -> Outlook:
    """The epoch that a recovery opens, with the numbers of the one that it ends, and what it had adopted (C10, G5)."""
    return Outlook(
        statement.epoch + 1,
        statement.last_height + 1,
        statement.next_committee,
        None,
        statement.mix,
        statement.successors(outlook.electorate),
        outlook.parameters,
        outlook.upgrade,
    )
