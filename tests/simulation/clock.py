"""Virtual time: whole milliseconds, and one heap of what is to happen, in a fixed order."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Alarm:
    """Something that will happen, unless it is cancelled."""

    __slots__ = ("action",)

    def __init__(self, action: Callable[[], None]) -> None:
        self.action: Callable[[], None] | None = action

    def cancel(self) -> None:
        """Make it not happen."""
        self.action = None


class Clock:
    """The only time there is; it moves when the next thing happens."""

    def __init__(self) -> None:
        self.now_ms = 0
        self.steps = 0
        self._heap: list[tuple[int, int, Alarm]] = []
        self._count = 0

    def after(self, delay_ms: int, action: Callable[[], None]) -> Alarm:
        """Let `action` happen after a delay in milliseconds; what is set first happens first."""
        assert delay_ms >= 0
        alarm = Alarm(action)
        self._count += 1
        heapq.heappush(self._heap, (self.now_ms + delay_ms, self._count, alarm))
        return alarm

    def step(self) -> bool:
        """Let the next thing happen; False when nothing is left."""
        while self._heap:
            self.now_ms, _, alarm = heapq.heappop(self._heap)
            if alarm.action is not None:
                self.steps += 1
                alarm.action()
                return True
        return False
