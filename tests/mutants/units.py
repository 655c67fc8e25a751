"""Do the unit tests notice a mutant? One that they notice says nothing about the simulator, so the score tells them apart.

Unit tests are those that look at one module by itself. Tests that put a whole committee in a room, or play a chain block by
block, are small simulations of their own and are left to notice what they can.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

UNIT_TESTS = (
    "tests/kernel",
    *(
        f"tests/consensus/test_{each}.py"
        for each in ("message_log", "pool", "proposals", "silence", "turnover", "view_change")
    ),
    "tests/ledger/test_registration.py",
)
SECONDS_MAX = 900


def unit_tests_of(changed: Collection[str], root: Path) -> list[str]:
    """The unit tests that load any of these files of services/: all stand on the kernel, tests.alliance on the ledger."""
    packages = {Path(each).parts[1] for each in changed}
    if "kernel" in packages:
        return list(UNIT_TESTS)
    imports = [
        *(f"from consilium.{each}." for each in packages),
        *(["from tests.alliance "] if "ledger" in packages else []),
    ]
    files = [each for place in UNIT_TESTS for each in [root / place, *sorted((root / place).glob("test_*.py"))]]
    return [str(each) for each in files if each.is_file() and any(line in each.read_text() for line in imports)]


def noticed_by(services: Path, root: Path, changed: Collection[str]) -> str:
    """The unit test that fails on this copy of services/, or nothing; a copy that does not even load counts as noticed."""
    tests = unit_tests_of(changed, root)
    if not tests:
        return ""
    cache = f"cache_dir={services.parent / 'cache'}"
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-o", cache, "-m", "not slow", *tests]
    environment = {**os.environ, "PYTHONPATH": f"{services}{os.pathsep}{root}"}  # noqa: TID251  the child's path
    run = subprocess.run(  # noqa: S603  our own tests
        command, cwd=root, env=environment, capture_output=True, text=True, check=False, timeout=SECONDS_MAX
    )
    if run.returncode == 0:
        return ""
    named = re.search(r"^(?:FAILED|ERROR) (?:tests/)?(\S+)", run.stdout, re.MULTILINE)
    return named[1] if named else "pytest itself"
