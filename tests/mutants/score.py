"""What the mutants came to: a row each, the score, and the median of the seeds it took to kill one.

Killed is what a checker by name complained about. A mutant that only ever raised is not: an exception shows that the code
notices, and the score is about the simulator.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.mutants.mutant import Mutant
    from tests.mutants.trial import Trial

_ROW = "{:<44} {:<18} {:>6} {:>6} {:>6}  {}"
HEADING = _ROW.format("mutant", "killed by", "seeds", "cap", "raised", "stands for")


@dataclass(frozen=True, slots=True)
class Row:
    """One mutant's fate; `noticed` is the unit test that fails on it, `trouble` why it could not be tried to its end."""

    mutant: Mutant
    trial: Trial
    cap: int
    trouble: str = ""
    noticed: str = ""

    @property
    def is_killed(self) -> bool:
        """Whether a checker by name complained."""
        return bool(self.trial.checker)

    @property
    def is_expected(self) -> bool:
        """Whether it was one of those expected to."""
        return self.trial.checker.split(" ")[0] in self.mutant.checkers

    def __str__(self) -> str:
        """The row as it is printed."""
        trial, mutant = self.trial, self.mutant
        row = _ROW.format(mutant.name, self._fate(), trial.seeds, self.cap, trial.raised, mutant.stands_for)
        return row + "".join(f"\n    {each}" for each in self._remarks())

    def _fate(self) -> str:
        if self.is_killed:
            return self.trial.checker
        return "only raised" if self.trial.raised else "SURVIVES"

    def _remarks(self) -> list[str]:
        remarks = [self.trouble] if self.trouble else []
        if self.noticed:
            remarks.append(f"unit tests notice it: {self.noticed}")
        if not self.is_killed and self.trial.raised:
            remarks.append(f"raised, which is no kill: {self.trial.last_words}")
        if not self.is_killed or not self.is_expected:
            remarks.append(f"expected: {', '.join(self.mutant.checkers)}")
        return remarks


def verdict(rows: Sequence[Row]) -> list[str]:
    """The last lines: score, median, and who is left."""
    killed = [row for row in rows if row.is_killed]
    alone = sum(not row.noticed for row in killed)
    lines = [f"score: {len(killed)}/{len(rows)} killed by a checker, {alone} of them passed by all unit tests"]
    if killed:
        needed = sorted(row.trial.seeds for row in killed)
        lines.append(f"seeds to kill: median {median(needed):g}, most {needed[-1]}")
    left = [row.mutant.name for row in rows if not row.is_killed]
    return [*lines, f"left alive: {', '.join(left)}"] if left else lines
