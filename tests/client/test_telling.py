"""What users and peers have named is shown and never obeyed; a refusal is one line."""

from __future__ import annotations

import json

import pytest

from consilium.client.commands.telling import Told, complain, facts_table, styled, table, tell

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
