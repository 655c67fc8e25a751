"""The command installs apart: its wheel and that of the stubs, in an environment that holds nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).parent / "uv"
pytestmark = pytest.mark.slow


def run(*command: str | Path, code: int = 0) -> str:
    """What a program prints on both outputs, once it has ended with this code; without this checkout on its path."""
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd="/", timeout=240)  # noqa: S603
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheels of the command and of the stubs, built with what the development environment holds."""
    out = tmp_path_factory.mktemp("wheels")
    for source in (ROOT, ROOT / "protos"):
        run(UV, "build", "--quiet", "--wheel", "--no-build-isolation", "--python", sys.executable, "-o", out, source)
    [command], [stubs] = out.glob("consilium-*.whl"), out.glob("consilium_api-*.whl")
    return command, stubs


def test_a_bare_environment_runs_the_command_and_is_told_what_is_missing(wheels: tuple[Path, Path], tmp_path: Path) -> None:
    """Without the stubs, and without what the servers and the demo stand on besides, it is one sentence each."""
    python, command = tmp_path / "bin" / "python", tmp_path / "bin" / "consilium"
    run(UV, "venv", "--quiet", "--python", sys.executable, tmp_path)
    run(UV, "pip", "install", "--quiet", "--python", python, wheels[0])
    told = run(command, "version", code=2)
    assert "pip install ./protos ." in told
    assert told.count("\n") == 1
    run(UV, "pip", "install", "--quiet", "--python", python, wheels[1])
    assert run(command, "version").startswith("consilium 0.")
    assert "Exit codes: 0 done" in " ".join(run(command, "--help").split())
    assert "NO_GENESIS" in run(command, "verify", tmp_path / "nothing", code=2)
    for words in (("demo",), ("sandbox", "--folder", tmp_path / "alliance")):
        told = run(command, *words, code=2)
        assert "install consilium[" in told
        assert told.count("\n") == 1
