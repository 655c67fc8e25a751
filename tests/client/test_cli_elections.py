"""Elections on the command line, over five members' processes: conduct, votes, finality, an export explained (C6, C7)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from consilium.sandbox.local import SANDBOX_PARAMETERS, SandboxAlliance, sandbox
from tests.client.terminal import Said, Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow
HOME = "2A"
SHORT = replace(SANDBOX_PARAMETERS, term_blocks=20, heartbeat_ms=250)
"""A term takes some seconds."""


@pytest.fixture(scope="module")
def alliance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxAlliance]:
    with sandbox(tmp_path_factory.mktemp("alliance"), parameters=SHORT) as running:
        yield running


def asked(home: Terminal, *words: str | Path) -> Said:
    """A command that needs no keystore, as JSON."""
    return home.run(*words, "--json")


def test_conduct_is_shown_voted_on_exported_and_explained(alliance: SandboxAlliance, tmp_path: Path) -> None:
    """C6, C7, promise 8: in the words of the manual."""
    member = alliance.member(HOME)
    home = Terminal(tmp_path / "home", member.client_settings)
    key = member.folder / "keys" / "member"
    voted = asked(home, "election", "vote", "3A=3", "3B=2", "--member-key", key)
    assert (voted.code, voted.facts["vote"]) == (0, {"3A": 3, "3B": 2})
    own = asked(home, "election", "vote", "2A=1", "--member-key", key)
    assert (own.code, own.facts["error"]["reason"]) == (2, "OWN_CANDIDATE")
    final = asked(home, "verify", "--transaction", voted.facts["transaction"], "--finality", "alliance")
    assert (final.code, final.facts["finality"]) == (0, "alliance")
    young = asked(home, "election", "vote", "3A=1", "--member-key", key).facts["transaction"]
    assert asked(home, "verify", "--transaction", young).facts["finality"] in ("committee", "alliance")
    shown = asked(home, "election", "show").facts
    assert [each["member"] for each in shown["members"]] == ["1A", "2A", "2B", "3A", "3B"]
    assert all(each["eligible"] and not each["jailed"] for each in shown["members"])
    while (shown := asked(home, "election", "show").facts)["epoch"] < 2:
        asyncio.run(alliance.until_final(shown["height"] + 5, HOME))
    served = [each["score"] for each in shown["members"] if each["score"] > 700]
    assert len(served) >= 3
    assert asked(home, "status").facts["alliance_height"] >= 20
    assert asked(home, "election", "export", tmp_path / "chain").facts["blocks"] >= shown["height"] - 1
    for epoch in (0, 1, 2):
        told = asked(home, "election", "explain", "--epoch", str(epoch), tmp_path / "chain")
        assert (told.code, told.facts["agrees"]) == (0, True)
    assert {each["member"]: each["votes"] for each in told.facts["members"]}["3A"] > 0
    assert asked(home, "verify", tmp_path / "chain").code == 0
