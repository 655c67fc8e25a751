from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from consilium.client.cli import main

if TYPE_CHECKING:
    from pathlib import Path


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """Run the command line in this process; the exit code."""
    monkeypatch.setattr(sys, "argv", ["consilium", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "version") == 0
    assert capsys.readouterr().out.startswith("consilium 0.")


def test_help_names_the_commands_and_the_exit_codes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--help") == 0
    told = " ".join(capsys.readouterr().out.split())
    for each in ("demo", "verify", "version", "Exit codes: 0 done; 1 a check failed", "3 cannot be reached"):
        assert each in told


def test_wrong_use_is_exit_code_2(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "demonstrate") == 2


def test_refusals_are_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine").write_text("precious")
    for words, reason in (
        (("verify", str(tmp_path / "nothing")), "NO_GENESIS"),
        (("demo", "--keep", str(tmp_path)), "NOT_EMPTY"),
    ):
        assert run(monkeypatch, *words) == 2
        told = capsys.readouterr().err
        assert told.count("\n") == 1
        assert reason in told
    assert (tmp_path / "mine").read_text() == "precious"
