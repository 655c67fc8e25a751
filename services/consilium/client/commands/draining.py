"""`consilium drain`: wait until this member's replica may be stopped on purpose (ADR 23). It stops nothing itself.

Made for what stops pods: a hook before an upgrade, and one before a container is told to end. The other delegates answer;
here it is asked again until they agree or the time is up, and said whom it waits for.
"""

import asyncio
import random
import sys
from typing import Annotated, Any

import typer

from consilium.api.consensus.v1 import consensus_pb2 as pb
from consilium.api.consensus.v1.consensus_pb2_grpc import ConsensusServiceStub
from consilium.client.commands.desk import AsJson, Desk, Options, SettingsFile, at_home
from consilium.client.commands.telling import DONE, UNTRUE, Told
from consilium.runtime.channels import typed

ASK_AGAIN_S = (0.5, 1.5)
"""The least and the longest pause before the others are asked again: at random, so that two who ask do not keep step."""
_RISK = "It goes without the others' word: if another delegate goes as well, blocks may stop until one of them is back."


def drain(
    *,
    wait: Annotated[int, typer.Option(help="For how many seconds to wait for the others.", min=0, max=86_400)] = 300,
    hold: Annotated[int, typer.Option(help="For how many seconds the others are to hold the place.", min=1, max=600)] = 120,
    force: Annotated[bool, typer.Option("--force", help="Ask once, and go whatever the others say.")] = False,
    stay: Annotated[bool, typer.Option("--stay", help="Give the permission back: this member stays after all.")] = False,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Wait until the other delegates let this member's replica be stopped: one at a time, and never below a quorum.

    Exit code 0 when it may go, or has no seat; 1 when they do not agree in time; 3 when its own consensus service does not
    answer. Nothing is stopped by it, and nobody who does not ask is held.
    """

    async def work(desk: Desk) -> Told:
        if stay:
            await _ask(desk, 0)
            return Told(_facts(desk, None), (f"{desk.settings.member_id} stays; the others may go again.",))
        said = await _asked_until(desk, hold, 0 if force else wait)
        words = sentence(desk.settings.member_id, said, hold)
        shown = (words,) if said.granted or not force else (words, _RISK)
        return Told(_facts(desk, said), shown, DONE if said.granted or force else UNTRUE)

    at_home(Options(settings, as_json), work)


async def _asked_until(desk: Desk, hold_s: int, wait_s: int) -> pb.AskLeaveResponse:
    """Ask until it is granted or the time is up, telling whom it waits for whenever that changes; the last answer."""
    loop, told = asyncio.get_running_loop(), ""
    ends_s = loop.time() + wait_s
    while True:
        said = await _ask(desk, hold_s)
        if said.granted or loop.time() >= ends_s:
            return said
        words = sentence(desk.settings.member_id, said, hold_s)
        if words != told:
            sys.stderr.write(f"{words}\n")
            told = words
        await asyncio.sleep(random.uniform(*ASK_AGAIN_S))  # noqa: S311  only to get out of step


async def _ask(desk: Desk, hold_s: int) -> pb.AskLeaveResponse:
    stub = ConsensusServiceStub(desk.alliance.channel(desk.settings.member_id, "consensus"))
    with typed():
        return await stub.AskLeave(pb.AskLeaveRequest(hold_seconds=hold_s))


def sentence(member_id: str, said: pb.AskLeaveResponse, hold_s: int) -> str:
    """What the others say, for people: whom it waits for, and why."""
    if said.granted and not said.needed:
        return f"{member_id} has no seat in the committee and may go."
    agree = [each.member_id for each in said.answers if each.word.granted]
    counted = f"{len(agree)} delegates agree"
    if said.granted:
        return f"{member_id} may go: {counted} ({', '.join(agree)}), for {hold_s} s or until it votes again."
    return f"{member_id} waits: {counted}, and {said.needed} have to; {'; '.join(_reasons(said)) or 'asked again'}."


def _reasons(said: pb.AskLeaveResponse) -> list[str]:
    """Who goes before it, who does not vote as seen by whom, and who does not answer."""
    holders = {each.word.holder_member_id for each in said.answers if each.reached and not each.word.granted} - {""}
    missing = {name for each in said.answers for name in each.word.missing_member_ids}
    silent = [each.member_id for each in said.answers if not each.reached]
    found = [f"{name} goes first" for name in sorted(holders)]
    found += [f"{name} does not vote, and without it too few would be left" for name in sorted(missing)]
    return found + [f"{name} does not answer" for name in silent]


def _facts(desk: Desk, said: pb.AskLeaveResponse | None) -> dict[str, Any]:
    answers = [] if said is None else said.answers
    return {
        "member": desk.settings.member_id,
        "granted": said is not None and said.granted,
        "needed": 0 if said is None else said.needed,
        "answers": [
            {
                "member": each.member_id,
                "reached": each.reached,
                "granted": each.word.granted,
                "holder": each.word.holder_member_id or None,
                "holder_s": each.word.holder_seconds,
                "missing": list(each.word.missing_member_ids),
            }
            for each in answers
        ],
    }
