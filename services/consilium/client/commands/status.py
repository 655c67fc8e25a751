"""`consilium status`: how the alliance stands as seen from the home member: committee, view, height, who is missing.

This is what the member says of itself, to people who run it, and proves nothing. A stall, or a service of the home member
out of reach, ends with exit code 1, so that a watchdog can use it.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.live import Live

from consilium.api.consensus.v1 import consensus_pb2
from consilium.api.consensus.v1.consensus_pb2_grpc import ConsensusServiceStub
from consilium.api.ledger.v1 import ledger_pb2
from consilium.api.ledger.v1.ledger_pb2_grpc import LedgerServiceStub
from consilium.client.commands.desk import AsJson, Desk, Options, SettingsFile, at_desk
from consilium.client.commands.telling import DONE, UNTRUE, Told, console, facts_table, table, tell
from consilium.kernel.errors import ConsiliumError, PermissionDenied
from consilium.kernel.membership import SERVICES
from consilium.runtime.channels import typed

WATCH_S = 1
"""How often `--watch` looks, in seconds."""
REACH_S = 3
"""How long a service has to take a connection, in seconds."""


def status(
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Look again every second, until Ctrl-C.")] = False,
    settings: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Show how the alliance stands from here: committee, view, height and its age, who is missing, the home's services.

    Exit code 1 during a stall, or when a service of the home member cannot be reached.
    """

    async def work(desk: Desk) -> Told:
        if watch:
            await _watch(desk)
        return await _look(desk)

    at_desk(Options(settings, as_json), work)


async def _watch(desk: Desk) -> None:
    """Show how it stands until interrupted."""
    with _showing(desk) as show:
        while True:
            show(await _look(desk))
            await asyncio.sleep(WATCH_S)


@contextmanager
def _showing(desk: Desk) -> Iterator[Any]:
    """For machines a line each time; for people one picture that changes."""
    if desk.options.as_json:
        yield lambda told: tell(Told(told.facts, ()), as_json=True)
    else:
        with Live(console=console(), auto_refresh=False) as live:
            yield lambda told: live.update(Group(*told.shown), refresh=True)


async def _look(desk: Desk) -> Told:
    """Ask the home member's services, all at once."""
    reached = dict(zip(SERVICES, await asyncio.gather(*(_reached(desk, each) for each in SERVICES)), strict=True))
    tip, committee, replica = await asyncio.gather(_tip(desk), _committee(desk), _replica(desk))
    facts = {
        "member": desk.settings.member_id,
        **_tip_facts(tip),
        "epoch": committee.epoch,
        "faults_max": committee.faults_max,
        "quorum": committee.quorum,
        **_replica_facts(replica),
        "committee": _seats(committee, replica),
        "services": reached,
    }
    facts["missing"] = [each["member"] for each in facts["committee"] if each["missing"]]
    is_well = all(reached.values()) and not facts["stall"]
    return Told(facts, _shown(facts), DONE if is_well else UNTRUE)


async def _reached(desk: Desk, service: str) -> bool:
    """Whether a service of the home member takes a connection under its certificate."""
    try:
        async with asyncio.timeout(REACH_S):
            await desk.alliance.channel(desk.settings.member_id, service).channel_ready()
    except (TimeoutError, ConsiliumError):
        return False
    return True


async def _tip(desk: Desk) -> ledger_pb2.GetTipResponse:
    with typed():
        return await LedgerServiceStub(desk.alliance.channel(desk.settings.member_id, "ledger")).GetTip(
            ledger_pb2.GetTipRequest()
        )


async def _committee(desk: Desk) -> consensus_pb2.GetCommitteeResponse:
    stub = ConsensusServiceStub(desk.alliance.channel(desk.settings.member_id, "consensus"))
    with typed():
        return await stub.GetCommittee(consensus_pb2.GetCommitteeRequest())


async def _replica(desk: Desk) -> consensus_pb2.GetReplicaStateResponse | None:
    """How the replica stands; None for who may not ask, such as a patient."""
    stub = ConsensusServiceStub(desk.alliance.channel(desk.settings.member_id, "consensus"))
    try:
        with typed():
            return await stub.GetReplicaState(consensus_pb2.GetReplicaStateRequest())
    except PermissionDenied:
        return None


def _tip_facts(tip: ledger_pb2.GetTipResponse) -> dict[str, Any]:
    return {"executed_height": tip.executed_height, "tip_age_ms": tip.age_ms}


def _replica_facts(replica: consensus_pb2.GetReplicaStateResponse | None) -> dict[str, Any]:
    """The replica's own word; nulls for who may not ask."""
    if replica is None:
        return dict.fromkeys(("state", "height", "view", "primary", "waiting_transactions"), None) | {"stall": ""}
    return {
        "state": consensus_pb2.ReplicaState.Name(replica.state).removeprefix("REPLICA_STATE_"),
        "height": replica.certified_height,
        "view": replica.view,
        "primary": replica.primary_member_id,
        "waiting_transactions": replica.waiting_transactions,
        "stall": replica.stall_diagnosis,
    }


def _seats(
    committee: consensus_pb2.GetCommitteeResponse, replica: consensus_pb2.GetReplicaStateResponse | None
) -> list[dict[str, Any]]:
    """The delegates in the order of their seats, with how each looks from here."""
    peers = {each.member_id: each for each in replica.peers} if replica is not None else {}
    return [
        {
            "seat": each.seat,
            "member": each.member_id,
            "primary": replica is not None and each.member_id == replica.primary_member_id,
            "connected": peers[each.member_id].connected if each.member_id in peers else None,
            "missing": peers[each.member_id].missing if each.member_id in peers else False,
            "silent_ms": _silent_ms(peers.get(each.member_id)),
        }
        for each in committee.delegates
    ]


def _silent_ms(peer: consensus_pb2.PeerState | None) -> int | None:
    return peer.silent_ms if peer is not None and peer.HasField("silent_ms") else None


def _shown(facts: dict[str, Any]) -> tuple[RenderableType, ...]:
    unreached = [f"[red]{name} out of reach[/]" for name, is_there in facts["services"].items() if not is_there]
    head = facts_table(
        f"Seen from {facts['member']}",
        {
            "height": f"{facts['executed_height']}, {facts['tip_age_ms'] / 1_000:.1f} s old",
            "epoch, view": f"{facts['epoch']}, {_or_dash(facts['view'])}",
            "primary": _or_dash(facts["primary"]),
            "replica": _or_dash(facts["state"]),
            "waiting": _or_dash(facts["waiting_transactions"]),
            "services": ", ".join(unreached) or "all five reached",
            "missing": ", ".join(facts["missing"]) or "nobody",
        },
    )
    seats = table(
        f"Committee: {facts['quorum']} of {len(facts['committee'])} decide", ">seat", "=member", "state", "last heard"
    )
    for each in facts["committee"]:
        seats.add_row(str(each["seat"]), each["member"], *_looks(each))
    stall = (f"[red]{facts['stall']}[/]",) if facts["stall"] else ()
    return (head, seats, *stall)


def _looks(seat: dict[str, Any]) -> tuple[str, str]:
    """A delegate's state in a word, and when it was heard of."""
    word = "[red]missing[/]" if seat["missing"] else "[yellow]not connected[/]" if seat["connected"] is False else "voting"
    heard = "" if seat["silent_ms"] is None else f"{seat['silent_ms'] / 1_000:.1f} s ago"
    return ("[bold]primary[/]" if seat["primary"] and word == "voting" else word), heard


def _or_dash(value: object) -> str:
    return "-" if value is None else str(value)
