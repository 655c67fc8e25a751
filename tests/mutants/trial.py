"""`python -m tests.mutants.trial --services COPY --seeds N`: search seeds against the services of this copy.

Runs in a process of its own, whose path finds `consilium` in the copy, and prints one JSON object. It stops at the first
seed in which a checker by name complains. A run that dies of an exception proves nothing about the checkers, so it is
counted and the search goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import consilium.kernel
from tests.simulation.run import run_options
from tests.simulation.schedule import draw_options

RAISED = "raised"
"""How the simulator names a run that ended in an exception, where other failures name a checker."""
RAISED_MAX = 60
"""A mutant that has died of exceptions so often is not worth more seeds; it is to be put differently."""


@dataclass(slots=True)
class Trial:
    """What came of a search: the checker that complained, or none; seeds run; runs that died, and the last words of one."""

    checker: str = ""
    sentence: str = ""
    seeds: int = 0
    raised: int = 0
    last_words: str = ""


def search(seeds: int) -> Trial:
    """Run seeds in order until a checker complains."""
    trial = Trial()
    while trial.seeds < seeds and trial.raised < RAISED_MAX:
        failure = run_options(draw_options(trial.seeds)).failure
        trial.seeds += 1
        rule, _, sentence = failure.partition(": ")
        if rule == RAISED:
            trial.raised, trial.last_words = trial.raised + 1, sentence.strip().splitlines()[-1]
        elif failure:
            trial.checker, trial.sentence = rule, sentence
            break
    return trial


def main() -> None:
    """Search as asked; fails when `consilium` is not the copy's."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants.trial", description=__doc__)
    parser.add_argument("--services", type=Path, required=True, help="the copy of services/ that must be what runs")
    parser.add_argument("--seeds", type=int, required=True, help="how many seeds at most")
    asked = parser.parse_args()
    found = Path(consilium.kernel.__file__).resolve()
    if not found.is_relative_to(asked.services.resolve()):
        sys.exit(f"consilium comes from {found}, not from the copy {asked.services}")
    print(json.dumps(asdict(search(asked.seeds))))


if __name__ == "__main__":
    main()
