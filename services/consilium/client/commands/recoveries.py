"""`consilium recovery`: when more delegates are lost for good than a committee bears, blocks stop; members recover (C10).

Each member stops its replica, then signs; whoever comes last applies. The ledger cannot order any of it, so every member's
part lies at its own identity service.
"""

from typing import Annotated, Any

import typer
from rich.console import RenderableType

from consilium.client.commands.desk import AsJson, Desk, Options, SettingsFile, at_desk
from consilium.client.commands.telling import Told, examples, facts_table, table, verbs
from consilium.client.recovering import Part, Parts, apply, digest, parts, present_epoch, sign, stop
from consilium.kernel.errors import InvalidArgument
from consilium.kernel.recovery import RecoveryStatement

app = verbs("recovery", "Recover a lost quorum by the members' signatures.")

Lost = Annotated[list[str] | None, typer.Option("--lost", help="A member whose delegate is lost for good; again for each.")]
Epoch = Annotated[int | None, typer.Option(help="The epoch it is about; the one of your replica without.")]


@app.command("status", epilog=examples("consilium recovery status", "consilium recovery status --json"))
def show_status(*, epoch: Epoch = None, settings: SettingsFile = None, as_json: AsJson = False) -> None:
    """Show who has stopped, who has signed which recovery, and how many it takes."""

    async def work(desk: Desk) -> Told:
        known = await parts(desk.alliance, await present_epoch(desk.alliance) if epoch is None else epoch)
        return Told(_facts(desk, known), _shown(desk, known))

    at_desk(Options(settings, as_json), work)


@app.command("stop", epilog=examples("consilium recovery status", "consilium recovery stop 3"))
def stop_epoch(
    epoch: Annotated[int, typer.Argument(help="The epoch, as `consilium recovery status` shows it.")],
    *,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Stop your member's replica in this epoch for good, and have it report what it knows. It cannot be taken back.

    A replica that has stopped votes again in the next epoch. Once f + 1 delegates have stopped the old committee orders
    nothing more, so stop only when it cannot come back: the way on is then `consilium recovery sign`.
    """

    async def work(desk: Desk) -> Told:
        report = (await stop(desk.alliance, epoch)).report
        facts = {
            "member": report.member_id,
            "epoch": epoch,
            "witness": report.witness,
            "committed_height": None if report.commit is None else report.commit.height,
            "prepared_above": len(report.prepared),
        }
        shown = facts_table("Stopped", {name: str(value) for name, value in facts.items()})
        return Told(facts, (shown, "Next: the others stop too; then `consilium recovery sign`."))

    at_desk(Options(settings, as_json), work)


@app.command(
    "sign",
    epilog=examples(
        "consilium recovery sign --lost 3A --lost 2B",
        "consilium recovery sign",
    ),
)
def sign_recovery(
    *,
    lost: Lost = None,
    none_lost: Annotated[bool, typer.Option("--none-lost", help="Nobody is lost for good; draw from all.")] = False,
    epoch: Epoch = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Sign the recovery for your member once more than two thirds have stopped; without --lost join what others signed.

    Your own ledger works out where the epoch ends and who follows. A member signs one recovery an epoch and cannot take it
    back: compare the digest with the others before.
    """

    async def work(desk: Desk) -> Told:
        if lost and none_lost:
            raise InvalidArgument("LOST_OR_NOT", "Name who is lost, or say --none-lost.", "C10")
        known = await parts(desk.alliance, await present_epoch(desk.alliance) if epoch is None else epoch)
        signed = await sign(desk.alliance, known, [] if none_lost else lost)
        facts = _statement_facts(signed.statement)
        shown = facts_table("Signed", {name: str(value) for name, value in facts.items()})
        return Told(facts, (shown, "Next: the others run `consilium recovery sign`; then `consilium recovery apply`."))

    at_desk(Options(settings, as_json), work)


@app.command("apply", epilog=examples("consilium recovery apply"))
def apply_recovery(*, epoch: Epoch = None, settings: SettingsFile = None, as_json: AsJson = False) -> None:
    """Hand the recovery, once more than two thirds have signed it, to every member that can be reached; again does no harm.

    The next epoch begins as soon as enough of its committee have it.
    """

    async def work(desk: Desk) -> Told:
        known = await parts(desk.alliance, await present_epoch(desk.alliance) if epoch is None else epoch)
        statement, took, faults = await apply(desk.alliance, known)
        facts = _statement_facts(statement) | {"taken_by": took, "not_taken": {name: str(each) for name, each in faults}}
        shown = facts_table("Applied", {name: str(value) for name, value in facts.items()})
        return Told(facts, (shown,), code=0 if took else 1)

    at_desk(Options(settings, as_json), work)


def _statement_facts(statement: RecoveryStatement) -> dict[str, Any]:
    """A recovery as JSON shows it."""
    return {
        "digest": digest(statement),
        "epoch": statement.epoch,
        "committed_height": statement.height,
        "last_height": statement.last_height,
        "prepared_above": [each.hex() for each in statement.prepared],
        "lost": list(statement.lost),
        "next_committee": [each.member_id for each in statement.next_committee.delegates],
    }


def _part_facts(part: Part) -> dict[str, Any]:
    """One member's part as JSON shows it."""
    report = part.signed_report.report
    return {
        "member": part.member_id,
        "witness": report.witness,
        "committed_height": None if report.commit is None else report.commit.height,
        "prepared_above": len(report.prepared),
        "signed": None if part.statement is None else digest(part.statement),
    }


def _facts(desk: Desk, known: Parts) -> dict[str, Any]:
    leading = known.leading()
    return {
        "epoch": known.epoch,
        "needed": desk.alliance.session.electorate.quorum,
        "members": [_part_facts(each) for each in known.found],
        "not_heard": {name: str(each) for name, each in known.faults},
        "recovery": None if leading is None or leading.statement is None else _statement_facts(leading.statement),
    }


def _shown(desk: Desk, known: Parts) -> tuple[RenderableType, ...]:
    facts = _facts(desk, known)
    title = f"Epoch {known.epoch}: {len(known.found)} have stopped, {facts['needed']} are needed"
    drawn = table(title, "member", "witness", ">committed height", ">prepared above", "signed")
    for each in facts["members"]:
        drawn.add_row(*(str(cell if cell is not None else "") for cell in each.values()))
    lines: list[RenderableType] = [drawn]
    if facts["recovery"] is not None:
        lines.append(facts_table("Signed most", {name: str(value) for name, value in facts["recovery"].items()}))
    lines += [f"Not heard: {name}: {sentence}" for name, sentence in facts["not_heard"].items()]
    return tuple(lines)
