"""`python -m tests.simulation`: search seeds for a broken promise, or replay one.

--seeds 1000 --from 0 --jobs 2    run that many seeds and print what they covered
--seed 77                         replay one seed and tell its story
--twins 2                         so many twins in every seed: more than f, and the checkers must fire
--silent 2                        so many delegates that never speak: more than f, and the chain must stall
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tests.simulation.run import Report, run_options
from tests.simulation.schedule import AMNESIA, LOST_LEDGER, Options, draw_options
from tests.simulation.shrinking import Shrinker
from tests.simulation.summary import LONG_SEARCH, Summary

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

REGRESSION_SEEDS = Path(__file__).with_name("regression_seeds.txt")

SEEDS_AT_ONCE = 8
"""How many seeds a worker is handed."""

TALES_MAX = 2
"""How many failures of a search are cut down to a story; the others only tell their last events."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; 1 when a seed failed."""
    asked = _parser().parse_args(arguments)
    if asked.seed is not None:
        return _replay(_options(asked.seed, asked.twins, asked.silent))
    numbers = list(range(asked.first, asked.first + asked.seeds))
    known = [] if asked.first else [each for each in regression_seeds() if each not in numbers]
    return _search([*known, *numbers], asked.jobs, partial(_options, twins=asked.twins, silent=asked.silent))


def regression_seeds() -> list[int]:
    """The seeds that once found something."""
    lines = (line.split("#")[0].strip() for line in REGRESSION_SEEDS.read_text().splitlines())
    return [int(line) for line in lines if line]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many seeds to run")
    parser.add_argument("--from", dest="first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="replay this seed alone")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--twins", type=int, help="twins in every seed, instead of what it draws")
    parser.add_argument("--silent", type=int, help="silent delegates in every seed, instead of what it draws")
    return parser


def _options(seed: int, twins: int | None, silent: int | None) -> Options:
    drawn = draw_options(seed)
    if twins is None and silent is None:
        return drawn
    faults = tuple(each for each in drawn.faults if each not in (*AMNESIA, LOST_LEDGER))
    alone = replace(drawn, droppers=0, lies=False, floods=False, kinds_least=0)
    return replace(alone, twins=twins or 0, silent=silent or 0, faults=faults)


def _replay(options: Options) -> int:
    """One seed: what befell it, and its story if it fails."""
    report = run_options(options)
    for line in _tale(options, report) if report.failure else report.faults:
        print(line)
    print(_verdict(report))
    return int(bool(report.failure))


def _tale(options: Options, report: Report) -> list[str]:
    """A failure cut down to what it needs."""
    return Shrinker().shrink(options, report).story()


def _search(seeds: Sequence[int], jobs: int, options_of: partial[Options]) -> int:
    summary, began = Summary(), time.monotonic()
    for count, report in enumerate(_reports([*map(options_of, seeds)], jobs), start=1):
        summary.add(report)
        if report.failure:
            tale = _tale(options_of(report.seed), report) if summary.failed <= TALES_MAX else report.story
            print(f"\r{_verdict(report)}\n" + "\n".join(tale), flush=True)
        if sys.stderr.isatty():
            print(f"\r{count} of {len(seeds)} seeds, {summary.failed} failed ", end="", file=sys.stderr, flush=True)
    print("\n".join(summary.lines(time.monotonic() - began)))
    return int(summary.failed > 0 or bool(summary.blind_spots()))


def _reports(options: Sequence[Options], jobs: int) -> Iterator[Report]:
    """Reports in the order of the seeds, from several processes."""
    if jobs <= 1:
        yield from map(run_options, options)
        return
    # Workers are copies of a process that has imported everything, and no copies of this one with its threads.
    thawed = ["tests.simulation.thawed"] if len(options) >= LONG_SEARCH else []
    multiprocessing.set_forkserver_preload([*thawed, "tests.simulation.warm"])
    with multiprocessing.get_context("forkserver").Pool(jobs) as pool:
        yield from pool.imap(run_options, options, chunksize=SEEDS_AT_ONCE)


def _verdict(report: Report) -> str:
    """One seed in one paragraph."""
    found = report.failure or "clean"
    return (
        f"seed {report.seed}: {found}\n"
        f"  options: {report.options}\n"
        f"  {report.blocks} blocks, {report.epochs} epochs crossed, {report.view_changes} new views, "
        f"{report.simulated_ms / 1_000:.1f} simulated seconds, {report.steps} steps, trace {report.trace}\n"
        f"  replay with: make sim SEED={report.seed}"
    )


if __name__ == "__main__":
    sys.exit(main())
