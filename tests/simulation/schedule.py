"""What one seed means: the alliance, the fault families that are on, and their rates (swarm testing, Groce 2012).

A family that is off in a seed leaves room for the others; so each family is drawn on or off first, then its rate. Every
component draws from a stream of its own, so that one more draw in the network does not move the workload.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, fields

SAFETY_MS = 20_000
"""How long faults last at most, in simulated milliseconds."""
SAFETY_BLOCKS = 80
"""The height at which the faults end when it comes first."""
LIVENESS_MS = 150_000
"""How long a healed alliance may take to converge, in simulated milliseconds."""
BLOCKS_LEAST = 100
"""The height every seed must reach."""
LYING = 0.6
"""How likely delegates that keep messages to themselves in a seed lie instead."""


@dataclass(frozen=True, slots=True)
class Options:
    """Everything the seed decided. Rates in permille of messages, gaps and delays in milliseconds, 0 for off."""

    seed: int
    members: int = 5
    committee_target: int = 4
    term_blocks: int = 40
    loss: int = 0
    duplicate: int = 0
    delay_max: int = 10
    reorder: bool = True
    skew_max: int = 0
    partition_gap: int = 0
    crash_gap: int = 0
    blackout_gap: int = 0
    lost_log: bool = False
    twins: int = 0
    droppers: int = 0
    lies: bool = False
    silent: int = 0
    submit_gap: int = 60
    execute_delay_max: int = 5
    large_batches: bool = False
    governance: bool = False
    blocks_least: int = BLOCKS_LEAST
    safety_ms: int = SAFETY_MS
    liveness_ms: int = LIVENESS_MS

    @property
    def faults_max(self) -> int:
        """F of the committees this alliance elects."""
        return (self.committee_target - 1) // 3

    def __str__(self) -> str:
        """The options that differ from a quiet alliance."""
        shown = [f"{each.name}={getattr(self, each.name)}" for each in fields(self) if self._differs(each.name)]
        return " ".join(shown)

    def _differs(self, name: str) -> bool:
        return bool(getattr(self, name) != getattr(QUIET, name))


QUIET = Options(seed=-1)


def stream(seed: int, component: str) -> random.Random:
    """The component's own source of chance, a pure function of the seed."""
    return random.Random(f"{seed}/{component}")  # noqa: S311  a simulation wants to be repeated, not secret


def draw_options(seed: int) -> Options:
    """Expand a seed."""
    chance = stream(seed, "schedule")
    target = 7 if chance.random() < 0.15 else 4
    faults_max = (target - 1) // 3
    byzantine = faults_max if chance.random() < 0.5 else 0
    twins = byzantine if chance.random() < 0.6 else 0
    return Options(
        seed=seed,
        members=chance.choice((7, 8)) if target == 7 else 5,
        committee_target=target,
        term_blocks=chance.randrange(30, 41),
        loss=_on(chance, chance.randrange(1, 201)),
        duplicate=_on(chance, chance.randrange(1, 201)),
        delay_max=chance.choice((2, 10, 30, 100)),
        reorder=chance.random() < 0.7,
        skew_max=_on(chance, chance.randrange(1, 401)),
        partition_gap=_on(chance, chance.randrange(1_000, 6_000)),
        crash_gap=_on(chance, chance.randrange(700, 5_000)),
        blackout_gap=_on(chance, chance.randrange(5_000, 20_000), likelihood=0.25),
        lost_log=byzantine == 0 and chance.random() < 0.6,
        twins=twins,
        droppers=byzantine - twins,
        lies=byzantine > twins and stream(seed, "lies").random() < LYING,
        submit_gap=chance.choice((25, 50, 100, 400)),
        execute_delay_max=chance.choice((0, 5, 40)),
        large_batches=chance.random() < 0.3,
        governance=chance.random() < 0.3,
    )


def _on(chance: random.Random, rate: int, likelihood: float = 0.5) -> int:
    """The rate, or 0 when the family is off in this seed."""
    return rate if chance.random() < likelihood else 0
