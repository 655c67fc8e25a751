"""What goes wrong in the safety phase: partitions, crashes, blackouts, lost vote logs, twins' changing views.

Each family acts again and again after a drawn gap, as the seed's options say, until the phase ends.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tests.simulation.schedule import stream
from tests.simulation.twin import SUFFIX

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.member import Member
    from tests.simulation.world import World

FUSE_MAX = 60
"""Within how many effects an armed crash happens."""
TWIN_STARTS_MS = 3_000
"""By when the second instance of a twin has started, in milliseconds."""


class Nemesis:
    """All faults of one run, until it is called off."""

    def __init__(self, world: World, members: dict[str, Member]) -> None:
        self._world = world
        self._members = members
        self._chance = stream(world.options.seed, "nemesis")
        self._over = False

    def begin(self) -> None:
        """Set the families of this seed going."""
        options = self._world.options
        self._every(options.partition_gap, self._partition)
        self._every(options.crash_gap, self._crash_some)
        self._every(options.blackout_gap, self._black_out)
        for name in self._world.views.twinned:
            delay = self._chance.randrange(TWIN_STARTS_MS)
            self._world.clock.after(delay, partial(self._start_twin, name))
        if self._world.views.twinned:
            self._every(3_000, self._world.views.redraw)

    def call_off(self) -> None:
        """End all faults: links join, everybody who is down comes back. Byzantine delegates stay what they are."""
        self._over = True
        self._world.network.quieten()
        self._world.views.join()
        for member in self._members.values():
            member.fuse = None
            if not member.up:
                self._restart(member)

    def _every(self, gap_ms: int, act: Callable[[], None]) -> None:
        """Act after about this gap, again and again; never for a gap of 0."""
        if gap_ms and not self._over:
            self._world.clock.after(self._chance.randrange(gap_ms // 2, gap_ms * 2), partial(self._act, gap_ms, act))

    def _act(self, gap_ms: int, act: Callable[[], None]) -> None:
        if not self._over:
            act()
            self._every(gap_ms, act)

    def _hit(self, kind: str, *what: object) -> None:
        self._world.hits[kind] += 1
        self._world.story.note("nemesis", kind, *what)

    # --- links ---

    def _partition(self) -> None:
        """Isolate one endpoint, split all in two, or cut some links one way; heal later."""
        names = list(self._members)
        kind = self._chance.choice(("isolate", "split", "one way"))
        side = self._chance.sample(names, 1 if kind == "isolate" else self._chance.randrange(1, len(names)))
        rest = [name for name in names if name not in side]
        pairs = [(one, other) for one in side for other in rest]
        if kind != "one way":
            pairs += [(other, one) for one, other in pairs]
        self._hit(f"partition {kind}", *side)
        self._world.network.cut(pairs)
        self._world.clock.after(self._chance.randrange(200, 3_000), self._world.network.heal)

    # --- machines ---

    def _crash_some(self) -> None:
        """Stop up to f endpoints, now or between two of their next effects; they come back later."""
        up = [member for member in self._members.values() if member.up]
        count = self._chance.randint(1, self._world.options.faults_max)
        for member in self._chance.sample(up, min(count, len(up))):
            self._hit("crash", member.endpoint)
            if self._chance.random() < 0.7:
                member.fuse = self._chance.randrange(FUSE_MAX)
                self._world.clock.after(self._chance.randrange(300, 3_000), partial(self._revive, member))
            else:
                self._stop(member, self._chance.randrange(50, 3_000))

    def _black_out(self) -> None:
        """Everybody loses power at once, and comes back one after the other."""
        self._hit("blackout")
        for member in self._members.values():
            self._stop(member, self._chance.randrange(50, 2_000))

    def _stop(self, member: Member, down_ms: int) -> None:
        member.crash()
        self._world.clock.after(down_ms, partial(self._revive, member))

    def _revive(self, member: Member) -> None:
        """Bring an endpoint back, one in a while without its vote log."""
        if member.up:
            member.fuse = None
        elif not self._over:
            self._restart(member)

    def _restart(self, member: Member) -> None:
        if self._world.options.lost_log and not self._over and self._chance.random() < 0.5 and self._may_lose(member):
            self._hit("lost vote log", member.endpoint)
            member.log.wipe()
        member.start()

    def _may_lose(self, member: Member) -> bool:
        """At most f replicas may be silent at once: more could never speak again (C5)."""
        silent = [each for each in self._members.values() if each.log.lost and each is not member]
        return len(silent) < self._world.options.faults_max

    # --- twins ---

    def _start_twin(self, name: str) -> None:
        """A second instance under the same keys, from a copy of the first one's disk."""
        first, endpoint = self._members[name], name + SUFFIX
        self._hit("twin", name)
        second = first.clone(endpoint)
        self._members[endpoint] = second
        self._world.network.receivers[endpoint] = second.receive
        cloned = first.up and self._world.views.clones_session
        second.log.incarnation = first.log.incarnation - cloned
        self._world.views.begin(name)
        second.start(first.identity.session if cloned else None)
