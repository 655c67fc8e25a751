"""`python -m tests.odds --terms 400 --seed 0`: is agreement as likely as calculated? Asked of real processes (rule C9).

Each row is one committee size: what `consilium plan` calculates, what its simulation with the production election gives, and
what consensus processes did in that many terms. Ends with 1 when the three do not agree at 99 %, or when a term agreed that
had no quorum.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from tests.odds.rows import ROWS, Row, extrapolated, measure, table


def main() -> int:
    """Measure and print; 1 when something does not agree."""
    parser = argparse.ArgumentParser(prog="python -m tests.odds", description=__doc__)
    parser.add_argument("--terms", type=int, default=400, help="how many terms for each row")
    parser.add_argument("--seed", type=int, default=0, help="who fails when")
    asked = parser.parse_args()
    rows: list[Row] = []
    for size, rates in ROWS:
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="consilium-odds-") as folder:
            rows.append(measure(Path(folder), size, rates, (asked.terms, asked.seed), print))
        print(f"{size} delegates: {asked.terms} terms in {time.monotonic() - started:.0f} s", flush=True)
    console = Console(width=150)
    console.print(table(rows))
    console.print(extrapolated())
    return 0 if all(each.agrees for each in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
