"""One member's disk: the production vote log in a journal on a disk that fails, and a block store that loses its tail (C5).

The vote log's bytes are the production's own, framed, chained and marked; a power cut tears them at sectors, a flipped bit
and a misplaced sector are found by the production's reading of them. Then the operator begins the log again, as the error
says. A sync that fails may leave its pages clean: the next start reads them, and only what it writes again outlives the
power. The block store loses whole blocks that were not synced: torn bytes in it are the journal's own tests' business.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from consilium.consensus.core.events import BatchRecord, LogEntry
from consilium.consensus.driver import recovered
from consilium.consensus.store import FileVoteLog
from consilium.kernel.certificates import ResultCertificate
from consilium.kernel.chain import CertifiedBlock
from consilium.kernel.encoding import decode, encode
from consilium.kernel.errors import DataLoss
from tests.stores.simulated_disk import SECTOR_BYTES, SimulatedDisk

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from consilium.consensus.core.events import Record
    from consilium.consensus.core.identity import Recovered

PATH = Path("/member/votes")


def _written(record: Record, chain_id: bytes) -> bytes:
    """A record as it lies in the vote log; most are batches, which all members write alike (`memory`)."""
    return written_batch(record.batch, chain_id) if isinstance(record, BatchRecord) else encode(LogEntry(record), chain_id)


def written_batch(batch: bytes, chain_id: bytes) -> bytes:
    """A batch as it lies in the vote log."""
    return encode(LogEntry(BatchRecord(batch)), chain_id)


class VoteLog:
    """The vote log of one replica over all its starts, and the disk it lies on."""

    def __init__(self, chain_id: bytes, disk: SimulatedDisk | None = None) -> None:
        self.disk = disk or SimulatedDisk()
        self.highest = 0
        self.was_torn = False
        self._chain_id = chain_id
        self._log: FileVoteLog | None = None

    @property
    def lost(self) -> bool:
        """Whether an earlier log was lost and the replica stays silent still (C5)."""
        return self._log is not None and self._log.lost

    @property
    def incarnation(self) -> int:
        """How often the log was opened, from 1."""
        assert self._log is not None, "the log is open"
        return self._log.incarnation

    def open(self) -> bool:
        """Open the log for another start; whether it had to be begun again, because it is lost or damaged."""
        begun, self.was_torn = False, False
        if not self.highest:
            self._log = FileVoteLog.create(self.disk, PATH)
        else:
            try:
                steps = len(self.disk.steps)
                self._log = FileVoteLog.open(self.disk, PATH)
                self.was_torn = "truncate" in self.disk.steps[steps:]
            except DataLoss:
                self._log, begun = FileVoteLog.begin_again(self.disk, PATH, self.highest), True
        self.highest = max(self.highest, self._log.incarnation)
        return begun

    def write(self, records: Sequence[Record], *, replace: bool) -> None:
        """Write records after the others, not durable yet; or, with `replace`, in their place and durable."""
        assert self._log is not None, "the log is open"
        entries = [_written(each, self._chain_id) for each in records]
        (self._log.prune if replace else self._log.append)(entries)

    def sync(self) -> None:
        """Make everything written durable."""
        assert self._log is not None, "the log is open"
        self._log.sync()

    def end_silence(self) -> None:
        """Note durably that the replica may speak again (C5)."""
        assert self._log is not None, "the log is open"
        self._log.end_silence()

    def read(self) -> Recovered:
        """What a start finds in the log."""
        assert self._log is not None, "the log is open"
        return recovered(self._log, self._chain_id)

    def kill(self) -> None:
        """The process ends; what was written stays to be read."""
        self.disk = self.disk.killed()
        self.disk.cut_at = None

    def lose_power(self, chance: random.Random) -> None:
        """What was not synced is kept, lost or torn."""
        self.disk = self.disk.after_power_cut(chance)

    def fail_sync(self, *, forgets: bool) -> None:
        """Let every sync fail until the disk is mended; with `forgets`, each leaves its pages clean all the same."""
        self.disk.sync_fails, self.disk.sync_forgets = True, forgets

    def mend(self) -> None:
        """The disk works again, and has room."""
        self.disk.full = self.disk.sync_fails = self.disk.sync_forgets = False

    def wipe(self) -> None:
        """The log is gone, and all that belongs to it."""
        self.disk = SimulatedDisk()

    def flip_bit(self, chance: random.Random) -> None:
        """One bit of the file is another."""
        data = self.disk.contents(PATH)
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)

    def misplace_sector(self, chance: random.Random) -> bool:
        """One sector holds what belongs into another; whether that changed anything."""
        data = self.disk.contents(PATH)
        sectors = len(data) // SECTOR_BYTES
        if sectors < 2:
            return False
        source, target = (SECTOR_BYTES * each for each in chance.sample(range(sectors), 2))
        moved = data[source : source + SECTOR_BYTES]
        changes = data[target : target + SECTOR_BYTES] != moved
        data[target : target + SECTOR_BYTES] = moved
        return bool(changes)

    def copy(self) -> VoteLog:
        """What a clone of this disk would hold."""
        other = VoteLog(self._chain_id, self.disk.settled())
        other.highest = self.highest
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

    def wipe(self) -> None:
        """All blocks are gone."""
        self._blocks, self._durable, self._certificates = [], 0, []

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
