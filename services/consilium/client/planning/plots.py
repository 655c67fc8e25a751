"""Two curves for a report: the odds of failure against the committee's size, and against the fault rates.

By matplotlib, which only this needs and which is loaded only here: the extra `plot`. Its object interface, so nothing opens
a window or looks for a display.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from consilium.client.planning.forecast import Forecast, sizes
from consilium.client.planning.scenario import Scenario
from consilium.kernel.errors import FailedPrecondition, InvalidArgument

SUFFIXES = (".png", ".svg")
SIZE_MAX = 31
"""Up to here sizes are drawn; beyond it curves are flat or the alliance is smaller."""
FACTORS = (0.125, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)
"""What the scenario's fault rates are multiplied by, capped at 1."""


def plot(path: Path, forecast: Forecast, target: float) -> None:
    """Write the picture. Raises InvalidArgument: BAD_PLOT; FailedPrecondition: NO_MATPLOTLIB; may raise OSError."""
    if path.suffix.lower() not in SUFFIXES:
        raise InvalidArgument("BAD_PLOT", f"{path} must end in {' or '.join(SUFFIXES)}.")
    try:
        from matplotlib.axes import Axes  # noqa: PLC0415  the extra `plot`
        from matplotlib.figure import Figure  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        raise FailedPrecondition("NO_MATPLOTLIB", f"Plots need {missing.name}: install consilium[plot].") from missing

    def curves(axes: Axes, along: Sequence[float], forecasts: Sequence[Forecast], label: str) -> None:
        axes.semilogy(along, [each.p_no_quorum for each in forecasts], "o-", label="no quorum")
        axes.semilogy(along, [each.p_unsafe for each in forecasts], "s--", label="more than f malicious")
        axes.axhline(1 - target, color="grey", linewidth=1, label=f"1 - {target:.6g}")
        axes.set_xlabel(label)
        axes.set_ylabel("probability in a term")
        axes.grid(visible=True, which="major", alpha=0.3)
        axes.legend()

    scenario = forecast.scenario
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    by_size, by_rate = figure.subplots(1, 2)
    drawn = [size for size in sizes(scenario) if size <= SIZE_MAX]
    curves(by_size, drawn, [Forecast(scenario, size) for size in drawn], "delegates")
    rates = [Forecast(_at_rates(scenario, each), forecast.size, forecast.given_seats) for each in FACTORS]
    curves(by_rate, FACTORS, rates, f"times the fault rates of the file, {forecast.size} delegates")
    figure.suptitle(scenario.name)
    figure.savefig(path)


def _at_rates(scenario: Scenario, factor: float) -> Scenario:
    """The same members, each so much more or less likely to fail."""
    members = tuple(
        replace(
            each,
            p_malicious=min(1.0, each.p_malicious * factor),
            p_unreachable=min(1.0, each.p_unreachable * factor),
        )
        for each in scenario.members
    )
    return replace(scenario, members=members)
