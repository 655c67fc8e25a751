"""New keys on a member's own machine: drawn whole, put in place at any interruption, handed to a cluster (rule G3)."""

from __future__ import annotations

import base64
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ruamel.yaml import YAML

from consilium.ceremony import founding, rotating
from consilium.ceremony import keys as drawing
from consilium.ceremony.keys import FILES, Founder, profile_of, read_keys
from consilium.ceremony.rotating import DRAWN, ROTATED, adopt_next, draw_next
from consilium.client import cli
from consilium.consensus.keys import read_keys as read_signing_keys
from consilium.identity.authority import read_drawn
from consilium.kernel.errors import Conflict, DataLoss
from consilium.kernel.transactions import Grade
from consilium.runtime.clock import wall_ms
from consilium.runtime.whole_files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable

MEMBER = Founder("3A", Grade.A3, "owner-3A")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A member's folder with its keys."""
    founding.prepare(tmp_path / "3A", MEMBER, "consilium", wall_ms())
    return tmp_path / "3A"


def secret(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[str, dict[str, bytes]]:
    """The Secret that the command prints: its name, and its files."""
    cli.app(["keys", "kubernetes", *map(str, words)], standalone_mode=False)
    told: dict[str, Any] = YAML(typ="safe").load(capsys.readouterr().out)
    return told["metadata"]["name"], {name: base64.b64decode(data) for name, data in told["data"].items()}


def test_a_cluster_is_given_either_set_from_the_keys_folder_alone(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """G3: no founding's folder is needed, which a joined member has not, and a founder's may be years old."""
    draw_next(home, wall_ms())
    keys = home / "keys"
    assert secret(capsys, home) == ("consilium-next-keys", {name: (keys / "next" / name).read_bytes() for name in ROTATED})
    in_force = {name: (keys / name).read_bytes() for name in FILES}
    assert secret(capsys, home, "--current") == ("consilium-keys", in_force)
    assert secret(capsys, home, "--current", "--secret", "mine") == ("mine", in_force)


# --- cut short at every write ---


class CutShort(RuntimeError):
    """The machine has gone."""


class Budget:
    """So many calls of a function go well; the one after them ends everything."""

    def __init__(self, calls: int) -> None:
        self.left = calls

    def over(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, until the calls are used up."""

        def bounded(*words: Any, **named: Any) -> Any:
            if self.left == 0:
                raise CutShort
            self.left -= 1
            return function(*words, **named)

        return bounded


def test_next_keys_are_there_whole_or_not_at_all(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Consensus refuses to start from half of them."""
    write = drawing.write_secret
    for calls in range(len(DRAWN)):
        monkeypatch.setattr(drawing, "write_secret", Budget(calls).over(write))
        with pytest.raises(CutShort):
            draw_next(home, wall_ms())
        assert read_signing_keys(home / "keys").following is None
    monkeypatch.setattr(drawing, "write_secret", write)
    draw_next(home, wall_ms())
    assert read_signing_keys(home / "keys").following is not None


@pytest.mark.parametrize("calls", range(2 * len(DRAWN) + 2))
def test_adopting_goes_on_from_any_interruption(home: Path, monkeypatch: pytest.MonkeyPatch, calls: int) -> None:
    """G3: services start from what is there at any moment, and the old keys lie in one folder, whole."""
    keys = home / "keys"
    before, old_files = read_keys(keys), {name: (keys / name).read_bytes() for name in DRAWN}
    draw_next(home, wall_ms())
    next_files = {name: (keys / "next" / name).read_bytes() for name in DRAWN}
    in_force = profile_of(MEMBER, replace(before, member=read_signing_keys(keys / "next").member))
    budget = Budget(calls)
    monkeypatch.setattr(rotating, "write_atomically", budget.over(write_atomically))
    monkeypatch.setattr(Path, "rename", budget.over(Path.rename))
    monkeypatch.setattr(shutil, "rmtree", budget.over(shutil.rmtree))
    with pytest.raises(CutShort):
        adopt_next(home, in_force)
    read_signing_keys(keys)
    monkeypatch.undo()
    old = adopt_next(home, in_force)
    assert {each.name: each.read_bytes() for each in old.iterdir()} == old_files
    assert [each.name for each in home.glob("keys-*")] == [old.name]
    assert {each.name: each.read_bytes() for each in keys.iterdir() if each.name in DRAWN} == next_files
    assert not (keys / "next").exists()


@pytest.mark.parametrize("left", [None, b"half a key"])
def test_without_the_key_that_they_replace_nothing_is_put_in_place(home: Path, left: bytes | None) -> None:
    """G3: the old keys would lie nobody knows where; the sentence says what is missing."""
    draw_next(home, wall_ms())
    keys, replaces = home / "keys", home / "keys" / "next" / "replaces"
    in_force = profile_of(MEMBER, replace(read_keys(keys), member=read_signing_keys(keys / "next").member))
    before, told = {each.name: each.read_bytes() for each in keys.iterdir() if each.is_file()}, replaces.read_bytes()
    replaces.unlink()
    if left is not None:
        replaces.write_bytes(left)
    with pytest.raises(DataLoss, match="BAD_KEYS") as refused:
        adopt_next(home, in_force)
    assert str(replaces) in refused.value.sentence
    assert {each.name: each.read_bytes() for each in keys.iterdir() if each.is_file()} == before
    assert not list(home.glob("keys-*"))
    replaces.write_bytes(told)
    adopt_next(home, in_force)


def test_what_was_cut_short_after_the_keys_goes_on_with_them(home: Path) -> None:
    """Only what tells of them was missing: nothing else is drawn."""
    (home / "3A.founder").unlink()
    before = read_keys(home / "keys").member.public_key
    with pytest.raises(Conflict, match="KEYS_EXIST"):
        founding.prepare(home, replace(MEMBER, member_id="4A"), "consilium", wall_ms())
    assert founding.prepare(home, MEMBER, "consilium", wall_ms()).card.profile.member_key == before
    path = draw_next(home, wall_ms())
    told = path.read_bytes()
    with pytest.raises(Conflict, match="KEYS_EXIST"):
        draw_next(home, wall_ms())
    path.write_bytes(b"of an earlier time")
    assert draw_next(home, wall_ms()).read_bytes() == told


def test_a_stolen_first_authority_does_not_come_back_under_the_new_key(home: Path) -> None:
    """G3: what an identity on an empty volume takes up was drawn with the new member key, and is the same member's."""
    keys = home / "keys"
    stolen, before = (keys / "authority.key").read_bytes(), read_keys(keys)
    draw_next(home, wall_ms())
    in_force = profile_of(MEMBER, replace(before, member=read_signing_keys(keys / "next").member))
    old = adopt_next(home, in_force)
    assert (old / "authority.key").read_bytes() == stolen != (keys / "authority.key").read_bytes()
    read_drawn(keys / "authority.key", keys / "authority.crt", "consilium", MEMBER.member_id)
    assert sorted(each.name for each in keys.iterdir()) == sorted(FILES)
