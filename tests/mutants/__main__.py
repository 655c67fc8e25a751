"""`python -m tests.mutants`: does the simulator notice a broken protocol? Every mutant is run until a checker kills it.

--folder other/mutants    mutants of someone else's making, in the format of tests/mutants/README.md
--seeds 2000              the most seeds a mutant may survive; one may name a lower cap for itself
--only lock               those whose name holds this word
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING

from tests.mutants.mutant import SEEDS_MAX, BadMutant, Mutant, apply_mutant, copy_services, read_mutants
from tests.mutants.score import HEADING, Row, verdict
from tests.mutants.trial import Trial
from tests.mutants.units import noticed_by

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]
OWN = Path(__file__).with_name("own")
SECONDS_LEAST, SECONDS_A_SEED = 120, 2
"""How long a trial may take by the real clock, for a mutant that hangs."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; 1 when a mutant is left alive, 2 when one cannot be used."""
    asked = _parser().parse_args(arguments)
    try:
        mutants = [each for each in read_mutants(asked.folder) if asked.only in each.name]
        for mutant in mutants:
            _check_applies(mutant)
    except BadMutant as refusal:
        print(refusal, file=sys.stderr)
        return 2
    return _run(mutants, asked.seeds, asked.jobs)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--folder", type=Path, default=OWN, help="where the mutants are")
    parser.add_argument("--seeds", type=int, default=SEEDS_MAX, help="the most seeds for one mutant")
    parser.add_argument("--only", default="", help="a word in the names of those to run")
    parser.add_argument("--jobs", type=int, default=2, help="how many mutants at once")
    return parser


def _check_applies(mutant: Mutant) -> None:
    """Before the first runs for long, each must fit."""
    with tempfile.TemporaryDirectory(prefix="consilium-mutant-") as folder:
        apply_mutant(mutant, _copy_of_changed(mutant, Path(folder)))


def _copy_of_changed(mutant: Mutant, folder: Path) -> Path:
    """Only the files that the mutant names, as far as they exist."""
    for each in mutant.changes:
        source = ROOT / "services" / each.file
        if ".." not in Path(each.file).parts and source.is_file():
            target = folder / each.file
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    return folder


def _run(mutants: Sequence[Mutant], seeds: int, jobs: int) -> int:
    print(f"{len(mutants)} mutants, at most {seeds} seeds each\n{HEADING}", flush=True)
    began, rows = time.monotonic(), []
    with ThreadPoolExecutor(jobs) as pool:
        for done in as_completed([pool.submit(try_mutant, each, seeds) for each in mutants]):
            rows.append(done.result())
            print(rows[-1], flush=True)
    control = try_unchanged(max((row.trial.seeds for row in rows if row.is_killed), default=0))
    print("\n".join([*verdict(rows), _told(control), f"{time.monotonic() - began:.0f} seconds"]))
    return int(bool(control.checker or control.raised) or not all(row.is_killed for row in rows))


def _told(control: Trial) -> str:
    found = control.sentence or control.last_words
    return f"unchanged, the same {control.seeds} seeds: {f'NOT CLEAN, {found}' if found else 'clean'}"


def try_mutant(mutant: Mutant, seeds: int) -> Row:
    """Make a copy of services/ with the bug in it, search there, and throw it away."""
    cap = min(seeds, mutant.seeds_max)
    with tempfile.TemporaryDirectory(prefix="consilium-mutant-") as folder:
        services = copy_services(ROOT / "services", Path(folder))
        apply_mutant(mutant, services)
        try:
            trial, changed = _trial(services, cap), {each.file for each in mutant.changes}
            return Row(mutant, trial, cap, noticed=noticed_by(services, ROOT, changed))
        except subprocess.TimeoutExpired:
            return Row(mutant, Trial(), cap, "It hangs: the trial was ended by the real clock.")
        except subprocess.CalledProcessError as error:
            words = error.stderr.strip().splitlines() or ["nothing said"]
            return Row(mutant, Trial(), cap, f"It does not run: {words[-1]}")


def try_unchanged(seeds: int) -> Trial:
    """The same seeds without any bug: a kill says something only where these are clean."""
    with tempfile.TemporaryDirectory(prefix="consilium-mutant-") as folder:
        return _trial(copy_services(ROOT / "services", Path(folder)), seeds)


def _trial(services: Path, seeds: int) -> Trial:
    """The search in a process whose `consilium` is the copy's."""
    command = [sys.executable, "-m", "tests.mutants.trial", "--services", str(services), "--seeds", str(seeds)]
    environment = {**os.environ, "PYTHONPATH": f"{services}{os.pathsep}{ROOT}"}  # noqa: TID251  the child's path
    run = subprocess.run(  # noqa: S603  our own module
        command,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=SECONDS_LEAST + SECONDS_A_SEED * seeds,
    )
    return Trial(**json.loads(run.stdout))


if __name__ == "__main__":
    sys.exit(main())
