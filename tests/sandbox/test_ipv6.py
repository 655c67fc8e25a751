"""An alliance on a machine without IPv4: founded, and a record stored, shared, opened and revoked (design section 3)."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.house.source import ROOT

STORY = "tests/e2e/test_share_record.py::test_share_record"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_record_is_shared_where_there_is_ipv6_alone() -> None:
    """In a network of its own, whose one address is ::1: who asks for 127.0.0.1 is told that there is no way."""
    root = [] if os.geteuid() == 0 else ["--map-root-user"]
    within = ["unshare", *root, "--net", sys.executable, "-m", "tests.sandbox.only_ipv6"]
    command = [*within, sys.executable, "-m", "pytest", "-q", STORY]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603  our own command
    assert done.returncode == 0, done.stdout[-4_000:] + done.stderr[-2_000:]
    assert "1 passed" in done.stdout
