from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from consilium.client.cli import main
from consilium.kernel.errors import DataLoss
from consilium.sandbox import demo
from consilium.sandbox.stage import Stage
from consilium.sandbox.teller import Act
from tests.sandbox.running import play, running, until, until_certified

if TYPE_CHECKING:
    from pathlib import Path

    from consilium.kernel.certificates import ResultCertificate
    from consilium.kernel.chain import CertifiedBlock, Header
    from consilium.ledger.core.execution import BlockOutcome


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """Run the command line in this process; the exit code."""
    monkeypatch.setattr(sys, "argv", ["consilium", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def chain_left_in(folder: Path) -> None:
    """What a short-lived alliance leaves, an epoch change within."""

    async def story() -> None:
        async with running(folder) as alliance:
            await until(alliance, "3A", lambda chain: chain.tip.outlook.epoch >= 1)
            await until_certified(alliance, alliance.member("3A").ledger.chain.height)

    play(story())


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "version") == 0
    assert capsys.readouterr().out.startswith("consilium 0.")


def test_help_names_the_commands_and_the_exit_codes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--help") == 0
    told = " ".join(capsys.readouterr().out.split())
    for each in ("demo", "verify", "version", "Exit codes: 0 it holds, 1 a check failed, 2 refused"):
        assert each in told


def test_wrong_use_is_exit_code_2(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "demonstrate") == 2


def test_verify_replays_every_chain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Promise 8: from the genesis file alone, offline; one line a member and one about all."""
    chain_left_in(tmp_path)
    assert run(monkeypatch, "verify", str(tmp_path)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:3] for line in lines[:-1]] == ["1A:", "2A:", "2B:", "3A:", "3B:"]
    assert lines[-1].startswith("all 5 members hold one chain")


def test_verify_refuses_a_chain_of_another_alliance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """L1: another alliance's blocks, whole and signed, do not replay from this genesis."""
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
        chain_left_in(tmp_path / name)
    for file in ("blocks", "blocks.mark"):
        (tmp_path / "theirs" / "2B" / file).replace(tmp_path / "ours" / "2B" / file)
    assert run(monkeypatch, "verify", str(tmp_path / "ours")) == 2
    assert "FOREIGN_CHAIN" in capsys.readouterr().err


def test_verify_refuses_a_damaged_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chain_left_in(tmp_path)
    path = tmp_path / "1A" / "blocks"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert run(monkeypatch, "verify", str(tmp_path)) == 2
    assert "JOURNAL_DAMAGED" in capsys.readouterr().err


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


async def _claims_too_much(_stage: Stage, act: Act) -> None:
    act.check(1 + 1 == 2, "one and one is two")
    act.check(1 + 1 == 3, "one and one is three")


class _Broken:
    """A part of a member that fails at the next block."""

    def executed(self, _block: CertifiedBlock, _header: Header, _outcome: BlockOutcome) -> None:
        raise DataLoss("SYNC_FAILED", "The disk is gone.")

    def certified(self, _certificate: ResultCertificate) -> None:
        pass


async def _loses_a_disk(stage: Stage, _act: Act) -> None:
    stage.alliance.member("3B").ledger.follow(_Broken())
    await stage.wait(stage.alliance.member("2A").ledger.until_certified(1_000), "what cannot come")


@pytest.mark.parametrize(
    ("play_act", "sentence"),
    [(_claims_too_much, "one and one is three"), (_loses_a_disk, "Member 3B ended by an error: DataLoss('SYNC_FAILED'")],
)
def test_a_story_that_does_not_hold_is_exit_code_1(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    play_act: object,
    sentence: str,
) -> None:
    """A check that fails, or a member that does, ends the demo with a sentence."""
    monkeypatch.setattr(demo, "ACTS", (("The only act", play_act),))
    assert run(monkeypatch, "demo") == 1
    told = capsys.readouterr().err
    assert sentence in told
    assert told.startswith("consilium: ")
