"""`consilium invite`: what a member hands to one that is to join (rule G2; ADR 22)."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consilium.client.commands.desk import AsJson, Desk, Options, SettingsFile, at_desk, finish
from consilium.client.commands.telling import Told, day, examples, facts_table, verbs
from consilium.client.inviting import invite
from consilium.kernel.encoding import encode
from consilium.kernel.invitations import ON_NO_CHAIN
from consilium.runtime.clock import DAY_MS, wall_ms
from consilium.runtime.whole_files import write_atomically

if TYPE_CHECKING:
    from consilium.kernel.invitations import InvitationFile

app = verbs("invite", "Invite a coming member: one signed file that expires.")


@app.command(epilog=examples("consilium invite create 4A --owner university-west -o 4A.invitation"))
def create(
    member: Annotated[str, typer.Argument(help="The name that the coming member is to have.")],
    *,
    owner: Annotated[str, typer.Option(help="The owner it belongs to; members of one owner count together.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write the invitation.")],
    days: Annotated[int, typer.Option(help="How long it counts.", min=1, max=30)] = 7,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Write an invitation in your member's name; needs its administrator's credential.

    It holds the genesis, a certified height, all members' authorities and addresses, and opens nothing: the members vote on
    what comes back. Read its fingerprint to the invited, not by the way the file goes.
    """

    async def work(desk: Desk) -> Told:
        file = await invite(desk.alliance, member, owner, days * DAY_MS)
        write_atomically(output, encode(file, ON_NO_CHAIN))
        return told_invitation(file, {"invitation": str(output)})

    at_desk(Options(settings, as_json), work)


@app.command(epilog=examples("consilium invite show 4A.invitation"))
def show(
    invitation: Annotated[Path, typer.Argument(help="The invitation.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Show whom an invitation is for, by whom, until when, and its fingerprint; needs no settings."""

    def work() -> Told:
        from consilium.ceremony.joining import read_invitation

        return told_invitation(read_invitation(invitation, wall_ms()), {})

    finish(Options(None, as_json), work)


def told_invitation(file: "InvitationFile", more: dict[str, str]) -> Told:
    """An invitation as people see it."""
    invitation, content = file.signed.invitation, file.content
    facts: dict[str, Any] = {
        "member": invitation.member_id,
        "owner_group": invitation.owner_group,
        "inviter": invitation.inviter,
        "alliance": content.genesis.genesis.alliance,
        "chain": file.chain_id.hex(),
        "checkpoint_height": content.checkpoint.result.height,
        "expires_ms": invitation.expires_ms,
        "fingerprint": file.fingerprint,
        **more,
    }
    shown = {name: str(value) for name, value in facts.items()} | {"expires": day(invitation.expires_ms)}
    del shown["expires_ms"]
    following = f"Next, at the coming member: consilium join prepare FILE FOLDER --fingerprint {file.fingerprint}"
    return Told(facts, (facts_table("Invitation", shown), following))
