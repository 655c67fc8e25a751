"""`consilium election`: who may be drawn and how members have served, proven by the ledger; votes for delegates (C6)."""

from pathlib import Path
from typing import Annotated, Any

import typer

from consilium.client.commands.desk import AsJson, Desk, Options, SettingsFile, at_desk
from consilium.client.commands.telling import Told, examples, facts_table, styled, table, verbs
from consilium.client.keys import read_member_key
from consilium.client.numbers import whole_number
from consilium.client.session import require
from consilium.kernel.election import SCORE_MIN, TERMS_RUNNING_MAX, stratum_of
from consilium.kernel.errors import InvalidArgument
from consilium.kernel.state_values import MemberState
from consilium.kernel.transactions import Points, VoteBody

MemberKey = Annotated[Path, typer.Option(help="The file with the member's own key: 32 bytes, mode 0600.")]
app = verbs("election", "Elections: conduct, votes for delegates, and how a committee came about.")


@app.command(
    epilog=examples("consilium election show", "consilium election show --json | jq '.members[] | select(.jailed)'")
)
def show(*, settings: SettingsFile = None, as_json: AsJson = False) -> None:
    """Show every member's score, jail, terms running and vote, each proven by the ledger's state."""

    async def work(desk: Desk) -> Told:
        session = desk.alliance.session
        members, epoch = await session.all_members(), session.epoch
        lines = [conduct_facts(each, epoch) for each in members]
        columns = ("member", ">stratum", ">score", "state", ">terms running", ">missed of 50", "votes for")
        drawn = table(f"Conduct in epoch {epoch}", *columns)
        for each, member in zip(lines, members, strict=True):
            given = ", ".join(f"{name} {points}" for name, points in each["vote"].items())
            drawn.add_row(
                each["member"],
                str(stratum_of(member.grade_at(session.height))),
                str(each["score"]),
                styled(each["state"], "" if each["eligible"] else "red"),
                str(each["terms_running"]),
                str(each["missed"]),
                given,
            )
        return Told({"height": session.height, "epoch": epoch, "members": lines}, (drawn,))

    at_desk(Options(settings, as_json), work)


@app.command(
    epilog=examples(
        "consilium election vote 3B=2 1A=1 --member-key keys/member", "consilium election vote --member-key keys/member"
    )
)
def vote(
    points: Annotated[list[str] | None, typer.Argument(help="MEMBER=POINTS, at most five; none withdraws the vote.")] = None,
    *,
    member_key: MemberKey,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Give your member's points to those it would have as delegates; they count in the next three terms' draws.

    A member has as many points as its grade's number (3S 10, 3A 9, ... 1C and ungraded 1), none for its own owner group; who
    gives more than one gives them in two strata at least. A new vote replaces the last.
    """

    async def work(desk: Desk) -> Told:
        body = VoteBody(tuple([_points(each) for each in points or []]))
        verified = require(await desk.alliance.session.perform(body, read_member_key(member_key)))
        given = {each.member_id: each.points for each in body.points}
        facts = {"height": verified.height, "transaction": verified.transaction_hash.hex(), "vote": given}
        return Told(facts, (facts_table("Voted", {name: str(value) for name, value in facts.items()}),))

    at_desk(Options(settings, as_json), work)


def conduct_facts(member: MemberState, epoch: int) -> dict[str, Any]:
    """How a member has served, as far as it counts for the draws to come; `epoch` is the one that goes on."""
    conduct = member.conduct
    jailed = conduct.jailed_until > epoch + 1
    bars = (
        (not member.is_active, member.status.name.lower()),
        (member.tombstoned, "tombstoned"),
        (jailed, f"jailed until epoch {conduct.jailed_until}"),
        (member.score < SCORE_MIN, f"score below {SCORE_MIN}"),
        (conduct.silent, "silent"),
    )
    reasons = [words for holds, words in bars if holds]
    resting = "rests" if conduct.terms_running >= TERMS_RUNNING_MAX else "eligible"
    return {
        "member": member.profile.member_id,
        "score": member.score,
        "state": ", ".join(reasons) or resting,
        "eligible": not reasons,
        "jailed": jailed,
        "jailed_until": conduct.jailed_until,
        "tombstoned": member.tombstoned,
        "terms_running": conduct.terms_running,
        "terms_left": max(0, TERMS_RUNNING_MAX - conduct.terms_running),
        "missed": conduct.missed.bit_count(),
        "vote": {} if member.vote is None else {each.member_id: each.points for each in member.vote.points},
        "vote_epoch": None if member.vote is None else member.vote.epoch,
    }


def _points(text: str) -> Points:
    """Raises InvalidArgument: BAD_POINTS."""
    name, _, digits = text.rpartition("=")
    points = whole_number(digits)
    if not name or points is None:
        raise InvalidArgument("BAD_POINTS", f"{text[:80]!r} is not MEMBER=POINTS, as in 3B=2.", "C6")
    return Points(name, points)
