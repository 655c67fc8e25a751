"""`consilium patient`: a seed in the keystore, and the credential a patient's own device connects with (rule S1)."""

import asyncio
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from consilium.api.identity.v1 import identity_pb2 as pb
from consilium.client.commands.desk import (
    DEFAULT_SCOPE,
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
from consilium.client.commands.renewing import DAY_S, Days, is_there, renew
from consilium.client.commands.telling import Told, day, examples, facts_table, table, verbs
from consilium.client.enrolment import draft, issue, write_credential
from consilium.client.keys import PatientKeys
from consilium.client.notebook import Notebook
from consilium.client.settings import ClientSettings, client_settings
from consilium.kernel.errors import FailedPrecondition
from consilium.runtime.tls import read_material

app = verbs("patient", "Patients whose seeds this keystore keeps.")


@app.command(epilog=examples("consilium patient enrol lin", "consilium patient enrol wang --in-custody"))
def enrol(
    name: Annotated[str, typer.Argument(help="What you call the patient; it never leaves the sealed keystore.")],
    *,
    in_custody: Annotated[
        bool, typer.Option("--in-custody", help="The home institution keeps the seed: it alone could open everything (S1).")
    ] = False,
    days: Days = 0,
    passphrase_file: PassphraseFile = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Draw a patient's seed into the keystore, and have the home member issue a credential for the patient's device.

    Needs the member's administrator credential in the settings. Whoever holds seed and passphrase is the patient: keep a
    copy of the keystore, nobody can restore it. In custody there is no credential: the institution acts under its own.
    """
    options = Options(settings, as_json, name, passphrase_file)

    def work() -> Told:
        chosen = client_settings(options.settings)
        custody, words = open_seeds(chosen, options)
        person = new_person(chosen, custody, name, secrets.token_bytes(32))
        if not in_custody:
            asyncio.run(_issue_credential(chosen, person.credential, days * DAY_S))
        keep_seed(chosen, words, person)
        person.notebook.change(lambda notes: replace(notes.at_epoch(DEFAULT_SCOPE, 0), in_custody=in_custody))
        return _told(chosen, person)

    finish(options, work)


@app.command(epilog=examples("consilium patient show", "consilium patient show lin --json"))
def show(
    name: Annotated[str | None, typer.Argument(help="The patient; may be left out when the keystore holds one.")] = None,
    *,
    passphrase_file: PassphraseFile = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Show a patient's scopes with their keys, what the notebook holds, and until when the credential is valid. Offline."""
    options = Options(settings, as_json, name, passphrase_file)

    def work() -> Told:
        chosen = client_settings(options.settings)
        return _told(chosen, known_person(chosen, options))

    finish(options, work)


@app.command("renew", epilog=examples("consilium patient renew lin"))
def renew_credential(
    name: Annotated[str | None, typer.Argument(help="The patient; may be left out when the keystore holds one.")] = None,
    *,
    days: Days = 0,
    passphrase_file: PassphraseFile = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Have the home member issue the successor of a patient's credential, before it ends or after; keys and notes stay.

    Needs the member's administrator credential in the settings. A credential that was lost is issued anew.
    """
    options = Options(settings, as_json, name, passphrase_file)

    def work() -> Told:
        chosen = client_settings(options.settings)
        person = known_person(chosen, options)
        if person.notebook.read().in_custody:
            raise FailedPrecondition(
                "IN_CUSTODY", f"{person.name} acts under the institution's credential: `consilium recipient renew`.", "S1"
            )
        asyncio.run(_issue_credential(chosen, person.credential, days * DAY_S))
        return _told(chosen, person)

    finish(options, work)


async def _issue_credential(settings: ClientSettings, folder: Path, validity_s: int) -> None:
    """Have the home member certify fresh keys, as the successor of the credential that lies in the folder if one does."""
    async with open_from(settings) as alliance:
        if is_there(folder):
            await renew(alliance, folder, validity_s)
            return
        session = alliance.session
        asked = draft(session.home_id, pb.CREDENTIAL_KIND_PATIENT, session.chain_id, validity_s=validity_s)
        write_credential(folder, asked, await issue(alliance.identity, asked), session.chain_id)


def _told(settings: ClientSettings, person: Person) -> Told:
    notes = person.notebook.read()
    facts: dict[str, Any] = {
        "name": person.name,
        "home": settings.member_id,
        "in_custody": notes.in_custody,
        "credential": _credential_facts(settings, person),
        "scopes": _scope_facts(PatientKeys(person.seed), notes),
        "records": len(notes.records),
        "grants": len(notes.grants),
    }
    drawn = table("Scopes", "scope", ">epoch", "key that new records are sealed under")
    for each in facts["scopes"]:
        drawn.add_row(each["scope"], str(each["epoch"]), each["delegating_key"])
    return Told(facts, (facts_table(f"Patient {person.name}", _words(facts, settings)), drawn))


def _words(facts: dict[str, Any], settings: ClientSettings) -> dict[str, str]:
    credential, valid = facts["credential"], "none of the patient's own"
    if credential is not None:
        valid = f"valid until {day(credential['not_after_ms'])}"
    return {
        "home member": settings.member_id,
        "keystore": str(settings.keystore),
        "seed kept by": f"{settings.member_id}, in custody" if facts["in_custody"] else "this device",
        "credential": valid,
        "records noted": str(facts["records"]),
        "grants noted": str(facts["grants"]),
    }


def _credential_facts(settings: ClientSettings, person: Person) -> dict[str, Any] | None:
    if not person.credential.exists():
        return None
    material = read_material(person.credential, settings.alliance)
    return {"folder": str(person.credential), "not_after_ms": material.not_after * 1_000}


def _scope_facts(keys: PatientKeys, notes: Notebook) -> list[dict[str, Any]]:
    return [
        {
            "scope": each.scope,
            "epoch": each.epoch,
            "delegating_key": keys.delegating(each.scope, each.epoch).public_key.hex(),
        }
        for each in sorted(notes.scopes, key=lambda each: each.scope)
    ]
