"""The nemesis' list: which faults befall whom and when, planned before the run and told in sentences.

The list is a pure function of the options, and every fault carries the seed of its own draws. So one can be taken out and
the others stay what they are: that is what lets a failing seed be cut down to a story.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.simulation.schedule import UPGRADE, stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.simulation.schedule import Options

FIRST_MS = 1_200
"""By when every kind that is on has begun once."""
SPAN_MS = (100, 3_000)
"""How long what befell somebody lasts."""
CLOCK_MS = 600_000
"""How far a clock may be wrong: ten minutes."""
EVERYBODY = ("blackout", "all killed")
"""What befalls all members at once; planned at most twice."""
TALES = {
    "isolate": "{who} is cut off from all others for {span}",
    "split": "{who} are cut off from the rest for {span}",
    "one way": "what {who} says reaches none of the rest for {span}",
    "swizzle": "the links of {who} clog one after another, and open in another order within {span}",
    "crash": "{who} stops at once and comes back after {span}",
    "power cut": "{who} loses power between two effects, and comes back after {span}",
    "restart": "{who} is restarted",
    "pause": "{who} stands still for {span}",
    "slow": "{who} is ten times slower for {span}",
    "blackout": "everybody loses power at once and comes back within {span}",
    "all killed": "everybody is killed, each at some write of its own, and comes back within {span}",
    "sync error": "the next sync of {who} fails; it stops and comes back after {span}",
    "forgotten sync": "a sync of {who} fails and leaves its pages clean; it comes back, and loses power after {span}",
    "rolling upgrade": "within {span} {who} come back as the newer build, or below the upgrade's height as the older one",
    "certificate ends": "the certificate of {who} ends, by each peer's own clock, and is renewed after {span}",
    "disk full": "the disk of {who} is full; it stops and comes back after {span}",
    "lost log": "{who} stops, loses its vote log, and comes back after {span}",
    "wiped disk": "{who} stops, loses its whole disk, and comes back after {span}",
    "lost ledger": "{who} stops, loses its ledger but not its vote log, and comes back after {span}",
    "bit rot": "{who} stops, a bit of its vote log flips, and it comes back after {span}",
    "misdirected write": "{who} stops, a sector of its vote log lies where another should, and it comes back after {span}",
    "restored": "{who} is put back to a copy of its disk from {span} ago, and begins again later",
    "clock jump": "the clock of {who} jumps by up to ten minutes",
    "clock back": "the clock of {who} falls back by up to a second",
}
"""Each kind in a sentence."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One planned fault: its kind, whom it befalls, when and for how long in simulated milliseconds, and its own seed."""

    at_ms: int
    kind: str
    who: tuple[str, ...]
    span_ms: int
    dice: int

    def __str__(self) -> str:
        """One line of the story."""
        told = TALES[self.kind].format(who=" and ".join(self.who), span=f"{self.span_ms / 1_000:.1f} s")
        return f"at {self.at_ms / 1_000:6.2f} s  {told}"

    def chance(self) -> random.Random:
        """What this fault draws from."""
        return random.Random(self.dice)  # noqa: S311  a simulation wants to be repeated, not secret


def plan(options: Options, names: Sequence[str]) -> tuple[Fault, ...]:
    """Every fault of the safety phase in order of time: each kind once at the beginning, then more after drawn gaps."""
    chance = stream(options.seed, "nemesis")
    faults = [_draw(chance, options, names, kind, chance.randrange(100, FIRST_MS)) for kind in options.faults]
    everyday = [each for each in options.faults if each not in EVERYBODY]
    at_ms = FIRST_MS
    while everyday and at_ms < options.safety_ms:
        faults.append(_draw(chance, options, names, chance.choice(everyday), at_ms))
        at_ms += chance.randrange(options.fault_gap // 2, options.fault_gap * 2)
    return tuple(sorted(faults, key=lambda fault: fault.at_ms))


def _draw(chance: random.Random, options: Options, names: Sequence[str], kind: str, at_ms: int) -> Fault:
    most = {"split": len(names) - 1, "swizzle": len(names), "one way": len(names) - 1, "crash": options.faults_max}
    count = len(names) if kind == UPGRADE else chance.randint(1, most.get(kind, 1))
    who = () if kind in EVERYBODY else tuple(chance.sample(list(names), count))
    return Fault(at_ms, kind, who, chance.randrange(*SPAN_MS), chance.getrandbits(32))
