"""`python -m consilium.storage` and `python -m consilium.reencryption`: refused settings, readiness, and a graceful end."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from consilium.sandbox.ports import drawn_ports
from tests.alliance import seed_of
from tests.runtime.authority import ALLIANCE
from tests.storage_service.chain_ledger import serving_chain
from tests.storage_service.world import HOME, World

if TYPE_CHECKING:
    from pathlib import Path

SERVICES = ["storage", "reencryption"]


def environment(path: Path, service: str, **changed: str) -> dict[str, str]:
    """A service's settings."""
    usual = {
        "alliance": ALLIANCE, "member_id": HOME, "drain_s": "0", "grace_s": "1", "genesis": str(path / "genesis"),
        "member_key": str(path / "member"), "state_directory": str(path / "state"),
    }  # fmt: skip
    if service == "reencryption":
        usual["sealing_key"] = str(path / "sealing")
    settings = {f"CONSILIUM_{service}_{key}".upper(): value for key, value in (usual | changed).items()}
    return {key: value for key, value in os.environ.items() if not key.startswith("CONSILIUM_")} | settings  # noqa: TID251


async def started(service: str, settings: dict[str, str]) -> asyncio.subprocess.Process:
    """The process."""
    pipe = asyncio.subprocess.PIPE
    command = [sys.executable, "-m", f"consilium.{service}"]
    return await asyncio.create_subprocess_exec(*command, env=settings, stdout=pipe, stderr=pipe)


@pytest.mark.parametrize("service", SERVICES)
def test_a_bad_setting_is_refused_by_name(tmp_path: Path, service: str) -> None:
    async def scene() -> None:
        process = await started(service, environment(tmp_path, service, wait_s="for ever"))
        _, said = await process.communicate()
        assert process.returncode == 2
        assert f"CONSILIUM_{service}_WAIT_S".upper().encode() in said

    asyncio.run(scene())


@pytest.mark.parametrize("service", SERVICES)
def test_it_serves_once_the_ledger_is_read_and_ends_when_told(tmp_path: Path, service: str) -> None:
    async def scene(port: int) -> None:
        async with World(tmp_path) as world:
            scribe, authority = world.local.scribe, world.authorities[HOME]
            (tmp_path / "genesis").write_bytes(scribe.alliance.genesis_file)
            (tmp_path / "member").write_bytes(seed_of(f"{HOME} member"))
            (tmp_path / "sealing").write_bytes(b"s" * 32)
            directory = world.directory(authority.service(service))
            async with serving_chain(scribe, HOME, world.directory(authority.service("ledger"))) as ledger:
                with_port = environment(
                    tmp_path, service, ledger_address=ledger, tls_directory=str(directory), health_port=str(port)
                )
                for _ in range(2):  # the second time the stores are there already
                    process = await started(service, with_port)
                    try:
                        await ready(port)
                        process.terminate()
                        _, said = await process.communicate()
                    finally:
                        if process.returncode is None:
                            process.kill()
                    assert process.returncode == 0, said
                    assert b"Traceback" not in said

    with drawn_ports(1) as port:
        asyncio.run(scene(port))


async def ready(port: int) -> None:
    """Waits until the service says that it is."""
    serving = health_pb2.HealthCheckResponse.SERVING
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        request = health_pb2.HealthCheckRequest(service="readiness")
        async with asyncio.timeout(60):
            async for each in stub.Watch(request, wait_for_ready=True):
                if each.status == serving:
                    return
