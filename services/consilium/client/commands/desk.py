"""What a command works at: the settings, an open alliance, and for a person's acts the seed and the notebook besides.

Settings come from the environment (CONSILIUM_CLIENT_*) and the TOML file that --settings or CONSILIUM_SETTINGS names. The
passphrase of the keystore is asked for, or read from a file of mode 0600; it never stands on the command line. A patient
with a credential of its own acts under that, and everybody else under the one the settings name.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import typer

from consilium.client.commands.seen import HeightFile
from consilium.client.commands.telling import INTERRUPTED, Told, refusals, tell
from consilium.client.custody import Custody, Seed, open_keystore, replace_keystore
from consilium.client.keys import PatientKeys, notebook_name
from consilium.client.notebook import NotebookFile
from consilium.client.patient import PatientClient
from consilium.client.private_files import read_private, turn
from consilium.client.remote import Alliance, open_alliance
from consilium.client.session import Session
from consilium.client.settings import ClientSettings, client_settings
from consilium.kernel.errors import FailedPrecondition, InvalidArgument, NotFound
from consilium.kernel.state_values import closed_entry
from consilium.runtime.genesis_file import read_genesis

PASSPHRASE_BYTES_MAX = 1_024
DEFAULT_SCOPE = "whole record"
"""The scope of who names none."""

SettingsFile = Annotated[
    Path | None,
    typer.Option("--settings", help="The TOML file with a table [client]; else the one that CONSILIUM_SETTINGS names."),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output, for machines.")]
PassphraseFile = Annotated[
    Path | None, typer.Option(help="A file of mode 0600 whose first line opens the keystore; asked for without.")
]
SeedName = Annotated[
    str | None, typer.Option("--as", help="Whose seed in the keystore to act with; may be left out when there is only one.")
]
Scope = Annotated[str, typer.Option(help="The part of the patient's records that one key stands for (rule S1).")]


@dataclass(frozen=True, slots=True)
class Options:
    """What every command can be told; `name` and `passphrase_file` count where a seed is used."""

    settings: Path | None
    as_json: bool
    name: str | None = None
    passphrase_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Desk:
    """An open alliance, and how to tell."""

    options: Options
    settings: ClientSettings
    alliance: Alliance


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody whose seed lies in the keystore; `credential` is where a credential of their own would lie."""

    name: str
    seed: bytes = field(repr=False)
    notebook: NotebookFile
    credential: Path


@dataclass(frozen=True, slots=True)
class PersonDesk(Desk):
    """The same, for the acts of one person."""

    person: Person


def at_desk(options: Options, work: Callable[[Desk], Awaitable[Told]]) -> None:
    """Open the alliance under the settings' credential, do the work, tell."""

    async def opened() -> Told:
        settings = client_settings(options.settings)
        async with open_from(settings) as alliance:
            return await work(Desk(options, settings, alliance))

    finish(options, lambda: asyncio.run(opened()))


def at_home(options: Options, work: Callable[[Desk], Awaitable[Told]]) -> None:
    """The same for what only the home member is asked, whichever of its services are up: nothing is proven before."""

    async def opened() -> Told:
        settings = client_settings(options.settings)
        async with AsyncExitStack() as stack:
            return await work(Desk(options, settings, Alliance(settings, stack, 0)))

    finish(options, lambda: asyncio.run(opened()))


def at_persons_desk(options: Options, work: Callable[[PersonDesk], Awaitable[Told]]) -> None:
    """Open the keystore, and the alliance under the person's own credential where there is one; do the work, tell."""

    async def opened(settings: ClientSettings, person: Person) -> Told:
        if person.credential.exists():
            settings = replace(settings, credential=person.credential)
        async with open_from(settings) as alliance:
            return await work(PersonDesk(options, settings, alliance, person))

    def prepared() -> Told:
        settings = client_settings(options.settings)
        return asyncio.run(opened(settings, known_person(settings, options)))

    finish(options, prepared)


@asynccontextmanager
async def open_from(settings: ClientSettings) -> AsyncIterator[Alliance]:
    """The alliance, from the highest height on that this machine has seen final. Raises as `open_alliance`, `HeightFile`."""
    seen = HeightFile(settings.keystore, read_genesis(settings.genesis).chain_id)
    async with open_alliance(settings, seen.read()) as alliance:
        try:
            yield alliance
        finally:
            seen.keep(alliance.session.height)


def finish(options: Options, work: Callable[[], Told]) -> None:
    """Do the work and tell; every refusal ends as a sentence and an exit code."""
    with refusals(as_json=options.as_json):
        tell(work(), as_json=options.as_json)


def person_of(settings: ClientSettings, custody: Custody, name: str | None) -> Person:
    """The person of that name, or the only one there is. Raises NotFound: UNKNOWN_SEED; InvalidArgument: AMBIGUOUS."""
    names = [each.name for each in custody.seeds]
    if name is None and len(names) != 1:
        raise InvalidArgument("AMBIGUOUS", f"Say with --as whose seed to act with; the keystore holds {len(names)}.")
    chosen = names[0] if name is None else name
    return make_person(settings, chosen, custody.seed_of(chosen))


def make_person(settings: ClientSettings, name: str, seed: bytes) -> Person:
    """Where a person's things lie."""
    chain_id, keystore = read_genesis(settings.genesis).chain_id, settings.keystore
    credential = keystore.with_name(f"{keystore.name}.{notebook_name(seed, chain_id)}.credential")
    return Person(name, seed, NotebookFile(keystore, seed, chain_id), credential)


def open_seeds(settings: ClientSettings, options: Options) -> tuple[Custody, str]:
    """The keystore's seeds, none when there is no keystore yet, and the passphrase. Raises as `open_keystore`."""
    words = passphrase(options, is_new=not settings.keystore.exists())
    return _custody(settings, words), words


def known_person(settings: ClientSettings, options: Options) -> Person:
    """Somebody whose seed the keystore holds. Raises as `open_keystore` and `person_of`."""
    if not settings.keystore.exists():
        raise NotFound("NO_KEYSTORE", f"{settings.keystore} does not exist; `enrol` makes it.")
    return person_of(settings, open_keystore(settings.keystore, passphrase(options)), options.name)


def new_person(settings: ClientSettings, custody: Custody, name: str, seed: bytes) -> Person:
    """A person to be, whose seed is kept by `keep_seed`. Raises FailedPrecondition: NAME_TAKEN."""
    _check_free(custody, name)
    settings.keystore.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    return make_person(settings, name, seed)


def keep_seed(settings: ClientSettings, words: str, person: Person) -> None:
    """Add a person's seed to the keystore as it is now; two commands at once take turns.

    Raises FailedPrecondition: NAME_TAKEN, and as `open_keystore`.
    """
    with turn(settings.keystore):
        custody = _custody(settings, words)
        _check_free(custody, person.name)
        replace_keystore(settings.keystore, words, Custody((*custody.seeds, Seed(person.name, person.seed))))


def _custody(settings: ClientSettings, words: str) -> Custody:
    return open_keystore(settings.keystore, words) if settings.keystore.exists() else Custody(())


def _check_free(custody: Custody, name: str) -> None:
    if any(each.name == name for each in custody.seeds):
        raise FailedPrecondition("NAME_TAKEN", f"The keystore holds a seed named {name!r}; choose another name.", "S1")


async def open_patient(desk: PersonDesk, scope: str, epoch: int | None = None) -> PatientClient:
    """The patient in one scope, and in the epoch that new records go under unless another is named.

    What was closed by another device, or before a notebook was lost, the ledger's key directory tells (S6).
    """
    session, keys, notes = desk.alliance.session, PatientKeys(desk.person.seed), desk.person.notebook.read()
    present = notes.epoch_of(scope) if epoch is None else epoch
    while epoch is None and await is_closed(session, keys.delegating(scope, present).public_key):
        present += 1
    return desk.alliance.patient(keys, scope, present, session.home_id if notes.in_custody else None)


async def is_closed(session: Session, delegating_pk: bytes) -> bool:
    """Whether the ledger knows a successor of the key, proven either way (S6)."""
    return (await session.state(closed_entry(delegating_pk))).value is not None


def passphrase(options: Options, *, is_new: bool = False) -> str:
    """The keystore's passphrase, from the file or from the terminal.

    Raises InvalidArgument: BAD_PASSPHRASE for an empty one, FailedPrecondition: NO_TERMINAL or OPEN_TO_OTHERS; may raise
    OSError. Ctrl-C and Ctrl-D end the command.
    """
    path = options.passphrase_file
    if path is None and not sys.stdin.isatty():
        raise FailedPrecondition(
            "NO_TERMINAL", "Nobody can be asked for the passphrase here; put it into a file and use --passphrase-file."
        )
    if path is None:
        words = _asked(is_new=is_new)
    else:
        words = read_private(path, PASSPHRASE_BYTES_MAX).decode("utf-8", "replace").partition("\n")[0].rstrip("\r")
    if not words:
        raise InvalidArgument("BAD_PASSPHRASE", "The passphrase is empty; the first line of the file counts.")
    return words


def _asked(*, is_new: bool) -> str:
    try:
        words: str = typer.prompt("Passphrase of the keystore", hide_input=True, confirmation_prompt=is_new, err=True)
    except typer.Abort:
        raise SystemExit(INTERRUPTED) from None
    return words
