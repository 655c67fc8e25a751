"""What a search covered, in a few lines: promises only count where the faults that threaten them happened."""

from __future__ import annotations

import hashlib
import platform
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.simulation.coverage import MARKS, RARE_MARKS
from tests.simulation.schedule import AMNESIA, CLOCKS, DISKS, LATER, LINKS, LOST_LEDGER, MACHINES

if TYPE_CHECKING:
    from tests.simulation.run import Report

FAULTS = (
    "lost",
    "duplicated",
    "replayed",
    "clogged",
    "cut off",
    *LINKS,
    *MACHINES,
    "cut between effects",
    *DISKS,
    *LATER,
    "slow disk",
    *AMNESIA,
    LOST_LEDGER,
    "old copy speaks",
    *CLOCKS,
    "refused CLOCK_SKEW",
    "refused CERTIFICATE_EXPIRED",
    "upgrade",
    "downgrade",
    "twin",
    "kept back",
    "slow primary",
    "lie",
    "liar banned",
    "flood of views",
    "flood of heights",
    "vote without a seat",
    "stale proof",
    "forged evidence",
    "wrong fragment",
    "fragment withheld",
    "fragment leaked",
)
"""The kinds of faults, and what follows from them, that a summary counts."""

LONG_SEARCH = 1_000
"""A search of so many seeds must have reached every mark, and its workers make values cheaply (`thawed`)."""


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
    marked: Counter[str] = field(default_factory=Counter)
    alliances: Counter[tuple[int, int]] = field(default_factory=Counter)
    fewest_kinds: int | None = None
    steps: int = 0
    processor_s: defaultdict[tuple[int, int], float] = field(default_factory=lambda: defaultdict(float))
    traces: list[str] = field(default_factory=list)

    def add(self, report: Report) -> None:
        """Count one seed in."""
        kinds = [kind for kind in FAULTS if report.hits[kind]]
        self.seeds += 1
        self.failed += bool(report.failure)
        self.blocks += report.blocks
        self.fewest = report.blocks if self.fewest is None else min(self.fewest, report.blocks)
        self.fewest_kinds = len(kinds) if self.fewest_kinds is None else min(self.fewest_kinds, len(kinds))
        self.alliances[report.delegates, report.members] += 1
        self.epochs += report.epochs
        self.view_changes += report.view_changes
        self.simulated_ms += report.simulated_ms
        self.releases += report.releases
        self.steps += report.steps
        self.traces.append(f"{report.seed} {report.trace}")
        self.processor_s[report.delegates, report.members] += report.processor_s
        self.hits += report.hits
        self.reached.update(kinds)
        self.marked.update(mark for mark in (*MARKS, *RARE_MARKS) if report.marks[mark])

    def blind_spots(self) -> list[str]:
        """The marks that a search long enough to reach all of them has not reached."""
        return [mark for mark in MARKS if not self.marked[mark]] if self.seeds >= LONG_SEARCH else []

    def lines(self, seconds: float) -> list[str]:
        """The summary as it is printed; `seconds` is the time it really took."""
        refused = sum(count for kind, count in self.hits.items() if kind.startswith("release refused"))
        ratio = self.simulated_ms / 1_000 / seconds
        sizes, unseen = sorted(self.alliances), [kind for kind in FAULTS if not self.hits[kind]]
        digest = hashlib.sha256("\n".join(self.traces).encode()).hexdigest()
        return [
            f"{self.seeds} seeds, {self.failed} failed; {self.seeds / seconds:.1f} seeds a second",
            "alliances: " + ", ".join(f"n = {n} of {members}: {self._size(n, members)}" for n, members in sizes),
            f"{self.blocks} blocks, {self.blocks / seconds:.0f} a second, at least {self.fewest or 0} in every seed",
            f"{self.simulated_ms / 1_000:.0f} simulated seconds in {seconds:.0f}: {ratio:.0f} : 1",
            f"{self.steps} events, {self.steps / seconds:.0f} a second",
            f"Python {platform.python_version()}; digest of all traces {digest[:16]}",
            f"{self.epochs} epochs crossed, {self.view_changes} new views, {self.hits['sent']} messages",
            f"{self.releases} fragments released, {refused} refused; {self.hits['read']} reads proven",
            f"faults, at least {self.fewest_kinds or 0} kinds in every seed: "
            + ", ".join(f"{kind} {self.hits[kind]} in {self.reached[kind]} seeds" for kind in FAULTS if self.hits[kind]),
            *(["never happened: " + ", ".join(unseen)] if unseen else []),
            "marks, and the share of seeds that reached them:",
            *(f"  {self._share(mark)}  {mark}" for mark in (*MARKS, *RARE_MARKS)),
            *(f"NOT REACHED in {self.seeds} seeds: {mark}" for mark in self.blind_spots()),
        ]

    def _size(self, delegates: int, members: int) -> str:
        """How many seeds had an alliance of this size, and what one of them cost."""
        size = delegates, members
        return f"{self.alliances[size]} of {1_000 * self.processor_s[size] / self.alliances[size]:.0f} ms of processor time"

    def _share(self, mark: str) -> str:
        return f"{100 * self.marked[mark] / max(1, self.seeds):5.1f} %"
