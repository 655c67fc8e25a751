"""Which port of a service is for what: health alone in plaintext, contracts behind mutual TLS, reflection if wanted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from consilium.runtime.early_status import keep_early_status
from consilium.runtime.server import LIVENESS
from tests.contract.contracts import FILES, METHODS, attempt
from tests.contract.world import started

if TYPE_CHECKING:
    from pathlib import Path

    from tests.contract.conftest import Stage

REFLECTION = "grpc.reflection.v1alpha.ServerReflection"
CONTRACTS = {
    name: {each.full_name for file in files for each in file.DESCRIPTOR.services_by_name.values()}
    for name, files in FILES.items()
}


@pytest.mark.parametrize("service", FILES)
def test_the_plaintext_port_is_for_health_alone(stage: Stage, service: str) -> None:
    """Design section 8: Kubernetes probes carry no certificate, and must be able to learn nothing else."""

    async def scene() -> None:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{stage.world.running[service].health_port}") as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=LIVENESS))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
            for method in METHODS.values():
                assert (await attempt(channel, method, b"")).code is grpc.StatusCode.UNIMPLEMENTED
            assert await reflected(channel) is grpc.StatusCode.UNIMPLEMENTED

    stage.play(scene())


@pytest.mark.parametrize("service", FILES)
def test_a_service_tells_how_much_room_its_volume_has(stage: Stage, service: str) -> None:
    """Full, it stops: so that is told before."""
    registry = stage.world.running[service].metrics.registry
    free, size = (registry.get_sample_value(f"consilium_volume_{each}_bytes") for each in ("free", "size"))
    assert free is not None
    assert size is not None
    assert 0 < free < size


@pytest.mark.parametrize("service", FILES)
def test_the_main_port_speaks_no_plaintext(stage: Stage, service: str) -> None:
    async def scene() -> None:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{stage.world.running[service].port}") as channel:
            for method in (each for each in METHODS.values() if each.service == service):
                assert (await attempt(channel, method, b"")).code is grpc.StatusCode.UNAVAILABLE

    stage.play(scene())


@pytest.mark.parametrize("service", FILES)
def test_a_service_serves_its_own_contracts_and_no_other(stage: Stage, service: str) -> None:
    """Nor health, which the plaintext port has, nor reflection, which is off unless it is wanted."""

    async def scene() -> None:
        channel = stage.world.caller(service, "own", "application")
        for method in (each for each in METHODS.values() if each.service != service):
            assert (await attempt(channel, method, b"")).code is grpc.StatusCode.UNIMPLEMENTED
        health: Any = health_pb2_grpc.HealthStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await health.Check(health_pb2.HealthCheckRequest())
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert await reflected(channel) is grpc.StatusCode.UNIMPLEMENTED

    stage.play(scene())


def test_reflection_where_it_is_wanted(tmp_path: Path) -> None:
    """It tells of the service's contracts to those who work here, and to nobody else."""

    async def scene() -> None:
        async with started(tmp_path, reflection=True) as world:
            for service, names in CONTRACTS.items():
                assert await reflected(world.caller(service, "own", "application")) == names | {REFLECTION}
                for member, kind in (("own", "patient"), ("other", "application"), ("suspended", "staff")):
                    assert await reflected(world.caller(service, member, kind)) is grpc.StatusCode.PERMISSION_DENIED

    asyncio.run(scene())


async def reflected(channel: grpc.aio.Channel) -> set[str] | grpc.StatusCode:
    """The services that a server tells of, or how it refuses."""
    untyped: Any = channel
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(untyped)
    asked = [reflection_pb2.ServerReflectionRequest(list_services="")]
    try:
        answers = [each async for each in keep_early_status(stub.ServerReflectionInfo(iter(asked)))]
    except grpc.aio.AioRpcError as error:
        return error.code()
    return {each.name for each in answers[0].list_services_response.service}
