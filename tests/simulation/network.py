"""Links that lose, delay, reorder, double, repeat and hold up what they carry, and partitions that cut them.

An endpoint is one running instance; a twin shares its identity with another. Who sees which twin is `twin.TwinViews`' say.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from tests.simulation.schedule import stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.simulation.clock import Clock
    from tests.simulation.parcels import Parcel
    from tests.simulation.schedule import Options

    Receive = Callable[[str, Parcel], None]

CLOG_MS_MAX = 5_000
"""How long a clogged link holds what it carries."""
CALM_DELAY_MS = 50
"""How long a message takes at most once the faults are over: time-outs are meant for such links."""
REPLAY_MS_MAX = 5_000
"""How much later than itself a message may come once more."""


class Network:
    """All links of one alliance."""

    def __init__(self, clock: Clock, options: Options) -> None:
        self._clock = clock
        self._chance = stream(options.seed, "network")
        self._loss = options.loss
        self._duplicate = options.duplicate
        self._replay = options.replay
        self._clog = options.clog
        self._delay_max = options.delay_max
        self._fifo = not options.reorder
        self._last: dict[tuple[str, str], int] = {}
        self._cut: dict[tuple[str, str], int] = {}
        self._held_until: dict[tuple[str, str], int] = {}
        self._late: list[tuple[int, int, Callable[[], None]]] = []
        """What a link keeps longer than its own delay, in the order in which it was sent: when it comes, and its alarm."""
        self.receivers: dict[str, Receive] = {}
        self.counts: Counter[str] = Counter()

    def send(self, source: str, target: str, parcel: Parcel) -> None:
        """Carry a parcel from one endpoint to another, or lose them."""
        self.counts["sent"] += 1
        if (source, target) in self._cut:
            self.counts["cut off"] += 1
            return
        if self._loss and self._happens(self._loss):
            self.counts["lost"] += 1
            return
        if self._clog and self._happens(self._clog):
            self.counts["clogged"] += 1
            self.hold(source, target, self._clock.now_ms + self._chance.randrange(CLOG_MS_MAX))
        self._deliver_later(source, target, parcel)
        if self._duplicate and self._happens(self._duplicate):
            self.counts["duplicated"] += 1
            self._deliver_later(source, target, parcel)
        if self._replay and self._happens(self._replay):
            self.counts["replayed"] += 1
            self._deliver_later(source, target, parcel, self._chance.randrange(REPLAY_MS_MAX))

    def cut(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Cut these links once more, each in the direction from the first to the second endpoint."""
        for pair in pairs:
            self._cut[pair] = self._cut.get(pair, 0) + 1

    def join(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Take back one cut of each of these links."""
        for pair in pairs:
            cuts = self._cut.pop(pair, 0) - 1
            if cuts > 0:
                self._cut[pair] = cuts

    def hold(self, source: str, target: str, until_ms: int) -> None:
        """Let nothing that is sent on this link arrive before a time; nothing is lost."""
        self._held_until[source, target] = max(until_ms, self._held_until.get((source, target), 0))

    def quieten(self) -> None:
        """No loss, no doubles and no clogs from now on, and delays well below the time-outs (the liveness phase).

        What a link still holds comes at once: else all that follows on a link that keeps its order would wait behind it.
        """
        self._delay_max = min(self._delay_max, CALM_DELAY_MS)
        self._loss = self._duplicate = self._replay = self._clog = 0
        self._cut.clear()
        self._held_until.clear()
        self._last.clear()
        for at_ms, alarm, action in self._late:
            if at_ms > self._clock.now_ms:
                self._clock.after(0, action)
                self._clock.cancel(alarm)
        self._late.clear()

    def _deliver_later(self, source: str, target: str, parcel: Parcel, extra_ms: int = 0) -> None:
        link, now_ms = (source, target), self._clock.now_ms
        at_ms = now_ms + int(self._chance.random() * (self._delay_max + 1)) + extra_ms
        if self._held_until:
            at_ms = max(at_ms, self._held_until.get(link, 0))
        if self._fifo and not extra_ms:
            self._last[link] = at_ms = max(at_ms, self._last.get(link, 0))
        action = partial(self.receivers[target], source, parcel)
        alarm = self._clock.after(at_ms - now_ms, action)
        if at_ms > now_ms + self._delay_max + extra_ms:
            self._late.append((at_ms, alarm, action))

    def _happens(self, permille: int) -> bool:
        return self._chance.random() * 1_000 < permille
