"""`python -m consilium.identity`: alone, from settings, refusing a bad one with a sentence."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from consilium.api.identity.v1 import identity_pb2 as pb
from consilium.api.identity.v1.identity_pb2_grpc import IdentityServiceStub
from consilium.runtime.channels import Channel, Peer
from consilium.runtime.tls import Tls
from tests.identity.hospital import ALLIANCE, DEADLINE_S, HOME, Hospital, hospitals, play
from tests.runtime.loopback import UNHURRIED

if TYPE_CHECKING:
    from asyncio.subprocess import Process


async def started(*arguments: str, **settings: object) -> Process:
    """The process, with these settings in its environment."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("CONSILIUM_")}  # noqa: TID251
    environment |= {f"CONSILIUM_IDENTITY_{key.upper()}": str(value) for key, value in settings.items()}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "consilium.identity", *arguments, env=environment, stderr=asyncio.subprocess.PIPE
    )


def environment_of(hospital: Hospital) -> dict[str, object]:
    """The member's settings by their names."""
    wanted = (
        "alliance member_id genesis member_key state_directory services_directory tls_directory authorities_directory "
        "drain_s grace_s ledger_address consensus_address"
    )
    settings = hospital.settings()
    return {name: getattr(settings, name) for name in wanted.split()}


async def event(process: Process, name: str) -> dict[str, object]:
    """The next log line of an event."""
    assert process.stderr is not None
    async with asyncio.timeout(DEADLINE_S):
        async for line in process.stderr:
            entry: dict[str, object] = json.loads(line)
            if entry["event"] == name:
                return entry
    raise AssertionError(name)


@pytest.mark.slow
def test_the_process_serves_and_ends(tmp_path: Path) -> None:
    async def scene() -> None:
        (home,) = hospitals(tmp_path, HOME)
        async with home.own_services():
            process = await started(**environment_of(home))
            serving = await event(process, "serving")
            tls = Tls(home.home / "identity" / "administrator", ALLIANCE)
            async with Channel(Peer(HOME, "identity", f"127.0.0.1:{serving['port']}"), tls, UNHURRIED) as channel:
                response = await IdentityServiceStub(channel).GetAuthority(pb.GetAuthorityRequest())
                assert len(response.authorities) == 1
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(DEADLINE_S):
                assert await process.wait() == 0

    play(scene)


@pytest.mark.slow
def test_commands_and_bad_settings(tmp_path: Path) -> None:
    async def scene() -> None:
        (home,) = hospitals(tmp_path, HOME)
        settings = environment_of(home)
        for arguments, changed, sentence in (
            (("found",), {}, b"STORE_EXISTS"),
            ((), {"staff_validity_s_max": "a week"}, b"CONSILIUM_IDENTITY_STAFF_VALIDITY_S_MAX is 'a week'"),
            ((), {"member_key": tmp_path / "nothing"}, b"BAD_MEMBER_KEY"),
            ((), {"genesis": home.home / "member"}, b"BAD_GENESIS"),
        ):
            process = await started(*arguments, **(settings | changed))
            async with asyncio.timeout(DEADLINE_S):
                _, said = await process.communicate()
            assert (process.returncode, sentence in said) == (2, True), said

    play(scene)
