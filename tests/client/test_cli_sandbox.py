"""The command line over a real alliance: five members of five services each, as processes, mutual TLS between all."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509

from consilium.kernel.hashing import sha256
from consilium.sandbox.local import SandboxAlliance, sandbox
from consilium.sandbox.medical import fhir_bundle
from tests.client.terminal import Said, Terminal

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


def deletions(lines: Any) -> int:
    """How many holders' receipts of deletion are among the lines of an audit."""
    return sum(each["event"] == "FRAGMENT_DELETED" for each in lines)


def test_lost_notebook_hides_no_grant(home: Terminal, away: Terminal) -> None:
    """Promise 8: the ledger tells what this client forgot, and new records do not go under the old key (S6)."""
    name = grant(home, away)
    assert home.asked("share", "revoke", name).code == 0
    # The holders' receipts follow the revocation, and the last of them makes no more lines.
    holders = home.asked("share", "list").facts["grants"][0]["holders"]
    while deletions(before := home.asked("audit").facts["lines"]) < len(holders):
        pass
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


def test_grant_whose_fragments_nobody_took_is_noted(home: Terminal, away: Terminal, alliance: SandboxAlliance) -> None:
    """S3, S4: it stands on the ledger, so it is told by its id, listed, and can be revoked; a second revocation is told."""
    for each in alliance.members:
        alliance.kill(each, "reencryption")
    try:
        said = home.asked("share", "grant", away.folder / "address")
    finally:
        asyncio.run(started(alliance, "reencryption"))
    assert (said.code, said.facts["error"]["reason"]) == (2, "TOO_FEW_HOLDERS")
    [noted] = home.asked("share", "list").facts["grants"]
    assert noted["grant"] in said.facts["error"]["sentence"]
    for _ in range(2):
        ended = home.asked("share", "revoke", noted["grant"])
        assert (ended.code, ended.facts["state"] in {"revoked", "dead"}, ended.facts["next_epoch"]) == (0, True, 1)
    assert home.asked("patient", "show").facts["scopes"][0]["epoch"] == 1


def test_revocation_that_was_not_heard_of_is_finished(home: Terminal, away: Terminal) -> None:
    """S6: the ledger has it, the notebook has not: as after a command that timed out."""
    name = grant(home, away)
    notes = next(home.folder.glob("*.notes"))
    before = notes.read_bytes()
    assert home.asked("share", "revoke", name).code == 0
    notes.write_bytes(before)
    assert home.asked("share", "revoke", name).facts["next_epoch"] == 1
    assert home.asked("share", "revoke", name, "--close").facts["error"]["reason"] == "NOT_CLOSED"
    assert home.asked("patient", "show").facts["scopes"][0]["epoch"] == 1


async def started(alliance: SandboxAlliance, service: str) -> None:
    for each in alliance.members:
        await alliance.start(each, service)


def test_audit_says_whom_it_could_not_ask(home: Terminal, away: Terminal, alliance: SandboxAlliance) -> None:
    """Promise 8: what only that member could prove may be missing."""
    name = grant(home, away)
    alliance.kill(STRANGER, "ledger")
    try:
        said = home.asked("audit")
        told = home.run("audit", "--passphrase-file", home.folder / "passphrase")
    finally:
        asyncio.run(alliance.start(STRANGER, "ledger"))
    assert (said.code, [each["member"] for each in said.facts["unasked"]]) == (3, [STRANGER])
    assert [each["grant"] for each in said.facts["lines"]] == [name]
    assert f"Not heard to the end: {STRANGER}" in told.out
    said = home.asked("audit")
    assert (said.code, said.facts["unasked"]) == (0, [])


def test_credential_is_renewed_in_its_place(home: Terminal) -> None:
    """Other keys under the same name; what the patient does goes on. A lost one is issued anew."""
    put(home, "letter", b"a letter")
    [folder] = home.folder.glob("*.credential")
    before = named(folder)
    said = home.asked("patient", "renew", "lin", "--days", "1")
    assert (said.code, said.facts["records"]) == (0, 1)
    after = named(folder)
    assert after[0] == before[0]
    assert after[1] != before[1]
    put(home, "scan", b"a scan")
    folder.rename(folder.with_name(f"{folder.name}.old"))  # interrupted between two renames
    assert home.asked("patient", "renew").code == 0
    assert named(folder)[0] == before[0]
    shutil.rmtree(folder)
    assert home.asked("patient", "renew").code == 0
    assert named(folder)[0] != before[0]
    assert [each.name for each in home.folder.glob("*.credential*")] == [folder.name]
    assert home.asked("record", "list").code == 0


def named(folder: Path) -> tuple[str, int]:
    """Whom a credential names, and its serial number."""
    leaf = x509.load_pem_x509_certificates((folder / "tls.crt").read_bytes())[0]
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.UniformResourceIdentifier)[0], leaf.serial_number


def test_a_stolen_credential_ends_at_once(home: Terminal) -> None:
    """Design section 8: the member refuses it from the next call on, and a repeated end changes nothing."""
    [folder] = home.folder.glob("*.credential")
    name, serial = named(folder)
    said = home.run("credential", "list", "--json")
    [its] = [each for each in said.facts["credentials"] if name.endswith(each["pseudonym"])]
    assert (its["kind"], its["state"], its["reason"], int(its["credential"], 16)) == ("PATIENT", "ACTIVE", None, serial)
    assert its["credential"][:12] in home.run("credential", "list").out
    assert home.asked("record", "list").code == 0
    revoke = "credential", "revoke", its["credential"][:10], "--reason"
    ended = home.run(*revoke, "key-compromise", "--json").facts
    assert (ended["state"], ended["reason"]) == ("REVOKED", "KEY_COMPROMISE")
    assert ended["administrators_left"] > 0
    assert home.run(*revoke, "superseded", "--json").facts == ended, "the first reason stays"
    (home.folder / "letter").write_bytes(b"a letter")
    refused = home.asked("record", "put", home.folder / "letter")
    assert (refused.code, refused.facts["error"]["reason"]) == (2, "REVOKED")
    assert home.run("credential", "revoke", "00", "--reason", "superseded", "--json").facts["error"]["reason"] in {
        "NO_SUCH_CREDENTIAL",
        "AMBIGUOUS",
    }


def test_staffs_credential_is_renewed_by_an_administrator(home: Terminal, alliance: SandboxAlliance) -> None:
    folder = home.folder / "staff"
    shutil.copytree(alliance.member(HOME).administrator, folder)
    before = named(folder)
    assert home.run("recipient", "renew", folder, "--json").facts["folder"] == str(folder)
    assert named(folder)[0] == before[0]
    assert named(folder)[1] != before[1]


def test_a_second_administrator_is_issued_a_credential_and_taken_it_away(home: Terminal) -> None:
    """It enrols as the first does, under keys of its own once renewed; what has ended enrols nobody."""
    folder, other = home.folder / "ana", home.folder / "ana.toml"
    lines = [each for each in home.settings.read_text().splitlines() if not each.startswith("credential =")]
    other.write_text("\n".join([*lines, f'credential = "{folder}"', ""]))
    issue = "credential", "issue", folder, "--days", "1", "--json", "--role"
    refused = home.run(*issue, "king").facts["error"]
    assert (refused["reason"], folder.exists()) == ("BAD_ROLE", False)
    first = home.run(*issue, "administrator").facts
    assert (first["role"], first["kind"], first["state"]) == ("administrator", "STAFF", "ACTIVE")
    assert {each.name for each in folder.iterdir()} == {"authorities.pem", "signing.key", "tls.crt", "tls.key"}
    assert home.run(*issue, "administrator").facts["error"]["reason"] == "CREDENTIAL_EXISTS"
    second = Terminal(home.folder / "other", other)
    assert second.asked("patient", "enrol", "wu").code == 0
    assert second.run("recipient", "renew", folder).code == 0
    revoke = "credential", "revoke", "--json", "--reason"
    assert second.run(*revoke, "superseded", first["credential"]).facts["reason"] == "SUPERSEDED"
    assert second.asked("patient", "enrol", "xu").code == 0, "the one that follows it counts"
    assert home.run(*revoke, "role-ended", f"{named(folder)[1]:032x}").code == 0
    refused = second.asked("patient", "enrol", "yu")
    assert (refused.code, refused.facts["error"]["reason"]) == (2, "REVOKED")


def test_an_application_is_issued_a_credential_that_signs_nothing(home: Terminal) -> None:
    folder = home.folder / "ward-app"
    said = home.run("credential", "issue", folder, "--role", "records", "--application", "--json").facts
    assert (said["kind"], said["role"]) == ("APPLICATION", "records")
    assert not (folder / "signing.key").exists()


def test_commands_go_on_from_the_height_seen_last(home: Terminal) -> None:
    """L4: the home member cannot answer from the past between two commands."""
    put(home, "letter", b"a letter")
    [seen] = home.folder.glob("*.height")
    assert int(seen.read_text()) > 0
    settings = home.folder / "hasty.toml"
    settings.write_text(home.settings.read_text() + "wait_s = 1\n")
    seen.write_text("1000000")
    said = Terminal(home.folder, settings).asked("record", "list")
    assert said.code != 0
    assert said.facts["error"]["reason"] in {"NOT_FINAL", "STALE_STATE"}


def test_record_that_cannot_be_noted_is_not_stored(home: Terminal, alliance: SandboxAlliance) -> None:
    """Its id would be lost."""
    chunks = alliance.member(HOME).folder / "storage" / "chunks"
    before = sorted(chunks.rglob("*"))
    (home.folder / "letter").write_bytes(b"a letter")
    said = home.asked("record", "put", home.folder / "letter", "--label", "x" * 401)
    assert (said.code, said.facts["error"]["reason"]) == (2, "CANNOT_BE_NOTED")
    assert sorted(chunks.rglob("*")) == before
    put(home, "letter", b"a letter")
    assert sorted(chunks.rglob("*")) != before


def test_nothing_is_asked_for_that_cannot_be_written(home: Terminal, away: Terminal) -> None:
    """S3: a request stands on the ledger for good."""
    put(home, "letter", b"a letter")
    grant(home, away)
    assert get(away, "letter", "no such folder/letter") == (2, "FILE_ERROR")
    assert [each["event"] for each in home.asked("audit").facts["lines"]] == ["GRANTED_ACCESS"]


def test_foreign_reference_opens_nothing(home: Terminal, away: Terminal, alliance: SandboxAlliance, tmp_path: Path) -> None:
    """S3: a reference that was overheard is of no use under other keys."""
    put(home, "letter", b"a letter")
    grant(home, away)
    stranger = recipient(alliance, STRANGER, tmp_path / "stranger")
    (stranger.folder / "reference").write_bytes((away.folder / "reference").read_bytes())
    assert get(stranger, "letter", "got")[0] == 2
    assert [each["event"] for each in home.asked("audit").facts["lines"]][-1] == "REQUEST_DENIED"


def test_status_tells_how_it_stands(home: Terminal, alliance: SandboxAlliance) -> None:
    # One heartbeat that is late is a stall, and a service that is late is out of reach.
    said = home.until(lambda said: said.code == 0, "status", "--json")
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


@pytest.mark.parametrize(
    ("service", "silent", "heard"),
    [("ledger", ("executed_height", "tip_age_ms"), "quorum"), ("consensus", ("epoch", "quorum", "view"), "executed_height")],
)
def test_status_shows_what_is_left(
    home: Terminal, alliance: SandboxAlliance, service: str, silent: tuple[str, ...], heard: str
) -> None:
    """When it is needed most: with the home's ledger or consensus down."""
    alliance.kill(HOME, service)
    try:
        said, told = home.run("status", "--json"), home.run("status")
    finally:
        asyncio.run(alliance.start(HOME, service))
    assert (said.code, told.code) == (1, 1)
    assert {said.facts[each] for each in silent} == {None}
    assert said.facts[heard] is not None
    assert f"{service} out of reach" in told.out


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


def open_in(said: Said) -> set[str]:
    """The proposals that are open as a member has it."""
    return {each["proposal"] for each in said.facts["proposals"]}


def until_open(machine: Terminal, proposal: str) -> None:
    """Wait until a member knows what was proposed at another: its ledger may be a block behind; pytest's limit ends it."""
    machine.until(lambda said: said.code == 0 and proposal in open_in(said), "member", "proposals", "--json")


def until_closed(machine: Terminal, proposal: str) -> None:
    """Wait until a member knows what was decided at another, likewise."""
    machine.until(lambda said: said.code == 0 and proposal not in open_in(said), "member", "proposals", "--json")


def test_members_propose_and_vote_and_everybody_sees_it(alliance: SandboxAlliance, tmp_path: Path) -> None:
    """G1: four of five say yes, each at its own member; what is shown is proven, whoever looks."""
    machines = {each: Terminal(tmp_path / each, alliance.member(each).client_settings) for each in alliance.members}
    (tmp_path / "letter").write_bytes(b"the authority's letter")
    words = "member", "propose", "grade", "2B", "--grade", "B1", "--until", "900000", "--json"
    said = machines[HOME].run(*words)
    assert (said.code, said.facts["error"]["reason"]) == (2, "BAD_PROPOSAL")
    opened = machines[HOME].run(*words, "--evidence", tmp_path / "letter").facts
    assert (opened["state"], opened["yes"], opened["yes_needed"], opened["active"]) == ("OPEN", 1, 4, 5)
    for machine in machines.values():
        until_open(machine, opened["proposal"])
    [shown] = machines[AWAY].run("member", "proposals", "--json").facts["proposals"]
    assert (shown["says"], shown["evidence"]) == ("grade 2B B1 until height 900000", sha256(b"the authority's letter").hex())
    assert shown["act"] == {"member": "2B", "grade": "B1", "expires_height": 900_000}
    name = opened["proposal"][:16]
    assert machines[AWAY].run("member", "vote", name, "no", "--json").facts["no"] == 1
    said = machines[AWAY].run("member", "vote", name, "yes", "--json")
    assert (said.code, said.facts["error"]["reason"]) == (2, "BALLOT_REPEATED")
    for each in (STRANGER, "1A", "2B"):
        said = machines[each].run("member", "vote", name, "yes", "--json")
        assert said.code == 0, said
        told = said.facts
    assert (told["state"], told["outcome"], told["yes"], told["no"]) == ("ADOPTED", "APPLIED", 4, 1)
    assert told["ballots"][:2] == [{"member": HOME, "yes": True}, {"member": AWAY, "yes": False}]
    until_closed(machines[AWAY], opened["proposal"])
    [closed] = machines[AWAY].run("member", "proposals", "--closed", "--json").facts["proposals"]
    assert closed["proposal"] == opened["proposal"]
    assert machines[AWAY].run("member", "show", "2B", "--json").facts["grade"] == "B1"


def test_what_is_proposed_is_shown_whole(home: Terminal) -> None:
    """G1: every key of the profile, and every number that changes, before anybody says yes."""
    opened = home.run("member", "propose", "suspend", "3B", "--json").facts
    known = home.run("member", "show", "3B", "--json").facts
    assert {name: opened["act"][name] for name in ("member", "owner_group", "member_key", "consensus_key")} == {
        name: known[name] for name in ("member", "owner_group", "member_key", "consensus_key")
    }
    told = home.run("member", "proposals").out
    assert opened["act"]["consensus_key"] in told
    assert opened["act"]["reveal_anchor"] in told
    numbers = home.run("member", "propose", "parameters", "--set", "term_blocks=400", "--json").facts["act"]["numbers"]
    assert numbers == [{"name": "term_blocks", "before": 200, "after": 400}]
    said = home.run("member", "propose", "parameters", "--set", "term_blocks=1", "--json")
    assert (said.code, said.facts["error"]["reason"]) == (2, "BAD_PARAMETERS")


def test_an_upgrade_is_announced_before_its_height(home: Terminal, alliance: SandboxAlliance, tmp_path: Path) -> None:
    """G5: status says so from the adoption on, and that this build has to be replaced."""
    opened = home.run("member", "propose", "upgrade", "--version", "2", "--height", "900000", "--json").facts
    for each in (AWAY, STRANGER, "1A"):
        machine = Terminal(tmp_path / each, alliance.member(each).client_settings)
        until_open(machine, opened["proposal"])
        said = machine.run("member", "vote", opened["proposal"], "yes", "--json")
        assert said.code == 0, said
    assert said.facts["state"] == "ADOPTED"
    # The home's own ledger may be a block behind the one that was told; pytest's limit ends it.
    facts = home.until(lambda said: said.facts.get("upgrade"), "status", "--json").facts
    assert (facts["known_version"], facts["upgrade"]) == (1, {"version": 2, "height": 900_000})
    assert "install a newer release" in home.run("status").out


def test_member_out_of_reach_is_exit_code_3(home: Terminal, tmp_path: Path) -> None:
    settings = tmp_path / "nowhere.toml"
    settings.write_text(home.settings.read_text().replace("127.0.0.1:", "127.0.0.2:"))
    said = Terminal(home.folder, settings).run("status", "--json")
    assert (said.code, said.facts["error"]["exit_code"]) == (3, 3)
    assert "addresses in the settings" in said.err


def test_s9_a_storage_that_was_wiped_is_healed_by_the_others(
    alliance: SandboxAlliance, home: Terminal, away: Terminal
) -> None:
    """Everything its storage had is gone, shred secrets too; one command, and every record reads again."""
    contents = {f"scan {number}": sha256(b"%d" % number) * 40_000 for number in range(2)} | {"note": b"a note"}
    for name, data in contents.items():
        put(home, name, data)
    grant(home, away)
    storage = alliance.service(HOME, "storage")
    asyncio.run(alliance.stop(HOME, "storage"))
    shutil.rmtree(storage.state_folder)
    asyncio.run(alliance.start(HOME, "storage"))
    assert get(away, "note", "before")[0] != 0
    said = home.run("storage", "heal", "--json")
    assert (said.code, said.facts["failed"], said.facts["lost"], said.facts["unreached"]) == (0, 0, [], [])
    assert said.facts["healed"] >= len(contents)
    for name, data in contents.items():
        assert get(away, name, f"{name}.got") == (0, "")
        assert (away.folder / f"{name}.got").read_bytes() == data
    words = away.folder / "reference", "scan 0", "--why", away.folder / "why", "--out", away.folder / "part"
    assert away.asked("record", "get", *words, "--range", "300000-300099").facts["bytes"] == 100
    assert (away.folder / "part").read_bytes() == contents["scan 0"][300_000:300_100]
    again = home.run("storage", "heal", "--json").facts
    assert (again["healed"], again["secrets"], again["objects"]) == (0, 0, said.facts["objects"])
    assert home.run("storage", "status", "--json").code == 0


def test_s8_a_record_is_held_released_and_erased(home: Terminal, away: Terminal) -> None:
    put(home, "old", b"an old letter")
    grant(home, away)
    [record] = [each["record"] for each in home.asked("record", "list").facts["records"] if each["label"] == "old"]
    why = home.folder / "why"
    why.write_text("a court's order")
    assert home.asked("record", "erase", "old").facts["error"]["reason"] == "NOT_CONFIRMED"
    assert home.run("storage", "hold", record, "--why", why, "--json").facts["act"] == "HOLD"
    held = home.asked("record", "erase", "old", "--yes")
    assert (held.code, held.facts["error"]["reason"]) == (2, "UNDER_HOLD")
    assert get(away, "old", "held") == (0, "")
    assert home.run("storage", "lift", record, "--why", why, "--json").code == 0
    said = home.asked("record", "erase", "old", "--yes")
    assert (said.code, said.facts["shred_secret_destroyed"]) == (0, True)
    assert len(said.facts["copies_deleted"] + said.facts["copies_left"]) == 1
    home.until(lambda again: again.facts["copies_left"] == [], "storage", "erase", record, "--why", why, "--yes", "--json")
    assert get(away, "old", "gone") == (2, "RECORD_ERASED")
    assert home.run("storage", "erase", record, "--why", why, "--yes", "--json").code == 0
    assert home.run("storage", "erase", "5f0c", "--why", why, "--yes", "--json").facts["error"]["reason"] == "BAD_RECORD_ID"
