"""What a running alliance goes through, shown by the command line: jail, tombstone, another committee (C6, C8)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from consilium.kernel.parameters import Parameters
from consilium.ledger.core.conduct import JAIL_TERMS
from consilium.sandbox.founders import founders_of
from consilium.sandbox.local import NOTHING, SandboxAlliance, opened
from tests.client.terminal import Terminal
from tests.odds.terms import make_two_faced

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow
PARAMETERS = Parameters(
    term_blocks=60, heartbeat_ms=200, view_timeout_ms=1_500, view_timeout_max_ms=12_000, tip_age_max_ms=10_000
)
"""Terms of a quarter of a minute, in which somebody away misses as many duties as it takes to be jailed."""
HOME = "2A"
STARTED = ("ledger", "consensus", "identity")


def until(terminal: Terminal, holds: Callable[[Any], bool], *words: str) -> Any:
    """Ask again until the answer is as wanted, and is one: on a busy machine the services may be out of reach for once."""
    return terminal.until(lambda said: "error" not in said.facts and holds(said.facts), *words, "--json").facts


def member_of(facts: Any, name: str) -> Any:
    return next(each for each in facts["members"] if each["member"] == name)


def test_who_lies_is_barred_who_is_away_is_jailed_and_others_sit(tmp_path: Path) -> None:
    """Of six members four sit: one that votes twice and one that misses a term are in nobody's committee after it."""
    with opened(tmp_path / "alliance", founders_of(6), PARAMETERS, NOTHING) as alliance:
        make_two_faced(alliance, tmp_path / "lies")
        terminal = Terminal(tmp_path / "terminal", alliance.member(HOME).client_settings)
        upheaval(alliance, terminal, tmp_path)


def upheaval(alliance: SandboxAlliance, terminal: Terminal, folder: Path) -> None:
    for name in STARTED:
        asyncio.run(alliance.start(None, name))
    first = until(terminal, lambda facts: len(facts["committee"]) == 4 and not facts["missing"], "status")
    liar, *_ = [each["member"] for each in first["committee"] if each["member"] != HOME]

    (folder / "lies" / liar).write_text("and the truth as well")
    shown = until(terminal, lambda facts: member_of(facts, liar)["tombstoned"], "election", "show")
    (folder / "lies" / liar).unlink()
    assert member_of(shown, liar)["state"].startswith("tombstoned")

    # From the start of a term on, so that most of its duties are missed.
    then = until(terminal, lambda facts: (facts["epoch"] or 0) > shown["epoch"], "status")
    absent = next(each["member"] for each in then["committee"] if each["member"] not in (HOME, liar))
    alliance.kill(absent, "consensus")
    shown = until(terminal, lambda facts: member_of(facts, absent)["jailed"], "election", "show")
    asyncio.run(alliance.start(absent, "consensus"))
    until_epoch = member_of(shown, absent)["jailed_until"]
    assert f"jailed until epoch {until_epoch}" in member_of(shown, absent)["state"]

    without = until_epoch - JAIL_TERMS
    then = until(terminal, lambda facts: (facts["epoch"] or 0) >= without, "status")
    assert not {each["member"] for each in then["committee"]} & {liar, absent}
    explained(terminal, folder / "export", then["epoch"], {liar: "tombstoned", absent: "jailed"})
    asyncio.run(alliance.stop())


def explained(terminal: Terminal, folder: Path, epoch: int, barred: dict[str, str]) -> None:
    """The election made again offline comes to the committee of the header, and says what kept whom out (promise 8)."""
    assert terminal.run("election", "export", folder).code == 0
    said = terminal.run("election", "explain", "--epoch", str(epoch), folder, "--json")
    assert (said.code, said.facts["agrees"]) == (0, True)
    for name, reason in barred.items():
        assert any(each.startswith(reason) for each in member_of(said.facts, name)["reasons"]), said.facts["members"]
