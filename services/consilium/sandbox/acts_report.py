"""The last act: the patient asks who read what, and believes nothing that is not proven (promises 2 and 8)."""

import time

from rich.table import Table

from consilium.client.remote import open_alliance
from consilium.client.report import Event, ReportLine
from consilium.sandbox.stage import HOME, RECIPIENT, SCOPE, STRANGER, Stage, settings_of
from consilium.sandbox.teller import Act

NAME_BYTES = 4
"""How much of a record's number a line shows, when it is none of the story's files."""


async def report(stage: Stage, act: Act) -> None:
    """Every line is verified here and now by a client that starts from the genesis file alone."""
    keys, settings = stage.patient_keys, settings_of(stage.alliance, HOME, stage.folder_of(HOME, "patient"))
    async with open_alliance(settings) as anew:
        client = anew.patient(keys, SCOPE, stage.patient.owner.epoch)
        client.grants = list(stage.patient.grants)
        started = time.monotonic()
        lines = (await stage.wait(client.report(), "the report")).lines
        seconds = time.monotonic() - started
    act.show(_table(stage, lines))
    act.check(
        _counted(lines, Event.OPENED, RECIPIENT) == stage.opened,
        f"{RECIPIENT} could open a record {stage.opened} times, as it did",
    )
    denied = [line.proof.author for line in lines if line.event is Event.REQUEST_DENIED]
    act.check(
        denied == [stage.stranger.keys.author.public_key, stage.recipient.keys.author.public_key],
        f"who tried in vain is there too: {STRANGER}, by its key alone, and {RECIPIENT} after the end of its grant",
    )
    act.check(
        _counted(lines, Event.GRANT_DEAD, None) == 1,
        "the grant can open nothing more, while fewer than the threshold misbehave",
    )
    act.check(_counted(lines, Event.UNEXPLAINED, None) == 0, "no holder attests a release that no granted request explains")
    proofs = len({line.proof.transaction_hash for line in lines})
    act.say(
        f"{len(lines)} lines, {proofs} transactions, each with a proof of its own: that it stands in the log, and how it"
        " ended, under the signatures of a committee this client reached from the genesis file."
    )
    stage.facts.append((f"report of {len(lines)} lines, fetched from all members and verified", f"{seconds:.2f} s"))


def _counted(lines: list[ReportLine], event: Event, member: str | None) -> int:
    return sum(line.event is event and member in (None, line.member) for line in lines)


def _table(stage: Stage, lines: list[ReportLine]) -> Table:
    names = {file.reference.record_id: file.name for file in stage.files}
    table = Table(show_edge=False)
    for heading in ("block", "who", "what happened", "record", "verified"):
        table.add_column(heading)
    for line in lines:
        record = "" if line.record_id is None else names.get(line.record_id, line.record_id.hex()[: 2 * NAME_BYTES])
        table.add_row(
            str(line.height), line.member, line.event.value, record, f"[green]✓[/] {line.proof.transaction_hash.hex()[:12]}"
        )
    return table
