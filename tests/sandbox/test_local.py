"""A whole alliance of processes: blocks become final, a delegate dies and comes back, and the command keeps one running."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from consilium.api.ledger.v1 import ledger_pb2
from consilium.api.ledger.v1.ledger_pb2_grpc import LedgerServiceStub
from consilium.kernel.certificates import ResultCertificate
from consilium.kernel.chain import Header
from consilium.kernel.encoding import decode
from consilium.kernel.hashing import sha256
from consilium.sandbox.founders import founders_of
from consilium.sandbox.local import NOTHING, SANDBOX_PARAMETERS, SandboxAlliance, opened, sandbox

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def alliance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxAlliance]:
    """Four members, up; a test leaves them as it found them."""
    with sandbox(tmp_path_factory.mktemp("alliance"), founders=founders_of(4)) as alliance:
        yield alliance


async def tip(alliance: SandboxAlliance, member_id: str) -> ledger_pb2.GetTipResponse:
    """A member's tip, asked for over mutual TLS with its administrator's credential."""
    async with alliance.member(member_id).channel("ledger") as channel:
        response: ledger_pb2.GetTipResponse = await LedgerServiceStub(channel).GetTip(ledger_pb2.GetTipRequest())
    return response


def test_blocks_become_final(alliance: SandboxAlliance) -> None:
    """L3: every member shows a header under a result certificate that names it."""

    async def scene() -> None:
        await alliance.until_final(1)
        for name in alliance.members:
            response = await tip(alliance, name)
            header = decode(Header, response.header, alliance.genesis.chain_id)
            certificate = decode(ResultCertificate, response.result_certificate, alliance.genesis.chain_id)
            assert certificate.result.block_hash == sha256(response.header)
            assert certificate.result.height == header.height >= 1

    asyncio.run(scene())


@pytest.mark.parametrize("service", ["ledger", "consensus", None])
def test_a_delegate_is_killed_and_comes_back(alliance: SandboxAlliance, service: str | None) -> None:
    """C2: three of four go on without it, and it catches up with what it missed (L8)."""

    async def scene() -> None:
        height = (await tip(alliance, "1A")).executed_height
        alliance.kill("3A", service)
        await alliance.until_final(height + 3, "1A")
        await alliance.start("3A", service)
        height = (await tip(alliance, "1A")).executed_height
        await alliance.until_final(height + 1, "3A")
        assert alliance.ended() == []

    asyncio.run(scene())


def test_a_member_that_stands_still_holds_nobody_up(alliance: SandboxAlliance) -> None:
    async def scene() -> None:
        height = (await tip(alliance, "1A")).executed_height
        alliance.pause("2A")
        await alliance.until_final(height + 3, "1A")
        alliance.resume("2A")
        await alliance.until_final(height + 4, "2A")

    asyncio.run(scene())


def test_the_command_keeps_an_alliance_until_it_is_told_to_end(tmp_path: Path) -> None:
    """It says where everything is; a service that is killed comes back; the same folder goes on with the chain."""
    program = "from consilium.client.cli import main; main()"
    command = [sys.executable, "-c", program, "sandbox", "--folder", str(tmp_path), "--members", "4"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:  # noqa: S603  the command itself
        assert running.stdout is not None
        said = "".join(itertools.takewhile(lambda line: line != "End it with Ctrl-C.\n", running.stdout))
        assert "4 members on loopback" in said
        assert f"CONSILIUM_SETTINGS={tmp_path}/1A/client.toml consilium status" in said
        os.kill(process_of(running.pid, "consilium.storage"), signal.SIGKILL)
        assert re.fullmatch(r"The storage service of .. has ended; it starts again.\n", running.stdout.readline())
        assert "is ready again" in running.stdout.readline()
        (tmp_path / "2A" / "down").touch()
        assert running.stdout.readline() == f"2A is down; it starts again once {tmp_path}/2A/down is removed.\n"
        shutil.rmtree(tmp_path / "2A" / "identity")
        (tmp_path / "2A" / "down").unlink()
        told = sorted(running.stdout.readline() for _ in range(5))
        assert [line for line in told if line.startswith("The identity service of 2A ended with exit code 2")] == told[1:2]
        assert "STORE_MISSING" in told[1]
        assert "until" in told[1]
        running.send_signal(signal.SIGINT)
        assert "It goes on when you start it there again." in running.stdout.read()
    assert running.returncode == 0

    async def scene(alliance: SandboxAlliance) -> None:
        await alliance.start("1A", "ledger")
        assert (await tip(alliance, "1A")).executed_height >= 1

    with opened(tmp_path, founders_of(4), SANDBOX_PARAMETERS, NOTHING) as alliance:
        asyncio.run(scene(alliance))


def process_of(parent: int, module: str) -> int:
    """A child of a process that runs this module."""
    children = Path(f"/proc/{parent}/task").glob("*/children")
    pids = [int(pid) for each in children for pid in each.read_text().split()]
    return next(pid for pid in pids if module.encode() in Path(f"/proc/{pid}/cmdline").read_bytes())
