"""`consilium credential`: issuing one to staff or an application, listing all, ending one whose key is lost or stolen.

Acts of the member's administrator at its own identity service. No name stands in a credential: the member's own books say
whose a pseudonym is. What ends is refused by the member's services from the next call on, open connections included; at
other members it ends with its certificate (design section 8).
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from consilium.api.identity.v1 import identity_pb2 as pb
from consilium.client.commands.desk import AsJson, Desk, Options, SettingsFile, at_home
from consilium.client.commands.renewing import DAY_S, Days
from consilium.client.commands.telling import Told, day, examples, facts_table, short, table, verbs
from consilium.client.enrolment import draft, refuse_taken, write_credential
from consilium.client.enrolment import issue as ask_for
from consilium.client.enrolment import revoke as end
from consilium.client.notebook import PREFIX_MIN
from consilium.kernel.errors import InvalidArgument, NotFound
from consilium.runtime.channels import typed

app = verbs("credential", "The credentials that this member issues, and ends.")
ADMINISTRATOR = "administrator"
"""The role that enrols and governs, as identity has it."""


class Reason(StrEnum):
    """Why a credential ends."""

    KEY_COMPROMISE = "key-compromise"
    ROLE_ENDED = "role-ended"
    SUPERSEDED = "superseded"

    @property
    def value_in_proto(self) -> pb.RevocationReason.ValueType:
        """As the contract has it."""
        return pb.RevocationReason.Value(f"REVOCATION_REASON_{self.name}")


@app.command(
    epilog=examples(
        "consilium credential issue ana --role administrator",
        "consilium credential issue ward-app --role records --application --days 30",
    )
)
def issue(
    folder: Annotated[Path, typer.Argument(help="Where the credential is written; one that holds none.")],
    *,
    role: Annotated[
        str,
        typer.Option(
            help="administrator enrols and governs, registrar enrols patients; else a word that the member has set."
        ),
    ],
    application: Annotated[
        bool, typer.Option("--application", help="For an application, which makes calls but signs nothing.")
    ] = False,
    days: Days = 0,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Have the home member issue a credential to one of its staff, a second administrator say, or to an application.

    Needs the member's administrator credential in the settings. Its keys are drawn here, so issue where the holder is, or
    bring the folder over and keep no copy: a second administrator then draws keys of its own by `consilium recipient renew
    FOLDER`, and ends this credential with `--reason superseded`.
    """

    async def work(desk: Desk) -> Told:
        refuse_taken(folder)  # before anything is issued that nobody would have
        kind = pb.CREDENTIAL_KIND_APPLICATION if application else pb.CREDENTIAL_KIND_STAFF
        chain_id = desk.alliance.genesis.chain_id
        asked = draft(desk.settings.member_id, kind, chain_id, role=role, validity_s=days * DAY_S)
        issued = await ask_for(desk.alliance.identity, asked)
        write_credential(folder, asked, issued, chain_id)
        facts = {"folder": str(folder), **_facts(issued.credential)}
        return Told(facts, (facts_table("Issued", {name: str(value) for name, value in facts.items()}),))

    at_home(Options(settings, as_json), work)


@app.command("list", epilog=examples("consilium credential list", "consilium credential list --json"))
def show_all(*, settings: SettingsFile = None, as_json: AsJson = False) -> None:
    """Show all credentials of this member, the oldest first: pseudonym, kind, role, until when, and whether it ended."""

    async def work(desk: Desk) -> Told:
        facts = [_facts(each) for each in await _all(desk)]
        drawn = table(f"Credentials of {desk.settings.member_id}", "=id", "kind", "role", "pseudonym", "until", "state")
        for each in facts:
            names = short(each["credential"]), each["kind"], each["role"], short(each["pseudonym"])
            drawn.add_row(*names, day(each["not_after_ms"]), each["state"])
        return Told({"member": desk.settings.member_id, "credentials": facts}, (drawn,))

    at_home(Options(settings, as_json), work)


@app.command(epilog=examples("consilium credential list", "consilium credential revoke 5f0c21 --reason key-compromise"))
def revoke(
    credential: Annotated[str, typer.Argument(help="The credential's id, or how it begins, as `credential list` shows it.")],
    *,
    reason: Annotated[Reason, typer.Option(help="Why it ends.")],
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """End a credential for good, at once at this member; at others it ends with its certificate.

    Repeated it changes nothing, and the first reason stays. Enrol the person anew afterwards; where no administrator is
    left, `python -m consilium.identity administer` at identity's files does. In Kubernetes identity puts a fresh credential
    into Secret <release>-administrator when the one there is revoked: who leaves must lose the right to read it too.
    """

    async def work(desk: Desk) -> Told:
        known = await _all(desk)
        chosen = _chosen(credential, known)
        facts = _facts(await end(desk.alliance.identity, chosen.credential_id, reason.value_in_proto))
        facts["administrators_left"] = len(_administrators(known, chosen))
        return Told(facts, (facts_table("Revoked", {name: str(value) for name, value in facts.items()}),))

    at_home(Options(settings, as_json), work)


async def _all(desk: Desk) -> list[pb.Credential]:
    found, token = list[pb.Credential](), ""
    while True:
        with typed():
            page = await desk.alliance.identity.ListCredentials(pb.ListCredentialsRequest(page_token=token))
        found += page.credentials
        if not (token := page.next_page_token):
            return found


def _chosen(beginning: str, known: list[pb.Credential]) -> pb.Credential:
    """Raises NotFound: NO_SUCH_CREDENTIAL; InvalidArgument: AMBIGUOUS for a beginning of several, or of too few digits."""
    found = [each for each in known if each.credential_id.hex().startswith(beginning.lower())]
    if not found:
        raise NotFound("NO_SUCH_CREDENTIAL", f"No credential of this member begins with {beginning!r}.")
    if len(found) > 1 or len(beginning) < PREFIX_MIN:
        raise InvalidArgument("AMBIGUOUS", f"{beginning!r} does not name one credential; give more of its digits.")
    return found[0]


def _administrators(known: list[pb.Credential], ended: pb.Credential) -> set[str]:
    """The pseudonyms of those that may still enrol and govern, once this one has ended."""
    active = [each for each in known if each.state == pb.CREDENTIAL_STATE_ACTIVE and each != ended]
    return {each.pseudonym for each in active if each.role == ADMINISTRATOR}


def _facts(credential: pb.Credential) -> dict[str, Any]:
    reason = pb.RevocationReason.Name(credential.revocation_reason).removeprefix("REVOCATION_REASON_")
    return {
        "credential": credential.credential_id.hex(),
        "kind": pb.CredentialKind.Name(credential.kind).removeprefix("CREDENTIAL_KIND_"),
        "role": credential.role,
        "pseudonym": credential.pseudonym,
        "not_after_ms": credential.not_after_ms,
        "state": pb.CredentialState.Name(credential.state).removeprefix("CREDENTIAL_STATE_"),
        "reason": None if reason == "UNSPECIFIED" else reason,
    }
