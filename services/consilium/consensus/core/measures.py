"""What a replica measures of itself, for people to watch; nothing it decides depends on it (rules C2, C3, C4).

How long the phases of a block take, how long what waits takes to be in a block, and why views were left. All are sums since
the start, in the replica's own milliseconds: adding one costs a search in eleven numbers.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from itertools import accumulate

from consilium.consensus.core.message_log import Slot

BOUNDS_MS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000)
"""What durations are sorted into: at most so long, in milliseconds."""


class Leaving(StrEnum):
    """Why a view was left: its time was over, its primary was slow, f+1 others left it, or the next was shown here."""

    TIMEOUT = "timeout"
    SLOW_PRIMARY = "slow_primary"
    JOINED = "joined"
    SHOWN = "shown"


class Stage(StrEnum):
    """The stretches of a block's way: proposed to prepared, to committed, to executed, to certified."""

    PREPARE = "prepare"
    COMMIT = "commit"
    EXECUTE = "execute"
    CERTIFY = "certify"


class Durations:
    """How many durations were how long."""

    def __init__(self) -> None:
        self.total_ms = 0
        self._counts = [0] * (len(BOUNDS_MS) + 1)

    def add(self, duration_ms: int) -> None:
        """One more."""
        self.total_ms += max(0, duration_ms)
        self._counts[bisect_left(BOUNDS_MS, duration_ms)] += 1

    def at_most(self) -> Iterator[tuple[int | None, int]]:
        """How many were at most as long as each bound, the last being None: all there were."""
        return zip((*BOUNDS_MS, None), accumulate(self._counts), strict=True)


class Measures:
    """One replica's."""

    def __init__(self) -> None:
        self.views_left = Counter[Leaving]()
        self.ordering = Durations()
        """From when a batch may be ordered to its block's execution, the oldest of each block."""
        self.stages = {stage: Durations() for stage in Stage}

    def pass_stage(self, slot: Slot | None, stage: Stage, now_ms: int) -> None:
        """A block has come to the end of a stage; one whose last step was not seen here is left out."""
        if slot is not None and slot.stepped_at is not None:
            self.stages[stage].add(now_ms - slot.stepped_at)
            slot.stepped_at = now_ms
