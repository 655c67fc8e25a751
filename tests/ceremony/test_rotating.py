"""New keys on a member's own machine: drawn whole, put in place at any interruption, handed to a cluster (rule G3)."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest
from ruamel.yaml import YAML

from consilium.ceremony import founding
from consilium.ceremony.keys import FILES, Founder
from consilium.ceremony.rotating import ROTATED, draw_next
from consilium.client import cli
from consilium.kernel.transactions import Grade
from consilium.runtime.clock import wall_ms

if TYPE_CHECKING:
    from pathlib import Path

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
    draw_next(home)
    keys = home / "keys"
    assert secret(capsys, home) == ("consilium-next-keys", {name: (keys / "next" / name).read_bytes() for name in ROTATED})
    in_force = {name: (keys / name).read_bytes() for name in FILES}
    assert secret(capsys, home, "--current") == ("consilium-keys", in_force)
    assert secret(capsys, home, "--current", "--secret", "mine") == ("mine", in_force)
