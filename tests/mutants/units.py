"""Do the unit tests notice a mutant? One that they notice says nothing about the simulator, so the score tells them apart.

Unit tests are those that look at one module by itself. Tests that put a whole committee in a room, or play a chain block by
block, are small simulations of their own and are left to notice what they can.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

UNIT_TESTS = (
    "tests/kernel",
    *(
        f"tests/consensus/test_{each}.py"
        for each in ("message_log", "pool", "proposals", "silence", "turnover", "view_change")
    ),
    "tests/ledger/test_registration.py",
)
SECONDS_MAX = 900


def noticed_by(services: Path, root: Path) -> str:
    """The unit test that fails on this copy of services/, or nothing; a copy that does not even load counts as noticed."""
    cache = f"cache_dir={services.parent / 'cache'}"
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-o", cache, "-m", "not slow", *UNIT_TESTS]
    environment = {**os.environ, "PYTHONPATH": f"{services}{os.pathsep}{root}"}  # noqa: TID251  the child's path
    run = subprocess.run(  # noqa: S603  our own tests
        command, cwd=root, env=environment, capture_output=True, text=True, check=False, timeout=SECONDS_MAX
    )
    if run.returncode == 0:
        return ""
    named = re.search(r"^(?:FAILED|ERROR) (?:tests/)?(\S+)", run.stdout, re.MULTILINE)
    return named[1] if named else "pytest itself"
