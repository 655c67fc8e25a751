"""`consilium status` in an outage: one look names who is missing, since when, and what to do."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from consilium.api.consensus.v1 import consensus_pb2 as pb
from consilium.client.commands.absence import (
    Standing,
    absences,
    disowners,
    outlook,
    own_seat,
    own_silence,
    own_troubles,
)
from consilium.client.commands.status import own_standing, parameters_in_force
from consilium.client.session import Session
from consilium.kernel.codes import Code
from consilium.kernel.founding import first_committee
from consilium.kernel.parameters import Parameters
from consilium.kernel.signing import Ed25519Verifier
from consilium.kernel.state_values import MemberStatus
from consilium.kernel.transactions import MemberAct, MemberAction, ParametersAct
from consilium.sandbox.local import SandboxAlliance, sandbox
from consilium.sandbox.settings import environment_for
from tests.alliance import PARAMETERS
from tests.client.local_member import LocalAlliance
from tests.client.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def peer(name: str, *, connected: bool = True, silent_ms: int | None = 0) -> pb.PeerState:
    found = pb.PeerState(member_id=name, connected=connected)
    if silent_ms is not None:
        found.silent_ms = silent_ms
    return found


def test_absence_says_since_when_and_what_to_do() -> None:
    """L7: three heartbeats without a word are too many; a stream that does not open is at once."""
    peers = [
        peer("1A", silent_ms=14_000),
        peer("2A", silent_ms=65_000),
        peer("3A", connected=False, silent_ms=100),
        peer("3B", connected=False, silent_ms=None),
    ]
    found = absences(pb.GetReplicaStateResponse(peers=peers), "home", Parameters(), NOW)
    assert [each.member_id for each in found] == ["2A", "3A", "3B"]
    assert found[0].since == NOW - timedelta(seconds=65)
    assert "2A has not been heard of since 2026-01-02 03:03:00 UTC; its streams are open" in found[0].sentence
    assert "no stream to it opens" in found[1].sentence
    assert "3B has not been heard of since this member's consensus service started" in found[2].sentence
    assert all("Ask its operators" in each.sentence for each in found)


def test_a_member_without_a_seat_misses_only_whom_it_does_not_reach() -> None:
    """L7: delegates say nothing to those who only follow; that is no outage."""
    peers = [peer("1A", silent_ms=600_000), peer("2A", silent_ms=None), peer("3A", connected=False, silent_ms=100)]
    replica = pb.GetReplicaStateResponse(state=pb.REPLICA_STATE_SILENT, peers=peers)
    assert [each.member_id for each in absences(replica, None, Parameters(), NOW)] == ["3A"]
    assert [each.member_id for each in absences(replica, "home", Parameters(), NOW)] == ["1A", "2A", "3A"]


@pytest.mark.parametrize(
    ("missing", "says"),
    [
        (0, ""),
        (1, "6 of 7 delegates are heard, and 5 decide: blocks go on, and stop when 2 more are missing."),
        (2, "5 of 7 delegates are heard, and 5 decide: blocks go on, and stop when 1 more is missing."),
        (3, "4 of 7 delegates are heard, and 5 decide: no block can be decided until 1 more is back."),
        (5, "2 of 7 delegates are heard, and 5 decide: no block can be decided until 3 more are back."),
    ],
)
def test_outlook_counts_what_is_left(missing: int, says: str) -> None:
    peers = [peer(str(number), connected=number >= missing) for number in range(6)]
    found = absences(pb.GetReplicaStateResponse(peers=peers), "home", Parameters(), NOW)
    assert outlook(len(found), 7, 5, is_stalled=False) == says


def test_a_stall_with_a_quorum_heard_points_at_silent_ones() -> None:
    """C5: a replica that lost its votes speaks, and does not vote."""
    found = absences(pb.GetReplicaStateResponse(peers=[peer("1A", connected=False)]), "home", Parameters(), NOW)
    assert "SILENT is one whose vote log was lost" in outlook(len(found), 4, 3, is_stalled=True)


def test_the_own_delegate_is_missing_while_it_says_nothing() -> None:
    """C5, C10: its streams are open, and it counts for nobody; without a seat it is missed by none."""
    committee = pb.GetCommitteeResponse(delegates=[pb.Delegate(member_id=each) for each in ("1A", "2A", "3A", "3B")])
    replica = pb.GetReplicaStateResponse(state=pb.REPLICA_STATE_SILENT, peers=[peer(each) for each in ("1A", "3A", "3B")])
    own = own_seat(replica, committee)
    assert own == "2A"
    assert own_silence(replica, own).startswith("2A itself does not vote: its vote log is new")
    replica.state = pb.REPLICA_STATE_ORDERING
    assert own_silence(replica, own) == ""
    replica.state = pb.REPLICA_STATE_STOPPED
    assert "(C10)" in own_silence(replica, own)
    replica.peers.append(peer("2A"))
    assert own_seat(replica, committee) is None
    assert own_silence(replica, None) == "", "all seats are others'"


def test_what_is_wrong_with_the_member_itself_is_told_first() -> None:
    """G2, C5: suspended, started twice and silent at once: each with what to do, the gravest first."""
    committee = pb.GetCommitteeResponse(
        faults_max=1, delegates=[pb.Delegate(member_id=each) for each in ("1A", "2A", "3A", "3B")]
    )
    others = [peer(each, connected=False) for each in ("1A", "3A", "3B")]
    replica = pb.GetReplicaStateResponse(state=pb.REPLICA_STATE_ORDERING, peers=others, disowned_by_member_ids=["1A"])
    active = Standing("2A", MemberStatus.ACTIVE, 7)
    assert own_troubles(active, replica, committee) == [], "one of four may lie"
    replica.disowned_by_member_ids.append("3A")
    replica.state, replica.silent_up_to_height = pb.REPLICA_STATE_SILENT, 90
    suspended, twice, silent = own_troubles(Standing("2A", MemberStatus.SUSPENDED, 7), replica, committee)
    assert suspended.startswith("2A is suspended since height 7:")
    assert "consilium member propose reinstate 2A" in suspended
    assert twice.startswith("1A, 3A say that another process runs under this member's consensus key")
    assert disowners(replica, committee) == ["1A", "3A"]
    assert silent.endswith("the first that begins above height 90; leave it running.")
    assert own_troubles(Standing("2A", MemberStatus.EXPELLED, None), None, None)[0].startswith("2A is expelled: no other")
    assert own_troubles(None, None, None) == []


def test_standing_is_what_the_ledger_proves() -> None:
    """G2: the height is that of the suspension, and of the reinstatement after it."""
    local = LocalAlliance()
    session = Session(local.scribe.alliance.genesis, "anshan", local.members, Ed25519Verifier())
    profile = asyncio.run(session.member("anshan")).profile
    assert asyncio.run(own_standing(session)) == Standing("anshan", MemberStatus.ACTIVE, None)
    for action, status in ((MemberAction.SUSPEND, MemberStatus.SUSPENDED), (MemberAction.REINSTATE, MemberStatus.ACTIVE)):
        assert local.scribe.govern(MemberAct(action, profile)) == Code.APPLIED
        standing = asyncio.run(own_standing(session))
        assert standing == Standing("anshan", status, local.scribe.chain.tip.height)


def test_absence_goes_by_the_numbers_in_force() -> None:
    """G4: a slower heartbeat, adopted since genesis, counts from its epoch on."""
    local = LocalAlliance()
    session = Session(local.scribe.alliance.genesis, "anshan", local.members, Ed25519Verifier())
    after = replace(PARAMETERS, heartbeat_ms=2 * PARAMETERS.heartbeat_ms)
    assert local.scribe.govern(ParametersAct(PARAMETERS, after)) == Code.APPLIED
    assert asyncio.run(parameters_in_force(session)) == PARAMETERS
    local.scribe.cross_epoch()
    assert asyncio.run(parameters_in_force(session)) == after


# --- on a running alliance ---


@pytest.fixture(scope="module")
def alliance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxAlliance]:
    with sandbox(tmp_path_factory.mktemp("alliance")) as running:
        asyncio.run(running.until_final(2))
        yield running


@contextmanager
def watching(alliance: SandboxAlliance, member_id: str) -> Iterator[Callable[[Callable[[Any], bool]], Any]]:
    """`consilium status --watch --json` at work; what is yielded waits for a look that is as asked."""
    command = [sys.executable, "-c", "from consilium.start import main; main()", "status", "--watch", "--json"]
    environment = environment_for(alliance.member(member_id).client_settings)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:  # noqa: S603  ours
        assert process.stdout is not None
        looks = map(json.loads, process.stdout)
        try:
            yield lambda holds: next(look for look in looks if holds(look))
        finally:
            process.kill()


@pytest.mark.slow
def test_watch_sees_a_delegate_go_and_come_back(alliance: SandboxAlliance) -> None:
    """C2: with one of four silent blocks go on, and who looks is told in time."""
    home, cut_off = (each.member_id for each in first_committee(alliance.genesis).delegates[:2])
    with watching(alliance, home) as until:
        assert until(lambda look: not look["missing"])["advice"] == []
        alliance.pause(cut_off)
        try:
            look = until(lambda look: look["missing"] == [cut_off] and not look["stall"])
        finally:
            alliance.resume(cut_off)
        assert look["advice"][0].startswith(f"{cut_off} has not been heard of since 20")
        assert look["advice"][1].startswith("3 of 4 delegates are heard, and 3 decide: blocks go on")
        assert [each["member"] for each in look["committee"] if each["missing"]] == [cut_off]
        until(lambda look: not look["missing"])
        # The watch outlives the very service it asks.
        alliance.kill(home, "consensus")
        try:
            until(lambda look: not look["services"]["consensus"])
        finally:
            asyncio.run(alliance.start(home, "consensus"))
        until(lambda look: look["services"]["consensus"] and not look["missing"])


@pytest.mark.slow
def test_a_stall_names_everybody_who_is_missing(alliance: SandboxAlliance, tmp_path: Path) -> None:
    """Two of four are gone: exit code 1, their names, and how many have to come back."""
    home, *gone, _ = (each.member_id for each in first_committee(alliance.genesis).delegates)
    terminal = Terminal(tmp_path / "home", alliance.member(home).client_settings)
    for each in gone:
        alliance.kill(each, "consensus")
    try:
        with watching(alliance, home) as until:
            until(lambda look: look["stall"] and set(look["missing"]) == set(gone))
        facts, told = terminal.run("status", "--json"), terminal.run("status")
    finally:
        for each in gone:
            asyncio.run(alliance.start(each, "consensus"))
    assert (facts.code, told.code) == (1, 1)
    assert set(facts.facts["missing"]) == set(gone)
    assert facts.facts["advice"][-1].endswith("no block can be decided until 1 more is back.")
    for each in gone:
        assert f"{each} has not been heard of since" in told.out


@contextmanager
def draining(alliance: SandboxAlliance, member_id: str, service: str) -> Iterator[subprocess.Popen[str]]:
    """`consilium drain --json` at work, under the certificate of the service that is about to stop: as a pod's hook."""
    command = [
        sys.executable,
        "-c",
        "from consilium.start import main; main()",
        "drain",
        "--wait",
        "90",
        "--hold",
        "90",
        "--json",
    ]
    environment = environment_for(alliance.member(member_id).client_settings)
    environment["CONSILIUM_CLIENT_CREDENTIAL"] = str(alliance.member(member_id).folder / "tls" / service)
    with subprocess.Popen(  # noqa: S603  ours
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.slow
def test_two_members_drain_at_once_and_one_waits(alliance: SandboxAlliance) -> None:
    """ADR 23: one goes; the other is let go only once the first is back and votes."""
    members = [each.member_id for each in first_committee(alliance.genesis).delegates[:2]]
    with watching(alliance, members[0]) as until:
        until(lambda look: not look["missing"] and not look["stall"])
    with draining(alliance, members[0], "consensus") as one, draining(alliance, members[1], "ledger") as other:
        while (one.poll(), other.poll()) == (None, None):
            time.sleep(0.05)
        first, second = (0, 1) if one.poll() is not None else (1, 0)
        gone, waiting = (one, other)[first], (one, other)[second]
        assert gone.stdout is not None
        assert waiting.stderr is not None
        said = json.loads(gone.stdout.read())
        assert (gone.returncode, said["granted"], said["needed"]) == (0, True, 3)
        assert len([each for each in said["answers"] if each["granted"]]) >= 3
        assert any(f"{members[first]} goes first" in line for line in waiting.stderr)
        alliance.kill(members[first], "consensus")
        assert waiting.poll() is None
        asyncio.run(alliance.start(members[first], "consensus"))
        out, reasons = waiting.communicate(timeout=200)
        assert (waiting.returncode, json.loads(out)["granted"]) == (0, True), reasons


@pytest.mark.slow
def test_a_member_does_not_drain_while_another_is_missing(alliance: SandboxAlliance, tmp_path: Path) -> None:
    """ADR 23: three of four decide, so nobody goes while one is down; who is missing is named; --force goes."""
    home, gone = (each.member_id for each in first_committee(alliance.genesis).delegates[:2])
    terminal = Terminal(tmp_path / "home", alliance.member(home).client_settings)
    for each in (home, gone):
        Terminal(tmp_path / each, alliance.member(each).client_settings).run("drain", "--stay")
    alliance.kill(gone, "consensus")
    try:
        with watching(alliance, home) as until:
            until(lambda look: look["missing"] == [gone])
        refused, forced = terminal.run("drain", "--wait", "0"), terminal.run("drain", "--force")
    finally:
        asyncio.run(alliance.start(gone, "consensus"))
    assert (refused.code, forced.code) == (1, 0)
    assert f"{gone} does not vote, and without it too few would be left" in refused.out
    assert "blocks may stop until one of them is back" in forced.out
