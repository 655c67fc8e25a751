"""The server: health apart, reflection when wanted, refusals with a sentence, a graceful end; and the process around it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from consilium.api.ledger.v1 import ledger_pb2
from consilium.kernel.errors import FailedPrecondition, InvalidArgument
from consilium.runtime.channels import Channel, Peer
from consilium.runtime.disk import OsDisk
from consilium.runtime.names import Role
from consilium.runtime.server import LIVENESS, READINESS, doors, serving
from consilium.runtime.tls import Tls
from tests.runtime.authority import ALLIANCE
from tests.runtime.loopback import Loopback, Scripted, allow, call, services
from tests.runtime.test_metrics import scrape

ROOT = Path(__file__).parents[2]
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
PROGRAM = """
import sys
from dataclasses import dataclass
from typing import ClassVar
from consilium.runtime.process import run
from consilium.runtime.server import ServerSettings, serve
from tests.runtime.loopback import Scripted, allow, services

@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(ServerSettings):
    SECTION: ClassVar[str] = "ledger"

async def main(settings):
    await serve(settings, services(Scripted()), allow)

sys.exit(run(Settings, main))
"""


def play(scene: Callable[[], Awaitable[None]]) -> None:
    """Runs a scene in an event loop of its own."""

    async def told() -> None:
        await scene()

    asyncio.run(told())


async def health(port: int, service: str, host: str = "127.0.0.1") -> Any:
    """What a probe sees, without a certificate."""
    async with grpc.aio.insecure_channel(f"{host}:{port}") as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        return (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status


def test_health_is_readiness_and_liveness_apart(tmp_path: Path) -> None:
    async def scene() -> None:
        loopback = Loopback(tmp_path)
        async with loopback.serve(Scripted()) as running:
            assert [await health(running.health_port, each) for each in ("", READINESS, LIVENESS)] == [SERVING] * 3
            await running.set_ready(ready=False)
            expected = [NOT_SERVING, NOT_SERVING, SERVING]
            assert [await health(running.health_port, each) for each in ("", READINESS, LIVENESS)] == expected

    play(scene)


def test_a_server_is_not_ready_before_it_says_so(tmp_path: Path) -> None:
    async def scene() -> None:
        loopback = Loopback(tmp_path)
        async with serving(loopback.settings(), services(Scripted()), allow) as running:
            assert await health(running.health_port, READINESS) == NOT_SERVING

    play(scene)


def test_a_long_start_is_alive_and_not_ready(tmp_path: Path) -> None:
    """Probes and metrics before there is anything to call, on the ports that the server then has."""

    async def scene() -> None:
        settings = Loopback(tmp_path).settings()
        async with doors(settings) as opened:
            expected = [NOT_SERVING, NOT_SERVING, SERVING]
            assert [await health(opened.health_port, each) for each in ("", READINESS, LIVENESS)] == expected
            async with serving(settings, services(Scripted()), allow, opened) as running:
                assert (running.health_port, running.metrics_port) == (opened.health_port, opened.metrics_port)
                assert running.metrics is opened.metrics
                await running.set_ready(ready=True)
                assert await health(opened.health_port, READINESS) == SERVING
            assert [await health(opened.health_port, each) for each in ("", READINESS, LIVENESS)] == expected

    play(scene)


def test_the_health_port_answers_nothing_else(tmp_path: Path) -> None:
    """Design section 8: the one plaintext port is for health only."""

    async def scene() -> None:
        loopback = Loopback(tmp_path)
        async with loopback.serve(Scripted()) as running:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{running.health_port}") as channel:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await call("unary", channel)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED

    play(scene)


@pytest.mark.parametrize("wanted", [True, False])
def test_reflection_is_a_setting(tmp_path: Path, wanted: bool) -> None:  # noqa: FBT001  a parameter of the test
    async def scene() -> None:
        loopback = Loopback(tmp_path)
        async with loopback.serve(Scripted(), reflection=wanted) as running, loopback.channel(running) as channel:
            asked = [reflection_pb2.ServerReflectionRequest(list_services="")]
            untyped: Any = channel
            stub: Any = reflection_pb2_grpc.ServerReflectionStub(untyped)
            try:
                answers = [each async for each in stub.ServerReflectionInfo(iter(asked))]
            except grpc.aio.AioRpcError as error:
                assert error.code() is grpc.StatusCode.UNIMPLEMENTED  # noqa: PT017  one of two ends
                assert not wanted
                return
            names = [each.name for each in answers[0].list_services_response.service]
            assert wanted
            assert "consilium.api.ledger.v1.LedgerService" in names

    play(scene)


@pytest.mark.parametrize("port", ["port", "health_port", "metrics_port"])
def test_a_port_that_is_taken_is_refused_by_its_number(tmp_path: Path, port: str) -> None:
    async def scene() -> None:
        loopback = Loopback(tmp_path)
        async with loopback.serve(Scripted()) as first:
            taken = getattr(first, port)
            with pytest.raises(FailedPrecondition, match=str(taken)) as caught:
                async with loopback.serve(Scripted(), **{port: taken}):
                    pass
            assert caught.value.reason == "PORT_TAKEN"

    play(scene)


@pytest.mark.parametrize(("host", "reached"), [("::1", "[::1]"), ("::", "[::1]"), ("::", "127.0.0.1")])
def test_all_three_ports_answer_under_ipv6(tmp_path: Path, host: str, reached: str) -> None:
    """Alone, or beside IPv4: what listens on :: is reached by both."""

    async def scene() -> None:
        loopback = Loopback(tmp_path)
        own = loopback.home.service("prometheus").write(tmp_path / "prometheus", loopback.home)
        async with loopback.serve(Scripted(), host=host) as running:
            peer = Peer("1A", "ledger", f"{reached}:{running.port}")
            async with Channel(peer, loopback.client_tls()) as channel:
                assert (await call("unary", channel)).executed_height == 7
            assert await health(running.health_port, READINESS, reached) == SERVING
            told = await asyncio.to_thread(scrape, running.metrics_port, own, loopback.home.pem, reached.strip("[]"))
            assert "consilium_build_info" in told

    play(scene)


def test_a_certificate_of_another_member_is_refused_at_the_start(tmp_path: Path) -> None:
    async def scene() -> None:
        with pytest.raises(InvalidArgument, match="member_id is '2B'"):
            async with Loopback(tmp_path).serve(Scripted(), member_id="2B"):
                pass

    play(scene)


def test_a_running_call_ends_before_the_server_does(tmp_path: Path) -> None:
    """Graceful drain: not ready, new calls still taken for a while, running ones finished."""

    async def scene() -> None:
        inside, release = asyncio.Event(), asyncio.Event()

        class Slow(Scripted):
            async def GetTip(self, request: Any, context: Any) -> Any:
                inside.set()
                await release.wait()
                return ledger_pb2.GetTipResponse(executed_height=9)

        loopback = Loopback(tmp_path)
        settings = loopback.settings(drain_s=0, grace_s=60)
        leaving = asyncio.Event()

        async def server() -> None:
            async with serving(settings, services(Slow()), allow) as running:
                await running.set_ready(ready=True)
                started.set_result(running)
                await leaving.wait()

        started: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        serving_task = asyncio.create_task(server())
        running = await started
        async with loopback.channel(running) as channel:
            asked = asyncio.create_task(call("unary", channel))
            await inside.wait()
            leaving.set()
            while await health(running.health_port, READINESS) == SERVING:
                pass
            assert await health(running.health_port, LIVENESS) == SERVING
            release.set()
            assert (await asked).executed_height == 9
        await serving_task

    play(scene)


def start(tmp_path: Path, *arguments: str, program: str = PROGRAM, **environment: str) -> subprocess.Popen[str]:
    """A service as a process of its own."""
    return subprocess.Popen(  # noqa: S603  our own interpreter
        [sys.executable, "-c", program, *arguments],
        env={"PATH": os.defpath, "PYTHONPATH": f"{ROOT}:{ROOT / 'services'}"} | environment,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_help_prints_the_settings(tmp_path: Path) -> None:
    output, _ = start(tmp_path, "--help").communicate()
    assert "CONSILIUM_LEDGER_HEALTH_PORT" in output
    assert "CONSILIUM_SETTINGS" in output


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("CONSILIUM_LEDGER_PORT", "x", "CONSILIUM_LEDGER_PORT is 'x'; allowed: whole number from 0 to 65535."),
        ("CONSILIUM_LEDGER_PROT", "1", "CONSILIUM_LEDGER_PROT is no setting; the nearest is CONSILIUM_LEDGER_PORT."),
        ("CONSILIUM_LEDGER_TLS_DIRECTORY", "none", "The TLS files in none cannot be used"),
    ],
)
def test_a_process_refuses_with_a_sentence_and_code_2(tmp_path: Path, name: str, value: str, sentence: str) -> None:
    process = start(tmp_path, **{name: value})
    _, told = process.communicate()
    assert process.returncode == 2
    assert told.startswith(f"consilium.ledger: {sentence}")
    assert "Traceback" not in told


HOLDING = """
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from consilium.runtime.disk import OsDisk
from consilium.runtime.process import run
from consilium.runtime.server import ServerSettings

@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(ServerSettings):
    SECTION: ClassVar[str] = "ledger"

async def main(settings):
    OsDisk().lock(Path("state"))
    print("held", flush=True)

sys.exit(run(Settings, main))
"""


def test_a_process_waits_for_the_one_before_it(tmp_path: Path) -> None:
    """Rule C5: a pod removed by force still ends while the next one starts; one holder at any time, and no failure."""
    before = OsDisk().lock(tmp_path / "state")
    waiting = start(tmp_path, program=HOLDING, CONSILIUM_LEDGER_LOCK_S="3600")
    assert waiting.stderr is not None
    told = json.loads(waiting.stderr.readline())
    assert (told["event"], "LOCKED" in told["error"][0]) == ("state_is_held", True)
    assert waiting.poll() is None
    before.close()
    output, more = waiting.communicate()
    assert (waiting.returncode, output, more) == (0, "held\n", "")


def test_a_process_that_is_not_told_to_wait_does_not(tmp_path: Path) -> None:
    OsDisk().lock(tmp_path / "state")
    refused = start(tmp_path, program=HOLDING)
    _, told = refused.communicate()
    assert (refused.returncode, "end that process before starting another" in told) == (2, True)


def test_a_process_serves_until_sigterm(tmp_path: Path) -> None:
    """SIGTERM: not serving, drained, exit code 0; one JSON object a line until the end."""
    loopback = Loopback(tmp_path)
    settings = loopback.settings()
    process = start(
        tmp_path,
        CONSILIUM_LEDGER_ALLIANCE=ALLIANCE,
        CONSILIUM_LEDGER_MEMBER_ID="1A",
        CONSILIUM_LEDGER_TLS_DIRECTORY=str(settings.tls_directory),
        CONSILIUM_LEDGER_DRAIN_S="0",
    )
    assert process.stderr is not None
    assert process.stdout is not None
    first = json.loads(process.stderr.readline())
    assert first["event"] == "serving"

    async def scene() -> None:
        patient = loopback.away.person(Role.PATIENT, "p1").write(tmp_path / "patient", loopback.away, loopback.home)
        async with Channel(Peer("1A", "ledger", f"127.0.0.1:{first['port']}"), Tls(patient, ALLIANCE)) as channel:
            assert (await call("unary", channel)).executed_height == 7

    play(scene)
    process.send_signal(signal.SIGTERM)
    output, told = process.communicate()
    assert process.returncode == 0
    assert output == ""
    assert [json.loads(line)["event"] for line in told.splitlines()] == ["rpc", "draining", "stopped"]
