"""Byzantine delegates: a twin, and one that keeps messages to itself.

A twin (Bano and others, "Twins: BFT systems made robust", 2021) is a second instance under the same keys, started from a
copy of the first one's disk. Each of the two talks to its own group of members only, and the groups change now and then:
so an unmodified replica equivocates, forgets and contradicts itself. A group that is `split` cannot talk across either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from consilium.consensus.core.messages import NewView, PrePrepare
from tests.simulation.schedule import stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from consilium.consensus.core.messages import Message
    from tests.simulation.schedule import Options

SUFFIX = "~"
"""What the second instance's endpoint is called after its member's id."""

SLOW_PRIMARY_MS = 900
"""How late a slow primary may propose: nine tenths of the simulated time-out."""


def member_of(endpoint: str) -> str:
    """The member an endpoint speaks for."""
    return endpoint.removesuffix(SUFFIX)


class TwinViews:
    """Which instance of a twinned member talks to whom."""

    def __init__(self, options: Options, twinned: Sequence[str], members: Sequence[str]) -> None:
        self._chance = stream(options.seed, "twin")
        self.twinned = tuple(twinned)
        self._others = [name for name in members if name not in twinned]
        self._second: dict[str, bool] = {}
        self.split = False
        self.running: list[str] = []
        self.clones_session = self._chance.random() < 0.6
        self.redraw()

    def redraw(self) -> None:
        """Draw new groups."""
        self._second = {name: self._chance.random() < 0.5 for name in self._others}
        self.split = self._chance.random() < 0.4

    def begin(self, name: str) -> None:
        """The second instance of this member runs from now on."""
        self.running.append(name)

    def join(self) -> None:
        """Let all honest members talk to one another again; each still sees one instance only."""
        self.split = False

    def endpoint(self, source: str, target: str) -> str | None:
        """The endpoint that a message from `source` to the member `target` reaches, or None."""
        if not self.running:
            return target
        if target in self.running:
            return target + SUFFIX if self._in_second(source) else target
        apart = self._in_second(source) != self._in_second(target)
        if apart and (self.split or member_of(source) in self.running):
            return None
        return target

    def _in_second(self, endpoint: str) -> bool:
        return endpoint.endswith(SUFFIX) or self._second.get(endpoint, False)


class Dropper:
    """What a delegate that keeps messages to itself, or back, does: one habit for the whole run."""

    def __init__(self, options: Options, member_id: str, others: Sequence[str]) -> None:
        self._chance = stream(options.seed, f"dropper {member_id}")
        self._habit = "silent" if options.silent else options.habit
        self._victims = self._chance.sample(list(others), max(1, options.faults_max))

    def drops(self, target: str, message: Message) -> bool:
        """Whether this message never leaves."""
        match self._habit:
            case "half":
                return self._chance.random() < 0.5
            case "victim":
                return target == self._victims[0]
            case "proposals":
                return isinstance(message, PrePrepare | NewView) and self._chance.random() < 0.7
            case "selective":
                return isinstance(message, PrePrepare | NewView) and target in self._victims
            case "slow":
                return False
            case _:
                return True

    def delay_ms(self, message: Message) -> int:
        """How late a slow primary proposes: just below the time-out (R3)."""
        if self._habit != "slow" or not isinstance(message, PrePrepare):
            return 0
        return self._chance.randrange(SLOW_PRIMARY_MS // 2, SLOW_PRIMARY_MS)
