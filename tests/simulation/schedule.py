"""What one seed means: the alliance, the fault families that are on, and their rates (swarm testing, Groce 2012).

A family that is off in a seed leaves room for the others; so each family is drawn on or off first, then its rate. Every
component draws from a stream of its own, so that one more draw in the network does not move the workload. What happens at a
certain moment is planned beside, in `faults`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, fields

SAFETY_MS = 12_000
"""How long faults last at most, in simulated milliseconds."""
SAFETY_BLOCKS = 80
"""The height at which the faults end when it comes first."""
CALM_PAUSES = 12
"""How many times as long clients pause once the faults are over: most of a chain's life is idle, and must be quiet then."""
LIVENESS_MS = 600_000
"""How long a healed alliance may take to converge, in simulated milliseconds."""
BLOCKS_LEAST = 100
"""The height every seed must reach."""
KINDS_LEAST = 5
"""How many kinds of faults must really happen in every drawn seed."""
LIKELY = 0.35
"""How likely a kind of planned faults is on in a seed."""
LYING = 0.6
"""How likely delegates that keep messages to themselves in a seed lie instead."""

LINKS = ("isolate", "split", "one way", "swizzle")
"""What befalls links at one moment; what befalls single messages has a rate."""
MACHINES = ("crash", "power cut", "restart", "pause", "slow", "blackout", "all killed")
"""What befalls machines and processes; only a power cut tears what was being written."""
DISKS = ("sync error", "disk full")
"""What a disk may do without forgetting what it has acknowledged."""
AMNESIA = ("lost log", "wiped disk", "bit rot", "misdirected write", "restored")
"""What makes a replica forget or contradict itself: it counts among the f until it has found its way back (C5)."""
LOST_LEDGER = "lost ledger"
"""From a stream of its own: a replica whose ledger alone is lost finds its vote log ahead of it, and is silent (C5)."""
FORGOTTEN = "forgotten sync"
"""A disk that forgets what it has not acknowledged, and shows it until the power goes: it takes no room (C5)."""
UPGRADE = "rolling upgrade"
"""Processes that come back as another build, while the alliance goes over to the newer one's version at a height (G5)."""
EXPIRY = "certificate ends"
"""What a member shows to the others is out of date by some clocks, until it is renewed."""
LATER = (FORGOTTEN, UPGRADE, EXPIRY)
"""What is drawn from a stream of its own, so that the others of a seed stay what they were."""
CLOCKS = ("clock jump", "clock back")
"""What befalls clocks at one moment."""
HABITS = ("half", "victim", "silent", "proposals", "selective", "slow")
"""What delegates that keep messages back do: lose half, all to one member, all, most proposals, those to some; be late."""


@dataclass(frozen=True, slots=True)
class Options:
    """Everything the seed decided. Rates in permille of messages, gaps and delays in milliseconds, 0 for off."""

    seed: int
    members: int = 5
    committee_target: int = 4
    term_blocks: int = 40
    loss: int = 0
    duplicate: int = 0
    replay: int = 0
    delay_max: int = 10
    reorder: bool = True
    clog: int = 0
    skew_max: int = 0
    drift: int = 0
    disk_ms: int = 0
    faults: tuple[str, ...] = ()
    fault_gap: int = 1_000
    twins: int = 0
    droppers: int = 0
    habit: str = "silent"
    lies: bool = False
    silent: int = 0
    floods: bool = False
    ends_off: bool = False
    submit_gap: int = 60
    execute_delay_max: int = 5
    heartbeat_ms: int = 700
    large_batches: bool = False
    governance: bool = False
    blocks_least: int = BLOCKS_LEAST
    kinds_least: int = 0
    safety_ms: int = SAFETY_MS
    liveness_ms: int = LIVENESS_MS

    @property
    def faults_max(self) -> int:
        """F of the committees this alliance elects."""
        return (self.committee_target - 1) // 3

    def __str__(self) -> str:
        """The options that differ from a quiet alliance."""
        shown = [f"{name}={getattr(self, name)}" for name in self.differing()]
        return " ".join(shown)

    def differing(self) -> list[str]:
        """The names of the options that differ from a quiet alliance's."""
        return [each.name for each in fields(self) if getattr(self, each.name) != getattr(QUIET, each.name)]


QUIET = Options(seed=-1)


def stream(seed: int, component: str) -> random.Random:
    """The component's own source of chance, a pure function of the seed."""
    return random.Random(f"{seed}/{component}")  # noqa: S311  a simulation wants to be repeated, not secret


def draw_options(seed: int) -> Options:
    """Expand a seed."""
    chance = stream(seed, "schedule")
    target = 7 if chance.random() < 0.1 else 4
    faults_max = (target - 1) // 3
    byzantine = faults_max if chance.random() < 0.5 else 0
    twins = byzantine if chance.random() < 0.5 else 0
    return Options(
        seed=seed,
        members=8 if target == 7 else 5,
        committee_target=target,
        term_blocks=chance.randrange(30, 41),
        loss=_on(chance, chance.randrange(1, 301), 0.4),
        duplicate=_on(chance, chance.choice((50, 100, 200, 500)), 0.4),
        replay=_on(chance, chance.randrange(1, 50), 0.4),
        delay_max=chance.choice((2, 10, 30, 100, 200)),
        reorder=chance.random() < 0.7,
        clog=_on(chance, chance.randrange(1, 21), 0.3),
        skew_max=_on(chance, chance.randrange(1, 401), 0.5),
        drift=_on(chance, chance.randrange(1, 21), 0.3),
        disk_ms=_on(chance, chance.choice((10, 100, 1_000)), 0.3),
        faults=_kinds(chance, seed, byzantine),
        fault_gap=chance.randrange(300, 1_500),
        twins=twins,
        droppers=byzantine - twins,
        habit=chance.choice(HABITS) if byzantine > twins else "silent",
        lies=byzantine > twins and stream(seed, "lies").random() < LYING,
        floods=byzantine > twins and stream(seed, "floods").random() < 0.4,
        ends_off=chance.random() < 0.2,
        submit_gap=chance.choice((50, 100, 200, 400)),
        execute_delay_max=chance.choice((0, 5, 40)),
        heartbeat_ms=chance.choice((700, 2_000, 5_000)),
        large_batches=chance.random() < 0.3,
        governance=chance.random() < 0.3,
        kinds_least=KINDS_LEAST,
    )


def _kinds(chance: random.Random, seed: int, byzantine: int) -> tuple[str, ...]:
    """The kinds of planned faults that are on: never too few; no amnesia on top of delegates that are faulty already."""
    menu = LINKS + MACHINES + DISKS + CLOCKS + (() if byzantine else AMNESIA)
    drawn = [each for each in menu if chance.random() < LIKELY]
    sure = [each for each in drawn if each not in AMNESIA]  # of the others it may be that one alone finds room (C5)
    rest = [each for each in menu if each not in (*drawn, *AMNESIA)]
    lacking = max(0, KINDS_LEAST + 1 - len(sure) - (len(sure) < len(drawn)))
    kinds = tuple(drawn + chance.sample(rest, lacking))
    return kinds + _later(seed) + (() if byzantine else _alone(seed, kinds))


def _later(seed: int) -> tuple[str, ...]:
    """What joined the menu later, each from a stream of its own."""
    return tuple(each for each in LATER if stream(seed, each).random() < LIKELY)


def _alone(seed: int, kinds: tuple[str, ...]) -> tuple[str, ...]:
    """Whether ledgers are lost alone in this seed; not where most kinds are amnesia's, for then it takes their room."""
    others = [each for each in kinds if each not in AMNESIA]
    happens = len(others) >= KINDS_LEAST and stream(seed, LOST_LEDGER).random() < LIKELY
    return (LOST_LEDGER,) if happens else ()


def _on(chance: random.Random, rate: int, likelihood: float) -> int:
    """The rate, or 0 when the family is off in this seed."""
    return rate if chance.random() < likelihood else 0
