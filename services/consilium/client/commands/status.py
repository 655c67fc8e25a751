"""`consilium status`: how the alliance stands as seen from the home member: committee, view, height, who is missing.

This is what the member says of itself, to people who run it, and proves nothing but how it stands on the ledger. What is
wrong with the member itself comes first: suspended, or started twice, it sees others as missing who are not. That, a stall,
or a service of the home member out of reach ends with exit code 1, so that a watchdog can use it; the rest is shown too.
"""

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from consilium.api.consensus.v1 import consensus_pb2
from consilium.api.consensus.v1.consensus_pb2_grpc import ConsensusServiceStub
from consilium.api.ledger.v1 import ledger_pb2
from consilium.api.ledger.v1.ledger_pb2_grpc import LedgerServiceStub
from consilium.client.commands.absence import (
    Standing,
    absences,
    disowners,
    outlook,
    own_seat,
    own_silence,
    own_troubles,
    utc_now,
)
from consilium.client.commands.desk import AsJson, Desk, Options, SettingsFile, at_home
from consilium.client.commands.telling import DONE, UNTRUE, Told, console, facts_table, styled, table, tell
from consilium.client.session import Session
from consilium.kernel.errors import ConsiliumError, DeadlineExceeded, PermissionDenied, Unavailable
from consilium.kernel.membership import SERVICES
from consilium.kernel.parameters import Parameters
from consilium.runtime.channels import typed

Answer = TypeVar("Answer")
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

    Exit code 1 during a stall, when the home member takes no part, or a service of it cannot be reached; 3 when none can.
    """

    async def work(desk: Desk) -> Told:
        if watch:
            await _watch(desk)
        told = await look(desk)
        if not any(told.facts["services"].values()):
            raise Unavailable("NO_SERVICE", f"No service of {desk.settings.member_id} can be reached.")
        return told

    at_home(Options(settings, as_json), work)


async def _watch(desk: Desk) -> None:
    """Show how it stands until interrupted."""
    with _showing(desk) as show:
        while True:
            show(await look(desk))
            await asyncio.sleep(WATCH_S)


@contextmanager
def _showing(desk: Desk) -> Iterator[Any]:
    """For machines a line each time; for people one picture that changes."""
    if desk.options.as_json:
        yield lambda told: tell(Told(told.facts, ()), as_json=True)
    else:
        with Live(console=console(), auto_refresh=False) as live:
            yield lambda told: live.update(Group(*told.shown), refresh=True)


async def look(desk: Desk) -> Told:
    """How the alliance stands from here: the home member's services, asked all at once."""
    reached = dict(zip(SERVICES, await asyncio.gather(*(_reached(desk, each) for each in SERVICES)), strict=True))
    tip, standing, parameters, committee, replica = await asyncio.gather(
        _answer(_tip(desk), is_asked=reached["ledger"]),
        _answer(own_standing(desk.alliance.session), is_asked=reached["ledger"]),
        _answer(parameters_in_force(desk.alliance.session), is_asked=reached["ledger"]),
        _answer(_committee(desk), is_asked=reached["consensus"]),
        _answer(_replica(desk), is_asked=reached["consensus"]),
    )
    facts = {
        "member": desk.settings.member_id,
        **_own_facts(standing, replica, committee),
        **_tip_facts(tip),
        **_committee_facts(committee),
        **_replica_facts(replica),
        "services": reached,
        **_committee_seen(parameters or desk.alliance.genesis.parameters, committee, replica, standing),
    }
    is_answered = all(reached.values()) and tip is not None and committee is not None
    is_well = is_answered and not facts["stall"] and not facts["troubles"] and _is_quorum_there(facts)
    return Told(facts, _shown(facts), DONE if is_well else UNTRUE)


def _is_quorum_there(facts: dict[str, Any]) -> bool:
    """Whether as many delegates are left as decide."""
    return bool(len(facts["committee"]) - len(facts["missing"]) >= facts["quorum"])


async def _answer(question: Coroutine[Any, Any, Answer], *, is_asked: bool) -> Answer | None:
    """What a service answers; None where it is out of reach, or has gone there since."""
    if not is_asked:
        question.close()
        return None
    try:
        return await question
    except (Unavailable, DeadlineExceeded):
        return None


async def _reached(desk: Desk, service: str) -> bool:
    """Whether a service of the home member takes a connection under its certificate."""
    try:
        async with asyncio.timeout(REACH_S):
            await desk.alliance.channel(desk.settings.member_id, service).channel_ready()
    except (TimeoutError, ConsiliumError):
        return False
    return True


async def parameters_in_force(session: Session) -> Parameters | None:
    """The alliance's numbers as the ledger proves them (G4); None where it cannot, for status is told all the same."""
    try:
        return (await session.alliance()).parameters
    except ConsiliumError:
        return None


async def own_standing(session: Session) -> Standing | None:
    """How the home member stands, as the ledger proves it; None where it cannot."""
    try:
        status = (await session.member(session.home_id)).status
        return Standing(session.home_id, status, await session.changed_height(session.home_id))
    except ConsiliumError:
        return None


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


def _own_facts(
    standing: Standing | None,
    replica: consensus_pb2.GetReplicaStateResponse | None,
    committee: consensus_pb2.GetCommitteeResponse | None,
) -> dict[str, Any]:
    """What to know first: how the home member itself stands, and what is wrong with it."""
    return {
        "standing": None if standing is None else standing.status.name,
        "since_height": None if standing is None else standing.since_height,
        "troubles": own_troubles(standing, replica, committee),
    }


def _tip_facts(tip: ledger_pb2.GetTipResponse | None) -> dict[str, Any]:
    if tip is None:
        return dict.fromkeys(("executed_height", "tip_age_ms", "alliance_height", "known_version", "upgrade"))
    upgrade = {"version": tip.upgrade_version, "height": tip.upgrade_height}
    return {
        "executed_height": tip.executed_height,
        "tip_age_ms": tip.age_ms,
        "alliance_height": tip.alliance_height,
        "known_version": tip.known_version,
        "upgrade": upgrade if tip.HasField("upgrade_version") else None,
    }


def _upgrade_words(facts: dict[str, Any]) -> tuple[RenderableType, ...]:
    """What is coming, and whether this member has to do something about it (G5)."""
    upgrade, known = facts["upgrade"], facts["known_version"]
    if upgrade is None:
        return ()
    words = f"From height {upgrade['height']} on the alliance goes by protocol version {upgrade['version']}."
    if upgrade["version"] <= known:
        return (words,)
    return (styled(f"{words} This member's build knows {known}: install a newer release before.", "red"),)


def _committee_facts(committee: consensus_pb2.GetCommitteeResponse | None) -> dict[str, Any]:
    if committee is None:
        return {"epoch": None, "faults_max": None, "quorum": None}
    return {"epoch": committee.epoch, "faults_max": committee.faults_max, "quorum": committee.quorum}


def _replica_facts(replica: consensus_pb2.GetReplicaStateResponse | None) -> dict[str, Any]:
    """The replica's own word; nulls for who may not ask, and where nobody answered."""
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


def _committee_seen(
    parameters: Parameters,
    committee: consensus_pb2.GetCommitteeResponse | None,
    replica: consensus_pb2.GetReplicaStateResponse | None,
    standing: Standing | None,
) -> dict[str, Any]:
    """The delegates, who of them is missing, and what to do about it; a member that is shut out cannot tell."""
    if committee is None or replica is None or (standing is not None and not standing.is_active):
        return {"committee": _seats(committee, replica, []), "missing": [], "advice": []}
    own = own_seat(replica, committee)
    refusing = disowners(replica, committee)  # they are there, and hear another process
    absent = [each for each in absences(replica, own, parameters, utc_now()) if each.member_id not in refusing]
    names, advice = [each.member_id for each in absent], [each.sentence for each in absent]
    if own is not None and own_silence(replica, own):
        names.append(own)
    if names:
        is_stalled = bool(replica.stall_diagnosis)
        advice.append(outlook(len(names), len(committee.delegates), committee.quorum, is_stalled=is_stalled))
    return {"committee": _seats(committee, replica, names), "missing": names, "advice": advice}


def _seats(
    committee: consensus_pb2.GetCommitteeResponse | None,
    replica: consensus_pb2.GetReplicaStateResponse | None,
    missing: list[str],
) -> list[dict[str, Any]]:
    """The delegates in the order of their seats, with how each looks from here; none where consensus is silent."""
    peers = {each.member_id: each for each in replica.peers} if replica is not None else {}
    return [
        {
            "seat": each.seat,
            "member": each.member_id,
            "primary": replica is not None and each.member_id == replica.primary_member_id,
            "connected": peers[each.member_id].connected if each.member_id in peers else None,
            "missing": each.member_id in missing,
            "silent_ms": _silent_ms(peers.get(each.member_id)),
        }
        for each in ([] if committee is None else committee.delegates)
    ]


def _silent_ms(peer: consensus_pb2.PeerState | None) -> int | None:
    return peer.silent_ms if peer is not None and peer.HasField("silent_ms") else None


def _shown(facts: dict[str, Any]) -> tuple[RenderableType, ...]:
    unreached = [f"{name} out of reach" for name, is_there in facts["services"].items() if not is_there]
    age = "" if facts["tip_age_ms"] is None else f", {facts['tip_age_ms'] / 1_000:.1f} s old"
    head = facts_table(
        f"Seen from {facts['member']}",
        {
            "stands": _or_dash(facts["standing"]),
            "height": _or_dash(facts["executed_height"]) + age,
            "final by the alliance": f"up to {_or_dash(facts['alliance_height'])}",
            "epoch, view": f"{_or_dash(facts['epoch'])}, {_or_dash(facts['view'])}",
            "primary": _or_dash(facts["primary"]),
            "replica": _or_dash(facts["state"]),
            "waiting": _or_dash(facts["waiting_transactions"]),
            "services": styled(", ".join(unreached), "red") if unreached else "all five reached",
            "missing": ", ".join(facts["missing"]) or "nobody",
        },
    )
    seats = table(
        f"Committee: {_or_dash(facts['quorum'])} of {len(facts['committee'])} decide",
        ">seat",
        "=member",
        "state",
        "last heard",
    )
    for each in facts["committee"]:
        seats.add_row(str(each["seat"]), each["member"], *_looks(each))
    troubles = [styled(each, "bold red") for each in facts["troubles"]]
    stall = (styled(facts["stall"], "red"),) if facts["stall"] else ()
    return (*troubles, head, seats, *_upgrade_words(facts), *stall, *(styled(each, "yellow") for each in facts["advice"]))


def _looks(seat: dict[str, Any]) -> tuple[Text, str]:
    """A delegate's state in a word, and when it was heard of."""
    heard = "" if seat["silent_ms"] is None else f"{seat['silent_ms'] / 1_000:.1f} s ago"
    if seat["missing"]:
        return styled("missing", "red"), heard
    return (styled("primary", "bold") if seat["primary"] else styled("voting")), heard


def _or_dash(value: object) -> str:
    return "-" if value is None else str(value)
