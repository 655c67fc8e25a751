"""One delegate's key in two processes: a second start from a copied folder is turned away by everybody (rule C5)."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
import tomllib
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from consilium.api.consensus.v1 import consensus_pb2
from consilium.api.consensus.v1.consensus_pb2_grpc import ConsensusServiceStub
from consilium.api.ledger.v1 import ledger_pb2
from consilium.api.ledger.v1.ledger_pb2_grpc import LedgerServiceStub
from consilium.kernel.chain import CertifiedBlock
from consilium.kernel.encoding import decode
from consilium.kernel.opening import open_batch
from consilium.kernel.transactions import EvidenceBody
from consilium.runtime.channels import Channel, Peer
from consilium.runtime.tls import Tls
from consilium.sandbox.founders import ALLIANCE, founders_of
from consilium.sandbox.local import NOTHING, SANDBOX_PARAMETERS, SandboxAlliance, opened
from consilium.sandbox.ports import drawn_ports
from consilium.sandbox.settings import environment_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow
TWICE, OTHER = "3A", "1A"


def copied(alliance: SandboxAlliance, folder: Path) -> None:
    """The vote log as it lies there now, as a backup or a copied volume has it."""
    folder.mkdir()
    shutil.copytree(alliance.member(TWICE).folder / "consensus", folder / "consensus")


@contextmanager
def started_elsewhere(alliance: SandboxAlliance, folder: Path) -> Iterator[Path]:
    """A second process under the same key, with the copied vote log; the file of what it says."""
    settings = alliance.layout.settings_path(TWICE).read_text()
    moved = settings.replace(str(alliance.member(TWICE).folder / "consensus"), str(folder / "consensus"))
    section, rest = moved.split("\n[identity]")[0], moved[moved.index("\n[identity]") :]
    with drawn_ports(3) as first_port, (folder / "log").open("wb") as log:
        for port, name in enumerate(("port", "health_port", "metrics_port"), first_port):
            section = re.sub(rf"(?m)^{name} = \d+$", f"{name} = {port}", section)
        (folder / "settings.toml").write_text(section + rest)
        command = [sys.executable, "-m", "consilium.consensus"]
        environment = environment_for(folder / "settings.toml")
        running = subprocess.Popen(command, env=environment, cwd=alliance.folder, stdout=log, stderr=log)  # noqa: S603
        try:
            yield folder / "log"
        finally:
            running.kill()
            running.wait()


def told_to_stop(log: Path) -> dict[str, str]:
    """Who has said that the key is running elsewhere, and by what reason."""
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{") and line.endswith("}")]
    return {each["peer_member"]: each["reason"] for each in lines if each["event"] == "key_is_running_elsewhere"}


async def disowned(alliance: SandboxAlliance, folder: Path) -> list[str]:
    """Who takes the second process for the second, as it says itself to the member's people (`consilium status`)."""
    port = tomllib.loads((folder / "settings.toml").read_text())["consensus"]["port"]
    tls = Tls(alliance.member(TWICE).administrator, ALLIANCE)
    async with Channel(Peer(TWICE, "consensus", f"127.0.0.1:{port}"), tls) as channel:
        state = await ConsensusServiceStub(channel).GetReplicaState(consensus_pb2.GetReplicaStateRequest())
    return list(state.disowned_by_member_ids)


async def evidence(alliance: SandboxAlliance, last: int) -> list[EvidenceBody]:
    """What the ledger holds against anybody."""
    bodies = []
    async with alliance.member(OTHER).channel("ledger") as channel:
        for height in range(1, last + 1):
            answer = await LedgerServiceStub(channel).GetBlock(ledger_pb2.GetBlockRequest(height=height))
            block = decode(CertifiedBlock, answer.certified_block.encoded, alliance.genesis.chain_id)
            for data in block.batches:
                bodies += [each.payload.body for each in open_batch(data, alliance.genesis.chain_id).transactions]
    return [each for each in bodies if isinstance(each, EvidenceBody)]


@pytest.mark.parametrize(
    ("restarts", "reason"), [(0, "RUNNING_ELSEWHERE"), (1, "CLONED"), (2, "OLD_INCARNATION")], ids=["now", "old", "older"]
)
def test_a_second_start_of_one_key_is_turned_away_by_everybody(tmp_path: Path, restarts: int, reason: str) -> None:
    """C5: a copy of the running log, or an older one from a backup; it is told why, and no vote contradicts another."""

    async def scene(alliance: SandboxAlliance) -> None:
        for service in ("ledger", "consensus"):
            await alliance.start(name=service)
        await alliance.until_final(2)
        copied(alliance, tmp_path / "elsewhere")
        for _ in range(restarts):
            alliance.kill(TWICE, "consensus")
            await alliance.start(TWICE, "consensus")
            await alliance.until_final(3, TWICE)
        with started_elsewhere(alliance, tmp_path / "elsewhere") as log:
            while len(told := told_to_stop(log)) < len(alliance.members) - 1:  # noqa: ASYNC110  a file tells nobody
                await asyncio.sleep(0.1)
            assert set(told.values()) == {reason}
            if not restarts:
                assert await disowned(alliance, log.parent) == sorted(told)
            async with alliance.member(OTHER).channel("ledger") as channel:
                height = (await LedgerServiceStub(channel).GetTip(ledger_pb2.GetTipRequest())).executed_height
            await alliance.until_final(height + 3)
        assert await evidence(alliance, height + 3) == []

    with opened(tmp_path / "alliance", founders_of(4), SANDBOX_PARAMETERS, NOTHING) as alliance:
        asyncio.run(scene(alliance))
