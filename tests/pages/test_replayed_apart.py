"""Pages typed line by line that need an alliance of their own, or none: the founding, and a quorum that is lost."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from consilium.runtime.genesis_file import read_genesis
from consilium.sandbox.founders import FIVE, founders_of
from consilium.sandbox.local import NOTHING, SANDBOX_PARAMETERS, SandboxAlliance, opened
from tests.docs.pages import inline
from tests.docs.replaying import OPERATIONS, Operators, blocks

pytestmark = pytest.mark.slow
INSTALL = OPERATIONS / "install.md"
FOUNDERS, COMPARED = FIVE[:2] + FIVE[3:], "5f0c-21ab-93de-0c4e-77f1"
CONCERNED = ("ledger", "consensus", "identity")
LEFT_OUT = "--lost 3A --lost 2B"


def shell(line: str) -> str:
    """A line at a founder's machine, in the folder where all cards and consents come together."""
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    words = ["/bin/bash", "-euo", "pipefail", "-c", line]
    return subprocess.run(words, check=True, capture_output=True, text=True, env={"PATH": path}).stdout  # noqa: S603


def by_each(heading: str, number: int = 0) -> list[str]:
    """A line of a step, as every founder types it: its own id, grade and owner in the place of those of 1A."""
    line = blocks(INSTALL, heading)[0][number]
    told = [(each.member_id, each.grade.name, each.owner_group) for each in FOUNDERS]
    return [line.replace("1A", name).replace("A1", grade).replace("community", owner) for name, grade, owner in told]


def test_four_found_an_alliance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """install.md, up to the files that Kubernetes is given; who reads another fingerprint signs nothing. checklist.md."""
    monkeypatch.chdir(tmp_path)
    for line in by_each("1. Every founder draws its keys"):
        shell(line)
    for each in FOUNDERS:  # cards are handed in
        Path(each.member_id, f"{each.member_id}.founder").rename(f"{each.member_id}.founder")
    shell(blocks(INSTALL, "2. Anybody puts them together")[0][0])
    drafted = json.loads(shell(f"{by_each('3. Every founder signs')[0]} --json"))
    with pytest.raises(subprocess.CalledProcessError):
        shell(by_each("3. Every founder signs", 1)[0])
    for line in by_each("3. Every founder signs", 1):
        shell(line.replace(COMPARED, drafted["fingerprint"]))
    for each in FOUNDERS:
        Path(each.member_id, f"{each.member_id}.consent").rename(f"{each.member_id}.consent")
    for line in blocks(INSTALL, "4. Anybody seals, everybody verifies")[0]:
        shell(line)
    [verified] = [each for each in inline(OPERATIONS / "checklist.md") if each.startswith("consilium founding")]
    assert drafted["fingerprint"] in shell(verified)
    manifests = by_each("5. Every founder installs", 2)
    assert all(shell(line.partition("|")[0]).count("kind: ") > 1 for line in manifests)
    assert {each.member_id for each in read_genesis(Path("alliance/genesis")).members} == {
        each.member_id for each in FOUNDERS
    }


def test_a_lost_quorum_is_recovered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """quorum-loss.md: two of four delegates are gone; who is left stops, signs and applies, and expels one of them."""
    parameters = replace(SANDBOX_PARAMETERS, committee_target=4, term_blocks=10_000)
    with opened(tmp_path / "alliance", founders_of(7), parameters, NOTHING) as alliance:
        for each in CONCERNED:
            asyncio.run(alliance.start(None, each))
        asyncio.run(alliance.until_final(3))
        monkeypatch.chdir(alliance.folder)
        operators = Operators(alliance, tmp_path, {})
        seats = operators.at("1A").run("status", "--json").facts["committee"]
        gone = sorted(each["member"] for each in seats)[:2]
        for each in gone:
            alliance.kill(each)
        operators.given |= {LEFT_OUT: " ".join(f"--lost {each}" for each in gone)}
        recovered(alliance, operators, gone)


def recovered(alliance: SandboxAlliance, operators: Operators, gone: list[str]) -> None:
    """The page's lines, each at whom it says; the look and the expulsion afterwards."""
    left = [each for each in alliance.members if each not in gone]
    page = OPERATIONS / "quorum-loss.md"
    [look, stop, sign, sign_too, apply], expel = blocks(page, "Only when more delegates than f are gone for good")
    operators.type(left[0], look)
    for each in left:
        operators.type(each, stop.replace("stop 3", "stop 0"))
    operators.type(left[0], sign)
    for each in left[1:]:
        operators.type(each, sign_too)
    operators.type(left[-1], apply)

    def goes_on(facts: Any) -> bool:
        return bool(facts["epoch"] == 1 and facts["missing"] == [])

    operators.until(left[0], goes_on, "status")
    operators.given["expel 3A"] = f"expel {gone[0]}"
    operators.decide(left[0], expel)
    assert operators.at(left[1]).run("member", "show", gone[0], "--json").facts["state"] == "EXPELLED"
