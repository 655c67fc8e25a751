from __future__ import annotations

import io
import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from consilium.client.cli import main
from consilium.sandbox import demo
from consilium.sandbox.teller import Act, StoryFailed, Teller

if TYPE_CHECKING:
    from pathlib import Path

    from consilium.sandbox.stage import Stage


def test_a_check_that_fails_ends_the_story_with_its_sentence() -> None:
    """What held before it is shown, and what does not is not."""
    shown = io.StringIO()
    with pytest.raises(StoryFailed, match="one and one is three"):
        _tell_sums(Teller(Console(file=shown)))
    assert "one and one is two" in shown.getvalue()
    assert "three" not in shown.getvalue()


def _tell_sums(teller: Teller) -> None:
    with teller.act("Sums") as act:
        act.check(1 + 1 == 2, "one and one is two")
        act.check(1 + 1 == 3, "one and one is three")


async def _loses_a_service(stage: Stage, _: Act) -> None:
    """Something outside the story ends a process, which no block waits for."""
    pid = stage.alliance.service("3B", "storage").pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await stage.chain.until_final(1_000_000)


@pytest.mark.slow
def test_a_service_that_ends_by_itself_ends_the_story(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1, one sentence that names it, and no process left behind."""
    monkeypatch.setattr(demo, "ACTS", (("The only act", _loses_a_service),))
    monkeypatch.setattr(sys, "argv", ["consilium", "demo", "--keep", str(tmp_path / "left")])
    with pytest.raises(SystemExit) as ended:
        main()
    told = capsys.readouterr().err
    assert ended.value.code == 1
    assert told.startswith("consilium: The storage service of 3B ended by itself: ")
    assert told.count("\n") == 1
