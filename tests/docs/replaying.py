"""A page's commands, typed as the page has them by the operators of a running alliance.

`consilium` runs in this process, everything else in a shell, in the folder where the members' folders lie. Only what differs
from reader to reader is put in: where the backup is, and the id of the proposal that is open.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.client.terminal import Terminal
from tests.house.source import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

    from consilium.sandbox.local import SandboxAlliance
    from tests.client.terminal import Said

PROPOSAL = "5f0c21ab"
"""The id that pages name for whichever proposal is open."""
OPERATIONS = ROOT / "docs" / "operations"


def blocks(page: Path, heading: str) -> list[list[str]]:
    """The indented blocks of a page's section, in order, as lines."""
    _, _, rest = page.read_text().partition(f"\n## {heading}\n")
    assert rest, f"{page} has no section {heading!r}"
    section = re.split(r"^## ", rest, maxsplit=1, flags=re.MULTILINE)[0]
    found: list[list[str]] = [[]]
    for line in section.splitlines():
        if re.match(r" {4,}\S", line):
            found[-1].append(line.strip())
        elif found[-1]:
            found.append([])
    return [each for each in found if each]


@dataclass
class Operators:
    """One at each member; the working directory is the alliance's folder."""

    alliance: SandboxAlliance
    folder: Path
    given: dict[str, str]
    """What stands in the page, and what it is here."""
    terminals: dict[str, Terminal] = field(default_factory=dict)

    def at(self, member_id: str) -> Terminal:
        """The member's terminal."""
        if member_id not in self.terminals:
            settings = self.alliance.member(member_id).client_settings
            self.terminals[member_id] = Terminal(self.folder / member_id, settings)
        return self.terminals[member_id]

    def type(self, member_id: str, line: str) -> Said | None:
        """One line, which has to end with 0; `status` may end with 1, which says that something is amiss."""
        for each, value in self.given.items():
            line = line.replace(each, value)
        if line.startswith("consilium "):
            words = shlex.split(line, comments=True)[1:]
            said = self.at(member_id).run(*[found for each in words for found in _globbed(each)])
            assert said.code in ((0, 1) if words[0] == "status" else (0,)), (line, said)
            return said
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # noqa: TID251  a shell's
        subprocess.run(["/bin/bash", "-euc", line], check=True, env={"PATH": path})  # noqa: S603  the page's own line
        return None

    def type_all(self, member_id: str, lines: list[str]) -> list[Said]:
        """A block's lines."""
        return [said for each in lines if (said := self.type(member_id, each)) is not None]

    def decide(self, proposer: str, lines: list[str]) -> None:
        """A block with a proposal and a vote on it: the first by one member, the second by others until it is adopted."""
        propose, vote = lines
        opened = self.type(proposer, f"{propose} --json")
        assert opened is not None
        proposal = opened.facts["proposal"]
        for name in self.alliance.members:
            listed = self.at(name).run("member", "proposals", "--json")
            if name == proposer or listed.code != 0:
                continue
            while proposal not in listed.out:
                listed = self.at(name).run("member", "proposals", "--json")
            said = self.type(name, f"{vote.replace(PROPOSAL, proposal)} --json")
            assert said is not None
            if said.facts["state"] == "ADOPTED":
                assert said.facts["outcome"] == "APPLIED", said
                return
        raise AssertionError(f"{propose} was not adopted")

    def until(self, member_id: str, holds: Callable[[Any], bool], *words: str) -> Any:
        """Ask again until the answer is as wanted; pytest's limit ends it."""
        while True:
            said = self.at(member_id).run(*words, "--json")
            if said.out and holds(json.loads(said.out)):
                return said.facts
            time.sleep(0.2)


def _globbed(word: str) -> list[str]:
    """As the shell spreads it."""
    return sorted(map(str, Path().glob(word))) or [word] if "*" in word else [word]
