"""A member goes over to new keys, and another build takes over at a height: with real processes (G3, G5)."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from consilium.kernel.parameters import PROTOCOL_VERSION, Parameters
from consilium.sandbox.founders import founders_of
from consilium.sandbox.local import NOTHING, SandboxAlliance, opened
from consilium.sandbox.processes import SandboxService
from tests.client.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.slow
PARAMETERS = Parameters(
    term_blocks=60, heartbeat_ms=200, view_timeout_ms=4_000, view_timeout_max_ms=12_000, tip_age_max_ms=10_000
)
"""Terms of a quarter of a minute."""
HOME, MEMBER = "2A", "3A"
STARTED = ("ledger", "consensus", "identity")
SERVICES = Path(__file__).parents[2] / "services"


def until(terminal: Terminal, holds: Callable[[Any], bool], *words: str) -> Any:
    """Ask again, a while later each time, until the answer is as wanted; pytest's limit ends it."""
    while not ((said := terminal.run(*words, "--json")).code == 0 and holds(said.facts)):
        time.sleep(0.2)
    return said.facts


def decide(machines: dict[str, Terminal], *words: str | Path) -> Any:
    """Propose at home, and the others say yes until it is over."""
    opened = machines[HOME].run("member", "propose", *words, "--json").facts
    for name, each in machines.items():
        if name != HOME:
            until(each, lambda facts: bool(facts["proposals"]), "member", "proposals")
            voted = each.run("member", "vote", opened["proposal"], "yes", "--json").facts
            if voted["state"] != "OPEN":
                return voted
    return opened


def terminals(alliance: SandboxAlliance, folder: Path) -> dict[str, Terminal]:
    return {each: Terminal(folder / each, alliance.member(each).client_settings) for each in alliance.members}


def start(alliance: SandboxAlliance) -> None:
    for name in STARTED:
        asyncio.run(alliance.start(None, name))
    asyncio.run(alliance.until_final(2))


def again(alliance: SandboxAlliance, member_id: str, *names: str) -> None:
    for name in names:
        asyncio.run(alliance.stop(member_id, name))
        asyncio.run(alliance.start(member_id, name))


def test_a_delegate_goes_over_to_new_keys(tmp_path: Path) -> None:
    """G3: decided by the alliance, in force with an epoch, adopted on its machine; it goes on voting and signing."""
    with opened(tmp_path / "alliance", founders_of(4), PARAMETERS, NOTHING) as alliance:
        start(alliance)
        machines, folder = terminals(alliance, tmp_path), alliance.member(MEMBER).folder
        before = machines[HOME].run("member", "show", MEMBER, "--json").facts
        drawn = machines[MEMBER].run("keys", "draw", folder, "--json").facts
        assert machines[MEMBER].run("keys", "draw", folder, "--json").facts["error"]["reason"] == "KEYS_EXIST"
        refused = machines[MEMBER].run("keys", "adopt", folder, "--json")
        assert (refused.code, refused.facts["error"]["reason"]) == (2, "NOT_IN_FORCE")
        again(alliance, MEMBER, "consensus", "identity")
        assert decide(machines, "keys", MEMBER, "--keys", drawn["proposal"])["outcome"] == "APPLIED"

        after = until(machines[HOME], lambda facts: facts["next_keys"] is None, "member", "show", MEMBER)
        assert all(after[name] != before[name] for name in ("member_key", "consensus_key"))
        old = machines[MEMBER].run("keys", "adopt", folder, "--json").facts["old"]
        assert sorted(each.name for each in Path(old).iterdir()) == [
            "authority.crt",
            "authority.key",
            "consensus",
            "member",
            "reveals",
        ]
        again(alliance, MEMBER, *STARTED)
        alliance.kill("1A")  # from here on nothing becomes final without it
        voter = machines[MEMBER]
        said = voter.run("member", "propose", "parameters", "--set", "proposals_max=5", "--json")
        assert (said.code, said.facts["author"]) == (0, MEMBER), said
        assert alliance.ended() == []


@dataclass(slots=True)
class NewerService(SandboxService):
    """A service out of another build, which knows one version more."""

    build: Path = Path()

    def command(self) -> list[str]:
        """The same, with that build's modules in front."""
        *_, parent, module, member_id = SandboxService.command(self)
        run = "runpy.run_module('consilium.sandbox.child', alter_sys=True, run_name='__main__')"
        front = f"import sys, runpy; sys.path.insert(0, {str(self.build)!r}); {run}"
        return [sys.executable, "-P", "-c", front, parent, module, member_id]


def newer_build(folder: Path) -> Path:
    """A copy of the services whose newest version is one higher."""
    shutil.copytree(SERVICES, folder, ignore=shutil.ignore_patterns("__pycache__"))
    path = folder / "consilium" / "kernel" / "parameters.py"
    source = path.read_text()
    line = f"PROTOCOL_VERSION = {PROTOCOL_VERSION}\n"
    assert line in source
    path.write_text(source.replace(line, f"PROTOCOL_VERSION = {PROTOCOL_VERSION + 1}\n"))
    return folder


async def logged(service: SandboxService, *events: str) -> None:
    """Wait until a service has logged them: it may be a few blocks behind; pytest's limit ends it."""
    while any(f'"event":"{each}"' not in service.log.read_text() for each in events):  # noqa: ASYNC110  a file
        await asyncio.sleep(0.1)


def use(alliance: SandboxAlliance, member_id: str, build: Path) -> None:
    """Have a member run that build from its next start on."""
    member = alliance.members[member_id]
    fresh = {name: NewerService(alliance.layout, member_id, name, build=build) for name in member.services}
    alliance.members[member_id] = replace(member, services=fresh)


def test_an_old_build_stops_at_the_height_and_a_newer_one_goes_on(tmp_path: Path) -> None:
    """G5: mixed builds run together; from the height on who does not know the version stops, says so, and comes back."""
    build = newer_build(tmp_path / "build")
    with opened(tmp_path / "alliance", founders_of(4), PARAMETERS, NOTHING) as alliance:
        for each in ("1A", HOME, MEMBER):
            use(alliance, each, build)
        start(alliance)
        machines = terminals(alliance, tmp_path)
        height = machines[HOME].run("member", "show", HOME, "--json").facts["height"] + PARAMETERS.window_blocks + 150
        words = "upgrade", "--version", str(PROTOCOL_VERSION + 1), "--height", str(height)
        assert decide(machines, *words)["outcome"] == "APPLIED"
        asyncio.run(alliance.until_final(height + 3, HOME))
        asyncio.run(logged(alliance.service("3B", "ledger"), "upgrade_adopted", "upgrade_needed"))
        stopped = machines["3B"].run("member", "show", HOME, "--json").facts["height"]
        assert stopped < height

        asyncio.run(alliance.stop("3B"))
        use(alliance, "3B", build)
        for name in STARTED:
            asyncio.run(alliance.start("3B", name))
        asyncio.run(alliance.until_final(height + 3, "3B"))
        assert alliance.ended() == []
