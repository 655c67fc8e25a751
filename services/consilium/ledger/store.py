"""The block store: every committed block and the certificate of its result, as they were received (rules L1, L8).

Blocks come in height order, from 1, without gaps; a certificate may come later, or never. Both are opaque bytes here: the
ledger decodes and verifies what it reads. Nothing is acknowledged before `sync` has returned; one sync may serve many blocks
(group commit). ADR 0006 says why a journal and not a database. Opening reads the whole journal once, record by record; what
is kept in memory of a block and its certificate is where they lie, 72 bytes.
"""

import secrets
import struct
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, Self

from consilium.kernel.errors import Conflict, DataLoss, FailedPrecondition, NotFound
from consilium.runtime.disk import Disk
from consilium.runtime.journal import JOURNAL_ID_BYTES, Journal


class BlockStore(Protocol):
    """Blocks by height, and certificates beside them."""

    @property
    def height(self) -> int:
        """The height of the newest block, 0 for none; it may not be durable yet."""

    def append_block(self, height: int, block: bytes) -> None:
        """Add the next block; the same block again is no fault.

        Raises Conflict (OTHER_BLOCK) for another one at a height that has one; FailedPrecondition: HEIGHT_GAP.
        """

    def add_certificate(self, height: int, certificate: bytes) -> None:
        """Keep the certificate of a block's result; the first one stays.

        Raises FailedPrecondition: HEIGHT_GAP.
        """

    def sync(self) -> None:
        """Make everything added so far durable, at the cost of one sync.

        Raises DataLoss (SYNC_FAILED); then the process must stop.
        """

    def read_block(self, height: int) -> bytes:
        """The block at a height, checked.

        Raises NotFound: NO_SUCH_HEIGHT; DataLoss: RECORD_DAMAGED.
        """

    def read_certificate(self, height: int) -> bytes:
        """The certificate of the block at a height, checked.

        Raises NotFound: NO_CERTIFICATE; DataLoss: RECORD_DAMAGED.
        """

    def blocks(self, from_height: int = 1) -> Iterator[bytes]:
        """The blocks from a height on; raises DataLoss (RECORD_DAMAGED)."""

    def certificates(self, from_height: int = 1) -> Iterator[bytes]:
        """The certificates there are from a height on, in height order; raises DataLoss (RECORD_DAMAGED)."""


_RECORD = struct.Struct(">BQ")
_BLOCK, _CERTIFICATE = 1, 2


class JournalBlockStore:
    """Blocks and certificates in one journal, open in one process only."""

    def __init__(self, journal: Journal) -> None:
        """Not for callers: `create` and `open` make stores."""
        self._journal = journal
        # By height: the number of the journal's record that holds it. The first record is a block, so 0 is no certificate's.
        self._blocks, self._certificates = array("Q"), array("Q")
        for record, span in enumerate(journal.spans):
            self._index(journal.read_start(span, _RECORD.size), record)

    @classmethod
    def create(cls, disk: Disk, path: Path) -> Self:
        """The store of a member that never had one.

        Raises Conflict (JOURNAL_EXISTS) where one is or was; FailedPrecondition: LOCKED.
        """
        return cls(Journal.create(disk, path, secrets.token_bytes(JOURNAL_ID_BYTES)))

    @classmethod
    def open(cls, disk: Disk, path: Path) -> Self:
        """The member's store.

        Raises DataLoss (JOURNAL_MISSING, JOURNAL_DAMAGED): then `begin_again` and fetch from the other members; and as
        `Journal.open` for a disk that fails.
        """
        journal = Journal.open(disk, path)
        try:
            return cls(journal)
        except BaseException:
            journal.close()
            raise

    @classmethod
    def begin_again(cls, disk: Disk, path: Path) -> Self:
        """An empty store in the place of a lost or damaged one, whose file is kept under the ending `.lost`."""
        return cls(Journal.begin_again(disk, path, secrets.token_bytes(JOURNAL_ID_BYTES)))

    @property
    def height(self) -> int:
        """The height of the newest block, 0 for none; it may not be durable yet."""
        return len(self._blocks)

    @property
    def syncs(self) -> int:
        """How many syncs the store has cost since it was opened."""
        return self._journal.syncs

    def append_block(self, height: int, block: bytes) -> None:
        """Add the next block; raises Conflict (OTHER_BLOCK) or FailedPrecondition (HEIGHT_GAP)."""
        if is_next(height, self.height):
            self._append(_BLOCK, height, block)
        else:
            check_same(height, self.read_block(height), block)

    def add_certificate(self, height: int, certificate: bytes) -> None:
        """Keep the certificate of a block's result; raises FailedPrecondition (HEIGHT_GAP)."""
        check_certified(height, self.height)
        if not self._certificates[height - 1]:
            self._append(_CERTIFICATE, height, certificate)

    def sync(self) -> None:
        """Make everything added so far durable; raises DataLoss (SYNC_FAILED) and is never to be tried again."""
        self._journal.sync()

    def read_block(self, height: int) -> bytes:
        """The block at a height; raises NotFound (NO_SUCH_HEIGHT) or DataLoss (RECORD_DAMAGED)."""
        check_height(height, self.height)
        return self._read(self._blocks[height - 1])

    def read_certificate(self, height: int) -> bytes:
        """The certificate at a height; raises NotFound (NO_CERTIFICATE) or DataLoss (RECORD_DAMAGED)."""
        if not 1 <= height <= self.height or not self._certificates[height - 1]:
            raise no_certificate(height)
        return self._read(self._certificates[height - 1])

    def blocks(self, from_height: int = 1) -> Iterator[bytes]:
        """The blocks from a height on; raises DataLoss (RECORD_DAMAGED)."""
        return (self.read_block(height) for height in range(from_height, self.height + 1))

    def certificates(self, from_height: int = 1) -> Iterator[bytes]:
        """The certificates there are from a height on, in height order; raises DataLoss (RECORD_DAMAGED)."""
        heights = range(max(from_height, 1), self.height + 1)
        return (self.read_certificate(height) for height in heights if self._certificates[height - 1])

    def close(self) -> None:
        """Let go of the store; what was not synced may be lost."""
        self._journal.close()

    def _append(self, kind: int, height: int, data: bytes) -> None:
        record = len(self._journal.spans)
        self._journal.append([_RECORD.pack(kind, height) + data])
        self._note(kind, height, record)

    def _note(self, kind: int, height: int, record: int) -> None:
        if kind == _CERTIFICATE:
            self._certificates[height - 1] = record
        else:
            # The certificate's place first: whoever reads meanwhile goes by how many blocks there are.
            self._certificates.append(0)
            self._blocks.append(record)

    def _read(self, record: int) -> bytes:
        return self._journal.read(self._journal.spans[record])[_RECORD.size :]

    def _index(self, start: bytes, record: int) -> None:
        """Find a record's place again; the journal's chain has vouched for its bytes, so a misfit is our own fault."""
        if len(start) < _RECORD.size:
            raise DataLoss("JOURNAL_DAMAGED", "This journal is not a block store: a record is too short.", "L1")
        kind, height = _RECORD.unpack(start)
        follows = height == self.height + 1 if kind == _BLOCK else kind == _CERTIFICATE and 1 <= height <= self.height
        if not follows:
            raise DataLoss("JOURNAL_DAMAGED", "This journal is not a block store: its heights do not follow.", "L1")
        self._note(kind, height, record)


class MemoryBlockStore:
    """The block store of a simulation: `crash` forgets what was not synced, as a power cut does at worst."""

    def __init__(self) -> None:
        self._blocks: list[bytes] = []
        self._certificates: dict[int, bytes] = {}
        self._synced_height = 0
        self._unsynced_certificates: list[int] = []

    @property
    def height(self) -> int:
        """The height of the newest block, 0 for none; it may not be durable yet."""
        return len(self._blocks)

    def append_block(self, height: int, block: bytes) -> None:
        """Add the next block; raises Conflict (OTHER_BLOCK) or FailedPrecondition (HEIGHT_GAP)."""
        if is_next(height, self.height):
            self._blocks.append(block)
        else:
            check_same(height, self.read_block(height), block)

    def add_certificate(self, height: int, certificate: bytes) -> None:
        """Keep the certificate of a block's result; raises FailedPrecondition (HEIGHT_GAP)."""
        check_certified(height, self.height)
        if height not in self._certificates:
            self._certificates[height] = certificate
            self._unsynced_certificates.append(height)

    def sync(self) -> None:
        """Make everything added so far durable."""
        self._synced_height, self._unsynced_certificates = self.height, []

    def read_block(self, height: int) -> bytes:
        """The block at a height; raises NotFound (NO_SUCH_HEIGHT)."""
        check_height(height, self.height)
        return self._blocks[height - 1]

    def read_certificate(self, height: int) -> bytes:
        """The certificate at a height; raises NotFound (NO_CERTIFICATE)."""
        if height not in self._certificates:
            raise no_certificate(height)
        return self._certificates[height]

    def blocks(self, from_height: int = 1) -> Iterator[bytes]:
        """The blocks from a height on."""
        return (self.read_block(height) for height in range(from_height, self.height + 1))

    def certificates(self, from_height: int = 1) -> Iterator[bytes]:
        """The certificates there are from a height on, in height order."""
        return (self._certificates[height] for height in sorted(self._certificates) if height >= from_height)

    def crash(self) -> "MemoryBlockStore":
        """The store as the next start opens it; this one is not to be used any more."""
        store = MemoryBlockStore()
        store._blocks, store._synced_height = self._blocks[: self._synced_height], self._synced_height
        store._certificates = dict(self._certificates)
        for height in self._unsynced_certificates:
            del store._certificates[height]
        return store


def is_next(height: int, newest: int) -> bool:
    """Whether a block of this height continues the chain; False for one that is there already.

    Raises FailedPrecondition: HEIGHT_GAP.
    """
    if not 1 <= height <= newest + 1:
        raise FailedPrecondition("HEIGHT_GAP", f"Block {height} cannot follow block {newest}.", "L8")
    return height == newest + 1


def check_same(height: int, kept: bytes, offered: bytes) -> None:
    """Raise Conflict (OTHER_BLOCK) unless both are the same block."""
    if kept != offered:
        raise Conflict("OTHER_BLOCK", f"Another block is stored at height {height} already.", "L3")


def check_certified(height: int, newest: int) -> None:
    """Raise FailedPrecondition (HEIGHT_GAP) unless there is a block the certificate can belong to."""
    if not 1 <= height <= newest:
        raise FailedPrecondition("HEIGHT_GAP", f"There is no block {height} here; the newest is {newest}.", "L3")


def check_height(height: int, newest: int) -> None:
    """Raise NotFound (NO_SUCH_HEIGHT) unless there is a block at this height."""
    if not 1 <= height <= newest:
        raise NotFound("NO_SUCH_HEIGHT", f"There is no block {height} here; the newest is {newest}.")


def no_certificate(height: int) -> NotFound:
    """The refusal for a height whose result is not certified here."""
    return NotFound("NO_CERTIFICATE", f"There is no result certificate for height {height} here.", "L3")
