"""`python -m tests.model TOOLS BUILD`: has TLC write behaviours of the model and replays them; `make model` knows the two.

A line a case: how many were replayed whole, and where the others were cut, because the model leaves open what the code
always does at once. One that `Replica.step` rejects fails the run; so does a case of which too few are whole.
"""

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from model.check import JAR, MODEL, Case, configuration
from tests.model.behaviours import read_behaviour
from tests.model.cases import SIMULATED, Simulated
from tests.model.replaying import Cut, Rejected, Replaying

STEPS_MAX = 60
"""How long a behaviour may become; those of these cases end by themselves before."""
WHOLE_LEAST = 4
"""One in so many must be replayed to its end."""


def simulate(case: Simulated, tools: Path, folder: Path, count: int) -> list[Path]:
    """Have TLC write `count` random behaviours of a case; their files."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    config = folder.with_suffix(".cfg")
    config.write_text(configuration(Case(case.title, case.alliance, ("Agreement",))))
    java = ("java", "-Xmx800m", f"-Djava.io.tmpdir={folder.parent}", "-cp", str(tools / JAR), "tlc2.TLC")
    kind = ("-simulate", f"num={count},file={folder / 'behaviour'}", "-depth", str(STEPS_MAX), "-seed", "1")
    options = ("-deadlock", "-workers", "1", "-metadir", str(folder.parent / "meta"), "-config", str(config))
    subprocess.run((*java, *kind, *options, "Alliances.tla"), cwd=MODEL, check=True, capture_output=True, timeout=600)
    return sorted(folder.iterdir())


def replay(path: Path, case: Simulated) -> str:
    """Replay one file: "whole", "cut: why" or "rejected: why"."""
    try:
        Replaying(read_behaviour(path), case.bad).play()
    except Cut as cut:
        return f"cut: {cut}"
    except Rejected as rejected:
        return f"rejected: {path.name}: {rejected}"
    return "whole"


def main(tools: str, build: str, count: str) -> int:
    """Simulate and replay every case; 1 when one behaviour was rejected, or too few were whole."""
    wrong = 0
    for number, case in enumerate(SIMULATED):
        paths = simulate(case, Path(tools).resolve(), Path(build).resolve() / f"behaviours-{number}", int(count))
        came = Counter(replay(path, case) for path in paths)
        rejected = [each for each in came if each.startswith("rejected")]
        print(f"{case.title:<48} {len(paths):>4} behaviours, {came['whole']:>4} whole, {len(rejected)} rejected", flush=True)
        for why, times in sorted(came.items()):
            print("" if why == "whole" else f"    {times:>4} {why}\n", end="")
        wrong += bool(rejected) or came["whole"] * WHOLE_LEAST < len(paths)
    print(f"{len(SIMULATED) - wrong} of {len(SIMULATED)} cases replayed through Replica.step as they must be")
    return 1 if wrong else 0


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("python -m tests.model TOOLS BUILD COUNT; `make model` knows them.")
    sys.exit(main(*sys.argv[1:]))
