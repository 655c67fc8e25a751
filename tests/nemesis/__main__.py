"""`python -m tests.nemesis --kills 50 --seed 7`: kill processes of a working alliance, and judge what is left.

A failure leaves the alliance's folder, with journals, logs and recorded words, for a look.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from tests.nemesis.run import run


def main() -> None:
    """Run what was asked for; raises Violation when a promise broke."""
    parser = argparse.ArgumentParser(prog="python -m tests.nemesis", description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="how often to kill")
    parser.add_argument("--seed", type=int, default=0, help="which kills")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="consilium-nemesis-"))
    try:
        report = run(folder, asked.seed, asked.kills, lambda line: print(line, flush=True))
    except BaseException:
        print(f"seed {asked.seed} broke a promise, or could not be judged; all that is left: {folder}", flush=True)
        raise
    print(f"seed {asked.seed}: {report}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
