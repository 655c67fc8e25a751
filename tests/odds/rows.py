"""The three ways to the same probability, side by side: calculated, simulated, and seen in processes (rule C9)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.table import Table

from consilium.client.planning.forecast import Forecast
from consilium.client.planning.rehearsal import Measured, rehearse
from tests.odds.faults import CALM, ROUGH, Rates, draw_terms, scenario_of
from tests.odds.terms import Tally, run_terms

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROWS = ((4, ROUGH), (7, ROUGH))
"""Committee sizes and rates: agreement with probabilities between .8 and .95, where 400 terms can tell."""
SIMULATED_TERMS = 20_000
BEYOND = ((10, ROUGH), (4, CALM), (7, CALM), (10, CALM))
"""What is calculated beside them and not measured."""


@dataclass(frozen=True, slots=True)
class Row:
    """One committee size under one set of rates."""

    forecast: Forecast
    simulated: Measured
    """Terms without a quorum, of elections by the production rule."""
    tally: Tally

    @property
    def measured(self) -> Measured:
        """Terms in which the processes did not agree."""
        return Measured(self.tally.failed, len(self.tally.outcomes), self.forecast.p_no_quorum)

    @property
    def agrees(self) -> bool:
        """Whether calculation, simulation and processes agree, and no term agreed that had no quorum (promise 1).

        A term that had one and was not in time counts as one without agreement; a busy machine has some.
        """
        return self.measured.agrees and self.simulated.agrees and not self.tally.without_quorum


def measure(folder: Path, size: int, rates: Rates, plan: tuple[int, int], tell: Callable[[str], None]) -> Row:
    """Live through so many terms of a seed, `plan`; raises as `run_terms`."""
    scenario = scenario_of(size, rates)
    forecast, tally = Forecast(scenario, size), run_terms(folder, size, draw_terms(scenario, *plan), tell)
    return Row(forecast, rehearse(forecast, SIMULATED_TERMS).no_quorum, tally)


def table(rows: list[Row]) -> Table:
    """All rows; probabilities are those of agreement."""
    shown = Table(
        "n",
        "f",
        "calculated",
        "simulated [99 %]",
        "processes [99 %]",
        "terms",
        "against its faults",
        "> f malicious",
        "agree",
    )
    for each in rows:
        tally = each.tally
        shown.add_row(
            str(each.forecast.size),
            str(tally.faults_max),
            f"{1 - each.forecast.p_no_quorum:.4f}",
            _said(each.simulated),
            _said(each.measured),
            str(len(tally.outcomes)),
            f"{tally.without_quorum} agreed, {tally.in_spite} did not",
            f"{tally.unsafe}, no fork",
            "yes" if each.agrees else "NO",
        )
    return shown


def extrapolated() -> str:
    """What is calculated for sizes and rates that no process has been asked about."""
    said = [
        f"n = {size}, {'calm' if rates is CALM else 'rough'}: {1 - _p_no_quorum(size, rates):.4f}" for size, rates in BEYOND
    ]
    return f"Extrapolation, calculated only: {'; '.join(said)}."


def _p_no_quorum(size: int, rates: Rates) -> float:
    return Forecast(scenario_of(size, rates), size).p_no_quorum


def _said(measured: Measured) -> str:
    """The rate of agreement with its exact interval, from what was counted of the contrary."""
    low, high = measured.interval
    return f"{1 - measured.rate:.4f} [{1 - high:.4f}, {1 - low:.4f}]"
