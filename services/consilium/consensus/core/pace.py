"""How long the primary of a view lets work lie, against how long ordering takes here (rule C2; scenario R3).

A primary that always stays just below the time-out is never caught by it. So each backup compares two spans of its own clock
over the last blocks: how long a batch waited while no block was under way, which only the primary can end, and how long the
blocks then took, which the links decide. On slow links both grow, so nobody is blamed for them.
"""

from collections import deque

BLOCKS = 16
"""Over how many blocks the two are compared; before so many of one view nothing is said."""
SLACK = 2
"""How many times as long as ordering itself a primary may let work lie."""


class Pace:
    """The last blocks of one view, in milliseconds, and who finds its primary slow; all of one epoch."""

    def __init__(self) -> None:
        self.complaints: dict[int, int] = {}
        """The latest view that each delegate has complained of."""
        self.left = 0
        """How many views were left for their primary's slowness."""
        self._idle_ms: deque[int] = deque(maxlen=BLOCKS)
        self._ordering_ms: deque[int] = deque(maxlen=BLOCKS)

    def note(self, idle_ms: int, ordering_ms: int) -> None:
        """One block: how long its work had waited before it was proposed, and how long it took from then on."""
        self._idle_ms.append(max(0, idle_ms))
        self._ordering_ms.append(max(0, ordering_ms))

    def begin_view(self) -> None:
        """Another primary: nothing is known of it."""
        self._idle_ms.clear()
        self._ordering_ms.clear()

    def is_slow(self, allowance_ms: int) -> bool:
        """Whether work lay longer than it should; the allowance is for a message that was lost."""
        is_known = len(self._idle_ms) == BLOCKS
        return is_known and sum(self._idle_ms) > SLACK * sum(self._ordering_ms) + allowance_ms

    def complaints_of(self, view: int) -> int:
        """How many delegates have complained of this view."""
        return sum(each == view for each in self.complaints.values())
