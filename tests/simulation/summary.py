"""What a search covered, in a few lines: promises only count where the faults that threaten them happened."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.run import Report

FAULTS = (
    "lost",
    "duplicated",
    "cut off",
    "partition isolate",
    "partition split",
    "partition one way",
    "crash",
    "crash between effects",
    "blackout",
    "lost vote log",
    "twin",
    "kept back",
    "lie",
    "refused CLOCK_SKEW",
    "block synced",
)
"""The kinds of faults, and what follows from them, that a summary counts."""


@dataclass(slots=True)
class Summary:
    """Sums over all reports so far."""

    seeds: int = 0
    failed: int = 0
    blocks: int = 0
    fewest: int | None = None
    epochs: int = 0
    view_changes: int = 0
    simulated_ms: int = 0
    releases: int = 0
    hits: Counter[str] = field(default_factory=Counter)
    reached: Counter[str] = field(default_factory=Counter)
    alliances: Counter[tuple[int, int]] = field(default_factory=Counter)

    def add(self, report: Report) -> None:
        """Count one seed in."""
        self.seeds += 1
        self.failed += bool(report.failure)
        self.blocks += report.blocks
        self.fewest = report.blocks if self.fewest is None else min(self.fewest, report.blocks)
        self.alliances[report.delegates, report.members] += 1
        self.epochs += report.epochs
        self.view_changes += report.view_changes
        self.simulated_ms += report.simulated_ms
        self.releases += report.releases
        self.hits += report.hits
        self.reached.update(kind for kind in FAULTS if report.hits[kind])

    def lines(self, seconds: float) -> list[str]:
        """The summary as it is printed; `seconds` is the time it really took."""
        refused = sum(count for kind, count in self.hits.items() if kind.startswith("release refused"))
        seeds_rate, ratio = self.seeds / seconds, self.simulated_ms / 1_000 / seconds
        sizes, unseen = sorted(self.alliances), [kind for kind in FAULTS if not self.hits[kind]]
        return [
            f"{self.seeds} seeds, {self.failed} failed; {seeds_rate:.1f} seeds a second",
            "alliances: " + ", ".join(f"n = {n} of {members}: {self.alliances[n, members]}" for n, members in sizes),
            f"{self.blocks} blocks, {self.blocks / seconds:.0f} a second, at least {self.fewest or 0} in every seed",
            f"{self.simulated_ms / 1_000:.0f} simulated seconds in {seconds:.0f}: {ratio:.0f} : 1",
            f"{self.epochs} epochs crossed, {self.view_changes} new views, {self.hits['sent']} messages",
            f"{self.releases} fragments released, {refused} refused",
            "faults: " + ", ".join(f"{kind} {self.hits[kind]} in {self.reached[kind]} seeds" for kind in FAULTS),
            *(["never happened: " + ", ".join(unseen)] if unseen else []),
        ]
