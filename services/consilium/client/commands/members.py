"""`consilium member`: who belongs to the alliance, proven by the ledger; proposals to change that (rules L2, C6)."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType

from consilium.client.commands.desk import AsJson, Desk, Options, SettingsFile, at_desk
from consilium.client.commands.telling import Told, examples, facts_table, table, verbs
from consilium.client.governance import Change, Draft, Motion, draw_up, open_motions, propose, read_member_key, sign
from consilium.kernel.election import stratum_of
from consilium.kernel.errors import InvalidArgument
from consilium.kernel.state_values import MemberState
from consilium.kernel.transactions import Grade, MemberProfile

app = verbs("member", "The alliance's members, and proposals about them.")

MemberKey = Annotated[Path, typer.Option(help="The file with the member's own key: 32 bytes, mode 0600.")]


@app.command("list", epilog=examples("consilium member list --json | jq -r '.members[].member'"))
def list_members(*, settings: SettingsFile = None, as_json: AsJson = False) -> None:
    """List every member with grade, stratum, owner and score, each proven by the ledger's state."""

    async def work(desk: Desk) -> Told:
        session = desk.alliance.session
        members = sorted(await session.all_members(), key=lambda each: each.profile.member_id)
        facts = [member_facts(each, session.height) for each in members]
        drawn = table(f"Members at height {session.height}", "member", "grade", ">stratum", "owner", "state", ">score")
        for each in facts:
            cells = (each["member"], each["grade"], each["stratum"], each["owner_group"], each["state"], each["score"])
            drawn.add_row(*map(str, cells))
        return Told({"height": session.height, "members": facts}, (drawn,))

    at_desk(Options(settings, as_json), work)


@app.command(epilog=examples("consilium member show 3A"))
def show(
    member: Annotated[str, typer.Argument(help="The member's id.")],
    *,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Show one member as the ledger proves it: keys, grade and how long it counts, conduct."""

    async def work(desk: Desk) -> Told:
        session = desk.alliance.session
        facts = member_facts(await session.member(member), session.height)
        shown = facts_table(
            f"Member {member} at height {session.height}", {name: str(value) for name, value in facts.items()}
        )
        return Told({"height": session.height, **facts}, (shown,))

    at_desk(Options(settings, as_json), work)


@app.command(
    "propose",
    epilog=examples(
        "consilium member propose suspend 2B --member-key keys/member",
        "consilium member propose grade 2B --grade A2 --until 900000 --member-key keys/member",
    ),
)
def propose_change(  # noqa: PLR0913  a proposal says all this
    change: Annotated[Change, typer.Argument(help="What to do.")],
    member: Annotated[str, typer.Argument(help="The id of the member it is about.")],
    member_key: MemberKey,
    *,
    grade: Annotated[str | None, typer.Option(help="With `grade`: one of " + ", ".join(Grade.__members__) + ".")] = None,
    until: Annotated[int | None, typer.Option(help="With `grade`: the last height at which the grade counts.")] = None,
    profile: Annotated[Path | None, typer.Option(help="With `admit`: JSON with its owner, grade and keys.")] = None,
    evidence: Annotated[Path | None, typer.Option(help="The document behind it; its SHA-256 goes onto the ledger.")] = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Open a proposal at your member, signed with its key; it takes effect when more than two thirds have signed.

    The others sign with `consilium member sign ID`.
    """

    async def work(desk: Desk) -> Told:
        signer = read_member_key(member_key)
        draft = Draft(change, member, grade, until, profile, evidence)
        body = await draw_up(desk.alliance.session, draft)
        motion = await propose(desk.alliance, body, signer)
        return Told(motion_facts(motion), _shown(motion))

    at_desk(Options(settings, as_json), work)


@app.command(
    "sign",
    epilog=examples("consilium member sign", "consilium member sign 5f0c... --at 3A --member-key keys/member"),
)
def sign_proposal(
    proposal: Annotated[str | None, typer.Argument(help="The proposal's id, or how it begins.")] = None,
    *,
    at: Annotated[str | None, typer.Option(help="The member where it was opened; your own without.")] = None,
    member_key: Annotated[Path | None, typer.Option(help="The file with the member's own key: 32 bytes, mode 0600.")] = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Put your member's signature to an open proposal; without an id list the open ones.

    Read what it does before you sign: the member answers for its signature.
    """

    async def work(desk: Desk) -> Told:
        if proposal is not None and member_key is None:
            raise InvalidArgument("NO_MEMBER_KEY", "To sign a proposal name the member's key by --member-key FILE.", "L2")
        motions = await open_motions(desk.alliance, at or desk.alliance.session.home_id)
        if proposal is None or member_key is None:
            return _told_open(motions)
        signed = await sign(desk.alliance, motions, proposal, read_member_key(member_key))
        return Told(motion_facts(signed), _shown(signed))

    at_desk(Options(settings, as_json), work)


def member_facts(member: MemberState, height: int) -> dict[str, Any]:
    """A member as JSON shows it; the grade is the one that counts at the height."""
    profile, grade = member.profile, member.grade_at(height)
    return {
        "member": profile.member_id,
        "owner_group": profile.owner_group,
        "grade": grade.name,
        "grade_expires_height": member.grade_expires_height,
        "stratum": stratum_of(grade),
        "state": member.status.name,
        "score": member.score,
        "tombstoned": member.tombstoned,
        "member_key": profile.member_key.hex(),
        "consensus_key": profile.consensus_key.hex(),
    }


def motion_facts(motion: Motion) -> dict[str, Any]:
    """A proposal as JSON shows it."""
    return {
        "proposal": motion.proposal_hash.hex(),
        "at": motion.at,
        "says": motion.says,
        "evidence": motion.evidence,
        "profile": None if motion.profile is None else profile_facts(motion.profile),
        "state": motion.state,
        "signatures": motion.signatures,
        "signatures_needed": motion.signatures_needed,
        "expiry_height": motion.expiry_height,
        "code": motion.code,
    }


def profile_facts(profile: MemberProfile) -> dict[str, str]:
    """Every field of a profile, as it is signed."""
    return {
        "member": profile.member_id,
        "owner_group": profile.owner_group,
        "grade": profile.grade.name,
        "member_key": profile.member_key.hex(),
        "consensus_key": profile.consensus_key.hex(),
        "reveal_anchor": profile.reveal_anchor.hex(),
    }


def _shown(motion: Motion) -> tuple[RenderableType, ...]:
    facts = {name: str(value) for name, value in motion_facts(motion).items() if name != "profile"}
    if motion.profile is not None:
        facts |= {f"profile: {name}": value for name, value in profile_facts(motion.profile).items()}
    if motion.signatures >= motion.signatures_needed:
        return (facts_table("Proposal", facts), "Enough have signed; the ledger has the word.")
    step = f"Next: the others run `consilium member sign {motion.proposal_hash.hex()[:16]} --at {motion.at}`."
    return (facts_table("Proposal", facts), step)


def _told_open(motions: list[Motion]) -> Told:
    drawn = table("Open proposals", "=id", "says", ">signatures", ">expires at height")
    for each in motions:
        votes = f"{each.signatures} of {each.signatures_needed}"
        drawn.add_row(each.proposal_hash.hex()[:16], each.says, votes, str(each.expiry_height))
    whole = [shown for each in motions for shown in _shown(each)[:1]]
    return Told({"proposals": [motion_facts(each) for each in motions]}, (drawn, *whole))
