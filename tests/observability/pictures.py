"""Draws a board as Grafana would lay it out, from what Prometheus holds; people look at build/observability/*.png."""

from __future__ import annotations

import re
from math import isfinite
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from tests.observability.rules import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    from observability.panels import Board, Panel

PICTURES = ROOT / "build" / "observability"
COLUMNS = 3
LEGEND_MAX = 8
Lines = dict[tuple[str, str], list[Any]]
"""For each panel's place and query its lines, as Prometheus answers."""


def draw(board: Board, lines: Lines) -> Path:
    """One picture with all panels of a board."""
    panels = [(f"{row.title}: {panel.title}", panel, (row.title, panel)) for row in board.rows for panel in row.panels]
    rows = -(-len(panels) // COLUMNS)
    figure = Figure(figsize=(7 * COLUMNS, 3 * rows), layout="constrained")
    for axes, (title, panel, (row, _)) in zip(figure.subplots(rows, COLUMNS, squeeze=False).flat, panels, strict=False):
        _draw_panel(axes, title, panel, [(query.legend, lines[row + panel.title, query.text]) for query in panel.queries])
    figure.suptitle(board.title)
    PICTURES.mkdir(parents=True, exist_ok=True)
    path = PICTURES / f"{board.name}.png"
    figure.savefig(path, dpi=60)
    return path


def _draw_panel(axes: Axes, title: str, panel: Panel, found: list[tuple[str, list[Any]]]) -> None:
    axes.set_title(f"{title} ({panel.unit})", fontsize=9)
    begins = min((float(each["values"][0][0]) for _, several in found for each in several), default=0.0)
    drawn = 0
    for legend, several in found:
        for each in several:
            points = [(float(at) - begins, float(value)) for at, value in each["values"] if isfinite(float(value))]
            label = named(legend, each["metric"]) if drawn < LEGEND_MAX else None
            axes.plot([at for at, _ in points], [value for _, value in points], ".-", markersize=2, label=label)
            drawn += 1
    if drawn:
        axes.legend(fontsize=6, loc="best")
    else:
        axes.text(0.5, 0.5, "nothing", ha="center")
    axes.grid(visible=True, alpha=0.3)


def named(legend: str, labels: dict[str, str]) -> str:
    """A legend with its labels put in, as Grafana does."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: labels.get(match[1], ""), legend) or "value"
