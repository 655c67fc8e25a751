"""What the command line does without an alliance: help, keystore and papers, refusals, exit codes."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import typer

from consilium.client.cli import app
from consilium.client.commands.desk import keep_seed, new_person
from consilium.client.commands.seen import HeightFile
from consilium.client.commands.telling import EXIT_CODES, INTERRUPTED, READER_GONE, exit_code_of
from consilium.client.custody import Custody, Seed, create_keystore, open_keystore
from consilium.client.settings import client_settings
from consilium.kernel import errors
from consilium.kernel.errors import ConsiliumError, DataLoss, FailedPrecondition
from tests.alliance import Alliance
from tests.client.terminal import MANUAL, PASSPHRASE, Terminal

CONSILIUM = Path(sys.executable).with_name("consilium")


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    """A machine of a client of anshan, where no member can be reached."""
    genesis = tmp_path / "genesis"
    genesis.write_bytes(Alliance.founded().genesis_file)
    settings = tmp_path / "client.toml"
    settings.write_text(f'[client]\ngenesis = "{genesis}"\nmember_id = "anshan"\ncredential = "{tmp_path}/none"\n')
    return Terminal(tmp_path / "machine", settings)


@pytest.fixture
def enrolled(terminal: Terminal) -> Terminal:
    """The same with two seeds in the keystore."""
    assert terminal.asked("recipient", "enrol", "radiology").code == 0
    assert terminal.asked("recipient", "enrol", "surgery").code == 0
    return terminal


def commands() -> list[tuple[str, ...]]:
    """Every command's words."""
    names = [each.name or str(getattr(each.callback, "__name__", "")) for each in app.registered_commands]
    words: list[tuple[str, ...]] = [(each,) for each in names]
    for group in app.registered_groups:
        assert isinstance(group.typer_instance, typer.Typer)
        inner = group.typer_instance
        words += [
            (str(inner.info.name), each.name or str(getattr(each.callback, "__name__", "")))
            for each in inner.registered_commands
        ]
    return words


# --- help ---


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_help_teaches(terminal: Terminal, words: tuple[str, ...]) -> None:
    """Each says what it does, gives an example and its exit codes; only `version` is plain."""
    said = terminal.run(*words, "--help")
    told = " ".join(said.out.split())
    assert said.code == 0
    assert words == ("version",) or (
        f"consilium {' '.join(words)}" in told.partition("For example:")[2] and EXIT_CODES in told
    )


def test_all_verbs_are_there() -> None:
    wanted = {
        "credential": {"issue", "list", "revoke"},
        "election": {"explain", "export", "show", "vote"},
        "founding": {"draft", "kubernetes", "prepare", "seal", "show", "sign", "verify"},
        "invite": {"create", "show"},
        "join": {"prepare"},
        "keys": {"adopt", "draw", "kubernetes"},
        "member": {"list", "proposals", "propose", "show", "vote"},
        "patient": {"enrol", "renew", "show"},
        "recipient": {"enrol", "renew", "show"},
        "record": {"erase", "get", "list", "put"},
        "recovery": {"apply", "sign", "status", "stop"},
        "share": {"grant", "list", "plan", "refer", "revoke"},
        "storage": {"erase", "heal", "hold", "lift", "status"},
    }
    found = {(words[0], words[1]) for words in commands() if len(words) == 2}
    assert found == {(group, verb) for group, verbs in wanted.items() for verb in verbs}
    assert {words[0] for words in commands()} >= {"audit", "status", "verify", "demo", "sandbox", "backup", "restore"}


def test_manual_names_every_command() -> None:
    manual = MANUAL.read_text()
    assert [words for words in commands() if f"consilium {' '.join(words)}" not in manual] == []


# --- keystore and passphrase ---


def test_recipient_is_drawn_and_shown_again(enrolled: Terminal) -> None:
    drawn = enrolled.asked("recipient", "show", "radiology").facts
    assert (drawn["member"], drawn["name"]) == ("anshan", "radiology")
    out = enrolled.folder / "address"
    assert enrolled.asked("recipient", "show", "radiology", "--out", out).facts == drawn
    assert drawn["author_key"] in out.read_text()
    assert enrolled.asked("recipient", "show", "surgery").facts["author_key"] != drawn["author_key"]
    assert b"radiology" not in enrolled.keystore.read_bytes()


def test_name_is_taken_once(enrolled: Terminal) -> None:
    before = enrolled.keystore.read_bytes()
    said = enrolled.asked("recipient", "enrol", "surgery")
    assert (said.code, said.facts["error"]["reason"]) == (2, "NAME_TAKEN")
    assert enrolled.keystore.read_bytes() == before


def test_enrolments_at_once_lose_no_seed(terminal: Terminal) -> None:
    """Each adds to the keystore as it is when its turn comes, not as it was when the command began."""
    settings = replace(client_settings(terminal.settings), keystore=terminal.keystore)
    people = [new_person(settings, Custody(()), name, name.encode().ljust(32)) for name in ("lin", "wang", "lin")]
    for each in people[:2]:
        keep_seed(settings, PASSPHRASE, each)
    with pytest.raises(FailedPrecondition, match="NAME_TAKEN"):
        keep_seed(settings, PASSPHRASE, people[2])
    assert [each.name for each in open_keystore(terminal.keystore, PASSPHRASE).seeds] == ["lin", "wang"]
    assert "lin  " not in repr(people[0])


def test_nothing_is_shown_without_a_keystore(terminal: Terminal) -> None:
    """Nobody is asked for a new passphrase, twice, for a keystore that is not to be made."""
    for group in ("patient", "recipient"):
        said = terminal.run(group, "show", "--json")
        assert (said.code, said.facts["error"]["reason"]) == (2, "NO_KEYSTORE")


def test_highest_height_is_kept_where_a_keystore_lies(terminal: Terminal) -> None:
    """L4: it never goes back, and a damaged file is not taken for height 0."""
    seen = HeightFile(terminal.keystore, bytes(32))
    seen.keep(7)
    assert not seen.path.exists()
    terminal.keystore.touch()
    for height in (7, 5):
        seen.keep(height)
        assert seen.read() == 7
    seen.path.write_text("9" * 30)
    with pytest.raises(DataLoss, match="DAMAGED_HEIGHT"):
        seen.read()


def test_seed_must_be_named_where_there_are_two(enrolled: Terminal) -> None:
    assert enrolled.asked("recipient", "show").facts["error"]["reason"] == "AMBIGUOUS"
    assert enrolled.asked("recipient", "show", "nobody").facts["error"]["reason"] == "UNKNOWN_SEED"


def test_failed_enrolment_leaves_no_seed(terminal: Terminal) -> None:
    """A patient without a credential would be one that nobody can act for."""
    said = terminal.asked("patient", "enrol", "lin")
    assert (said.code, said.facts["error"]["reason"]) == (2, "BAD_TLS_FILES")
    assert not terminal.keystore.exists()


def test_custody_needs_no_credential(terminal: Terminal) -> None:
    """S1: the institution keeps the seed and acts under its own."""
    facts = terminal.asked("patient", "enrol", "wang", "--in-custody").facts
    assert (facts["in_custody"], facts["credential"], facts["scopes"][0]["epoch"]) == (True, None, 0)
    assert terminal.asked("patient", "show").facts == facts


def test_damaged_notebook_is_a_failed_check(terminal: Terminal) -> None:
    terminal.asked("patient", "enrol", "wang", "--in-custody")
    notes = next(terminal.folder.glob("*.notes"))
    notes.write_bytes(notes.read_bytes()[:-1])
    said = terminal.asked("patient", "show")
    assert (said.code, said.facts["error"]["reason"]) == (1, "DAMAGED_NOTEBOOK")


@pytest.mark.parametrize(
    ("words", "mode", "reason"),
    [
        (b"another\n", 0o600, "WRONG_PASSPHRASE"),
        (b"\n", 0o600, "BAD_PASSPHRASE"),
        (b"correct horse\n", 0o644, "OPEN_TO_OTHERS"),
    ],
)
def test_passphrase_file_must_be_right_and_private(enrolled: Terminal, words: bytes, mode: int, reason: str) -> None:
    (enrolled.folder / "passphrase").write_bytes(words)
    (enrolled.folder / "passphrase").chmod(mode)
    said = enrolled.asked("recipient", "show", "surgery")
    assert (said.code, said.facts["error"]["reason"]) == (2, reason)


def test_nobody_is_asked_without_a_terminal(enrolled: Terminal) -> None:
    said = enrolled.run("recipient", "show", "surgery")
    assert said.code == 2
    assert "--passphrase-file" in said.err


def test_secrets_have_no_option(terminal: Terminal) -> None:
    """A command line is read by everybody on the machine: no option takes a passphrase, a seed or a key."""
    for words in commands():
        told = terminal.run(*words, "--help").out
        assert not {"--passphrase ", "--seed ", "--key "} & {each + " " for each in told.split()}


# --- refusals ---


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        (("status",), 2, "BAD_TLS_FILES"),
        (("member", "list"), 2, "BAD_TLS_FILES"),
        (("verify",), 2, "FOLDER_OR_TRANSACTION"),
        (("patient", "renew", "--passphrase-file", "nowhere"), 2, "NO_KEYSTORE"),
        (("recipient", "renew"), 2, "BAD_TLS_FILES"),
        (("verify", "nowhere"), 2, "NO_GENESIS"),
        (("status", "--settings", "nowhere.toml"), 2, "BAD_SETTINGS_FILE"),
        (("recipient", "enrol", "ward", "--passphrase-file", "nowhere"), 2, "FILE_ERROR"),
    ],
)
def test_refusal_is_one_sentence_and_one_object(terminal: Terminal, words: tuple[str, ...], code: int, reason: str) -> None:
    said = terminal.run(*words, "--json")
    assert (said.code, said.facts["error"]["exit_code"]) == (code, code)
    assert said.facts["error"]["reason"] == reason
    assert said.err.startswith("consilium: ")
    assert said.err.count("\n") == 1
    assert "Traceback" not in said.err


def test_missing_file_is_named(enrolled: Terminal) -> None:
    said = enrolled.run("recipient", "show", "--passphrase-file", "nowhere")
    assert (said.code, said.err) == (2, "consilium: nowhere: No such file or directory.\n")


def test_unknown_setting_is_named(terminal: Terminal) -> None:
    terminal.settings.write_text('[client]\nmember = "anshan"\n')
    said = terminal.run("status")
    assert said.code == 2
    assert "the nearest is member_id" in said.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.Unavailable("X", ""), 3),
        (errors.DeadlineExceeded("X", ""), 3),
        (errors.BadSignature("X", ""), 1),
        (errors.Malformed("X", ""), 1),
        (errors.DataLoss("X", ""), 1),
        (errors.NotFound("UNKNOWN_GRANT", ""), 1),
        (errors.NotFound("UNKNOWN_SEED", ""), 2),
        (errors.Conflict("OTHER_STATE", ""), 1),
        (errors.Conflict("STALE_STATE", ""), 1),
        (errors.InvalidArgument("BAD_PROOF", ""), 1),
        (errors.Conflict("REQUEST_ID_USED", ""), 2),
        (errors.InvalidArgument("BAD_SETTING", ""), 2),
        (errors.FailedPrecondition("KEY_CLOSED", ""), 2),
        (errors.PermissionDenied("GRANT_REVOKED", ""), 2),
        (errors.Unauthenticated("NO_CERTIFICATE", ""), 2),
        (errors.ResourceExhausted("X", ""), 2),
        (errors.Internal("X", ""), 2),
    ],
)
def test_exit_code_tells_what_it_was(error: ConsiliumError, code: int) -> None:
    """1: what was shown is not true; 2: not allowed or wrong; 3: nobody answered."""
    assert exit_code_of(error) == code


# --- a process of its own ---


def process(terminal: Terminal, *words: str | Path) -> subprocess.Popen[bytes]:
    """The installed command, its standard output in a pipe."""
    with terminal.settings.open("a") as file:
        file.write(f'keystore = "{terminal.keystore}"\n')
    command = [str(each) for each in (CONSILIUM, *words, "--settings", terminal.settings)]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # noqa: S603


def test_reader_that_goes_away_ends_it_quietly(enrolled: Terminal) -> None:
    words = "recipient", "show", "surgery", "--passphrase-file", enrolled.folder / "passphrase"
    with process(enrolled, *words) as running:
        assert running.stdout is not None
        running.stdout.close()
        assert running.stderr is not None
        said = running.stderr.read()
    assert (said, running.returncode) == (b"", READER_GONE)


def test_interrupt_ends_it_quietly(terminal: Terminal) -> None:
    """Ctrl-C while it waits for a passphrase that does not come."""
    create_keystore(terminal.keystore, PASSPHRASE, Custody((Seed("lin", bytes(32)),)))
    pipe = terminal.folder / "pipe"
    os.mkfifo(pipe, 0o600)
    with process(terminal, "recipient", "show", "--passphrase-file", pipe) as running:
        with pipe.open("wb"):  # opens once the command reads from it
            running.send_signal(signal.SIGINT)
        _, said = running.communicate()
    assert (said, running.returncode) == (b"", 130)


@pytest.mark.parametrize("how", ["Ctrl-C", "Ctrl-D"])
def test_who_will_not_say_the_passphrase_ends_it(enrolled: Terminal, how: str) -> None:
    """At the prompt of a terminal, as anywhere else: 130, which says that nothing was refused."""
    ours, theirs = pty.openpty()
    with enrolled.settings.open("a") as file:
        file.write(f'keystore = "{enrolled.keystore}"\n')
    command = [str(each) for each in (CONSILIUM, "recipient", "show", "surgery", "--settings", enrolled.settings)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, start_new_session=True, stdin=theirs, stdout=pipe, stderr=pipe) as running:  # noqa: S603
        assert running.stderr is not None
        prompt = b"Passphrase of the keystore: "  # its last space comes once the terminal is ready
        assert running.stderr.read(len(prompt)) == prompt
        if how == "Ctrl-C":
            running.send_signal(signal.SIGINT)
        else:
            os.write(ours, b"\x04")
        said = running.stderr.read()
    os.close(ours)
    os.close(theirs)
    assert b"Aborted" not in said
    assert running.returncode == INTERRUPTED
