"""`python -m tests.storage_nemesis --seconds 120 --seed 7`: a real ring of three under trouble, and the judgement.

It runs in a mount namespace of its own, for the small disk that is to fill; mounts end with it. A failure leaves the folder.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from tests.storage_nemesis.run import run


def main() -> None:
    """Run what was asked for; raises Violation when a promise broke."""
    parser = argparse.ArgumentParser(prog="python -m tests.storage_nemesis", description=__doc__)
    parser.add_argument("--seconds", type=int, default=120, help="how long to strike; every kind comes once at least")
    parser.add_argument("--seed", type=int, default=0, help="whom it strikes")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if not asked.inside:
        os.execvp("unshare", [*unshared(), *sys.argv[1:]])  # noqa: S606, S607
    folder = Path(tempfile.mkdtemp(prefix="consilium-storage-nemesis-"))
    try:
        report = run(folder, asked.seed, asked.seconds, lambda line: print(line, flush=True))
    except BaseException:
        print(f"seed {asked.seed} broke a promise, or could not be judged; all that is left: {folder}", flush=True)
        raise
    print(f"seed {asked.seed}: {report}")
    shutil.rmtree(folder, ignore_errors=True)


def unshared() -> list[str]:
    """The command that is this one in a mount namespace of its own."""
    root = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", "--mount", *root, sys.executable, "-m", "tests.storage_nemesis", "--inside"]


if __name__ == "__main__":
    main()
