"""A fifth member comes to four by one file, with real processes; nobody hands an authority to anybody (G2, ADR 22)."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from consilium.ceremony.joining import read_invitation
from consilium.identity import founding
from consilium.identity.settings import IdentitySettings
from consilium.kernel.invitations import checkpoint_of
from consilium.kernel.membership import SERVICES
from consilium.kernel.parameters import Parameters
from consilium.runtime.clock import wall_ms
from consilium.runtime.settings import FILE_VARIABLE, load
from consilium.sandbox.foundation import write_settings
from consilium.sandbox.founders import founders_of
from consilium.sandbox.layout import PORTS_EACH, Layout
from consilium.sandbox.local import NOTHING, SandboxAlliance, opened
from consilium.sandbox.ports import drawn_ports
from tests.client.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from consilium.sandbox.layout import Tables

pytestmark = pytest.mark.slow
HOME, NEWCOMER = "2A", "4A"
PARAMETERS = Parameters(
    term_blocks=60, heartbeat_ms=200, view_timeout_ms=4_000, view_timeout_max_ms=12_000, tip_age_max_ms=10_000
)
"""Terms of a quarter of a minute."""
OPEN = ("member", "proposals")
STARTED = ("ledger", "consensus", "identity")


@dataclass(frozen=True)
class LayoutOfFive(Layout):
    """The four founders' places, and those of one that comes later."""

    newcomer_port: int = 0

    @property
    def member_ids(self) -> list[str]:
        """The founders and the newcomer."""
        return [*(each.member_id for each in self.genesis.members), NEWCOMER]

    def port(self, member_id: str, service: str) -> int:
        """The newcomer's ports are its own; the founders' stay as they were."""
        if member_id == NEWCOMER:
            return self.newcomer_port + SERVICES.index(service) * PORTS_EACH
        return Layout.port(self, member_id, service)


def until(terminal: Terminal, holds: Callable[[Any], bool], *words: str) -> Any:
    """Ask again, a while later each time, until the answer is as wanted; pytest's limit ends it."""
    while not ((said := terminal.run(*words, "--json")).code == 0 and holds(said.facts)):
        time.sleep(0.2)
    return said.facts


def test_a_fifth_member_joins_by_one_file(tmp_path: Path) -> None:
    folder = tmp_path / "alliance"
    with opened(folder, founders_of(4), PARAMETERS, NOTHING) as four, drawn_ports(len(SERVICES) * PORTS_EACH) as fifth:
        for name in STARTED:
            asyncio.run(four.start(None, name))
        asyncio.run(four.until_final(2))
        machines = {each: Terminal(tmp_path / each, four.member(each).client_settings) for each in four.members}
        layout = LayoutOfFive(four.folder, four.genesis, four.layout.first_port, fifth)
        with_newcomer(four, layout, machines, tmp_path)


def with_newcomer(four: SandboxAlliance, layout: LayoutOfFive, machines: dict[str, Terminal], folder: Path) -> None:
    path = folder / "4A.invitation"
    words = "invite", "create", NEWCOMER, "--owner", "university-west", "-o", path, "--json"
    invited = machines[HOME].run(*words).facts
    assert machines[HOME].run("invite", "show", path, "--json").facts["fingerprint"] == invited["fingerprint"]

    own: list[str] = [part for each in SERVICES for part in ("--address", f"{each}={layout.address(NEWCOMER, each)}")]
    asked: tuple[str | Path, ...] = "join", "prepare", path, layout.member(NEWCOMER), *own, "--json", "--fingerprint"
    said = machines[HOME].run(*asked, "0000-0000-0000-0000-0000")
    assert (said.code, said.facts["error"]["reason"]) == (1, "OTHER_FINGERPRINT")
    answered = machines[HOME].run(*asked, invited["fingerprint"]).facts
    assert {each.split()[0] for each in answered["unreached"]} == {
        f"{name}/{service}" for name in four.members for service in ("reencryption", "storage")
    }

    file = read_invitation(path, wall_ms())
    started: Tables = {"ledger": {"checkpoint": checkpoint_of(file.content.checkpoint, file.chain_id)}}
    write_settings(layout, started)
    identity = load(IdentitySettings, {FILE_VARIABLE: str(layout.settings_path(NEWCOMER))})
    founding.found(identity)
    five = SandboxAlliance(layout)
    try:
        for name in STARTED:
            asyncio.run(five.start(NEWCOMER, name))
        admitted(four, five, machines, answered)
    finally:
        five.kill()


def admitted(four: SandboxAlliance, five: SandboxAlliance, machines: dict[str, Terminal], answered: Any) -> None:
    """Voted in; it follows the chain; everybody's services are told of it; and it acts."""
    words = "member", "propose", "admit", "--request", answered["request"], "--json", "--fingerprint"
    said = machines[HOME].run(*words, "0000-0000-0000-0000-0000")
    assert (said.code, said.facts["error"]["reason"]) == (1, "OTHER_FINGERPRINT")
    opened = machines[HOME].run(*words, answered["fingerprint"]).facts
    assert (opened["says"], opened["state"]) == (f"admit {NEWCOMER}", "OPEN")
    for each in ("1A", "3A"):
        until(machines[each], lambda facts: bool(facts["proposals"]), "member", "proposals")
        voted = machines[each].run("member", "vote", opened["proposal"], "yes", "--json").facts
    assert (voted["state"], voted["outcome"]) == ("ADOPTED", "APPLIED")

    epoch = machines[HOME].run("election", "show", "--json").facts["epoch"]
    asyncio.run(five.member(NEWCOMER).until_final(voted["closed_height"]))
    newcomer = Terminal(machines[HOME].folder.parent / NEWCOMER, five.member(NEWCOMER).client_settings)
    listed = until(newcomer, lambda facts: len(facts["members"]) == 5, "member", "list")
    assert {each["member"] for each in listed["members"]} == {*four.members, NEWCOMER}
    for each in four.members:  # also at members that have never seen the request
        while not list(four.layout.authorities(each).glob(f"{NEWCOMER}-*")):
            time.sleep(0.2)

    again = machines[HOME].run(*words, answered["fingerprint"])
    assert (again.code, again.facts["error"]["reason"]) == (2, "MEMBER_EXISTS")

    for each in four.members:  # one after the other, as an upgrade with one more peer does
        for name in ("ledger", "consensus"):
            asyncio.run(four.stop(each, name))
            asyncio.run(four.start(each, name))
        asyncio.run(four.until_final(1, each))
    # Whose batches count is fixed for a term (L2): it acts from the next one on.
    until(newcomer, lambda facts: facts["epoch"] > epoch, "election", "show")
    (machines[HOME].folder / "letter").write_bytes(b"the authority's letter")
    grade = "member", "propose", "grade", NEWCOMER, "--grade", "A3", "--until", "900000", "--json"
    mine = newcomer.run(*grade, "--evidence", machines[HOME].folder / "letter").facts
    assert mine.get("author") == NEWCOMER, mine
    assert mine["state"] == "OPEN"
    assert five.ended() == [] == four.ended()
    leaving(newcomer, machines)


def leaving(newcomer: Terminal, machines: dict[str, Terminal]) -> None:
    """It proposes its own expulsion, and the others let it go: from that block on it is nobody's member (G2)."""
    going = newcomer.run("member", "propose", "expel", NEWCOMER, "--json").facts
    for each in ("1A", HOME, "3A"):
        until(machines[each], lambda facts: going["proposal"] in [one["proposal"] for one in facts["proposals"]], *OPEN)
        voted = machines[each].run("member", "vote", going["proposal"], "yes", "--json").facts
    assert (voted["state"], voted["outcome"]) == ("ADOPTED", "APPLIED")
    assert machines[HOME].run("member", "show", NEWCOMER, "--json").facts["state"].lower() == "expelled"
