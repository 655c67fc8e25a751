"""One member's disk: a vote log and a block store that lose, at a crash, what was not synced (rule C5).

Whole records are lost or kept here, always a suffix; torn bytes are the journal's own tests' business. What is read back
after a crash has been through the production codec.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from consilium.consensus.core.events import LogEntry
from consilium.kernel.certificates import ResultCertificate
from consilium.kernel.chain import CertifiedBlock
from consilium.kernel.encoding import decode, encode

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from consilium.consensus.core.events import Record


class VoteLog:
    """Records of one replica, how many of them are durable, the incarnation, and whether its word is in doubt."""

    def __init__(self) -> None:
        self.incarnation = 0
        self.lost = False
        self._durable: list[Record] = []
        self._written: list[Record] = []
        self._replacing = False

    def append(self, records: Sequence[Record]) -> None:
        """Write records after the others; not durable yet."""
        self._written.extend(records)

    def replace(self, records: Sequence[Record]) -> None:
        """Write records to stand in the place of all others; all or nothing once synced."""
        self._written, self._replacing = list(records), True

    def sync(self) -> None:
        """Make everything written durable."""
        if self._replacing:
            self._durable = self._written
        else:
            self._durable += self._written
        self._written, self._replacing = [], False

    def crash(self, chance: random.Random) -> None:
        """Keep what is durable and, of what was only written, as much as chance leaves; a replacement whole or not."""
        if self._replacing:
            if chance.random() < 0.5:
                self.sync()
        else:
            self._durable += self._written[: chance.randrange(len(self._written) + 1)]
        self._written, self._replacing = [], False

    def wipe(self) -> None:
        """The log is gone. The next start knows, and stays silent until it can contradict nothing (C5)."""
        self._durable, self._written, self._replacing, self.lost = [], [], False, True

    def read(self, chain_id: bytes) -> tuple[Record, ...]:
        """What is there after a crash, decoded from its bytes."""
        return tuple(decode(LogEntry, encode(LogEntry(each), chain_id), chain_id).record for each in self._durable)

    def copy(self) -> VoteLog:
        """What a clone of this disk would hold."""
        other = VoteLog()
        other.incarnation, other.lost, other._durable = self.incarnation, self.lost, list(self._durable)
        return other


class BlockStore:
    """Executed blocks in order, and the newest result certificate."""

    def __init__(self) -> None:
        self._blocks: list[CertifiedBlock] = []
        self._durable = 0
        self._certificates: list[ResultCertificate] = []

    def append(self, block: CertifiedBlock) -> None:
        """Write the next block; not durable yet."""
        self._blocks.append(block)

    def sync(self) -> None:
        """Make all blocks durable."""
        self._durable = len(self._blocks)

    def keep(self, certificate: ResultCertificate) -> None:
        """Write a result certificate; it may be lost without harm, others have it."""
        self._certificates.append(certificate)

    def crash(self, chance: random.Random) -> int:
        """Lose up to all blocks that were not synced; how many were lost. Certificates may be lost as well."""
        kept = self._durable + chance.randrange(len(self._blocks) - self._durable + 1)
        gone = len(self._blocks) - kept
        del self._blocks[kept:]
        self._durable = kept
        del self._certificates[len(self._certificates) - min(len(self._certificates), chance.randrange(3)) :]
        return gone

    def read(self, chain_id: bytes) -> tuple[list[CertifiedBlock], list[ResultCertificate]]:
        """Everything there is, decoded from its bytes."""
        blocks = [decode(CertifiedBlock, encode(each, chain_id), chain_id) for each in self._blocks]
        return blocks, [decode(ResultCertificate, encode(each, chain_id), chain_id) for each in self._certificates]

    def __len__(self) -> int:
        return len(self._blocks)

    def block(self, height: int) -> CertifiedBlock:
        """The block at a height from 1 on."""
        return self._blocks[height - 1]

    def copy(self) -> BlockStore:
        """What a clone of this disk would hold."""
        other = BlockStore()
        other._blocks, other._durable = list(self._blocks), self._durable
        other._certificates = list(self._certificates)
        return other
