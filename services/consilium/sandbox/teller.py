"""How the story is told: one panel an act, growing while things happen, and a table of timings at the end.

Every bar moves with bytes or blocks that were really handled, every figure was measured in this run. A
check that fails raises `StoryFailed`, which ends the demo with its sentence. Rich drops colour by itself
where NO_COLOR is set or nobody watches a terminal; then a panel is printed once, when its act is over.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

WIDTH_MAX = 110
"""The widest a panel becomes, in columns."""


class StoryFailed(Exception):
    """What the story promised did not happen; the message is the sentence to show."""


@dataclass
class Act:
    """One panel: what was said and shown so far."""

    title: str
    lines: list[RenderableType] = field(default_factory=list)
    checks: int = 0

    def say(self, sentence: str) -> None:
        """Add a sentence; rich's markup is understood."""
        self.lines.append(Text.from_markup(f"  {sentence}"))

    def check(self, holds: bool, sentence: str) -> None:  # noqa: FBT001  a check reads as one sentence
        """Add a ticked sentence, or end the story with it."""
        if not holds:
            raise StoryFailed(f"Act {self.title!r}: it does not hold that {sentence}")
        self.checks += 1
        self.lines.append(Text.from_markup(f"[green]✓[/] {sentence}"))

    def show(self, what: RenderableType) -> None:
        """Add a table or anything else rich can draw."""
        self.lines.append(what)

    @contextmanager
    def bar(self, label: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        """A progress bar; call what is handed out with the absolute number done so far."""
        progress = Progress(
            TextColumn("  {task.description}"),
            BarColumn(bar_width=30),
            TextColumn(f"{{task.completed:,.0f}} of {{task.total:,.0f}} {unit}"),
            TimeElapsedColumn(),
        )
        task: TaskID = progress.add_task(label, total=total)
        self.lines.append(progress)
        yield lambda done: progress.update(task, completed=done)
        progress.stop_task(task)


class Teller:
    """Shows acts one after the other, and remembers how long each took."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.chain_line: Callable[[], str] = lambda: ""
        """Asked for the line at the foot of each panel."""
        self.seconds: dict[str, float] = {}
        self.checks = 0

    @contextmanager
    def act(self, title: str) -> Iterator[Act]:
        """Show a panel while the act is played."""
        act, started = Act(title), time.monotonic()
        if self._console.is_terminal:
            with Live(get_renderable=lambda: self._panel(act), console=self._console, refresh_per_second=10):
                yield act
        else:
            try:
                yield act
            finally:
                self._console.print(self._panel(act))
        self.seconds[title] = time.monotonic() - started
        self.checks += act.checks

    def timings(self, extra: list[tuple[str, str]]) -> None:
        """Print how long each act took, and the figures the story gathered."""
        table = Table(title="Timings of this run", title_justify="left", show_edge=False, width=self._width)
        table.add_column("act")
        table.add_column("seconds", justify="right")
        for title, seconds in self.seconds.items():
            table.add_row(title, f"{seconds:.2f}")
        table.add_section()
        for name, figure in extra:
            table.add_row(name, figure)
        self._console.print(table)

    @property
    def _width(self) -> int:
        return min(WIDTH_MAX, self._console.width)

    def _panel(self, act: Act) -> Panel:
        number = len(self.seconds) + 1
        return Panel(
            Group(*act.lines),
            title=f"[bold]{number}. {act.title}[/]",
            title_align="left",
            subtitle=self.chain_line(),
            subtitle_align="right",
            border_style="cyan",
            width=self._width,
        )
