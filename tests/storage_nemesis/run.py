"""Three real Cassandras under trouble, one worker, and the judgement (promise 5; reference: reliability.md section 6).

Trouble comes one kind after the other; a quorum stays but for the two kinds that take it away. With one instance down,
paused, or out of disk everything goes on; with two, the store is Unavailable within its patience, and goes on when one
returns. A worker that is at it all the time meets each amid something. A clock that jumps is an instance's own wall clock,
an hour back and eleven days ahead, past the time for which deletions are remembered; one, two or all of them jump.
"""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import time
from dataclasses import dataclass, field, replace
from itertools import cycle
from typing import TYPE_CHECKING

from consilium.storage.cassandra.session import patiently
from consilium.storage.cassandra.store import CassandraObjectStore
from tests.ring.ring import Ring
from tests.storage_nemesis.work import Book, Violation, Worker, judge
from tests.stores.objects import CHAIN_ID

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from consilium.storage.settings import StorageSettings
    from tests.ring.instance import Instance

SMALL_DISK = "size=384m"
PATIENCE = {"cassandra_request_ms": 4_000, "cassandra_wait_ms": 60_000}
IMPATIENT_S = 3.0
"""How long it tries while there is no quorum, so that a run does not last minutes."""
JUMPS_MS = (-3_600_000, 11 * 86_400_000)
NEARLY_MS = 60_000
RETURN_S = 60.0
"""How long an instance that runs may count as away."""
CLOCK = "SELECT toUnixTimestamp(current_timestamp()) AS ms FROM system.local"


@dataclass
class Nemesis:
    """What goes wrong, and how it is set right. Instance 2 has the small disk."""

    ring: Ring
    settings: StorageSettings
    worker: Worker
    chance: random.Random
    tell: Callable[[str], None]
    happened: list[str] = field(default_factory=list)

    def kill_one(self) -> None:
        """An instance dies amid the work, and comes back."""
        [one] = self.chance.sample(self.ring.instances, 1)
        one.kill()
        self.worker.until_more(12)
        one.spawn()
        one.until_listening()
        self.worker.until_more(4)

    def pause_one(self) -> None:
        """An instance answers nobody for a while, and knows nothing of it."""
        [one] = self.chance.sample(self.ring.instances, 1)
        one.signal(signal.SIGSTOP)
        self.worker.until_more(8)
        one.signal(signal.SIGCONT)
        self.worker.until_more(4)

    def fill_disk(self) -> None:
        """An instance's disk fills; it ends, as its settings say, and comes back when there is room."""
        small = self.ring.instances[2]
        assert small.data is not None
        assert small.process is not None
        ballast = small.data / "ballast"
        subprocess.run(["fallocate", "-l", "1G", str(ballast)], check=False, capture_output=True)  # noqa: S603, S607
        with contextlib.suppress(OSError), ballast.open("ab") as file:  # full already
            while _wrote(file):
                pass
        while small.process.poll() is None and not _is_full_log(small.log):
            self.worker.until_more(4)
        self.worker.until_more(8)
        small.kill()
        ballast.unlink()
        small.spawn()
        small.until_listening()
        self.worker.until_more(4)

    def lose_quorum(self) -> None:
        """Two instances die: the store says that it is unavailable, keeps all, and goes on when they return."""
        self._without_quorum(lambda one: one.kill(), self._revive)

    def leave_unknown(self) -> None:
        """Two instances pause amid writes: what was sent may have been done by one of them, and nobody hears."""
        self._without_quorum(lambda one: one.signal(signal.SIGSTOP), lambda one: one.signal(signal.SIGCONT))

    def jump_clock(self) -> None:
        """Instances' clocks jump back and ahead and are mended again, and a store starts amid each of these times."""
        for ahead_ms in JUMPS_MS:
            several = self.chance.sample(self.ring.instances, self.chance.randint(1, 3))
            for now_ms in (ahead_ms, 0):
                for each in several:
                    each.set_clock(now_ms)
                self._start_again()
                self.worker.until_more(8)
                for each in several:
                    self._check_clock(each, now_ms)

    def _start_again(self) -> None:
        """Another process has the store from now on: it reserves timestamps above all that were used."""
        before, self.worker.store = self.worker.store, CassandraObjectStore.open(self.settings, CHAIN_ID)
        self.worker.until_more(2)
        before.close()

    def _check_clock(self, one: Instance, ahead_ms: int) -> None:
        """Raise Violation unless the instance says so: a clock that stayed would prove nothing.

        Whoever was away a moment ago may still count as away with the driver: it is asked until it answers.
        """
        session = self.worker.store._database.session  # noqa: SLF001
        [host] = [each for each in session.cluster.metadata.all_hosts() if each.address == one.address]
        until_s = time.monotonic() + RETURN_S
        [row] = patiently(until_s, lambda: list(session.execute(CLOCK, host=host)))
        if abs(row.ms - ahead_ms - time.time() * 1_000) > NEARLY_MS:
            raise Violation(f"the clock of {one.address} did not jump by {ahead_ms} ms")

    def _without_quorum(self, strike: Callable[..., None], mend: Callable[..., None]) -> None:
        two, database = self.chance.sample(self.ring.instances, 2), self.worker.store._database  # noqa: SLF001
        patience, database._wait_s = database._wait_s, IMPATIENT_S  # noqa: SLF001
        self.worker.may_fail = True
        self.worker.until_more(2)  # what was under way is patient still, and would wait for a minute
        refused = self.worker.book.refused
        for each in two:
            strike(each)
        self.worker.until(lambda book: book.refused > refused)
        for each in two:
            mend(each)
        self.worker.until_more(4)
        database._wait_s = patience  # noqa: SLF001
        self.worker.may_fail = False
        self.worker.until_more(4)

    @staticmethod
    def _revive(one: object) -> None:
        one.spawn()  # type: ignore[attr-defined]
        one.until_listening()  # type: ignore[attr-defined]

    def strike(self, name: str) -> None:
        """One kind of trouble from beginning to end."""
        begun, done = time.monotonic(), self.worker.book.done
        getattr(self, name)()
        self.happened.append(name)
        took = time.monotonic() - begun
        self.tell(f"{name}: {self.worker.book.done - done} operations acknowledged in {took:.0f} s")


KINDS = ("kill_one", "pause_one", "jump_clock", "leave_unknown", "fill_disk", "lose_quorum")


def run(folder: Path, seed: int, seconds: int, tell: Callable[[str], None]) -> str:
    """Every kind of trouble once, and on until the time is over; then the judgement. Raises Violation."""
    small = folder / "small-disk"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", SMALL_DISK, "none", str(small)], check=True)  # noqa: S603, S607
    ring = Ring.start(folder, data={2: small}, has_clocks=True)
    try:
        return _run_on(ring, seed, seconds, tell)
    finally:
        ring.kill()


def _run_on(ring: Ring, seed: int, seconds: int, tell: Callable[[str], None]) -> str:
    settings = replace(ring.migrated("nemesis", CHAIN_ID), **PATIENCE)  # type: ignore[arg-type]
    worker = Worker(CassandraObjectStore.open(settings, CHAIN_ID), seed)
    nemesis = Nemesis(ring, settings, worker, random.Random(seed), tell)  # noqa: S311
    until = time.monotonic() + seconds
    try:
        for name in cycle(KINDS):
            if len(nemesis.happened) >= len(KINDS) and time.monotonic() > until:
                break
            nemesis.strike(name)
    finally:
        for each in ring.instances:
            each.signal(signal.SIGCONT)
        book = worker.end()
    store = CassandraObjectStore.open(settings, CHAIN_ID)
    judge(store, book)
    store.close()
    return _told(book, len(nemesis.happened))


def _told(book: Book, strikes: int) -> str:
    return (
        f"{strikes} strikes, {book.done} operations acknowledged, {book.refused} unavailable while no quorum was up; "
        f"{len(book.stored)} objects whole, {len(book.deleted)} deleted and gone, {len(book.unknown)} of unknown outcome "
        f"whole or put again; nothing acknowledged was lost"
    )


def _wrote(file: object) -> bool:
    """Whether there was room for another piece."""
    try:
        file.write(bytes(65_536))  # type: ignore[attr-defined]
        file.flush()  # type: ignore[attr-defined]
    except OSError:
        return False
    return True


def _is_full_log(log: Path) -> bool:
    return "No space left on device" in log.read_text(errors="replace")
