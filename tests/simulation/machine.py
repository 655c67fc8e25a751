"""The machine that an endpoint runs on: its power, its pace, its clock.

Whatever happens to an endpoint enters here. A machine that stands still keeps what arrives for later, one that is slow takes
its time after each thing it does, and nothing that was set going in one life happens in the next.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from tests.simulation.alliance import GENESIS_MS
from tests.simulation.builds import OLDER, running
from tests.simulation.schedule import UPGRADE, stream
from tests.stores.simulated_disk import PowerCutError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.world import World

    Action = Callable[[], None]

SLOW_MS = (2, 20)
"""How long a slow machine takes for one thing, in milliseconds; a healthy one takes none."""


class PowerCut(Exception):
    """The machine stopped here."""


class ProcessEnds(Exception):
    """The process ends by itself: the disk refused a write and nobody knows what is durable (C5), or it broke its word."""


class Machine:
    """Power, pace and clock of one endpoint; `Member` says what it does."""

    def __init__(self, endpoint: str, world: World) -> None:
        self.endpoint = endpoint
        self.life = 0
        self.up = False
        self.fuse: int | None = None
        self.slow_until = 0
        self.build = OLDER
        self._builds_differ = UPGRADE in world.options.faults
        self._world = world
        self._clock = world.clock
        self._chance = stream(world.options.seed, f"member {endpoint}")
        self._held_until = 0
        self._waiting: deque[Action] = deque()
        self._offset_ms = 0
        self._drift = 0
        self._clock_set_at = 0

    def crash(self, *, power: bool = True) -> None:
        """Stop at once; with the power, what was not synced may be lost."""
        raise NotImplementedError

    # --- power ---

    def _boot(self) -> None:
        """Begin another life, with a clock that is about right."""
        assert not self.up
        self.life += 1
        self.up, self._held_until = True, 0
        self._waiting.clear()
        options = self._world.options
        self.set_clock(self._chance.randint(-options.skew_max, options.skew_max))
        self._drift = self._chance.randint(-options.drift, options.drift)

    def _halt(self) -> None:
        """End this life."""
        self.up, self.fuse = False, None
        self.life += 1
        self._waiting.clear()

    def _tick(self) -> None:
        """One more place where the power may fail."""
        if self.fuse is not None:
            self.fuse -= 1
            if self.fuse < 0:
                raise PowerCut

    # --- pace ---

    def pause(self, span_ms: int) -> None:
        """Stand still for a while; what arrives waits."""
        self._held_until = max(self._held_until, self._clock.now_ms + span_ms)
        self._clock.after(span_ms, partial(self._go_on, self.life))

    def wake(self) -> None:
        """Go on at once, however long this machine was to stand still."""
        self._held_until = self.slow_until = 0
        self._clock.after(0, partial(self._go_on, self.life))

    def _enter(self, action: Callable[..., None], *what: object) -> None:
        """Do something now, or when this machine comes to it."""
        if self._waiting or self._clock.now_ms < self._held_until:
            self._waiting.append(partial(action, *what))
        else:
            self._do(action, *what)

    def _go_on(self, life: int) -> None:
        """Do what has waited, as far as the machine comes."""
        while self.life == life and self._waiting and self._clock.now_ms >= self._held_until:
            self._do(self._waiting.popleft())

    def _do(self, action: Callable[..., None], *what: object) -> None:
        """Do it as the build that runs here, and die of what may happen meanwhile."""
        try:
            if self._builds_differ:
                with running(self.build):
                    action(*what)
            else:
                action(*what)
        except (PowerCut, PowerCutError):
            self._world.hits["cut between effects"] += 1
            self.crash()
        except ProcessEnds:
            self.crash(power=False)
        if self.slow_until > self._clock.now_ms:
            self.pause(self._chance.randint(*SLOW_MS))

    def _after(self, delay_ms: int, action: Callable[..., None], *what: object) -> int:
        return self._clock.after(delay_ms, partial(self._in_life, self.life, action, *what))

    def _in_life(self, life: int, action: Callable[..., None], *what: object) -> None:
        if self.life == life:
            self._enter(action, *what)

    # --- clock ---

    def set_clock(self, offset_ms: int) -> None:
        """Let the wall clock be so far from the true time, from now on."""
        self._offset_ms, self._clock_set_at = offset_ms, self._clock.now_ms

    def keep_time(self) -> None:
        """Let the wall clock be right, and go right, from now on."""
        self._drift = 0
        self.set_clock(0)

    def wall_ms(self) -> int:
        """The wall clock here, milliseconds since 1970."""
        now_ms = self._clock.now_ms
        drifted = (now_ms - self._clock_set_at) * self._drift // 1_000
        return GENESIS_MS + now_ms + self._offset_ms + drifted
