"""The example that docs/sandbox.md gives to integrators works as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.house.source import ROOT

if TYPE_CHECKING:
    from pathlib import Path


def test_the_example_of_the_document_passes(tmp_path: Path) -> None:
    """What an integrator copies works, as a file of its own."""
    (example,) = re.findall(r"```python\n(import pytest.*?)```", (ROOT / "docs" / "sandbox.md").read_text(), re.DOTALL)
    (tmp_path / "test_example.py").write_text(example)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)  # noqa: S603  the example
    assert done.returncode == 0, done.stdout + done.stderr
