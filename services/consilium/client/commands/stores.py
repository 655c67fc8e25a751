"""`consilium storage`: what a member's own staff does to its storage: erasures and legal holds (rule S8)."""

from pathlib import Path
from typing import Annotated

import typer

from consilium.client.commands.desk import AsJson, Desk, Options, SettingsFile, at_desk
from consilium.client.commands.records import told_of_erasure
from consilium.client.commands.telling import Told, examples, facts_table, verbs
from consilium.client.retention import erase_record, retain
from consilium.kernel.errors import FailedPrecondition, InvalidArgument
from consilium.kernel.hashing import sha256
from consilium.kernel.transactions import RetentionAct

app = verbs("storage", "This member's storage: erasures and legal holds.")

RECORD_ID_BYTES = 16
RecordId = Annotated[str, typer.Argument(help="The record's id, 32 hexadecimal digits.")]
Why = Annotated[Path, typer.Option(help="The document that says why; only its SHA-256 goes onto the ledger.")]


@app.command(epilog=examples("consilium storage hold 5f0c... --why court-order.pdf"))
def hold(record: RecordId, *, why: Why, settings: SettingsFile = None, as_json: AsJson = False) -> None:
    """Place a legal hold on a record of this member's: nobody erases it until the hold is lifted, its owner neither."""
    _retain(record, RetentionAct.HOLD, why, Options(settings, as_json))


@app.command(epilog=examples("consilium storage lift 5f0c... --why release.pdf"))
def lift(record: RecordId, *, why: Why, settings: SettingsFile = None, as_json: AsJson = False) -> None:
    """Lift the legal hold on a record."""
    _retain(record, RetentionAct.LIFT, why, Options(settings, as_json))


@app.command(epilog=examples("consilium storage erase 5f0c... --why retention-period-over.pdf --yes"))
def erase(
    record: RecordId,
    *,
    why: Why,
    yes: Annotated[bool, typer.Option("--yes", help="You mean it: nobody can bring it back.")] = False,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Erase a record of this member's for ever, for a reason of the member's own: its time of keeping is over.

    The owner's own erasure is `consilium record erase`. Exit code 1 while copies are left.
    """

    async def work(desk: Desk) -> Told:
        record_id = _record_id(record)
        if not yes:
            raise FailedPrecondition("NOT_CONFIRMED", f"Say --yes to erase {record} for ever; nothing was done.")
        erased = await erase_record(desk.alliance.session, record_id, None, _digest_of(why))
        return told_of_erasure(record_id, erased)

    at_desk(Options(settings, as_json), work)


def _retain(record: str, act: RetentionAct, why: Path, options: Options) -> None:
    async def work(desk: Desk) -> Told:
        record_id, evidence = _record_id(record), _digest_of(why)
        done = await retain(desk.alliance.session, record_id, act, None, evidence)
        facts = {
            "record": record_id.hex(),
            "act": act.name,
            "height": done.height,
            "transaction": done.transaction_hash.hex(),
        }
        return Told(facts, (facts_table("Final on the ledger", {key: str(value) for key, value in facts.items()}),))

    at_desk(options, work)


def _digest_of(why: Path) -> bytes:
    """What of a document goes onto the ledger; may raise OSError."""
    return sha256(why.read_bytes())


def _record_id(record: str) -> bytes:
    """Raises InvalidArgument: BAD_RECORD_ID."""
    try:
        found = bytes.fromhex(record)
    except ValueError:
        found = b""
    if len(found) != RECORD_ID_BYTES:
        sentence = f"{record!r} is no record id: it has {2 * RECORD_ID_BYTES} hexadecimal digits."
        raise InvalidArgument("BAD_RECORD_ID", sentence)
    return found
