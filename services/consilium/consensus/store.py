"""The vote log: what this replica must not forget, durable before anything that rests on it is said (rules C1, C5).

Each opening raises the incarnation durably before it returns, so that peers can tell a restarted replica from a copy of an
older one. A log is made once, by `create`, for a member that never had one; from then on `open` finds it or raises DataLoss,
and a lost or damaged one is replaced by `begin_again`, which stays marked as lost, over restarts too, until the replica has
found by the rules of C5 that it can contradict nothing. What no file can show is a log restored or lost together with its
mark: the one the peers notice, by the incarnation, the other shows by the own ledger (`create_lost`). Left out: what the
records mean (`core.events`).
"""

import secrets
import struct
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, Self

from consilium.kernel.errors import DataLoss
from consilium.runtime.disk import Disk
from consilium.runtime.journal import JOURNAL_ID_BYTES, Journal


class VoteLog(Protocol):
    """Records in order. Nothing is acknowledged before `sync` has returned."""

    @property
    def incarnation(self) -> int:
        """How often the log was opened, from 1; no two openings have the same."""

    @property
    def lost(self) -> bool:
        """Whether an earlier log was lost and the replica has to stay silent still (C5)."""

    def append(self, records: Sequence[bytes]) -> None:
        """Add records, each of 1 byte or more; durable after the next `sync`."""

    def sync(self) -> None:
        """Make all records added so far durable, at the cost of one sync.

        Raises DataLoss (SYNC_FAILED); then the replica must stop, for nobody knows what is durable.
        """

    def read(self) -> list[bytes]:
        """All records, oldest first.

        Raises DataLoss: RECORD_DAMAGED.
        """

    def prune(self, keep: Sequence[bytes]) -> None:
        """Hold these records instead of all others, durably and in one step."""

    def end_silence(self) -> None:
        """Note durably that the replica may speak again (C5)."""


class _Standing(NamedTuple):
    """The log's own word about itself."""

    incarnation: int
    lost: bool

    def encode(self) -> bytes:
        return _STANDING.pack(_STANDING_KIND, self.incarnation, self.lost)


_STANDING = struct.Struct(">BQ?")
_STANDING_KIND = 0
_ENTRY_PREFIX = b"\x01"


class FileVoteLog:
    """The vote log in a journal, open in one process only."""

    def __init__(self, journal: Journal, standing: _Standing) -> None:
        """Not for callers: `create`, `open` and `begin_again` make logs."""
        self._journal = journal
        self._standing = standing

    @classmethod
    def create(cls, disk: Disk, path: Path, incarnation: int = 1) -> Self:
        """The first log of a member that never had one; with incarnation 0 it is made ahead of the first start.

        Raises Conflict (JOURNAL_EXISTS) where one is or was; FailedPrecondition: LOCKED.
        """
        standing = _Standing(incarnation, lost=False)
        return cls(Journal.create(disk, path, _journal_id(), [standing.encode()]), standing)

    @classmethod
    def create_lost(cls, disk: Disk, path: Path) -> Self:
        """A log for a member that may have lost one, with every trace of it: marked as lost, above all there can have been.

        Raises Conflict (JOURNAL_EXISTS) where there is a trace, for then `begin_again`; FailedPrecondition: LOCKED.
        """
        standing = _Standing(above_all_starts() + 1, lost=True)
        return cls(Journal.create(disk, path, _journal_id(), [standing.encode()]), standing)

    @classmethod
    def open(cls, disk: Disk, path: Path) -> Self:
        """The member's log, under a new incarnation.

        Raises DataLoss (JOURNAL_MISSING, JOURNAL_DAMAGED): then `begin_again`; and as `Journal.open` for a disk that fails.
        """
        journal = Journal.open(disk, path)
        try:
            before = _standing_of(list(journal.records()))
            standing = _Standing(before.incarnation + 1, before.lost)
            journal.append([standing.encode()])
            journal.sync()
        except BaseException:
            journal.close()
            raise
        return cls(journal, standing)

    @classmethod
    def begin_again(cls, disk: Disk, path: Path, above: int) -> Self:
        """A new log in the place of a lost one; `above` is the highest incarnation any peer has seen of this member.

        Raises FailedPrecondition: LOCKED.
        """
        standing = _Standing(above + 1, lost=True)
        return cls(Journal.begin_again(disk, path, _journal_id(), [standing.encode()]), standing)

    @property
    def incarnation(self) -> int:
        """How often the log was opened, from 1; no two openings have the same."""
        return self._standing.incarnation

    @property
    def lost(self) -> bool:
        """Whether an earlier log was lost and the replica has to stay silent still (C5)."""
        return self._standing.lost

    @property
    def syncs(self) -> int:
        """How many syncs the log has cost since it was opened."""
        return self._journal.syncs

    def append(self, records: Sequence[bytes]) -> None:
        """Add records, each of 1 byte or more; durable after the next `sync`."""
        self._journal.append([_ENTRY_PREFIX + each for each in records])

    def sync(self) -> None:
        """Make all records added so far durable; raises DataLoss (SYNC_FAILED) and is never to be tried again."""
        self._journal.sync()

    def read(self) -> list[bytes]:
        """All records, oldest first; raises DataLoss (RECORD_DAMAGED)."""
        return [each[1:] for each in self._journal.records() if each.startswith(_ENTRY_PREFIX)]

    def prune(self, keep: Sequence[bytes]) -> None:
        """Hold these records instead of all others, durably and in one step."""
        self._journal.rewrite([self._standing.encode(), *(_ENTRY_PREFIX + each for each in keep)])

    def end_silence(self) -> None:
        """Note durably that the replica may speak again (C5)."""
        standing = self._standing._replace(lost=False)
        self._journal.append([standing.encode()])
        self._journal.sync()
        self._standing = standing

    def close(self) -> None:
        """Let go of the log; what was not synced may be lost."""
        self._journal.close()


class MemoryVoteLog:
    """The vote log of a simulation: `crash` forgets what was not synced, as a power cut does at worst."""

    def __init__(self) -> None:
        self._standing = _Standing(1, lost=False)
        self._durable: list[bytes] = []
        self._pending: list[bytes] = []

    @property
    def incarnation(self) -> int:
        """How often the log was opened, from 1; no two openings have the same."""
        return self._standing.incarnation

    @property
    def lost(self) -> bool:
        """Whether an earlier log was lost and the replica has to stay silent still (C5)."""
        return self._standing.lost

    def append(self, records: Sequence[bytes]) -> None:
        """Add records, each of 1 byte or more; durable after the next `sync`."""
        self._pending += records

    def sync(self) -> None:
        """Make all records added so far durable."""
        self._durable += self._pending
        self._pending = []

    def read(self) -> list[bytes]:
        """All records, oldest first."""
        return self._durable + self._pending

    def prune(self, keep: Sequence[bytes]) -> None:
        """Hold these records instead of all others, durably and in one step."""
        self._durable, self._pending = list(keep), []

    def end_silence(self) -> None:
        """Note durably that the replica may speak again (C5)."""
        self._standing = self._standing._replace(lost=False)
        self.sync()

    def crash(self) -> "MemoryVoteLog":
        """The log as the next start opens it; this one is not to be used any more."""
        return self._reopened(_Standing(self.incarnation + 1, self.lost), self._durable)

    def begin_again(self, above: int) -> "MemoryVoteLog":
        """A new log in the place of this one, which is lost."""
        return self._reopened(_Standing(above + 1, lost=True), [])

    @staticmethod
    def _reopened(standing: _Standing, durable: list[bytes]) -> "MemoryVoteLog":
        log = MemoryVoteLog()
        log._standing, log._durable = standing, list(durable)
        return log


def above_all_starts() -> int:
    """An incarnation above every one that there can have been: starts are fewer than seconds (C5)."""
    return int(time.time())


def _journal_id() -> bytes:
    return secrets.token_bytes(JOURNAL_ID_BYTES)


def _standing_of(entries: Sequence[bytes]) -> _Standing:
    """The log's newest word about itself.

    Raises DataLoss: JOURNAL_DAMAGED.
    """
    standings = [each for each in entries if each[0] == _STANDING_KIND and len(each) == _STANDING.size]
    if not standings:
        raise DataLoss("JOURNAL_DAMAGED", "This journal is not a vote log: it holds no incarnation.", "C5")
    _, incarnation, lost = _STANDING.unpack(standings[-1])
    return _Standing(incarnation, lost)
