"""`consilium recipient`: the keys an institution reads with, and the address that owners grant to (rule S1)."""

import asyncio
import secrets
from pathlib import Path
from typing import Annotated

import typer

from consilium.client.commands.desk import (
    AsJson,
    Options,
    PassphraseFile,
    Person,
    SettingsFile,
    finish,
    keep_seed,
    known_person,
    new_person,
    open_from,
    open_seeds,
)
from consilium.client.commands.papers import address_facts, fingerprint, write_paper
from consilium.client.commands.renewing import DAY_S, Days, renew
from consilium.client.commands.telling import Told, day, examples, facts_table, verbs
from consilium.client.keys import RecipientKeys
from consilium.client.settings import ClientSettings, client_settings
from consilium.client.sharing import Recipient
from consilium.runtime.tls import read_material

app = verbs("recipient", "The keys your institution reads with, and its address.")

Out = Annotated[Path | None, typer.Option(help="Write the address into this file, for owners to grant to.")]


@app.command(epilog=examples("consilium recipient enrol radiology --out radiology.address"))
def enrol(
    name: Annotated[str, typer.Argument(help="What you call these keys, for instance a department.")],
    *,
    out: Out = None,
    passphrase_file: PassphraseFile = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Draw the keys a department signs requests and opens records with into the keystore, and print their address."""
    options = Options(settings, as_json, name, passphrase_file)

    def work() -> Told:
        chosen = client_settings(options.settings)
        custody, words = open_seeds(chosen, options)
        person = new_person(chosen, custody, name, secrets.token_bytes(32))
        keep_seed(chosen, words, person)
        return _told(chosen, person, out)

    finish(options, work)


@app.command(epilog=examples("consilium recipient show radiology --out radiology.address"))
def show(
    name: Annotated[str | None, typer.Argument(help="The keys' name; may be left out when the keystore holds one.")] = None,
    *,
    out: Out = None,
    passphrase_file: PassphraseFile = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Print the address, and the fingerprint to read to an owner. Offline."""
    options = Options(settings, as_json, name, passphrase_file)

    def work() -> Told:
        chosen = client_settings(options.settings)
        return _told(chosen, known_person(chosen, options), out)

    finish(options, work)


@app.command("renew", epilog=examples("consilium recipient renew", "consilium recipient renew credentials/radiology"))
def renew_credential(
    folder: Annotated[
        Path | None, typer.Argument(help="The folder of the credential; the one that the settings name without.")
    ] = None,
    *,
    days: Days = 0,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Have the home member issue the successor of a credential that recipients, or patients in custody, act under.

    Needs the member's administrator credential in the settings. The keys in the keystore and the address stay as they are.
    """

    async def renewed(chosen: ClientSettings) -> Told:
        place = chosen.credential if folder is None else folder
        async with open_from(chosen) as alliance:
            await renew(alliance, place, days * DAY_S)
        ends_ms = read_material(place, chosen.alliance).not_after * 1_000
        facts = {"folder": str(place), "not_after_ms": ends_ms}
        return Told(facts, (f"The credential in {place} is valid until {day(ends_ms)}.",))

    finish(Options(settings, as_json), lambda: asyncio.run(renewed(client_settings(settings))))


def _told(settings: ClientSettings, person: Person, out: Path | None) -> Told:
    keys = RecipientKeys(person.seed)
    address = Recipient(settings.member_id, keys.author.public_key, keys.receiving.public_key)
    facts = address_facts(address)
    if out is not None:
        write_paper(out, facts)
    shown = facts_table(f"Address of {person.name}", {**facts, "fingerprint": fingerprint(address)})
    step = "Next: give owners the address" + (f", {out}," if out else "") + " and read them the fingerprint by another way."
    return Told({**facts, "name": person.name, "fingerprint": fingerprint(address)}, (shown, step))
