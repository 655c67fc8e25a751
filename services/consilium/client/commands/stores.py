"""`consilium storage`: what a member's own staff does to its storage: its state, healing, erasures, legal holds (S8, S9)."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from consilium.api.storage.v1 import storage_pb2
from consilium.api.storage.v1.storage_pb2_grpc import StorageServiceStub
from consilium.client.commands.desk import AsJson, Desk, Options, SettingsFile, at_desk
from consilium.client.commands.records import told_of_erasure
from consilium.client.commands.telling import DONE, UNTRUE, Bar, Told, day, examples, facts_table, verbs
from consilium.client.retention import erase_record, retain
from consilium.kernel.errors import FailedPrecondition, InvalidArgument
from consilium.kernel.hashing import sha256
from consilium.kernel.transactions import RetentionAct
from consilium.runtime.channels import typed

if TYPE_CHECKING:
    from consilium.api.storage.v1.storage_pb2_grpc import StorageServiceAsyncStub

app = verbs("storage", "This member's storage: its state, healing, erasures and legal holds.")

RECORD_ID_BYTES = 16
RecordId = Annotated[str, typer.Argument(help="The record's id, 32 hexadecimal digits.")]
Why = Annotated[Path, typer.Option(help="The document that says why; only its SHA-256 goes onto the ledger.")]


@app.command(epilog=examples("consilium storage status", "consilium storage status --json"))
def status(*, settings: SettingsFile = None, as_json: AsJson = False) -> None:
    """Show what the scrub has found: chunks read and damaged, copies missing. Exit code 1 while something is not whole."""

    async def work(desk: Desk) -> Told:
        with typed():
            found = await _storage(desk).GetScrubState(storage_pb2.GetScrubStateRequest())
        facts = {
            "member": desk.settings.member_id,
            "chunks_read": found.chunks_read,
            "chunks_total": found.chunks_total,
            "chunks_damaged": found.chunks_damaged,
            "chunks_healed": found.chunks_healed,
            "chunks_unhealed": found.chunks_unhealed,
            "copies_missing": found.copies_missing,
            "orphans": found.orphans,
            "last_round_ms": found.last_round_ms if found.HasField("last_round_ms") else None,
            "last_backup_ms": found.last_backup.taken_ms if found.HasField("last_backup") else None,
            "last_backup_height": found.last_backup.height if found.HasField("last_backup") else None,
        }
        is_whole = not (found.chunks_unhealed or found.copies_missing)
        return Told(facts, (_drawn("Storage", facts),), DONE if is_whole else UNTRUE)

    at_desk(Options(settings, as_json), work)


@app.command(epilog=examples("consilium storage heal", "consilium storage heal --json"))
def heal(*, settings: SettingsFile = None, as_json: AsJson = False) -> None:
    """Fetch from the other members what this member's storage has lost: objects, shred secrets, copies kept for others.

    Every object that another member speaks of is read back here; what is missing or damaged is fetched, and checked against
    the ledger. Again goes on where the last one broke off. Exit code 1 when something could not be had, or nobody asked.
    """

    async def work(desk: Desk) -> Told:
        last = storage_pb2.HealStorageResponse()
        with Bar("Healing", 0, as_json, counted=True) as show, typed():
            async for last in _storage(desk).HealStorage(storage_pb2.HealStorageRequest()):
                show(last.objects_done, last.objects_total)
        facts = {
            "member": desk.settings.member_id,
            "objects": last.objects_total,
            "healed": last.objects_healed,
            "bytes": last.bytes_healed,
            "secrets": last.secrets_healed,
            "failed": last.objects_failed,
            "lost": [each.hex() for each in last.lost_record_ids],
            "unreached": list(last.unreached_member_ids),
        }
        is_whole = not (last.objects_failed or last.lost_record_ids or last.unreached_member_ids)
        return Told(facts, (_drawn("Healed", facts),), DONE if is_whole else UNTRUE)

    at_desk(Options(settings, as_json), work)


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


def _storage(desk: Desk) -> "StorageServiceAsyncStub":
    """The home member's storage; its calls fail with gRPC's errors: `runtime.channels.typed`."""
    return StorageServiceStub(desk.alliance.channel(desk.settings.member_id, "storage"))


def _drawn(title: str, facts: Mapping[str, Any]) -> Table:
    """For people: instants as dates, nothing as a dash."""

    def shown(key: str, value: object) -> str:
        if isinstance(value, list):
            return ", ".join(value)
        if isinstance(value, int) and key.endswith("_ms"):
            return day(value)
        return "-" if value is None else str(value)

    return facts_table(title, {key.removesuffix("_ms"): shown(key, value) for key, value in facts.items()})


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
