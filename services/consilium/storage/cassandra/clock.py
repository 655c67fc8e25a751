"""Timestamps for Cassandra that never repeat and never go back, whatever any clock says (design section 7).

Cassandra keeps of two writes to a row the one with the larger timestamp. These are drawn from intervals that a process
reserves in the keyspace, by a conditional update, before it uses them: after a crash the next interval lies above, so no
write is ever hidden by an older deletion, and a late write never by accident wins over a newer one.

Deletions and healing must outrank what somebody wrote by hand, under the time of the instances' clocks; so they first lift
the timestamps above the clock of the database. A clock that is wrong only makes them larger.
"""

from threading import Lock

from consilium.kernel.errors import DataLoss, FailedPrecondition
from consilium.storage.cassandra.session import Database

INTERVAL = 2**23
"""How many timestamps are reserved at once: as many as there are microseconds in eight seconds."""
LIMIT = 2**62
"""Timestamps that large leave no room above."""
_ATTEMPTS_MAX = 16
_MARGIN_US = 100_000
"""Instances' clocks differ, and what was written by hand a moment ago counts as well."""


class Timestamps:
    """One process's timestamps, in microseconds since 1970-01-01 UTC in the mean and never in the promise."""

    def __init__(self, database: Database) -> None:
        """Reserve a first interval.

        Raises as `Pending.rows`; FailedPrecondition: TIMESTAMPS_CONTENDED or _USED_UP; DataLoss: CLOCK_LOST.
        """
        self._database, self._lock = database, Lock()
        self._now = database.prepare("SELECT toUnixTimestamp(now()) AS ms FROM system.local")
        self._reserve = database.prepare("UPDATE clock SET reserved = ? WHERE name = 'store' IF reserved = ?")
        self._next = self._end = 0
        self.lift()

    def draw(self) -> int:
        """A timestamp above all that were drawn before. Raises as `__init__`."""
        with self._lock:
            return self._draw()

    def lift(self) -> int:
        """A timestamp that is above the database's clock besides. Raises as `__init__`."""
        now_us = self._database.run(self._now)[0].ms * 1_000 + _MARGIN_US
        with self._lock:
            self._next = max(self._next, now_us)
            return self._draw()

    def close(self) -> None:
        """Give back what was not used, so that the next process begins near the database's clock."""
        with self._lock:
            self._database.run(self._reserve, self._next, self._end)
            self._end = self._next

    def _draw(self) -> int:
        if self._next >= self._end:
            self._take_interval()
        self._next += 1
        return self._next - 1

    def _take_interval(self) -> None:
        """Reserve the next ones. Raises DataLoss: CLOCK_LOST, and as `__init__`."""
        for _ in range(_ATTEMPTS_MAX):
            # The conditional update that changes nothing reads what is decided, and not only what is visible.
            [found] = self._database.run(self._reserve, -1, -1)
            if getattr(found, "reserved", None) is None:
                raise clock_lost()
            first = max(self._next, found.reserved)
            if first + INTERVAL > LIMIT:
                raise FailedPrecondition("TIMESTAMPS_USED_UP", "The keyspace's timestamps are used up; move to a new one.")
            [found] = self._database.run(self._reserve, first + INTERVAL, found.reserved)
            if found.applied:
                self._next, self._end = first, first + INTERVAL
                return
        sentence = "Other processes reserve timestamps in this keyspace all the time; a keyspace belongs to one service."
        raise FailedPrecondition("TIMESTAMPS_CONTENDED", sentence)


def clock_lost() -> DataLoss:
    """The refusal to guess how far the timestamps had come: writes below an older deletion would vanish."""
    sentence = (
        "The table clock has lost its row: have it again from a snapshot, or write one whose `reserved` is above every"
        " WRITETIME in the keyspace."
    )
    return DataLoss("CLOCK_LOST", sentence)
