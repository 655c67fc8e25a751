"""Links that lose, delay, reorder and double what they carry, and partitions that cut them.

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


class Network:
    """All links of one alliance."""

    def __init__(self, clock: Clock, options: Options) -> None:
        self._clock = clock
        self._chance = stream(options.seed, "network")
        self._loss = options.loss
        self._duplicate = options.duplicate
        self._delay_max = options.delay_max
        self._fifo = not options.reorder
        self._last: dict[tuple[str, str], int] = {}
        self._cut: dict[tuple[str, str], None] = {}
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
        self._deliver_later(source, target, parcel)
        if self._duplicate and self._happens(self._duplicate):
            self.counts["duplicated"] += 1
            self._deliver_later(source, target, parcel)

    def cut(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Cut these links, each in the direction from the first to the second endpoint."""
        self._cut.update(dict.fromkeys(pairs))

    def heal(self) -> None:
        """Join all links again."""
        self._cut.clear()

    def quieten(self) -> None:
        """No loss and no doubles from now on; delays stay (the liveness phase)."""
        self._loss = self._duplicate = 0
        self.heal()

    def _deliver_later(self, source: str, target: str, parcel: Parcel) -> None:
        at_ms = self._clock.now_ms + int(self._chance.random() * (self._delay_max + 1))
        if self._fifo:
            at_ms = max(at_ms, self._last.get((source, target), 0))
            self._last[source, target] = at_ms
        self._clock.after(at_ms - self._clock.now_ms, partial(self.receivers[target], source, parcel))

    def _happens(self, permille: int) -> bool:
        return self._chance.random() * 1_000 < permille
