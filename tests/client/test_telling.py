"""What users and peers have named is shown and never obeyed; a refusal is one line, a bar for a terminal alone."""

from __future__ import annotations

import json
import os
import pty
import sys

import pytest

from consilium.client.commands.telling import Bar, Told, complain, facts_table, styled, table, tell

NASTY = "x[/y] [red]z[/] \x1b[31m\x9b1m\x07 \u202e \udcff"
SHOWN = "x[/y] [red]z[/] \ufffd[31m\ufffd1m\ufffd \ufffd \ufffd"


def test_names_are_no_markup_and_no_control_sequence(capsys: pytest.CaptureFixture[str]) -> None:
    drawn = table(NASTY, "=name")
    drawn.add_row(NASTY)
    tell(Told({}, (drawn, facts_table(NASTY, {"name": NASTY}), NASTY, styled(NASTY, "red"))), as_json=False)
    complain(NASTY)
    told = capsys.readouterr()
    assert told.out.count(SHOWN) == 6
    assert told.err == f"consilium: {SHOWN}\n"


def test_json_is_the_same_value_without_raw_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    tell(Told({"label": NASTY, "name": "李"}, ()), as_json=True)
    told = capsys.readouterr().out
    assert json.loads(told) == {"label": NASTY, "name": "李"}
    assert not {"\x1b", "\x9b", "\x07", "\u202e", "\udcff"} & set(told)
    assert "李" in told


@pytest.mark.parametrize(("as_json", "shown"), [(False, True), (True, False)])
def test_a_bar_moves_on_a_terminal(monkeypatch: pytest.MonkeyPatch, *, as_json: bool, shown: bool) -> None:
    """Bytes of all bytes, under the name of what is stored; nothing of it for who reads JSON."""
    ours, theirs = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    with os.fdopen(theirs, "w") as screen:
        monkeypatch.setattr(sys, "stderr", screen)
        with Bar(NASTY, 4_194_304, as_json) as show:
            show(1_048_576)
            show(4_194_304)
        screen.write("end")
        screen.flush()
        told = b""
        while not told.endswith(b"end"):  # a terminal hands out what it has, in pieces
            told += os.read(ours, 65_536)
    os.close(ours)
    assert (SHOWN in told.decode(), b"4.0/4.0 MiB" in told) == (shown, shown)


def test_a_bar_leaves_a_file_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with Bar("scan", 10, as_json=False) as show:
        show(10)
    assert capsys.readouterr().err.strip() == ""
