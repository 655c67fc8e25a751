"""`consilium plan`: what a committee of a planned alliance comes to, from a scenario file (C6, C9; docs/consistency.md).

Needs no alliance and no settings. Ends with 1 where a target that was asked for is not met, or where the production election
does not bear the calculation out.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from typer.core import TyperCommand

from consilium.client.commands.desk import AsJson, Options, finish
from consilium.client.commands.telling import DONE, UNTRUE, Told, facts_table, table
from consilium.client.planning.forecast import (
    TARGET,
    TERMS_PER_YEAR,
    Forecast,
    SmallestCoalition,
    default_size,
    shown,
    smallest_meeting,
)
from consilium.client.planning.plots import plot as draw_plot
from consilium.client.planning.rehearsal import CONFIDENCE, TERMS, Measured, Rehearsal, rehearse
from consilium.client.planning.scenario import GRADE_NAMES, STRATUM_NAMES, PlannedMember, read_scenario
from consilium.kernel.election import weights
from consilium.kernel.errors import InvalidArgument

_SEATS = re.compile(r"\d{1,3}([/,]\d{1,3}){3}")


class PlanCommand(TyperCommand):
    """Takes `--simulate` with or without a number."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]  # typer's own is private
        """Put the usual number behind a bare `--simulate`."""
        followers = [*args[1:], ""]
        spelled = [
            f"{each}={TERMS}" if each == "--simulate" and not re.fullmatch(r"-?\d+", after) else each
            for each, after in zip(args, followers, strict=True)
        ]
        return super().parse_args(ctx, spelled)


def plan(
    file: Annotated[Path, typer.Argument(help="The scenario: shares and members, as YAML; see `scenarios/`.")],
    *,
    committee: Annotated[int | None, typer.Option(help="Delegates; else as a genesis without a target has them.")] = None,
    seats: Annotated[
        str | None, typer.Option(help="Seats of S1 to S4, as 4/3/4/2, instead of those of the production rule.")
    ] = None,
    target: Annotated[
        float | None,
        typer.Option(
            help="The probability of agreement to reach: picks the smallest committee, or judges the one named. "
            f"Warnings go by {TARGET} without."
        ),
    ] = None,
    simulate: Annotated[
        int | None,
        typer.Option(
            metavar="[TERMS]",
            help=f"Also run the production election with injected faults, {TERMS} terms unless a number follows.",
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Also draw the odds against size and fault rate: a .png or .svg.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tell what an alliance may expect of its committee: seats, odds of failure, outages, coalitions, and what to beware of.

    Everything is calculated from the file's own numbers: Wallenius' law of the draw by dynamic programming, the faults by
    convolution. The model and its limits are in docs/consistency.md. Ends with 1 where --target is not met.
    """

    def work() -> Told:
        forecast = _forecast(file, committee, _seats(seats), _target(target))
        if plot is not None:
            draw_plot(plot, forecast, TARGET if target is None else target)
        return _told(forecast, target, None if simulate is None else rehearse(forecast, simulate))

    finish(Options(None, as_json), work)


def _seats(text: str | None) -> tuple[int, ...] | None:
    """Raises InvalidArgument: BAD_SEATS."""
    if text is None:
        return None
    if not _SEATS.fullmatch(text):
        raise InvalidArgument("BAD_SEATS", f"Give the seats of S1 to S4 as 4/3/4/2; got {text!r}.", "C6")
    return tuple(int(each) for each in re.split("[/,]", text))


def _target(target: float | None) -> float | None:
    """Raises InvalidArgument: BAD_TARGET."""
    if target is not None and not 0 < target < 1:
        raise InvalidArgument("BAD_TARGET", f"A target is a probability between 0 and 1, as .99; got {target:g}.", "C9")
    return target


def _forecast(file: Path, committee: int | None, seats: tuple[int, ...] | None, target: float | None) -> Forecast:
    """The committee named, or else the smallest that meets the target, or else the usual one."""
    scenario = read_scenario(file)
    if seats is not None and committee not in {None, sum(seats)}:
        raise InvalidArgument("BAD_SEATS", f"These are {sum(seats)} seats, and --committee says {committee}.", "C6")
    if seats is not None:
        return Forecast(scenario, sum(seats), seats)
    if committee is None and target is not None:
        return smallest_meeting(scenario, target)
    return Forecast(scenario, default_size(scenario) if committee is None else committee)


def _told(forecast: Forecast, target: float | None, rehearsal: Rehearsal | None) -> Told:
    facts = _facts(forecast, target, rehearsal)
    missed = target is not None and not forecast.meets(target)
    disagrees = rehearsal is not None and not rehearsal.agrees
    return Told(facts, tuple(_shown(facts)), UNTRUE if missed or disagrees else DONE)


def _facts(forecast: Forecast, target: float | None, rehearsal: Rehearsal | None) -> dict[str, Any]:
    """What `--json` shows, and what the tables are made of."""
    facts = {
        **_size_facts(forecast),
        **_odds_facts(forecast, target),
        "strata": _strata(forecast),
        "weights": _weights(forecast),
        **_trouble_facts(forecast),
        "relaxations": [each.sentence for each in forecast.apportionment.relaxations],
        "warnings": forecast.warnings(TARGET if target is None else target),
    }
    return facts if rehearsal is None else facts | {"simulation": _measured_facts(rehearsal)}


def _size_facts(forecast: Forecast) -> dict[str, Any]:
    return {
        "scenario": forecast.scenario.name,
        "source": forecast.scenario.source,
        "members": len(forecast.scenario.members),
        "committee": forecast.size,
        "f": forecast.faults_max,
        "quorum": forecast.quorum,
        "seats": dict(zip(STRATUM_NAMES, forecast.seats, strict=True)),
        "messages_per_block": forecast.messages_per_block,
        "is_exact": forecast.lots.is_exact,
    }


def _odds_facts(forecast: Forecast, target: float | None) -> dict[str, Any]:
    """How likely a term, and a year of terms, goes well."""
    return {
        "p_unsafe": forecast.p_unsafe,
        "p_no_quorum": forecast.p_no_quorum,
        "p_agreement": 1 - forecast.p_no_quorum,
        "target": target,
        "target_met": None if target is None else forecast.meets(target),
        "p_commit_within_views": forecast.commit_within_views(),
        "terms_per_year": TERMS_PER_YEAR,
        "p_never_unsafe_in_a_year": forecast.never_in_a_year(forecast.p_unsafe),
        "p_always_quorum_in_a_year": forecast.never_in_a_year(forecast.p_no_quorum),
    }


def _trouble_facts(forecast: Forecast) -> dict[str, Any]:
    """What is left when a stratum or a region goes dark, and what coalitions it takes."""
    outages = forecast.stratum_outages()
    return {
        "worst_stratum_outage": asdict(min(outages, key=lambda outage: outage.p_quorum)),
        "stratum_outages": [asdict(each) for each in outages],
        "worst_region_outage": asdict(min(forecast.region_outages(), key=lambda outage: outage.p_quorum)),
        "coalitions": [asdict(each) for each in forecast.coalitions()],
        "smallest_to_stop": asdict(forecast.smallest_to_stop()),
        "smallest_to_fork": asdict(forecast.smallest_to_fork()),
    }


def _strata(forecast: Forecast) -> list[dict[str, Any]]:
    """For each stratum: members, shares and seats, and the share of visits that its own members bring."""
    scenario = forecast.scenario
    visits = [sum(each.visits_per_year for each in scenario.in_stratum(stratum)) for stratum in range(len(STRATUM_NAMES))]
    return [
        {
            "stratum": name,
            "members": len(scenario.in_stratum(stratum)),
            "beds": sum(each.beds for each in scenario.in_stratum(stratum)),
            "share": scenario.shares[stratum] / sum(scenario.shares),
            "visits_share": visits[stratum] / sum(visits) if sum(visits) else None,
            "seats": forecast.seats[stratum],
        }
        for stratum, name in enumerate(STRATUM_NAMES)
    ]


def _weights(forecast: Forecast) -> list[dict[str, Any]]:
    """For each member: its weight in its stratum's draw, and how likely it sits."""
    seated = forecast.lots.seated()
    return [
        {
            "id": each.member_id,
            "stratum": STRATUM_NAMES[each.stratum],
            "grade": GRADE_NAMES[each.grade],
            "weight": weight,
            "p_seated": seated[each.member_id],
        }
        for stratum in range(len(STRATUM_NAMES))
        for each, weight in _weighed(forecast, stratum)
    ]


def _weighed(forecast: Forecast, stratum: int) -> list[tuple[PlannedMember, int]]:
    pool = forecast.scenario.in_stratum(stratum)
    return list(zip(pool, weights([each.candidate for each in pool]), strict=True))


def _measured_facts(rehearsal: Rehearsal) -> dict[str, Any]:
    return {
        "agrees": rehearsal.agrees,
        "confidence": CONFIDENCE,
        "unsafe": _one_measured(rehearsal.unsafe),
        "no_quorum": _one_measured(rehearsal.no_quorum),
    }


def _one_measured(measured: Measured) -> dict[str, Any]:
    low, high = measured.interval
    return {
        **asdict(measured),
        "rate": measured.rate,
        "interval_low": low,
        "interval_high": high,
        "agrees": measured.agrees,
    }


# --- for people ---


def _shown(facts: dict[str, Any]) -> Sequence[RenderableType]:
    head = facts_table(f"{facts['scenario']}: {facts['members']} members, {facts['committee']} delegates", _summary(facts))
    shown_parts: list[RenderableType] = [head, _strata_table(facts), _weights_table(facts), _trouble_table(facts)]
    if "simulation" in facts:
        shown_parts.append(_simulation_table(facts["simulation"]))
    return [*shown_parts, *(f"Beware: {each}" for each in facts["warnings"]), *_verdict(facts)]


def _summary(facts: dict[str, Any]) -> dict[str, str]:
    views = ", ".join(f"{number}: {chance:.4f}" for number, chance in enumerate(facts["p_commit_within_views"], start=1))
    return {
        "f, quorum": f"{facts['f']}, {facts['quorum']}",
        "messages a block": f"{facts['messages_per_block']} = 2n(n-1)",
        "P(unsafe)": f"{shown(facts['p_unsafe'])}, more than f delegates malicious in a term",
        "P(no quorum)": f"{shown(facts['p_no_quorum'])}, fewer than {facts['quorum']} good and reachable",
        "P(agreement)": f"{facts['p_agreement']:.6f}{'' if facts['is_exact'] else ', a mean over drawn committees'}",
        "P(commit within v views)": views,
        f"in {facts['terms_per_year']} terms": f"never unsafe {facts['p_never_unsafe_in_a_year']:.4f}, "
        f"a quorum in every one {facts['p_always_quorum_in_a_year']:.4f}",
        "shares from": facts["source"] or "the file does not say",
    }


def _strata_table(facts: dict[str, Any]) -> RenderableType:
    drawn = table("Strata", "stratum", ">members", ">beds", ">share", ">of visits", ">seats", ">P(quorum) when dark")
    dark = {each["where"]: f"{each['p_quorum']:.4f}" for each in facts["stratum_outages"]}
    for each in facts["strata"]:
        visits = "" if each["visits_share"] is None else f"{each['visits_share']:.1%}"
        counts = (each["stratum"], str(each["members"]), str(each["beds"]), f"{each['share']:.1%}", visits)
        drawn.add_row(*counts, str(each["seats"]), dark.get(each["stratum"], ""))
    return drawn


def _weights_table(facts: dict[str, Any]) -> RenderableType:
    """One line for all members of a stratum that weigh the same and are drawn as often."""
    drawn = table("Weights", "stratum", "grade", ">members", ">weight", ">P(delegate)")
    groups: dict[tuple[str, str, int, str], int] = {}
    for each in facts["weights"]:
        group = each["stratum"], each["grade"], each["weight"], f"{each['p_seated']:.4f}"
        groups[group] = groups.get(group, 0) + 1
    for (stratum, grade, weight, chance), count in groups.items():
        drawn.add_row(stratum, grade, str(count), str(weight), chance)
    return drawn


def _trouble_table(facts: dict[str, Any]) -> RenderableType:
    stratum, region = facts["worst_stratum_outage"], facts["worst_region_outage"]
    rows = {
        "worst stratum dark": f"{stratum['where']}: a quorum with probability {stratum['p_quorum']:.4f}",
        "worst region dark": f"{region['where']}: a quorum with probability {region['p_quorum']:.4f}",
        "smallest coalition to stop": _few(SmallestCoalition(**facts["smallest_to_stop"])),
        "smallest coalition to fork": _few(SmallestCoalition(**facts["smallest_to_fork"])),
    }
    for each in facts["coalitions"]:
        rows[f"coalition of {each['percent']} %"] = (
            f"{each['members']} of {facts['members']} members: more than f seats with probability {shown(each['p_spread'])}"
            f" wherever they are, {shown(each['p_placed'])} if they are those drawn most often"
        )
    return facts_table("Trouble", rows)


def _few(smallest: SmallestCoalition) -> str:
    every = smallest.members_every_term
    certain = "no coalition sits in every term" if every is None else f"{every} well-chosen members can in every term"
    return f"{smallest.delegates} delegates of {smallest.owners} owner groups or more; {certain}"


def _simulation_table(simulation: dict[str, Any]) -> RenderableType:
    drawn = table(
        "Simulated with the production election", "what", ">terms", ">seen", ">rate", "interval", ">calculated", "agrees"
    )
    for name, label in (("unsafe", "unsafe"), ("no_quorum", "no quorum")):
        each = simulation[name]
        interval = f"{shown(each['interval_low'])} to {shown(each['interval_high'])} ({simulation['confidence']:.0%})"
        counts = (label, str(each["terms"]), str(each["hits"]), shown(each["rate"]), interval, shown(each["calculated"]))
        drawn.add_row(*counts, "yes" if each["agrees"] else "NO")
    return drawn


def _verdict(facts: dict[str, Any]) -> list[str]:
    """The last lines: whether the target is met, and whether simulation and calculation agree."""
    said = []
    if facts["target"] is not None and facts["target_met"]:
        said.append(f"{facts['target']:.6g} is met: {facts['committee']} delegates reach {facts['p_agreement']:.6f}.")
    elif facts["target"] is not None:
        said.append(f"{facts['target']:.6g} is NOT met: {facts['committee']} delegates reach {facts['p_agreement']:.6f}.")
    if "simulation" in facts:
        verdict = "agree" if facts["simulation"]["agrees"] else "do NOT agree"
        said.append(f"Calculation and production election {verdict}.")
    return said
