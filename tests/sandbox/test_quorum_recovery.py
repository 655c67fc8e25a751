"""Two of four delegates are lost for good, and the members recover the quorum with the command line (rule C10, ADR 14)."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from consilium.api.consensus.v1 import consensus_pb2
from consilium.api.consensus.v1.consensus_pb2_grpc import ConsensusServiceStub
from consilium.api.ledger.v1 import ledger_pb2
from consilium.api.ledger.v1.ledger_pb2_grpc import LedgerServiceStub
from consilium.kernel.chain import CertifiedBlock
from consilium.kernel.encoding import decode
from consilium.sandbox.founders import founders_of
from consilium.sandbox.local import NOTHING, SANDBOX_PARAMETERS, SandboxAlliance, opened

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow
CONCERNED = ("ledger", "consensus", "identity")


def consilium(alliance: SandboxAlliance, member_id: str, *words: str, refused: bool = False) -> dict[str, Any]:
    """What the command says to a member's administrator."""
    program = "from consilium.client.cli import main; main()"
    settings = str(alliance.member(member_id).client_settings)
    command = [sys.executable, "-c", program, "recovery", *words, "--settings", settings, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  the command itself
    assert (done.returncode != 0) is refused, done.stdout + done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


async def replica(alliance: SandboxAlliance, member_id: str) -> consensus_pb2.GetReplicaStateResponse:
    """How a member's replica stands."""
    async with alliance.member(member_id).channel("consensus") as channel:
        asked = consensus_pb2.GetReplicaStateRequest()
        response: consensus_pb2.GetReplicaStateResponse = await ConsensusServiceStub(channel).GetReplicaState(asked)
    return response


async def headers(alliance: SandboxAlliance, member_id: str, last: int) -> list[bytes]:
    """The headers of a member's blocks up to a height."""
    found = []
    async with alliance.member(member_id).channel("ledger") as channel:
        stub = LedgerServiceStub(channel)
        for height in range(1, last + 1):
            answer = await stub.GetBlock(ledger_pb2.GetBlockRequest(height=height))
            found.append(decode(CertifiedBlock, answer.certified_block.encoded, alliance.genesis.chain_id).header)
    return found


async def start(alliance: SandboxAlliance, member_ids: list[str]) -> None:
    """Start what orders and governs, of these members."""
    for service in CONCERNED:
        await asyncio.gather(*(alliance.start(each, service) for each in member_ids))


def test_a_lost_quorum_is_recovered_with_the_command_line(tmp_path: Path) -> None:
    """C10: blocks go on under the drawn committee; what was final stays; the lost come back without a vote and follow."""
    parameters = replace(SANDBOX_PARAMETERS, committee_target=4, term_blocks=10_000)

    async def scene(alliance: SandboxAlliance) -> None:
        await start(alliance, list(alliance.members))
        await alliance.until_final(3)
        async with alliance.member(next(iter(alliance.members))).channel("consensus") as channel:
            sitting = await ConsensusServiceStub(channel).GetCommittee(consensus_pb2.GetCommitteeRequest())
        lost = sorted(each.member_id for each in sitting.delegates)[:2]
        left = [each for each in alliance.members if each not in lost]
        for each in lost:
            alliance.kill(each)
        final = (await replica(alliance, left[0])).certified_height
        before = await headers(alliance, left[0], final)

        refusal = consilium(alliance, left[0], "sign", "--lost", lost[0], refused=True)
        assert refusal["error"]["reason"] == "TOO_FEW_REPORTS"
        for each in left:
            assert consilium(alliance, each, "stop", "0")["epoch"] == 0
        names = [word for each in lost for word in ("--lost", each)]
        first = consilium(alliance, left[0], "sign", *names)
        assert first["lost"] == lost
        assert not set(first["next_committee"]) & set(lost)
        assert consilium(alliance, left[0], "apply", refused=True)["taken_by"] == [], "one signature is too few"
        for each in left[1:]:
            signed = consilium(alliance, each, "sign")
            assert signed["digest"] == first["digest"]
        known = consilium(alliance, left[-1], "status")
        assert {each["signed"] for each in known["members"]} == {first["digest"]}
        assert sorted(known["not_heard"]) == lost
        assert consilium(alliance, left[-1], "apply")["taken_by"] == left

        goal = first["last_height"] + 3
        await asyncio.gather(*(alliance.until_final(goal, each) for each in left))
        assert await headers(alliance, left[-1], final) == before, "what was final stays"
        state = await replica(alliance, left[0])
        assert state.epoch == 1

        await start(alliance, lost)
        await asyncio.gather(*(alliance.until_final(goal + 2, each) for each in lost))
        for each in lost:
            assert await headers(alliance, each, goal) == await headers(alliance, left[0], goal)
            assert (await replica(alliance, each)).state == consensus_pb2.REPLICA_STATE_FOLLOWING
        assert consilium(alliance, left[0], "status", "--epoch", "0")["recovery"]["digest"] == first["digest"]

    with opened(tmp_path, founders_of(7), parameters, NOTHING) as alliance:
        asyncio.run(scene(alliance))
