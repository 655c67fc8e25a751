"""The replica's clock: its timers on the event loop, and turns, so that the loop has time for others (rules C1, C2).

A timer that was moved or cancelled after it rang, and before the ring was heard, does not count: the replica must not step
by a time-out that it has taken back. Turns are for tasks that find work at every look and would never wait by themselves.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from consilium.consensus.core.events import Timer

TURN_S = 0.005
"""How long envelopes, or inputs, that wait may keep the event loop from timers and streams, in seconds."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """A timer rang, and when; `setting` tells which of its settings, so that one moved since counts no more."""

    timer: Timer
    setting: int
    now_ms: int


class Alarms:
    """The replica's timers on the event loop's clock."""

    def __init__(self, ring: Callable[[Alarm], None], now_ms: Callable[[], int]) -> None:
        self._ring, self._now_ms = ring, now_ms
        self._settings: Counter[Timer] = Counter()
        self._handles: dict[Timer, asyncio.TimerHandle] = {}

    def set(self, timer: Timer, delay_ms: int) -> None:
        """Ring after so many milliseconds, instead of any earlier setting."""
        self.cancel(timer)
        setting = self._settings[timer]
        self._handles[timer] = asyncio.get_running_loop().call_later(delay_ms / 1_000, self._rings, timer, setting)

    def _rings(self, timer: Timer, setting: int) -> None:
        self._ring(Alarm(timer, setting, self._now_ms()))

    def cancel(self, timer: Timer) -> None:
        """Do not ring, and forget a ring that was not heard yet."""
        self._settings[timer] += 1
        handle = self._handles.pop(timer, None)
        if handle is not None:
            handle.cancel()

    def still_set(self, alarm: Alarm) -> bool:
        """Whether the timer was neither moved nor cancelled since it rang."""
        return self._settings[alarm.timer] == alarm.setting

    def silence(self) -> None:
        """Cancel all."""
        for timer in list(self._handles):
            self.cancel(timer)


class Turns:
    """Lets the rest of the event loop run now and then: work that never waits for anything would keep it out."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._since_s = self._loop.time()

    async def give_way(self) -> None:
        """Let others run if this task has gone on for long enough."""
        if self._loop.time() - self._since_s >= TURN_S:
            await asyncio.sleep(0)
            self._since_s = self._loop.time()
