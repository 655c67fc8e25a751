"""`consilium member`: who belongs to the alliance, proven by the ledger; what is proposed to it (rules G1 to G5)."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType

from consilium.client.commands.desk import AsJson, Desk, Options, SettingsFile, at_desk
from consilium.client.commands.telling import Told, examples, facts_table, table, verbs
from consilium.client.governance import KEY_FIELDS, Change, Draft, Motion, cast, draw_up, hand_on, motions, named, propose
from consilium.client.inviting import announce, read_request
from consilium.kernel.acts import changed, says
from consilium.kernel.election import stratum_of
from consilium.kernel.errors import InvalidArgument
from consilium.kernel.hashing import ZERO_DIGEST
from consilium.kernel.state_values import MemberState, ProposalStatus
from consilium.kernel.transactions import (
    Act,
    Grade,
    GradeAct,
    KeysAct,
    MemberAct,
    MemberProfile,
    ParametersAct,
    UpgradeAct,
)

app = verbs("member", "The alliance's members, and what they decide together.")


class Word(StrEnum):
    """What a member may say."""

    YES = "yes"
    NO = "no"


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
        "consilium member propose admit --request 4A.request --fingerprint 0c4e-77f1-5f0c-21ab-93de",
        "consilium member propose suspend 2B --evidence report.pdf",
        "consilium member propose grade 2B --grade A2 --until 900000 --evidence letter.pdf",
        "consilium member propose parameters --set term_blocks=2000",
    ),
)
def propose_change(  # noqa: PLR0913  a proposal says all this
    change: Annotated[Change, typer.Argument(help="What to do.")],
    member: Annotated[str | None, typer.Argument(help="The id of the member it is about, if it is about one.")] = None,
    *,
    grade: Annotated[str | None, typer.Option(help="With `grade`: one of " + ", ".join(Grade.__members__) + ".")] = None,
    until: Annotated[int | None, typer.Option(help="With `grade`: the last height at which the grade counts.")] = None,
    request: Annotated[Path | None, typer.Option(help="With `admit`: the coming member's request.")] = None,
    compared: Annotated[
        str | None, typer.Option("--fingerprint", help="With --request: what the coming member has read to you.")
    ] = None,
    profile: Annotated[Path | None, typer.Option(help="With `admit`: JSON with its owner and keys.")] = None,
    keys: Annotated[Path | None, typer.Option(help="With `keys`: JSON with the new public keys.")] = None,
    authority: Annotated[
        Path | None, typer.Option(help="With `keys`: the member's authority under the new key, handed on to all.")
    ] = None,
    numbers: Annotated[list[str] | None, typer.Option("--set", help="With `parameters`: NAME=VALUE, repeatable.")] = None,
    version: Annotated[int | None, typer.Option(help="With `upgrade`: the protocol version.")] = None,
    height: Annotated[int | None, typer.Option(help="With `upgrade`: the first height of that version.")] = None,
    within: Annotated[int | None, typer.Option(help="In how many blocks it has to be decided.")] = None,
    evidence: Annotated[Path | None, typer.Option(help="The document behind it; its SHA-256 goes onto the ledger.")] = None,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Propose something to all members in your member's name; needs its administrator's credential.

    It is done in the block in which more than two thirds of the active members have said yes; proposing says yes.
    """
    asking = None if request is None else request.read_bytes()

    async def work(desk: Desk) -> Told:
        chosen = tuple(numbers or ())
        asked = await _asked(desk, change, asking, compared)
        draft = Draft(change, member, grade, until, profile, asked, keys, chosen, version, height, evidence, within)
        body = await draw_up(desk.alliance.session, draft)
        if authority is not None:
            await hand_on(desk.alliance, body, authority.read_bytes())
        motion = await propose(desk.alliance, body)
        return Told(motion_facts(motion), _shown(motion))

    at_desk(Options(settings, as_json), work)


async def _asked(desk: Desk, change: Change, data: bytes | None, compared: str | None) -> MemberProfile | None:
    """The profile in a coming member's request, its authority handed to the own member. Raises as `read_request`."""
    if data is None:
        return None
    if change is not Change.ADMIT or compared is None:
        raise InvalidArgument("BAD_PROPOSAL", "--request goes with `admit` and --fingerprint.", "G2")
    found = await read_request(desk.alliance.session, desk.settings.alliance, data, compared)
    await announce(desk.alliance, found)
    return found.card.card.profile


@app.command(
    "vote",
    epilog=examples("consilium member proposals", "consilium member vote 5f0c21ab yes"),
)
def vote(
    proposal: Annotated[str, typer.Argument(help="The proposal's id, or how it begins.")],
    word: Annotated[Word, typer.Argument(help="What your member says.")],
    *,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Say yes or no to an open proposal in your member's name, once and for all; needs its administrator's credential.

    Read what it does before: `consilium member proposals` shows all of it.
    """

    async def work(desk: Desk) -> Told:
        proposal_id = await named(desk.alliance.session, proposal)
        motion = await cast(desk.alliance, proposal_id, yes=word is Word.YES)
        return Told(motion_facts(motion), _shown(motion))

    at_desk(Options(settings, as_json), work)


@app.command(
    "proposals",
    epilog=examples("consilium member proposals", "consilium member proposals --closed --json"),
)
def list_proposals(
    *,
    closed: Annotated[bool, typer.Option("--closed", help="Also those that were decided or expired lately.")] = False,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """List the open proposals with all they do and what each member has said, proven by the ledger's state."""

    async def work(desk: Desk) -> Told:
        return _told_all(await motions(desk.alliance.session, closed=closed), desk.alliance.session.height)

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
        "next_keys": None
        if member.next_keys is None
        else {name: getattr(member.next_keys, name).hex() for name in KEY_FIELDS},
    }


def motion_facts(motion: Motion) -> dict[str, Any]:
    """A proposal as JSON shows it."""
    state = motion.state
    evidence = state.body.evidence_digest
    return {
        "proposal": motion.proposal_id.hex(),
        "author": state.author,
        "says": says(state.body.act),
        "state": state.status.name,
        "opened_height": state.opened_height,
        "decide_by": state.body.decide_by,
        "closed_height": state.closed_height,
        "outcome": None if state.outcome is None else state.outcome.name,
        "evidence": "" if evidence == ZERO_DIGEST else evidence.hex(),
        "yes": motion.yes,
        "no": motion.no,
        "active": motion.active,
        "yes_needed": motion.yes_needed,
        "ballots": [{"member": each.member_id, "yes": each.yes} for each in state.ballots],
        "act": act_facts(state.body.act),
    }


def act_facts(act: Act) -> dict[str, Any]:
    """Every field of what a proposal does."""
    match act:
        case MemberAct(action=action, profile=profile):
            return {"action": action.name, **profile_facts(profile)}
        case GradeAct(member_id=member_id, grade=grade, expires_height=height):
            return {"member": member_id, "grade": grade.name, "expires_height": height}
        case KeysAct(profile=profile, keys=keys):
            fresh = {f"new_{name}": getattr(keys, name).hex() for name in KEY_FIELDS}
            return {**profile_facts(profile), **fresh}
        case ParametersAct(before=before, after=after):
            pairs = changed(before, after).items()
            return {"numbers": [{"name": name, "before": old, "after": new} for name, (old, new) in pairs]}
        case UpgradeAct(version=version, height=height):
            return {"version": version, "height": height}


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
    facts = {name: str(value) for name, value in motion_facts(motion).items() if name not in ("ballots", "act")}
    facts |= {each.member_id: "yes" if each.yes else "no" for each in motion.state.ballots}
    facts |= {f"act: {name}": str(value) for name, value in act_facts(motion.state.body.act).items()}
    drawn = facts_table("Proposal", facts)
    if motion.state.status is not ProposalStatus.OPEN:
        return (drawn,)
    return (drawn, f"Next: the others run `consilium member vote {motion.proposal_id.hex()[:16]} yes` (or `no`).")


def _told_all(found: list[Motion], height: int) -> Told:
    drawn = table(f"Proposals at height {height}", "=id", "by", "says", "state", ">yes", ">no", ">needed", ">decide by")
    for each in found:
        state = each.state
        counts = (str(each.yes), str(each.no), str(each.yes_needed), str(state.body.decide_by))
        drawn.add_row(each.proposal_id.hex()[:16], state.author, says(state.body.act), state.status.name, *counts)
    whole = [shown for each in found for shown in _shown(each)[:1]]
    return Told({"height": height, "proposals": [motion_facts(each) for each in found]}, (drawn, *whole))
