"""What `make cluster` starts is gone when it is ended, at whichever step: a small real process in a real cluster's place."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.source import ROOT

KEEPER = """
import subprocess, sys, time
from tests.cluster.__main__ import keep

class Kept:
    def __init__(self):
        self.process = subprocess.Popen(["sleep", "60"], stdout=subprocess.DEVNULL, start_new_session=True)
    def stop(self):
        print("stopping", flush=True)
        sys.stdin.readline()
        self.process.kill()
        self.process.wait()

def start(folder):
    (folder / "state").touch()
    kept = Kept()
    print(folder, kept.process.pid, flush=True)
    return kept

def use(kept, folder):
    print("in use", flush=True)
    if sys.argv[1] == "in use":
        time.sleep(1000)

keep(None, start, use)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("step", ["in use", "kept"])
def test_a_cluster_is_taken_down_whatever_ends_it(step: str, number: signal.Signals) -> None:
    """A second signal does not break off the taking down."""
    command = [sys.executable, "-c", KEEPER, step]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as keeper:  # noqa: S603
        try:
            folder, pid = ended_twice(keeper, number)
        except BaseException:
            keeper.kill()  # who waits for it below would wait for ever
            raise
    assert not Path("/proc", pid).exists()
    assert not Path(folder).exists()


def ended_twice(keeper: subprocess.Popen[str], number: signal.Signals) -> tuple[str, str]:
    """Sends the signal while the cluster is in use and while it stops; its folder, and its process's number."""
    assert keeper.stdin is not None
    assert keeper.stdout is not None
    folder, pid = keeper.stdout.readline().split()
    assert Path("/proc", pid).exists()
    assert keeper.stdout.readline() == "in use\n"
    keeper.send_signal(number)
    assert keeper.stdout.readline() == "stopping\n"
    keeper.send_signal(number)
    keeper.stdin.write("\n")
    keeper.stdin.flush()
    assert keeper.wait() == 0
    return folder, pid
