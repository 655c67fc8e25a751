"""Behaviours of the model go through the production replica, and what the model does not allow is noticed (C1 to C3, C7).

The behaviours here were written by TLC once and are kept; `make model` has it write new ones and replays those.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.model.behaviours import State, Unreadable, parse, read_behaviour
from tests.model.cases import SIMULATED, Simulated
from tests.model.replaying import Rejected, Replaying

KEPT = sorted((Path(__file__).parent / "kept").glob("*.txt"))
"""Two or three of each case, named by its place among the cases; in the third a call comes late (C2)."""


def case_of(path: Path) -> Simulated:
    """The case a kept behaviour belongs to."""
    return SIMULATED[int(path.name.partition("-")[0])]


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_a_behaviour_of_the_model_is_one_of_the_replica(path: Path) -> None:
    """C1: given what the model's step stands on, `step` says what the model says, and refuses nothing."""
    replaying = Replaying(read_behaviour(path), case_of(path).bad)
    replaying.play()
    assert replaying.steps == len(replaying.behaviour) - 1


def test_every_case_has_behaviours_kept() -> None:
    assert {case_of(path).title for path in KEPT} == {case.title for case in SIMULATED}


def without_votes_of(states: list[State], name: str) -> list[State]:
    """The same behaviour, had one replica never voted in the first epoch."""
    return [replace(each, votes=({**each.votes[0], name: frozenset()}, *each.votes[1:])) for each in states]


@pytest.mark.parametrize("path", [path for path in KEPT if path.stem.startswith("3-")], ids=lambda path: path.stem)
def test_a_commit_without_its_prepares_is_rejected(path: Path) -> None:
    """C1: `step` commits on a quorum only, so a behaviour that does on less is none of its."""
    states = without_votes_of(read_behaviour(path), "r2")
    with pytest.raises(Rejected):
        Replaying(states, case_of(path).bad).play()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("<<>>", ()),
        ("{<<0, <<x, y>>>>, <<1, <<>>>>}", frozenset({(0, ("x", "y")), (1, ())})),
        ("<< ( r2 :> {} @@\n r3 :> 7 ) >>", ({"r2": frozenset(), "r3": 7},)),
    ],
)
def test_tlas_notation_is_read(text: str, value: object) -> None:
    assert parse(text) == value


@pytest.mark.parametrize("text", ["", "{1", "<<1 2>>", "(a 1)", "1 2", "(a :> 1", "@@"])
def test_what_is_no_value_is_unreadable(text: str) -> None:
    with pytest.raises(Unreadable):
        parse(text)


def test_a_file_without_states_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("Progress: 3 states checked.\n")
    with pytest.raises(Unreadable):
        read_behaviour(tmp_path / "empty")
