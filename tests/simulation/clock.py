"""Virtual time: whole milliseconds, and one heap of what is to happen, in a fixed order."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Clock:
    """The only time there is; it moves when the next thing happens."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.steps = 0
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self._cancelled: set[int] = set()

    def after(self, delay_ms: int, action: Callable[[], None]) -> int:
        """Let `action` happen after a delay in milliseconds; what is set first happens first. The number cancels it."""
        assert delay_ms >= 0
        self._count += 1
        heapq.heappush(self._heap, (self.now_ms + delay_ms, self._count, action))
        return self._count

    def cancel(self, number: int) -> None:
        """Make something not happen. Of what has happened already the number is kept, which is no matter for one run."""
        self._cancelled.add(number)

    def step(self) -> bool:
        """Let the next thing happen; False when nothing is left."""
        while self._heap:
            self.now_ms, number, action = heapq.heappop(self._heap)
            if number in self._cancelled:
                self._cancelled.remove(number)
                continue
            self.steps += 1
            action()
            return True
        return False
