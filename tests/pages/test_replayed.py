"""Pages typed line by line on a running alliance.

A member is gone, begins on empty volumes, changes its keys, has them stolen; an administrator of it comes and leaves;
another build is to come, and a longer heartbeat.

What the pages leave to whoever runs the services, to stop and start them, is done here as they say it.
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from consilium.kernel.parameters import Parameters
from consilium.sandbox.local import SandboxAlliance, sandbox
from tests.backup.s3 import ACCESS, SECRET, s3_server
from tests.client.terminal import Terminal
from tests.docs.replaying import OPERATIONS, Operators, blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow
PARAMETERS = Parameters(
    term_blocks=60, heartbeat_ms=400, view_timeout_ms=4_000, view_timeout_max_ms=12_000, tip_age_max_ms=10_000
)
"""Terms of half a minute."""
MEMBER, OTHER, AWAY = "3A", "1A", "2A"
STATE = ("ledger", "storage", "consensus", "reencryption")
OWN_ALONE = ("keys", "tls", "identity")
"""Folders of a member whose files only their owner may read."""
SEALED = ("keys", "settings.toml", "client.toml", "identity", "authorities", "tls")
"""What backup.md has an operator keep copies of."""


@pytest.fixture(scope="module")
def alliance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxAlliance]:
    with sandbox(tmp_path_factory.mktemp("alliance"), parameters=PARAMETERS) as running:
        yield running


@pytest.fixture
def operators(alliance: SandboxAlliance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Operators:
    monkeypatch.chdir(alliance.folder)
    (tmp_path / "report.pdf").write_text("what happened")
    given = {
        "/mnt": str(tmp_path / "mnt"),
        "backup.key": str(tmp_path / "backup.key"),
        "report.pdf": str(tmp_path / "report.pdf"),
        "alliance/authorities": "authorities",
    }
    return Operators(alliance, tmp_path, given)


def start(alliance: SandboxAlliance) -> None:
    asyncio.run(alliance.start(MEMBER))


def stop(alliance: SandboxAlliance) -> None:
    asyncio.run(alliance.stop(MEMBER))


def is_back(facts: Any) -> bool:
    """Its replica votes again, or would."""
    return facts["state"] in {"ORDERING", "FOLLOWING"}


def hears_others(facts: Any) -> bool:
    """No other delegate is missing, as for a moment after a start."""
    missing = facts.get("missing")
    return missing is not None and set(missing) <= {MEMBER}


def has_replica(facts: Any) -> bool:
    """Its replica says how it stands."""
    return facts.get("state") not in {None, "WAITING"}


def put_and_grant(operators: Operators) -> None:
    """A record at the member, which a recipient at another may open."""
    home, away = operators.at(MEMBER), operators.at(AWAY)
    (home.folder / "scan").write_bytes(b"scan" * 100_000)
    assert home.asked("patient", "enrol", "lin").code == 0
    assert home.asked("record", "put", home.folder / "scan").code == 0
    assert away.asked("recipient", "enrol", "ward", "--out", away.folder / "address").code == 0
    words = away.folder / "address", "--out", away.folder / "reference"
    assert home.asked("share", "grant", *words).code == 0


def opens(operators: Operators, out: str) -> None:
    """The recipient opens the record."""
    away = operators.at(AWAY)
    words = "--why", operators.given["report.pdf"], "--out", away.folder / out
    said = away.asked("record", "get", away.folder / "reference", *words)
    assert said.code == 0, said
    assert (away.folder / out).read_bytes() == b"scan" * 100_000


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A place in a store as the page has one, with the store's keys in this terminal."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    with s3_server(tmp_path / "s3") as running:
        yield f"s3+http://{running.address}/backups/{MEMBER}"


@pytest.mark.parametrize("has_copy", [True, False], ids=["copy", "from genesis, from a store"])
def test_a_member_that_is_gone_comes_back(operators: Operators, request: pytest.FixtureRequest, *, has_copy: bool) -> None:
    """backup.md: everything of the member is removed; what the page has kept apart is all there is, or less."""
    alliance, page = operators.alliance, OPERATIONS / "backup.md"
    [draw_key, to_folder], [export, to_store] = blocks(page, "Before anything happens")[:2]
    operators.type(MEMBER, draw_key)
    if has_copy:
        put_and_grant(operators)
        operators.type(MEMBER, to_folder)
    else:
        assert export.split()[1:] == ["AWS_ACCESS_KEY_ID=...", "AWS_SECRET_ACCESS_KEY=..."]
        operators.given["s3://store.example:9000/bucket/3A"] = request.getfixturevalue("store")
        operators.type(MEMBER, to_store)
    folder = alliance.member(MEMBER).folder
    sealed = operators.folder / "mnt" / "sealed" / MEMBER
    sealed.mkdir(parents=True)
    kept = SEALED if has_copy else SEALED[:3]
    for each in kept:
        (shutil.copytree if (folder / each).is_dir() else shutil.copy)(folder / each, sealed / each)
    stop(alliance)
    shutil.rmtree(folder)
    (folder / "logs").mkdir(parents=True)

    put_back, anew, from_folder, from_store, heal, look, again = blocks(page, "A member is gone")[:7]
    operators.type_all(MEMBER, put_back if has_copy else [put_back[0], *anew])
    [restored] = operators.type_all(MEMBER, from_folder if has_copy else from_store)
    assert "confirmed_by" in restored.out
    start(alliance)
    operators.type_all(MEMBER, heal)
    operators.until(MEMBER, hears_others, "status")
    operators.type_all(MEMBER, look)
    if has_copy:
        operators.until(MEMBER, is_back, "status")
        operators.type_all(MEMBER, again)
        opens(operators, "opened")


def test_a_member_begins_on_empty_volumes(operators: Operators) -> None:
    """member-loss.md: three things are left, and its replica does not vote in a term that it has voted in."""
    alliance, page = operators.alliance, OPERATIONS / "member-loss.md"
    folder = alliance.member(MEMBER).folder
    stop(alliance)
    for each in [each for each in folder.iterdir() if each.name not in SEALED[:3]]:
        (shutil.rmtree if each.is_dir() else Path.unlink)(each)
    (folder / "logs").mkdir()
    before = (folder / "settings.toml").read_text()

    begin, heal = blocks(page, "With the keys, on empty volumes")[:2]
    operators.type_all(MEMBER, begin)
    start(alliance)
    operators.until(MEMBER, hears_others, "status")
    assert operators.until(MEMBER, has_replica, "status")["state"] == "SILENT"
    operators.type_all(MEMBER, heal)
    assert (folder / "settings.toml").read_text() == before
    operators.until(MEMBER, is_back, "status")


def test_a_member_goes_over_to_new_keys(operators: Operators) -> None:
    """rotation.md, outside of Kubernetes: drawn, held beside the old ones, decided, in force with a term, put in place."""
    alliance, page = operators.alliance, OPERATIONS / "rotation.md"
    before = operators.at(OTHER).run("member", "show", MEMBER, "--json").facts
    draw, _, decided, in_force, adopt, _ = blocks(page, "A member's keys")

    operators.type_all(MEMBER, draw)
    for each in ("consensus", "identity", "storage", "reencryption"):
        asyncio.run(alliance.stop(MEMBER, each))
        asyncio.run(alliance.start(MEMBER, each))
    operators.decide(AWAY, decided)
    [shown] = in_force
    operators.until(MEMBER, lambda facts: facts["next_keys"] is None, *shown.split()[1:])
    # Until the new ones are in their place: a home's receipts, a holder's releases and an erasure are signed under them.
    put_and_grant(operators)
    opens(operators, "opened")
    assert operators.at(MEMBER).asked("record", "erase", "scan", "--yes").code == 0
    operators.type_all(MEMBER, adopt)
    stop(alliance)
    start(alliance)
    operators.until(MEMBER, lambda facts: facts.get("missing") == [], "status")
    after = operators.at(OTHER).run("member", "show", MEMBER, "--json").facts
    assert all(after[name] != before[name] for name in ("member_key", "consensus_key"))
    assert alliance.member(MEMBER).keys.member.public_key.hex() == after["member_key"]


def test_a_member_whose_keys_were_stolen_works_again_under_new_ones(operators: Operators) -> None:
    """key-theft.md, from the suspension to the last look; the stolen authority's certificates open nothing."""
    alliance, page = operators.alliance, OPERATIONS / "key-theft.md"
    before = operators.at(OTHER).run("member", "show", MEMBER, "--json").facts
    stolen = operators.folder / "stolen"
    shutil.copytree(alliance.member(MEMBER).administrator, stolen)
    suspend, draw, propose, adopt, reinstate, look = blocks(page, "Member keys")[:6]

    operators.decide(OTHER, suspend)
    stop(alliance)
    operators.type_all(MEMBER, draw)
    operators.decide(OTHER, propose)
    start(alliance)
    height = operators.at(OTHER).run("status", "--json").facts["executed_height"]
    operators.until(MEMBER, lambda facts: (facts.get("executed_height") or 0) >= height, "status")
    operators.type(MEMBER, adopt[1])
    stop(alliance)
    start(alliance)
    operators.decide(OTHER, reinstate)

    operators.until(MEMBER, lambda facts: facts.get("missing") == [], "status")
    operators.type_all(MEMBER, look)
    after = operators.at(OTHER).run("member", "show", MEMBER, "--json").facts
    assert (after["state"], after["next_keys"]) == ("ACTIVE", None)
    assert all(after[name] != before[name] for name in ("member_key", "consensus_key"))
    epoch = operators.at(MEMBER).run("status", "--json").facts["epoch"]
    operators.until(MEMBER, lambda facts: (facts.get("epoch") or 0) > epoch, "status")
    put_and_grant(operators)
    opens(operators, "opened")
    settings = operators.folder / "stolen.toml"
    text = alliance.member(MEMBER).client_settings.read_text()
    settings.write_text(text.replace(str(alliance.member(MEMBER).administrator), str(stolen)))
    refused = operators.at(MEMBER).run("status", "--settings", settings, "--json")
    assert refused.code != 0


def test_an_administrator_comes_and_leaves(operators: Operators) -> None:
    """hardening.md: a second one with keys of her own, and an end of them; the first one's is replaced where it lies."""
    alliance, page = operators.alliance, OPERATIONS / "hardening.md"
    member = alliance.member(MEMBER)
    secret = [each for folder in OWN_ALONE for each in (member.folder / folder).rglob("*")]
    assert [each for each in secret if each.stat().st_mode & 0o077] == []
    [issue, renew, look, superseded], [leaves], [replace] = blocks(page, "An administrator comes and leaves")

    issued = told(operators, MEMBER, issue)
    settings = operators.folder / "ana.toml"
    settings.write_text(member.client_settings.read_text().replace(str(member.administrator), str(alliance.folder / "ana")))
    operators.terminals["ana"] = Terminal(operators.folder / "ana", settings)
    operators.type("ana", renew)
    [hers] = active(told(operators, "ana", look), issued["pseudonym"]) - {issued["credential"]}
    operators.given["5f0c21"] = issued["credential"]
    left = told(operators, "ana", superseded)["administrators_left"]
    operators.given["5f0c21"] = hers
    assert told(operators, MEMBER, leaves)["administrators_left"] == left - 1 > 0
    refused = operators.at("ana").run("credential", "list", "--json")
    assert (refused.code, refused.facts["error"]["reason"]) == (2, "REVOKED")

    before = told(operators, MEMBER, look)
    asyncio.run(alliance.stop(MEMBER, "identity"))
    operators.type(MEMBER, replace)
    asyncio.run(alliance.start(MEMBER, "identity"))
    after = told(operators, MEMBER, look)
    known = {each["credential"] for each in before["credentials"]}
    [fresh] = [each for each in after["credentials"] if each["credential"] not in known]
    for each in active(before, fresh["pseudonym"]):
        operators.given["5f0c21"] = each
        assert told(operators, MEMBER, leaves)["state"] == "REVOKED"
    assert active(told(operators, MEMBER, look), fresh["pseudonym"]) == {fresh["credential"]}


def told(operators: Operators, who: str, line: str) -> Any:
    """What a line says, as values."""
    said = operators.type(who, f"{line} --json")
    assert said is not None
    return said.facts


def active(listed: Any, pseudonym: str) -> set[str]:
    """The credentials that one has and that count."""
    return {
        each["credential"] for each in listed["credentials"] if (each["state"], each["pseudonym"]) == ("ACTIVE", pseudonym)
    }


def test_another_build_is_to_come(operators: Operators) -> None:
    """upgrade.md and kubernetes.md: a member is let go and stays after all; rules are to change at a height.

    From then on the doctor says that this build is too old.
    """
    let_go, stays = blocks(OPERATIONS / "kubernetes.md", "Leaving: drains and upgrades")[0][:2]
    operators.type(MEMBER, let_go)
    operators.type(MEMBER, stays)
    [decided] = blocks(OPERATIONS / "upgrade.md", "New rules, at a height")
    operators.decide(AWAY, decided)
    waiting = operators.at(MEMBER).run("status", "--json").facts["upgrade"]
    assert (waiting["version"], waiting["height"]) == (2, 120_000)


def test_a_longer_heartbeat_is_decided(operators: Operators) -> None:
    """sizing.md: for a chain that grows less when nobody does anything. The last test here: with it terms are long."""
    [decided] = blocks(OPERATIONS / "sizing.md", "The ledger grows, also when nobody does anything")
    operators.decide(AWAY, decided)
