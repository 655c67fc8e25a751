"""A real file system that is full, and a real Cassandra that is: typed refusals, nothing half visible (S2)."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.ring.instance import ROOT

if TYPE_CHECKING:
    from pathlib import Path


def mounted(module: str, folder: Path) -> str:
    """What a module says that runs in a mount namespace of its own."""
    root = [] if os.geteuid() == 0 else ["--map-root-user"]
    command = ["unshare", "--mount", *root, sys.executable, "-m", module, str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603  our own module
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_disk_that_is_full_at_any_step_of_a_put_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    said = mounted("tests.storage_service.full_disk", tmp_path).split()
    assert said.count("DISK_FULL") > 5
    assert said[-1] == "stored"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_full_and_careless_cassandra_is_said_and_takes_puts_again(tmp_path: Path) -> None:
    assert mounted("tests.ring.full", tmp_path).split() == ["NOT_DURABLE", "DISK_FULL", "swept", "stored"]
