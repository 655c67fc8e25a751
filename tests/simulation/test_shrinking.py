"""A failure is cut down to what it needs, keeps failing by the same promise, and is told in sentences."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING

from tests.simulation.faults import TALES, Fault, plan
from tests.simulation.run import Report, Simulation
from tests.simulation.schedule import (
    AMNESIA,
    CLOCKS,
    DISKS,
    LATER,
    LINKS,
    LOST_LEDGER,
    MACHINES,
    QUIET,
    Options,
    draw_options,
)
from tests.simulation.shrinking import KEPT, RUNS_MAX, SENTENCES, Shrinker

if TYPE_CHECKING:
    from collections.abc import Sequence

OPTIONS = replace(draw_options(3), loss=50, duplicate=100, delay_max=30, faults=("crash", "isolate", "pause"))


def fails_when_lossy_and_two_befall(options: Options, faults: Sequence[Fault]) -> Report:
    """A run that fails whenever messages are lost, and two certain faults are on the list."""
    wanted = [each for each in faults if each.at_ms in (PLANNED[1].at_ms, PLANNED[4].at_ms)]
    failure = "S1 agreement: they differ" if options.loss and len(wanted) == 2 else ""
    return Report(3, 5, 4, failure=failure, faults=tuple(faults), story=["the last event"])


PLANNED = plan(OPTIONS, [f"m{number}" for number in range(5)])


def test_what_is_not_needed_is_left_out() -> None:
    failed = fails_when_lossy_and_two_befall(OPTIONS, PLANNED)
    shrunk = Shrinker(fails_when_lossy_and_two_befall).shrink(OPTIONS, failed)
    assert [each.at_ms for each in shrunk.faults] == [PLANNED[1].at_ms, PLANNED[4].at_ms]
    assert [name for name in shrunk.options.differing() if name not in KEPT] == ["loss"]
    assert shrunk.report.rule == "S1 agreement"
    assert shrunk.runs <= RUNS_MAX


def test_the_story_is_told_in_sentences() -> None:
    failed = fails_when_lossy_and_two_befall(OPTIONS, PLANNED)
    story = Shrinker(fails_when_lossy_and_two_befall).shrink(OPTIONS, failed).story()
    assert "  50 of 1,000 messages are lost" in story
    assert f"  {PLANNED[1]}" in story
    assert story[-1] == "  S1 agreement: they differ"


def test_a_real_failure_is_cut_down() -> None:
    """With f + 1 silent delegates the chain stalls, whatever else befalls."""
    options = Options(seed=3, silent=2, safety_ms=3_000, liveness_ms=9_000, blocks_least=20, loss=20, faults=("pause",))
    shrunk = Shrinker().shrink(options, Simulation(options).run())
    assert shrunk.faults == ()
    assert [name for name in shrunk.options.differing() if name not in KEPT] == ["silent"]
    assert shrunk.report.rule.startswith("L")


def test_one_fault_can_be_taken_out_without_moving_the_others() -> None:
    """Each carries the seed of its own draws, and the list is a pure function of the options."""
    assert plan(OPTIONS, ["m0", "m1"]) == plan(OPTIONS, ["m0", "m1"])
    assert len({each.dice for each in PLANNED}) == len(PLANNED)


def test_every_kind_and_every_option_has_a_sentence() -> None:
    assert set(TALES) == {*LINKS, *MACHINES, *DISKS, *LATER, *AMNESIA, LOST_LEDGER, *CLOCKS}
    quiet = {each.name for each in fields(QUIET)} - set(KEPT)
    assert quiet == set(SENTENCES)
