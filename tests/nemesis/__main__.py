"""`python -m tests.nemesis --seconds 300 --seed 7`: strike at a working alliance, and judge what is left.

With `--kills 50` it kills that many processes on loopback. With `--seconds` it strikes in every way for so long, in network
namespaces of its own, for which it starts itself again by unshare (Linux with /dev/net/tun, iproute2, util-linux). A failure
leaves the alliance's folder, with journals, logs and recorded words, for a look.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from consilium.sandbox.founders import FIVE
from tests.nemesis.network import network
from tests.nemesis.run import Plan, run

TOOLS = ("unshare", "nsenter", "setpriv", "ip")
WITHIN = "--within"


def main() -> None:
    """Run what was asked for; raises Violation when a promise broke."""
    parser = argparse.ArgumentParser(prog="python -m tests.nemesis", description=__doc__)
    parser.add_argument("--kills", type=int, default=0, help="how often to kill")
    parser.add_argument("--seconds", type=int, default=0, help="for how long to strike in every way")
    parser.add_argument("--seed", type=int, default=0, help="which strikes")
    parser.add_argument(WITHIN, action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.seconds and not asked.within:
        _start_within()
    with ExitStack() as stack:
        members = [each.member_id for each in FIVE]
        joined = stack.enter_context(network(members, asked.seed)) if asked.within else None
        _run(Plan(asked.seed, asked.kills, seconds=asked.seconds, network=joined))


def _start_within() -> None:
    """Become the same command in a network namespace of its own."""
    missing = [each for each in TOOLS if shutil.which(each) is None]
    if missing or not Path("/dev/net/tun").exists():
        named = ", ".join(missing or ["/dev/net/tun"])
        sys.exit(
            f"The nemesis needs {named}: Linux with iproute2, util-linux and /dev/net/tun; with KILLS=50 it needs none."
        )
    command = ["unshare", "--map-root-user", "--net", sys.executable, "-m", "tests.nemesis", *sys.argv[1:], WITHIN]
    os.execvp(command[0], command)  # noqa: S606  our own command


def _run(plan: Plan) -> None:
    folder = Path(tempfile.mkdtemp(prefix="consilium-nemesis-"))
    try:
        report = run(folder, plan, lambda line: print(line, flush=True))
    except BaseException:
        print(f"seed {plan.seed} broke a promise, or could not be judged; all that is left: {folder}", flush=True)
        raise
    print(f"seed {plan.seed}: {report}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
