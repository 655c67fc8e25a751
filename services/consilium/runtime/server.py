"""One server for all five services: calls over mutual TLS, health in plaintext on its own port, metrics on a third.

Design section 8. It starts NOT_SERVING for `readiness` until the service says it is ready; health and metrics may be there
before there is anything to call (`doors`). On SIGTERM or SIGINT readiness falls, calls are still taken for `drain_s` so that
whoever routes to it can notice, then no new ones are, and running ones get `grace_s` to end.
"""

import asyncio
import contextlib
import gc
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from consilium.kernel.errors import FailedPrecondition, InvalidArgument
from consilium.runtime.addresses import join_address
from consilium.runtime.interceptors import Authorise, Gate, Interceptor
from consilium.runtime.logs import Log
from consilium.runtime.methods import Service, methods_of
from consilium.runtime.metrics import Metrics, MetricsPort, TlsExpiry
from consilium.runtime.rates import Rates
from consilium.runtime.settings import setting
from consilium.runtime.shares import Shares
from consilium.runtime.tls import Tls
from consilium.runtime.traces import server_interceptors

READINESS, LIVENESS = "readiness", "liveness"
TLS_DIRECTORY = Path("tls")
MEMBERS = 64
"""One other member, or one patient, is sure of one in so many of a server's places; no committee is larger."""
TLS_INTERVAL_S = 10.0
"""How often the TLS files are looked at besides at every handshake."""

_log = Log("consilium.runtime.server")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """What every service can be told; each service adds its own fields and its SECTION."""

    alliance: str = setting("consilium", "The name of the alliance in certificates.")
    member_id: str = setting("", "The member this service belongs to, as its certificate says.")
    host: str = setting("127.0.0.1", "The address to listen on; in a container 0.0.0.0, or :: where there is IPv6.")
    port: int = setting(0, "The port for calls over mutual TLS; 0 takes any free one.", least=0, most=65_535)
    health_port: int = setting(0, "The plaintext port for grpc.health.v1 and nothing else.", least=0, most=65_535)
    metrics_port: int = setting(0, "The port for Prometheus over mutual TLS.", least=0, most=65_535)
    tls_directory: Path = setting(TLS_DIRECTORY, "Where tls.crt, tls.key and authorities.pem lie.")
    reflection: bool = setting(default=False, says="Whether grpcurl may ask for the contracts.")
    compression: bool = setting(default=False, says="Whether answers are compressed (gzip).")
    message_bytes_max: int = setting(4_194_304, "The largest message in bytes.", least=65_536, most=67_108_864)
    metadata_bytes_max: int = setting(16_384, "The largest request metadata in bytes.", least=8_192, most=1_048_576)
    rpcs_max: int = setting(1_024, "The most calls at once; more are refused.", least=1, most=1_000_000)
    calls_per_s: int = setting(
        500,
        "The calls a second of another member's people, of each of its services, or of a patient.",
        least=1,
        most=1_000_000,
    )
    keepalive_s: int = setting(30, "The silence on a connection in seconds before it is probed.", least=1, most=3_600)
    keepalive_timeout_s: int = setting(10, "The seconds a probe may stay unanswered.", least=1, most=3_600)
    ping_interval_s_min: int = setting(20, "The least seconds between a client's own probes.", least=1, most=3_600)
    connection_age_s_max: int = setting(3_600, "The age in seconds at which a connection is renewed.", least=1, most=86_400)
    connection_age_grace_s: int = setting(300, "The seconds its running calls then have to end.", least=1, most=86_400)
    drain_s: int = setting(5, "The seconds between falling readiness and the last new call.", least=0, most=300)
    grace_s: int = setting(5, "The seconds running calls have to end when stopping.", least=0, most=300)
    lock_s: int = setting(0, "The seconds to wait for another process that still holds the state.", least=0, most=3_600)
    log_level: str = setting("info", "What is logged and above.", choices=("debug", "info", "warning", "error"))
    traces_endpoint: str = setting("", "Where traces go: http:// or https://host:port of a collector; empty for no traces.")
    traces_percent: int = setting(1, "How many of a hundred traces that begin here are sent.", least=0, most=100)
    commit: str = setting("unknown", "The commit this was built from, for the metric build_info.")


@dataclass(slots=True)
class Running:
    """A server that answers: its ports, and how to say that it is ready."""

    port: int
    health_port: int
    metrics_port: int
    metrics: Metrics
    tls: Tls
    _health: "HealthServicer"

    async def set_ready(self, *, ready: bool) -> None:
        """Set what the health service answers for "" and `readiness`."""
        await _set_ready(self._health, ready=ready)

    async def ready_after(self, *awaited: Awaitable[object]) -> None:
        """Say ready once all of these are through, and stay so; for ever, as other background work."""
        for each in awaited:
            await each
        await self.set_ready(ready=True)
        await asyncio.Event().wait()


@dataclass(frozen=True, slots=True)
class Doors:
    """The ports for health and metrics, open."""

    metrics: Metrics
    metrics_port: int
    health_port: int
    tls: Tls
    health: "HealthServicer"


class HealthServicer(Protocol):
    """What is used of health.aio.HealthServicer, whose stub is incomplete."""

    async def set(self, service: str, status: int) -> None:
        """Set a service's state."""


async def serve(settings: ServerSettings, services: Sequence[Service], authorise: Authorise) -> None:
    """Serve, ready at once, until SIGTERM or SIGINT. Raises what `serving` does."""
    async with serving(settings, services, authorise) as running:
        stopped = stop_signal()
        await running.set_ready(ready=True)
        await stopped.wait()


def stop_signal() -> asyncio.Event:
    """Set by SIGTERM or SIGINT from here on; before anybody hears of readiness, for who hears may send one."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stopped.set)
    return stopped


@contextlib.asynccontextmanager
async def doors(settings: ServerSettings, tls: Tls | None = None) -> AsyncIterator[Doors]:
    """Health and metrics within: alive, and not ready; for a service that takes long until it can be called.

    Raises InvalidArgument: BAD_TLS_FILES or BAD_SETTING; FailedPrecondition: PORT_TAKEN.
    """
    tls = tls or Tls(settings.tls_directory, settings.alliance)
    _refuse_foreign_certificate(settings, tls)
    metrics = Metrics(settings.commit)
    async with contextlib.AsyncExitStack() as stack:
        metrics_port = _metrics_port(settings, metrics, tls)
        stack.callback(metrics_port.close)
        checks, health_port = await _health_port(settings, stack)
        for watch in (metrics.watch_loop(), _watch_tls(tls, metrics_port)):
            stack.callback(asyncio.get_running_loop().create_task(watch).cancel)
        await _set_ready(checks, ready=False)
        yield Doors(metrics, metrics_port.port, health_port, tls, checks)


@contextlib.asynccontextmanager
async def serving(
    settings: ServerSettings, services: Sequence[Service], authorise: Authorise, tls: Tls | Doors | None = None
) -> AsyncIterator[Running]:
    """A server within, not ready until told so, drained and stopped at the end; with doors of its own unless some are open.

    Raises as `doors`.
    """
    async with contextlib.AsyncExitStack() as stack:
        opened = tls if isinstance(tls, Doors) else await stack.enter_async_context(doors(settings, tls))
        shares = Shares(settings.member_id, settings.rpcs_max, MEMBERS)
        rates = Rates(settings.member_id, settings.calls_per_s)
        gate = Gate(opened.metrics, opened.tls.identify, authorise, shares, rates)
        server, port = await _main_port(settings, services, gate, opened.tls)
        running = Running(port, opened.health_port, opened.metrics_port, opened.metrics, opened.tls, opened.health)
        stack.push_async_callback(_drain, settings, server, running)
        # Everything imported stays for good: the collector need not walk it again (performance.md, rule 9).
        gc.freeze()
        _log.write(logging.INFO, "serving", port=port)
        yield running


async def _set_ready(health: HealthServicer, *, ready: bool) -> None:
    states = health_pb2.HealthCheckResponse
    for name in ("", READINESS):
        await health.set(name, states.SERVING if ready else states.NOT_SERVING)


def _refuse_foreign_certificate(settings: ServerSettings, tls: Tls) -> None:
    """Raise InvalidArgument: BAD_SETTING unless the certificate is of the member the settings name."""
    named = tls.material.member_id
    if named != settings.member_id:
        place = f"the certificate in {tls.directory} is of member {named!r}"
        raise InvalidArgument("BAD_SETTING", f"member_id is {settings.member_id!r}, but {place}; allowed: {named}.")


async def _drain(settings: ServerSettings, server: grpc.aio.Server, running: Running) -> None:
    _log.write(logging.INFO, "draining", port=running.port)
    await running.set_ready(ready=False)
    await asyncio.sleep(settings.drain_s)
    await server.stop(settings.grace_s)
    _log.write(logging.INFO, "stopped", port=running.port)


async def _main_port(
    settings: ServerSettings, services: Sequence[Service], gate: Gate, tls: Tls
) -> tuple[grpc.aio.Server, int]:
    server = grpc.aio.server(
        interceptors=[*server_interceptors(), Interceptor(gate, methods_of(services))],
        options=_options(settings),
        maximum_concurrent_rpcs=settings.rpcs_max,
        compression=grpc.Compression.Gzip if settings.compression else grpc.Compression.NoCompression,
    )
    for each in services:
        each.add(each.servicer, server)
    if settings.reflection:
        names = [each.descriptor.full_name for each in services]
        reflection.enable_server_reflection([*names, reflection.SERVICE_NAME], server)
    port = _bound(settings.host, settings.port, lambda address: server.add_secure_port(address, tls.server_credentials()))
    await server.start()
    return server, port


async def _health_port(settings: ServerSettings, stack: contextlib.AsyncExitStack) -> tuple[Any, int]:
    """Liveness says that the process answers; the service's own state is `readiness` and ""."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = _bound(settings.host, settings.health_port, server.add_insecure_port)
    await servicer.set(LIVENESS, health_pb2.HealthCheckResponse.SERVING)
    await server.start()
    stack.push_async_callback(server.stop, None)
    return servicer, port


def _metrics_port(settings: ServerSettings, metrics: Metrics, tls: Tls) -> MetricsPort:
    try:
        port = MetricsPort(metrics, settings.host, settings.metrics_port, tls)
    except OSError as error:
        raise _taken(settings.host, settings.metrics_port) from error
    metrics.registry.register(TlsExpiry(tls))
    return port


async def _watch_tls(tls: Tls, metrics_port: MetricsPort) -> None:
    """Follow the TLS files: for the metrics port, for the metrics of their end, and for the identities accepted."""
    shown = tls.material
    while True:
        await asyncio.sleep(TLS_INTERVAL_S)
        tls.refresh()
        if shown is not tls.material:
            shown = tls.material
            metrics_port.take_up_certificate()


def _bound(host: str, port: int, add: "AddPort") -> int:
    try:
        return add(join_address(host, port))
    except RuntimeError as error:
        raise _taken(host, port) from error


class AddPort(Protocol):
    """Adds a port to a server and returns its number."""

    def __call__(self, address: str) -> int:
        """Raises RuntimeError when the port is taken."""


def _taken(host: str, port: int) -> FailedPrecondition:
    return FailedPrecondition("PORT_TAKEN", f"Port {port} of {host} cannot be listened on; another process may hold it.")


def _options(settings: ServerSettings) -> list[tuple[str, Any]]:
    return [
        # Two processes on one port would share its calls without a word.
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", settings.message_bytes_max),
        ("grpc.max_send_message_length", settings.message_bytes_max),
        ("grpc.max_metadata_size", settings.metadata_bytes_max),
        ("grpc.absolute_max_metadata_size", settings.metadata_bytes_max),
        ("grpc.keepalive_time_ms", settings.keepalive_s * 1_000),
        ("grpc.keepalive_timeout_ms", settings.keepalive_timeout_s * 1_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", settings.ping_interval_s_min * 1_000),
        ("grpc.max_connection_age_ms", settings.connection_age_s_max * 1_000),
        ("grpc.max_connection_age_grace_ms", settings.connection_age_grace_s * 1_000),
    ]
