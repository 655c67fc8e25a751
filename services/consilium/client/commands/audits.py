"""`consilium audit`: a patient's own report, made of proofs; a member's view of what concerned it (promises 2, 8).

The patient's report asks every member, because one may leave lines out; what any of them proves counts. Grants are found on
the ledger again and noted, so a lost notebook hides nothing. The member's view is its own ledger's, proven likewise.
"""

from collections.abc import AsyncIterator
from typing import Annotated, Any

import typer
from rich.console import RenderableType

from consilium.api.ledger.v1 import ledger_pb2 as pb
from consilium.api.ledger.v1.ledger_pb2_grpc import LedgerServiceStub
from consilium.client.commands.desk import (
    DEFAULT_SCOPE,
    AsJson,
    Desk,
    Options,
    PassphraseFile,
    PersonDesk,
    SeedName,
    SettingsFile,
    at_desk,
    at_persons_desk,
)
from consilium.client.commands.telling import DONE, UNREACHED, UNTRUE, Told, reason_of, short, styled, table
from consilium.client.finding import FoundGrant, find_grants
from consilium.client.keys import PatientKeys
from consilium.client.notebook import KeptGrant, Notebook
from consilium.client.report import Event, ReportLine
from consilium.client.session import Fault
from consilium.kernel.light_client import VerifiedTransaction
from consilium.kernel.transactions import GrantBody, GrantTerms, Kind, ReceiptBody, RequestBody, RevokeBody
from consilium.runtime.channels import typed

KINDS = (Kind.GRANT, Kind.REVOKE, Kind.REQUEST, Kind.RECEIPT)
"""What a member is shown of the ledger."""
ENDS = (Event.REVOKED, Event.ENDED_WITH_KEY)
"""What ends a grant."""


def audit(
    *,
    member: Annotated[
        bool,
        typer.Option("--member", help="Instead: what concerned your member as recipient or holder."),
    ] = False,
    scope: Annotated[
        list[str] | None, typer.Option(help="A scope the notebook does not know, to look into as well; may be repeated.")
    ] = None,
    since: Annotated[int, typer.Option(help="With --member: the first height to look at.", min=1)] = 1,
    name: SeedName = None,
    passphrase_file: PassphraseFile = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Tell who asked for, opened and lost access to a patient's records; every line is proven on the spot.

    A release that no granted request explains ends with exit code 1; with 3 where a member could not be asked.
    """
    options = Options(settings, as_json, name, passphrase_file)
    if member:
        at_desk(options, lambda desk: _member_view(desk, since))
    else:
        at_persons_desk(options, lambda desk: _report(desk, scope or []))


# --- a patient's report ---


async def _report(desk: PersonDesk, more_scopes: list[str]) -> Told:
    notes, keys = desk.person.notebook.read(), PatientKeys(desk.person.seed)
    scopes = dict.fromkeys([*(each.scope for each in notes.scopes), *more_scopes, DEFAULT_SCOPE])
    lines, unasked = list[ReportLine](), dict[str, Fault]()
    for scope in scopes:
        patient = desk.alliance.patient(keys, scope, notes.epoch_of(scope), None)
        found = await find_grants(patient, keys, notes.epoch_of(scope))
        patient.grants = [each.grant for each in found.grants]
        told = await patient.report()
        _note(desk, scope, found.grants, told.lines)
        lines += told.lines
        unasked |= found.faults | told.faults
    lines.sort(key=lambda each: each.height)
    facts = [_line_facts(each, notes) for each in lines]
    silent = [{"member": name, "reason": reason_of(unasked[name])} for name in sorted(unasked)]
    is_unexplained = any(each.event is Event.UNEXPLAINED for each in lines)
    code = UNTRUE if is_unexplained else UNREACHED if silent else DONE
    told_facts = {"patient": desk.person.name, "scopes": list(scopes), "lines": facts, "unasked": silent}
    return Told(told_facts, (*_report_shown(desk, facts), *_silent_shown(silent)), code)


def _note(desk: PersonDesk, scope: str, found: list[FoundGrant], lines: list[ReportLine]) -> None:
    """Note grants that a lost notebook or another device had made; behind one that ended goes the next epoch (S6)."""
    known = {each.grant_id for each in desk.person.notebook.read().grants}
    ended = {each.grant_id for each in lines if each.event in ENDS}
    kept = [_kept(each, scope) for each in found if each.grant.terms.grant_id not in known]
    if kept:
        epoch = max(each.epoch + (each.grant_id in ended) for each in kept)
        desk.person.notebook.change(lambda notes: notes.at_epoch(scope, epoch).with_grants(tuple(kept)))


def _kept(found: FoundGrant, scope: str) -> KeptGrant:
    terms = found.grant.terms
    return KeptGrant(terms.grant_id, scope, found.epoch, found.grant.author_epoch, terms.recipient_member)


def _line_facts(line: ReportLine, notes: Notebook) -> dict[str, Any]:
    label = next((each.label for each in notes.records if each.record_id == line.record_id), None)
    return {
        "height": line.height,
        "event": line.event.name,
        "member": line.member,
        "grant": line.grant_id.hex(),
        "record": None if line.record_id is None else line.record_id.hex(),
        "label": label,
        "code": line.proof.code.name,
        "transaction": line.proof.transaction_hash.hex(),
    }


def _report_shown(desk: PersonDesk, facts: list[dict[str, Any]]) -> tuple[RenderableType, ...]:
    drawn = table(f"Who did what with the records of {desk.person.name}", ">height", "=member", "what", "record", "=grant")
    for each in facts:
        event = Event[each["event"]]
        what = styled(event.value, "red" if event in {Event.UNEXPLAINED, Event.REQUEST_DENIED} else "")
        record = each["label"] or short(each["record"] or "")
        drawn.add_row(str(each["height"]), each["member"], what, record, short(each["grant"]))
    return drawn, f"{len(facts)} lines, each with its proof verified."


def _silent_shown(silent: list[dict[str, str]]) -> tuple[RenderableType, ...]:
    if not silent:
        return ()
    names = ", ".join(f"{each['member']} ({each['reason']})" for each in silent)
    return (styled(f"Not heard to the end: {names}. What they alone could prove is missing here; look again.", "yellow"),)


# --- a member's view ---


async def _member_view(desk: Desk, since: int) -> Told:
    """What the home member's ledger has about grants in which it reads or holds, each line proven."""
    session, home = desk.alliance.session, desk.settings.member_id
    await session.member(home)  # where the chain is now: the view ends there
    grants: dict[bytes, GrantTerms] = {}
    found = [each async for each in _concerning(desk, home, grants, since)]
    facts = [_event_facts(each, grants) for each in found]
    drawn = table(f"What concerned {home}, heights {since} to {session.height}", ">height", "kind", "code", "grant", "to")
    for each in facts:
        drawn.add_row(str(each["height"]), each["kind"], each["code"], short(each["grant"]), each["recipient"] or "")
    return Told({"member": home, "since": since, "height": session.height, "events": facts}, (drawn,))


async def _concerning(
    desk: Desk, home: str, grants: dict[bytes, GrantTerms], since: int
) -> AsyncIterator[VerifiedTransaction]:
    session = desk.alliance.session
    stub = LedgerServiceStub(desk.alliance.channel(home, "ledger"))
    asked = pb.StreamEventsRequest(kinds=[each.name for each in KINDS], last_height=session.height)
    with typed():
        async for event in stub.StreamEvents(asked):
            verified = await session.verified(await session.home.prove_transaction(event.transaction_hash))
            if _concerns(verified, home, grants) and verified.height >= since:
                yield verified


def _concerns(verified: VerifiedTransaction, home: str, grants: dict[bytes, GrantTerms]) -> bool:
    """Whether the member reads or holds under the grant a transaction names; grants are remembered as they pass."""
    body = verified.payload.body
    made = [body] if isinstance(body, GrantBody) else list(body.regrants) if isinstance(body, RevokeBody) else []
    for each in made:
        if home in (each.terms.recipient_member, *each.terms.holders):
            grants[each.terms.grant_id] = each.terms
    named = {each.terms.grant_id for each in made}
    if isinstance(body, RevokeBody | RequestBody | ReceiptBody):
        named.add(body.grant_id)
    return any(each in grants for each in sorted(named))


def _event_facts(verified: VerifiedTransaction, grants: dict[bytes, GrantTerms]) -> dict[str, Any]:
    body = verified.payload.body
    grant_id = body.terms.grant_id if isinstance(body, GrantBody) else getattr(body, "grant_id", b"")
    terms = grants.get(grant_id)
    return {
        "height": verified.height,
        "kind": Kind(body.KIND).name,
        "code": verified.code.name,
        "grant": grant_id.hex(),
        "recipient": None if terms is None else terms.recipient_member,
        "holder": body.holder if isinstance(body, ReceiptBody) else None,
        "record": body.record_id.hex() if isinstance(body, RequestBody) else None,
        "transaction": verified.transaction_hash.hex(),
    }
