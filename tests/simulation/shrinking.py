"""From a failing seed to a story: what of all its faults the failure needs, in sentences.

First every family with a rate is switched off for which the run still fails by the same rule; then the nemesis' list is cut
by delta debugging (Zeller and Hildebrandt, 2002). Chance of its own for every component and every planned fault keeps what
is left as it was. Bounded in runs and in time: what cannot be cut within them stays.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tests.simulation.run import run_options
from tests.simulation.schedule import QUIET

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.simulation.faults import Fault
    from tests.simulation.run import Report
    from tests.simulation.schedule import Options

RUNS_MAX = 80
"""How many runs one failure is worth."""
SECONDS_MAX = 60
"""How much processor time one failure is worth, in seconds."""
TOLD_LAST = 24
"""How many of the last events a story tells."""
KEPT = (
    "seed",
    "members",
    "committee_target",
    "faults",
    "fault_gap",
    "kinds_least",
    "blocks_least",
    "safety_ms",
    "liveness_ms",
)
"""What is not switched off: who takes part, and the list, which is cut instead."""
SENTENCES = {
    "term_blocks": "a term has {} blocks",
    "loss": "{} of 1,000 messages are lost",
    "duplicate": "{} of 1,000 messages come twice",
    "replay": "{} of 1,000 messages come once more, much later",
    "delay_max": "a message takes up to {} ms",
    "reorder": "messages of one link stay in order",
    "clog": "{} of 1,000 messages clog their link for up to five seconds",
    "skew_max": "clocks are up to {} ms wrong",
    "drift": "clocks drift by up to {} in 1,000",
    "disk_ms": "a sync takes up to {} ms",
    "twins": "{} delegate(s) run twice under the same keys",
    "droppers": "{} delegate(s) keep messages to themselves, or back",
    "habit": "their habit is: {}",
    "lies": "they lie instead",
    "silent": "{} delegate(s) say nothing",
    "floods": "they flood the others and forge evidence",
    "ends_off": "everybody is off when the faults end",
    "submit_gap": "clients act every {} ms or so",
    "execute_delay_max": "the ledger takes up to {} ms to begin a block",
    "heartbeat_ms": "an idle primary makes a block every {} ms",
    "large_batches": "batches are too large to travel inside a proposal",
    "governance": "members are graded and suspended",
}
"""What an option that differs from a quiet alliance's means."""


@dataclass(frozen=True, slots=True)
class Shrunk:
    """What is left of a failing seed, and the run that still fails."""

    options: Options
    faults: tuple[Fault, ...]
    report: Report
    runs: int

    def story(self) -> list[str]:
        """The failure in sentences: the world it needs, what befell whom, the last events, and the broken promise."""
        options = self.options
        told = [SENTENCES[name].format(getattr(options, name)) for name in options.differing() if name in SENTENCES]
        cast = f"{options.members} members, {options.committee_target} of them delegates"
        return [
            f"the story of seed {options.seed}, cut down in {self.runs} runs ({cast}):",
            *(f"  {sentence}" for sentence in told),
            *(f"  {fault}" for fault in self.faults),
            "  and its last events:",
            *self.report.story[-TOLD_LAST:],
            f"  {self.report.failure.strip().splitlines()[0]}",
        ]


class Shrinker:
    """Tries smaller runs until runs or time are used up. `run` gives the report of options and faults."""

    def __init__(self, run: Callable[[Options, Sequence[Fault]], Report] = run_options) -> None:
        self._run = run
        self._runs = 0
        self._until = time.process_time() + SECONDS_MAX
        self._best: Report | None = None

    def shrink(self, options: Options, failed: Report) -> Shrunk:
        """The smallest failing run found; the one given where nothing can be left out."""
        rule, faults = failed.rule, failed.faults
        self._best = failed
        options = self._switch_off(replace(options, kinds_least=0), faults, rule)
        if faults and self._fails(options, (), rule):
            faults = ()
        faults = self._cut(options, faults, rule)
        return Shrunk(options, faults, self._best, self._runs)

    def _fails(self, options: Options, faults: Sequence[Fault], rule: str) -> bool:
        if self._runs >= RUNS_MAX or time.process_time() > self._until:
            return False
        self._runs += 1
        report = self._run(options, faults)
        if report.rule == rule:
            self._best = report
        return report.rule == rule

    def _switch_off(self, options: Options, faults: Sequence[Fault], rule: str) -> Options:
        for name in options.differing():
            quieter = replace(options, **{name: getattr(QUIET, name)})
            if name not in KEPT and self._fails(quieter, faults, rule):
                options = quieter
        return options

    def _cut(self, options: Options, faults: tuple[Fault, ...], rule: str) -> tuple[Fault, ...]:
        """Leave out part after part, in finer and finer parts."""
        parts = 2
        while len(faults) >= 2:
            size = -(-len(faults) // parts)
            for start in range(0, len(faults), size):
                fewer = faults[:start] + faults[start + size :]
                if self._fails(options, fewer, rule):
                    faults, parts = fewer, max(2, parts - 1)
                    break
            else:
                if parts >= len(faults):
                    break
                parts = min(len(faults), 2 * parts)
        return faults
