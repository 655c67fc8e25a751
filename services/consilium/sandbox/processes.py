"""One service of a member as a process of its own: started as a container would run it, asked for its health, ended.

A process is bound to this one (`child`). It is started from a thread that lasts as long as this process does, because the
kernel takes the end of the thread that started a child for the parent's. Nothing is bound to an event loop.
"""

import asyncio
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from consilium.kernel.errors import FailedPrecondition
from consilium.runtime.addresses import join_address
from consilium.runtime.server import READINESS
from consilium.sandbox.layout import Layout
from consilium.sandbox.ports import is_free
from consilium.sandbox.settings import environment_for

START_S_MAX = 120
"""How long a service may take to become ready."""
STOP_S_MAX = 10
"""How long a service may take to end when told to."""
_STARTER = ThreadPoolExecutor(1, "sandbox-starter")
_HEALTH_OPTIONS = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 200),
]


@dataclass(slots=True)
class SandboxService:
    """A service, up or down."""

    layout: Layout
    member_id: str
    name: str
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _told_to_end: bool = field(default=False, repr=False)
    _log_start: int = field(default=0, repr=False)

    @property
    def port(self) -> int:
        """The port for calls over mutual TLS."""
        return self.layout.port(self.member_id, self.name)

    @property
    def host(self) -> str:
        """Where it listens."""
        return self.layout.host(self.member_id)

    @property
    def health_port(self) -> int:
        """The plaintext port for grpc.health.v1."""
        return self.port + 1

    @property
    def metrics_port(self) -> int:
        """The port for Prometheus over mutual TLS."""
        return self.port + 2

    @property
    def address(self) -> str:
        """Where it answers, host:port."""
        return self.layout.address(self.member_id, self.name)

    @property
    def log(self) -> Path:
        """The file of what it says, from all its starts."""
        return self.layout.log_path(self.member_id, self.name)

    @property
    def state_folder(self) -> Path:
        """Where its state lies."""
        return self.layout.member(self.member_id) / self.name

    @property
    def pid(self) -> int | None:
        """Its process, while it is up."""
        return self._process.pid if self._process is not None and self.is_up else None

    @property
    def is_up(self) -> bool:
        """Whether its process is there, serving or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def ended_by_itself(self) -> bool:
        """Whether it was started, has ended, and nobody here told it to."""
        return self._process is not None and not self.is_up and not self._told_to_end

    # --- starting ---

    def spawn(self) -> None:
        """Start the process; it is not ready yet. Raises FailedPrecondition: PORT_TAKEN."""
        self._refuse_taken_ports()
        environment = environment_for(self.layout.settings_path(self.member_id))
        descriptor = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "wb") as log:
            self._log_start = os.fstat(descriptor).st_size
            # In a session of its own: Ctrl-C is for this process, which then ends the others in good order.
            self._process = _STARTER.submit(
                subprocess.Popen,
                self.command(),
                env=environment,
                cwd=self.layout.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            ).result()
        self._told_to_end = False

    def command(self) -> list[str]:
        """What is run: the service, bound to this process."""
        words = str(os.getpid()), f"consilium.{self.name}", self.member_id
        return [sys.executable, "-P", "-m", "consilium.sandbox.child", *words]

    def _refuse_taken_ports(self) -> None:
        """Asked beforehand, because another sandbox's service there would answer that it is serving."""
        for port in (self.port, self.health_port, self.metrics_port):
            if not is_free(port):
                raise FailedPrecondition(
                    "PORT_TAKEN",
                    f"Port {port} of {self.host}, which is the {self.name} service's of {self.member_id} in "
                    f"{self.layout.folder}, is held by another process; end that one, or found a sandbox in another folder.",
                )

    async def until_ready(self) -> None:
        """Wait until it answers SERVING. Raises FailedPrecondition: START_FAILED."""
        serving, ended = tasks = [asyncio.create_task(each) for each in (self._until_serving(), self.until_ended())]
        try:
            await asyncio.wait(tasks, timeout=START_S_MAX, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in tasks:
                each.cancel()
        if ended.done() or not serving.done():
            raise self._start_failed()
        await serving

    async def _until_serving(self) -> None:
        request = health_pb2.HealthCheckRequest(service=READINESS)
        place = join_address(self.host, self.health_port)
        async with grpc.aio.insecure_channel(place, options=_HEALTH_OPTIONS) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            watch = stub.Watch(request, wait_for_ready=True)
            try:
                while (await watch.read()).status != health_pb2.HealthCheckResponse.SERVING:
                    pass
                watch.cancel()
            except grpc.aio.AioRpcError:
                # It is ending.
                await self.until_ended()

    def _start_failed(self) -> FailedPrecondition:
        code = None if self._process is None else self._process.poll()
        how = f"did not become ready in {START_S_MAX} seconds" if code is None else f"ended with {_exit_word(code)}"
        return FailedPrecondition(
            "START_FAILED",
            f"The {self.name} service of {self.member_id} {how} while starting, and last said: {self.last_line()} "
            f"Settle that and start it again; its log is {self.log}.",
        )

    def last_line(self) -> str:
        """The last line it said since its start: a refusal's sentence, an entry of its log, or Python's last word."""
        with self.log.open("rb") as file:
            file.seek(self._log_start)
            lines = file.read().decode("utf-8", "replace").splitlines()
        return lines[-1] if lines else "nothing."

    # --- ending ---

    async def until_ended(self) -> None:
        """Wait for the end of the process, whoever ends it."""
        if not self.is_up or self._process is None:
            return
        descriptor, ended, loop = os.pidfd_open(self._process.pid), asyncio.Event(), asyncio.get_running_loop()
        loop.add_reader(descriptor, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
        self._process.wait()

    async def stop(self) -> None:
        """End it as a cluster does: SIGTERM, and SIGKILL when it takes too long."""
        self.send(signal.SIGCONT)
        self._end(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_S_MAX):
                await self.until_ended()
        except TimeoutError:
            self.kill()

    def kill(self) -> None:
        """End it as a power cut does; gone on return."""
        self._end(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it is up."""
        if self._process is not None:
            self._process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        if self.is_up:
            self._told_to_end = True
            self.send(number)


def _exit_word(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
