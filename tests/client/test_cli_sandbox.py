"""The command line over a real alliance: five members of five services each, as processes, mutual TLS between all."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from consilium.sandbox.local import SandboxAlliance, sandbox
from consilium.sandbox.medical import fhir_bundle
from tests.client.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow
HOME, AWAY, STRANGER = "2A", "3A", "3B"


@pytest.fixture(scope="module")
def alliance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxAlliance]:
    with sandbox(tmp_path_factory.mktemp("alliance")) as running:
        yield running


@pytest.fixture
def home(alliance: SandboxAlliance, tmp_path: Path) -> Terminal:
    """A patient's machine, enrolled at home."""
    terminal = Terminal(tmp_path / "home", alliance.member(HOME).client_settings)
    assert terminal.asked("patient", "enrol", "lin").code == 0
    return terminal


@pytest.fixture
def away(alliance: SandboxAlliance, tmp_path: Path) -> Terminal:
    """A machine at another hospital; its address lies in `address`."""
    return recipient(alliance, AWAY, tmp_path / "away")


def recipient(alliance: SandboxAlliance, member_id: str, folder: Path) -> Terminal:
    terminal = Terminal(folder, alliance.member(member_id).client_settings)
    assert terminal.asked("recipient", "enrol", "ward", "--out", folder / "address").code == 0
    (folder / "why").write_text("a referral")
    return terminal


def put(home: Terminal, name: str, data: bytes) -> None:
    (home.folder / name).write_bytes(data)
    assert home.asked("record", "put", home.folder / name).code == 0


def grant(home: Terminal, to: Terminal) -> str:
    """Grant to another machine and hand over the reference; the grant's id."""
    (to.folder / "reference").unlink(missing_ok=True)
    said = home.asked("share", "grant", to.folder / "address", "--out", to.folder / "reference")
    assert said.code == 0
    return str(said.facts["grant"])


def get(to: Terminal, name: str, out: str) -> tuple[int, str]:
    """Fetch a record; the exit code, and the reason when it was refused."""
    words = to.folder / "reference", name, "--why", to.folder / "why", "--out", to.folder / out
    said = to.asked("record", "get", *words)
    return said.code, said.facts.get("error", {}).get("reason", "")


def test_record_is_put_granted_got_revoked_and_audited(home: Terminal, away: Terminal) -> None:
    """Promises 2, 8; S2 to S6: the whole story, each step a command."""
    bundle = fhir_bundle()
    put(home, "bundle.json", bundle)
    put(home, "letter", b"a letter")
    listed = home.asked("record", "list").facts["records"]
    assert [(each["label"], each["registered"]) for each in listed] == [("bundle.json", True), ("letter", True)]
    plan = home.asked("share", "plan", AWAY).facts
    assert (plan["threshold"], len(plan["holders"]), AWAY in plan["holders"]) == (2, 3, False)
    assert AWAY in plan["coalitions"][0]["members"]

    name = grant(home, away)
    assert get(away, "bundle.json", "got.json") == (0, "")
    assert (away.folder / "got.json").read_bytes() == bundle
    assert get(away, "bundle.json", "got.json") == (2, "FILE_EXISTS")

    ended = home.asked("share", "revoke", name[:8]).facts
    assert (ended["state"] in {"revoked", "dead"}, ended["next_epoch"]) == (True, 1)
    assert get(away, "letter", "letter") == (2, "GRANT_REVOKED")
    assert not (away.folder / "letter").exists()

    lines = home.asked("audit").facts["lines"]
    told = [(each["event"], each["member"], each["label"]) for each in lines]
    assert told[0] == ("GRANTED_ACCESS", AWAY, None)
    for each in (
        ("REQUEST_GRANTED", AWAY, "bundle.json"),
        ("OPENED", AWAY, "bundle.json"),
        ("REVOKED", AWAY, None),
        ("REQUEST_DENIED", AWAY, "letter"),
    ):
        assert told.count(each) == 1
    proven = home.run("verify", "--transaction", lines[0]["transaction"], "--json").facts
    assert (proven["height"], proven["kind"], proven["code"]) == (lines[0]["height"], "GRANT", "APPLIED")


def test_member_sees_what_concerned_it(home: Terminal, away: Terminal, alliance: SandboxAlliance) -> None:
    put(home, "letter", b"a letter")
    name = grant(home, away)
    seen = [each for each in away.run("audit", "--member", "--json").facts["events"] if each["grant"] == name]
    assert [(each["kind"], each["recipient"]) for each in seen] == [("GRANT", AWAY)]
    uninvolved = {HOME, AWAY, STRANGER, "1A", "2B"} - {AWAY, *home.asked("share", "list").facts["grants"][0]["holders"]}
    for member_id in sorted(uninvolved):
        other = Terminal(home.folder, alliance.member(member_id).client_settings)
        assert name not in [each["grant"] for each in other.run("audit", "--member", "--json").facts["events"]]


def test_closing_an_epoch_takes_the_others_along(
    home: Terminal, away: Terminal, alliance: SandboxAlliance, tmp_path: Path
) -> None:
    """S6: one is shut out; the other goes on under the next epoch; new records lie there."""
    er = recipient(alliance, STRANGER, tmp_path / "er")
    name = grant(home, away)
    other = grant(home, er)
    ended = home.asked("share", "revoke", name, "--close").facts
    assert [(each["recipient"], each["epoch"]) for each in ended["regrants"]] == [(STRANGER, 1)]
    put(home, "new letter", b"news")
    (er.folder / "reference").unlink()
    assert home.asked("share", "refer", ended["regrants"][0]["grant"], "--out", er.folder / "reference").code == 0
    assert get(er, "new letter", "got") == (0, "")
    states = {each["grant"]: each["state"] for each in home.asked("share", "list").facts["grants"]}
    assert states[ended["regrants"][0]["grant"]] == "active"
    assert {states[name], states[other]} <= {"revoked", "dead"}


def test_lost_notebook_hides_no_grant(home: Terminal, away: Terminal) -> None:
    """Promise 8: the ledger tells what this client forgot, and new records do not go under the old key (S6)."""
    name = grant(home, away)
    assert home.asked("share", "revoke", name).code == 0
    before = home.asked("audit").facts["lines"]
    next(home.folder.glob("*.notes")).unlink()
    assert home.asked("audit").facts["lines"] == before
    assert [each["grant"] for each in home.asked("share", "list").facts["grants"]] == [name]
    assert [each["epoch"] for each in home.asked("patient", "show").facts["scopes"]] == [1]


def test_reference_covers_its_own_epoch_alone(home: Terminal, away: Terminal) -> None:
    put(home, "letter", b"a letter")
    assert home.asked("share", "revoke", grant(home, away)).code == 0
    name = grant(home, away)
    said = home.asked("share", "refer", name, "letter", "--out", home.folder / "reference")
    assert (said.code, said.facts["error"]["reason"]) == (2, "NOT_COVERED")


def test_patient_in_custody_acts_under_the_institutions_credential(alliance: SandboxAlliance, tmp_path: Path) -> None:
    """S1: and the custodian alone is a coalition that suffices."""
    home = Terminal(tmp_path / "custodian", alliance.member(HOME).client_settings)
    assert home.asked("patient", "enrol", "wang", "--in-custody").code == 0
    put(home, "letter", b"a letter")
    assert home.asked("share", "plan", AWAY).facts["coalitions"][0]["members"] == [HOME]


def test_foreign_reference_opens_nothing(home: Terminal, away: Terminal, alliance: SandboxAlliance, tmp_path: Path) -> None:
    """S3: a reference that was overheard is of no use under other keys."""
    put(home, "letter", b"a letter")
    grant(home, away)
    stranger = recipient(alliance, STRANGER, tmp_path / "stranger")
    (stranger.folder / "reference").write_bytes((away.folder / "reference").read_bytes())
    assert get(stranger, "letter", "got")[0] == 2
    assert [each["event"] for each in home.asked("audit").facts["lines"]][-1] == "REQUEST_DENIED"


def test_status_tells_how_it_stands(home: Terminal, alliance: SandboxAlliance) -> None:
    said = home.run("status", "--json")
    facts = said.facts
    assert (said.code, facts["member"], facts["quorum"], len(facts["committee"])) == (0, HOME, 3, 4)
    assert all(facts["services"].values())
    assert facts["height"] <= facts["executed_height"]
    alliance.kill(HOME, "storage")
    try:
        said = home.run("status", "--json")
        assert (said.code, said.facts["services"]["storage"], said.facts["services"]["ledger"]) == (1, False, True)
    finally:
        asyncio.run(alliance.start(HOME, "storage"))


def test_member_is_shown_with_its_proof(home: Terminal) -> None:
    assert [each["member"] for each in home.run("member", "list", "--json").facts["members"]] == [
        "1A",
        "2A",
        "2B",
        "3A",
        "3B",
    ]
    assert home.run("member", "show", AWAY, "--json").facts["grade"] == "A3"
    said = home.run("member", "show", "nobody", "--json")
    assert (said.code, said.facts["error"]["reason"]) == (1, "UNKNOWN_MEMBER")


def test_proposal_gathers_signatures(alliance: SandboxAlliance, tmp_path: Path) -> None:
    """L2: more than two thirds of the members have to sign; what is signed is read out of its bytes."""
    machines = {each: Terminal(tmp_path / each, alliance.member(each).client_settings) for each in alliance.members}
    keys = {each: alliance.member(each).folder / "keys" / "member" for each in machines}
    words = "member", "propose", "grade", "2B", "--grade", "B1", "--until", "900000", "--json"
    opened = machines[HOME].run(*words, "--member-key", keys[HOME]).facts
    assert (opened["signatures"], opened["signatures_needed"]) == (1, 4)
    waiting = machines[AWAY].run("member", "sign", "--at", HOME, "--json").facts["proposals"]
    assert [each["says"] for each in waiting if each["proposal"] == opened["proposal"]] == [
        "grade 2B B1 until height 900000"
    ]
    for each in (AWAY, STRANGER, "1A"):
        name = opened["proposal"][:16]
        signed = machines[each].run("member", "sign", name, "--at", HOME, "--member-key", keys[each], "--json").facts
    assert signed["signatures"] == 4
    said = machines[HOME].run("member", "sign", opened["proposal"], "--member-key", keys[HOME], "--json")
    assert (said.code, said.facts["error"]["reason"]) == (1, "NO_SUCH_PROPOSAL")


def test_member_out_of_reach_is_exit_code_3(home: Terminal, tmp_path: Path) -> None:
    settings = tmp_path / "nowhere.toml"
    settings.write_text(home.settings.read_text().replace("127.0.0.1:", "127.0.0.2:"))
    said = Terminal(home.folder, settings).run("status", "--json")
    assert (said.code, said.facts["error"]["exit_code"]) == (3, 3)
    assert "addresses in the settings" in said.err
