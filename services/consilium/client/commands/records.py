"""`consilium record`: encrypt and store at home, list, fetch what was granted and open it (rules S2, S3)."""

from collections.abc import AsyncGenerator
from hashlib import sha256 as running_sha256
from pathlib import Path
from typing import IO, Annotated, Any

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
    open_patient,
)
from consilium.client.commands.papers import Reference, read_reference
from consilium.client.commands.telling import (
    DONE,
    UNTRUE,
    Bar,
    Told,
    examples,
    facts_table,
    reason_of,
    short,
    styled,
    table,
    verbs,
)
from consilium.client.keys import RecipientKeys
from consilium.client.notebook import KeptRecord
from consilium.client.numbers import whole_number
from consilium.client.outgoing import length_of
from consilium.client.recipient import OpenedRecord
from consilium.client.retention import ErasedRecord
from consilium.kernel.errors import FailedPrecondition, InvalidArgument, NotFound
from consilium.kernel.hashing import sha256
from consilium.kernel.sealing import padded_bytes
from consilium.runtime.whole_files import replacing

app = verbs("record", "Records: stored encrypted at home, opened where granted.")

COLUMNS = ("record", "=id", "=at", ">bytes", "scope", ">epoch")
"""How records look in a table."""


@app.command(epilog=examples("consilium record put scan.dcm letter.json --scope imaging"))
def put(
    files: Annotated[list[Path], typer.Argument(help="The files to store, each a record of its own.")],
    *,
    label: Annotated[str | None, typer.Option(help="What you call it, for a single file; else the file's name.")] = None,
    scope: Scope = DEFAULT_SCOPE,
    name: SeedName = None,
    passphrase_file: PassphraseFile = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Encrypt files here, store them at the home member, register them on the ledger; final when the command ends.

    Nobody but the owner, and whom the owner grants, can open them. What you call them is noted here and told nobody.
    """

    async def work(desk: PersonDesk) -> Told:
        if label is not None and len(files) > 1:
            raise InvalidArgument("ONE_LABEL", "A label is for a single file; without it each is called as its file.")
        for path in files:
            _check_note(desk, label or path.name, scope)
        stored = [await _put(desk, each, label or each.name, scope) for each in files]
        drawn = table("Stored, registered and final", *COLUMNS)
        for each in stored:
            drawn.add_row(
                each["label"], short(each["record"]), each["holder"], f"{each['bytes']:,}", scope, str(each["epoch"])
            )
        return Told({"records": stored}, (drawn,))

    at_persons_desk(Options(settings, as_json, name, passphrase_file), work)


@app.command("list", epilog=examples("consilium record list --json | jq -r '.records[].label'"))
def list_records(
    *, name: SeedName = None, passphrase_file: PassphraseFile = None, settings: SettingsFile = None, as_json: AsJson = False
) -> None:
    """List the records this client has stored, each looked up on the ledger with its proof.

    One that is not there ends with exit code 1.
    """

    async def work(desk: PersonDesk) -> Told:
        found = [await _looked_up(desk, each) for each in desk.person.notebook.read().records]
        drawn = table(
            f"Records of {desk.person.name}", "record", "=id", "=at", ">bytes", "scope", ">epoch", "=on the ledger"
        )
        for each in found:
            cells = (
                each["label"],
                short(each["record"]),
                each["holder"],
                f"{each['bytes']:,}",
                each["scope"],
                str(each["epoch"]),
            )
            drawn.add_row(*cells, "yes" if each["registered"] else styled("no", "red"))
        code = DONE if all(each["registered"] for each in found) else UNTRUE
        return Told({"records": found}, (drawn,), code)

    at_persons_desk(Options(settings, as_json, name, passphrase_file), work)


@app.command(epilog=examples("consilium record get lin.reference --why referral.pdf --out scan.dcm --as radiology"))
def get(  # noqa: PLR0913  all of this is said to it
    reference: Annotated[Path, typer.Argument(help="The reference file you had from the owner.")],
    record: Annotated[str | None, typer.Argument(help="Which record in it; may be left out when it names one.")] = None,
    *,
    why: Annotated[Path, typer.Option(help="The document that says why; only its SHA-256 goes onto the ledger.")],
    out: Annotated[Path, typer.Option(help="The file to write; none is overwritten.")],
    only: Annotated[
        str | None,
        typer.Option("--range", help="Only these bytes, first-last, both counted from 0: 0-1023 for the first KiB."),
    ] = None,
    name: SeedName = None,
    passphrase_file: PassphraseFile = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Ask for a record under a grant, gather the key from its holders, fetch, decrypt and check every byte.

    The request stands on the ledger before anybody answers it, granted or refused: the owner sees it in the audit.
    """

    async def work(desk: PersonDesk) -> Told:
        paper, reason = read_reference(reference), sha256(why.read_bytes())
        label, chosen = paper.record_named(record)
        wanted = None if only is None else _range(only)
        if out.exists():
            raise FailedPrecondition("FILE_EXISTS", f"{out} exists; name another file, or move it away.")
        client = desk.alliance.recipient(RecipientKeys(desk.person.seed))
        with replacing(out) as file:  # before anybody is asked: a request stands on the ledger for good
            opened = await client.open(paper.grant_id, chosen, reason)
            pieces = client.read(opened) if wanted is None else client.read_range(opened, *wanted)
            facts = {"label": label, **_request_facts(paper, opened), **await _fetched(desk, pieces, opened, file, out)}
        shown = {each: str(facts[each]) for each in ("label", "record", "request", "height", "out", "bytes", "sha256")}
        late = [styled(f"{each['member']} did not do its part: {each['reason']}", "yellow") for each in facts["faults"]]
        return Told(facts, (facts_table("Opened and checked", shown), *late))

    at_persons_desk(Options(settings, as_json, name, passphrase_file), work)


@app.command(epilog=examples("consilium record erase scan.dcm --yes", "consilium record erase 5f0c --yes --json"))
def erase(
    record: Annotated[str, typer.Argument(help="What you call it, its id, or how the id begins.")],
    *,
    yes: Annotated[bool, typer.Option("--yes", help="You mean it: nobody can bring it back.")] = False,
    name: SeedName = None,
    passphrase_file: PassphraseFile = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Erase a record for ever: on the ledger, then its keys and its ciphertext, at home and wherever copies are kept (S8).

    Each member signs for what it has destroyed. Members that could not be reached are named; what they keep is opaque bytes,
    and they delete it by themselves once their ledger tells them. Who has read the record keeps what was read. Exit code 1
    while copies are left.
    """

    async def work(desk: PersonDesk) -> Told:
        kept = desk.person.notebook.read().record_named(record)
        if not yes:
            raise FailedPrecondition("NOT_CONFIRMED", f"Say --yes to erase {kept.label!r} for ever; nothing was done.")
        erased = await (await open_patient(desk, kept.scope, kept.epoch)).erase(kept.record_id)
        return told_of_erasure(kept.record_id, erased)

    at_persons_desk(Options(settings, as_json, name, passphrase_file), work)


def told_of_erasure(record_id: bytes, erased: ErasedRecord) -> Told:
    """What went where, and what is left."""
    facts = {
        "record": record_id.hex(),
        "height": erased.height,
        "home": erased.statement.member_id,
        "shred_secret_destroyed": erased.statement.shred_secret_destroyed,
        "copies_deleted": list(erased.copies_deleted),
        "copies_left": list(erased.copies_left),
    }
    shown = {key: ", ".join(value) if isinstance(value, list) else str(value) for key, value in facts.items()}
    return Told(facts, (facts_table("Erased", shown),), UNTRUE if erased.copies_left else DONE)


async def _put(desk: PersonDesk, file: Path, label: str, scope: str) -> dict[str, Any]:
    """Store one file, and note it at once."""
    patient, length = await open_patient(desk, scope), length_of(file)
    with Bar(label, length, desk.options.as_json) as show:
        reference = await patient.write(file, progress=show)
    kept = KeptRecord(reference.record_id, reference.holder, scope, patient.owner.epoch, label, length)
    desk.person.notebook.change(lambda notes: notes.with_record(kept))
    return _record_facts(kept)


def _check_note(desk: PersonDesk, label: str, scope: str) -> None:
    """Raise InvalidArgument CANNOT_BE_NOTED before a record is on the ledger whose id would be lost."""
    wanted = KeptRecord(bytes(16), desk.settings.member_id, scope, 0, label, 0)
    desk.person.notebook.check(lambda notes: notes.with_record(wanted))


async def _looked_up(desk: PersonDesk, kept: KeptRecord) -> dict[str, Any]:
    try:
        await desk.alliance.session.record(kept.record_id)
    except NotFound:
        return {**_record_facts(kept), "registered": False}
    return {**_record_facts(kept), "registered": True}


def _record_facts(kept: KeptRecord) -> dict[str, Any]:
    return {
        "label": kept.label,
        "record": kept.record_id.hex(),
        "holder": kept.holder,
        "scope": kept.scope,
        "epoch": kept.epoch,
        "bytes": kept.length,
    }


def _request_facts(paper: Reference, opened: OpenedRecord) -> dict[str, Any]:
    return {
        "record": opened.manifest.record_id.hex(),
        "grant": paper.grant_id.hex(),
        "request": opened.request.transaction_hash.hex(),
        "height": opened.request.height,
        "faults": [{"member": member, "reason": reason_of(error)} for member, error in opened.faults],
    }


def _range(text: str) -> tuple[int, int]:
    """The offset and the length that first-last means. Raises InvalidArgument: BAD_RANGE."""
    first, last = [whole_number(each) for each in (text.partition("-")[0], text.partition("-")[2])]
    if first is None or last is None or first > last:
        raise InvalidArgument("BAD_RANGE", f"{text[:80]!r} is no range: first-last, as in 0-1023.")
    return first, last - first + 1


async def _fetched(
    desk: PersonDesk, pieces: AsyncGenerator[bytes, None], opened: OpenedRecord, file: IO[bytes], out: Path
) -> dict[str, Any]:
    """Write the record's bytes as they are checked; the file has its name once the last byte was."""
    digest, done = running_sha256(), 0
    with Bar(out.name, padded_bytes(opened.manifest.size_class), desk.options.as_json) as show:
        async for piece in pieces:
            digest.update(piece)
            file.write(piece)
            done += len(piece)
            show(done)
    return {"out": str(out), "bytes": done, "sha256": digest.hexdigest()}
