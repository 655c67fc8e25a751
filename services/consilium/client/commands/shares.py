"""`consilium share`: whom a grant would trust, grant, hand over a reference, list, revoke (rules S3, S4, S6).

A grant lets one recipient read every record under one key: one scope, one epoch. Revoking ends it, and new records then go
under the next epoch, so that whoever read under the old key learns nothing of them.
"""

import secrets
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from consilium.client.commands.desk import (
    DEFAULT_SCOPE,
    AsJson,
    Options,
    PassphraseFile,
    PersonDesk,
    Scope,
    SeedName,
    SettingsFile,
    at_persons_desk,
    is_closed,
    open_patient,
)
from consilium.client.commands.ending import end_epoch, end_one, note_end, told_end
from consilium.client.commands.granted import budget_facts, budget_shown, granted_shown, noted, state_facts, terms_facts
from consilium.client.commands.papers import Reference, fingerprint, read_address, write_reference
from consilium.client.commands.telling import Told, day, examples, short, table, verbs
from consilium.client.keys import PatientKeys
from consilium.client.notebook import KeptGrant, KeptRecord
from consilium.client.patient import ID_BYTES
from consilium.client.sharing import Permission, RecordReference
from consilium.kernel.errors import FailedPrecondition, InvalidArgument
from consilium.kernel.hashing import ZERO_DIGEST
from consilium.kernel.transactions import Purpose
from consilium.runtime.clock import DAY_MS, wall_ms

app = verbs("share", "Grants: who may read what, until when, and whom that trusts.")

SKEW_MS = 300_000
"""How far before now a grant begins, as the clocks of primaries may be behind ours (L7)."""

AllowWeaker = Annotated[
    bool, typer.Option("--allow-weaker", help="Go on with fewer holders than rule S4 asks; the grant says so.")
]


class Why(StrEnum):
    """Why a record may be asked for."""

    TREATMENT = "treatment"
    PAYMENT = "payment"
    OPERATIONS = "operations"
    RESEARCH = "research"
    PUBLIC_HEALTH = "public-health"

    @property
    def purpose(self) -> Purpose:
        """As the ledger has it."""
        return Purpose[self.name]


@app.command(epilog=examples("consilium share plan 3A --scope imaging"))
def plan(
    member: Annotated[str, typer.Argument(help="The member that would read.")],
    *,
    scope: Scope = DEFAULT_SCOPE,
    allow_weaker: AllowWeaker = False,
    name: SeedName = None,
    passphrase_file: PassphraseFile = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Say whom a grant would trust: its holders, and the smallest groups that could betray it and what they would get.

    Nothing is granted. A real grant draws its own id, and with it may draw other holders.
    """

    async def work(desk: PersonDesk) -> Told:
        patient = await open_patient(desk, scope)
        _, budget = await patient.plan(member, secrets.token_bytes(ID_BYTES), allow_weaker=allow_weaker)
        return Told({"recipient": member, **budget_facts(budget)}, budget_shown(f"A grant to {member}", budget))

    at_persons_desk(Options(settings, as_json, name, passphrase_file), work)


@app.command(epilog=examples("consilium share grant radiology.address --scope imaging --days 30 --out lin.reference"))
def grant(  # noqa: PLR0913  what a grant says
    address: Annotated[Path, typer.Argument(help="The recipient's address file.")],
    *,
    scope: Scope = DEFAULT_SCOPE,
    purpose: Annotated[Why, typer.Option(help="Why records may be asked for.")] = Why.TREATMENT,
    days: Annotated[int, typer.Option(help="For how many days from now.", min=1)] = 30,
    epoch: Annotated[int | None, typer.Option(help="Which epoch's records; the present one without.", min=0)] = None,
    out: Annotated[Path | None, typer.Option(help="Write the reference for the recipient into this file.")] = None,
    allow_weaker: AllowWeaker = False,
    name: SeedName = None,
    passphrase_file: PassphraseFile = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Let a recipient read the records of one scope and epoch, for some days; when it ends the holders are ready.

    Compare the address's fingerprint with the recipient first: a grant to somebody else's keys is a grant to somebody else.
    """

    async def work(desk: PersonDesk) -> Told:
        desk.person.notebook.check(lambda notes: notes.at_epoch(scope, 0))
        recipient, patient = read_address(address), await open_patient(desk, scope, epoch)
        now_ms = wall_ms()
        permission = Permission(purpose.purpose, ZERO_DIGEST, now_ms - SKEW_MS, now_ms + days * DAY_MS)
        made = await patient.grant(recipient, permission, allow_weaker=allow_weaker)
        kept = noted(made, scope, patient.owner.epoch)
        desk.person.notebook.change(lambda notes: notes.at_epoch(scope, kept.epoch).with_grants((kept,)))
        await patient.deliver(made)
        referred = _refer(desk, kept, (), out)
        facts = {**terms_facts(made, kept), "fingerprint": fingerprint(recipient), "reference": referred}
        return Told(facts, granted_shown(facts, kept, out))

    at_persons_desk(Options(settings, as_json, name, passphrase_file), work)


@app.command(epilog=examples("consilium share refer 5f0c21 scan.dcm --out lin.reference"))
def refer(
    grant_id: Annotated[str, typer.Argument(metavar="GRANT", help="The grant's id, or how it begins.")],
    records: Annotated[list[str] | None, typer.Argument(help="Which of its records; all that it covers without.")] = None,
    *,
    out: Annotated[Path, typer.Option(help="The file to write.")],
    name: SeedName = None,
    passphrase_file: PassphraseFile = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Write a reference: what the recipient needs to ask for records under a grant. Hand it over by a way you trust.

    It opens nothing by itself, but ties the records to your key: it is for the recipient alone.
    """

    async def work(desk: PersonDesk) -> Told:
        kept = desk.person.notebook.read().grant_named(grant_id)
        facts = {"grant": kept.grant_id.hex(), "reference": _refer(desk, kept, records or (), out)}
        return Told(facts, (f"Wrote {out}; hand it to {kept.recipient} by a way you trust.",))

    at_persons_desk(Options(settings, as_json, name, passphrase_file), work)


@app.command("list", epilog=examples("consilium share list"))
def list_grants(
    *, name: SeedName = None, passphrase_file: PassphraseFile = None, settings: SettingsFile = None, as_json: AsJson = False
) -> None:
    """List the grants this client has made, each as the ledger proves it now.

    `consilium audit` also finds grants that were made elsewhere.
    """

    async def work(desk: PersonDesk) -> Told:
        kept = desk.person.notebook.read().grants
        found = [state_facts(each, await desk.alliance.session.grant(each.grant_id)) for each in kept]
        drawn = table(f"Grants of {desk.person.name}", "=grant", "=to", "=for", "=until", "scope", ">epoch", "state")
        for each in found:
            until = day(each["not_after_ms"])
            cells = short(each["grant"]), each["recipient"], each["purpose"], until, each["scope"], str(each["epoch"])
            drawn.add_row(*cells, each["state"])
        return Told({"grants": found}, (drawn,))

    at_persons_desk(Options(settings, as_json, name, passphrase_file), work)


@app.command(epilog=examples("consilium share revoke 5f0c21", "consilium share revoke 5f0c21 --close"))
def revoke(
    grant_id: Annotated[str, typer.Argument(metavar="GRANT", help="The grant's id, or how it begins.")],
    *,
    close: Annotated[
        bool, typer.Option("--close", help="End the whole epoch: every grant of it ends, the others go on under the next.")
    ] = False,
    same_epoch: Annotated[
        bool, typer.Option("--same-epoch", help="Go on under the same key: for a grant that was made by mistake.")
    ] = False,
    allow_weaker: AllowWeaker = False,
    name: SeedName = None,
    passphrase_file: PassphraseFile = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """End a grant: no holder releases anything for it from now on, and new records go under the next epoch's key.

    Revocation stops future releases; a recipient who has read a record keeps what was read.
    """

    async def work(desk: PersonDesk) -> Told:
        if close and same_epoch:
            raise InvalidArgument("CONTRADICTION", "Choose --close or --same-epoch, not both.", "S6")
        kept = desk.person.notebook.read().grant_named(grant_id)
        state = await desk.alliance.session.grant(kept.grant_id)
        if state.revoked_height is not None:  # ended before, though perhaps nobody was told: then it is noted now
            note_end(desk, kept, (), same_epoch=same_epoch)
            if close and not await is_closed(desk.alliance.session, state.terms.delegating_pk):
                raise FailedPrecondition(
                    "NOT_CLOSED", "The grant had ended before, its epoch stands: close it with another grant of it.", "S6"
                )
            return told_end(state, kept, (), same_epoch=same_epoch, is_old=True)
        patient = await open_patient(desk, kept.scope, kept.epoch)
        if close:
            regrants = await end_epoch(desk, patient, kept, allow_weaker=allow_weaker)
        else:
            regrants = await end_one(desk, patient, kept, same_epoch=same_epoch)
        return told_end(await desk.alliance.session.grant(kept.grant_id), kept, regrants, same_epoch=same_epoch)

    at_persons_desk(Options(settings, as_json, name, passphrase_file), work)


# --- references ---


def _refer(desk: PersonDesk, kept: KeptGrant, names: Sequence[str], out: Path | None) -> str | None:
    """Write the reference to the records a grant covers; its path."""
    if out is None:
        return None
    notes, keys = desk.person.notebook.read(), PatientKeys(desk.person.seed)
    covered = [each for each in notes.records if (each.scope, each.epoch) == (kept.scope, kept.epoch)]
    chosen = [_covered(notes.record_named(each), covered) for each in names] or covered
    records = [(each.label, RecordReference(each.record_id, each.holder, keys.salt(each.record_id))) for each in chosen]
    write_reference(out, Reference(kept.grant_id, tuple(records)))
    return str(out)


def _covered(record: KeptRecord, covered: Sequence[KeptRecord]) -> KeptRecord:
    """Raise InvalidArgument: NOT_COVERED for a record under another key."""
    if record not in covered:
        raise InvalidArgument(
            "NOT_COVERED", f"{record.label!r} lies in {record.scope!r}, epoch {record.epoch}: grant that epoch.", "S3"
        )
    return record
