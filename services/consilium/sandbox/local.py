"""A whole alliance on this machine: each member's five services as processes, mutual TLS on loopback (design section 3).

    async with sandbox(folder) as alliance:
        alliance.kill("2A", "ledger")
        await alliance.start("2A", "ledger")

What a folder holds survives: the same folder again continues the chain. Members and services are started, stopped, killed
and paused by name; `None` for all. The alliance is bound to no event loop, and its processes end with this one, however it
ends.
"""

import asyncio
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractContextManager, AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from consilium.api.ledger.v1 import ledger_pb2
from consilium.api.ledger.v1.ledger_pb2_grpc import LedgerServiceStub
from consilium.ceremony.keys import Founder, MemberKeys, read_keys
from consilium.kernel.chain import Genesis
from consilium.kernel.errors import NotFound
from consilium.kernel.membership import SERVICES
from consilium.kernel.parameters import Parameters
from consilium.runtime.channels import Channel, Limits, Peer, typed
from consilium.runtime.disk import OsDisk
from consilium.runtime.tls import Tls
from consilium.sandbox.foundation import LOCK, open_sandbox
from consilium.sandbox.founders import ALLIANCE, FIVE
from consilium.sandbox.layout import Layout, Tables
from consilium.sandbox.processes import SandboxService

SANDBOX_PARAMETERS = Parameters(
    term_blocks=200, heartbeat_ms=1_000, view_timeout_ms=1_500, view_timeout_max_ms=12_000, tip_age_max_ms=10_000
)
"""A heartbeat a second, and a term of a few minutes: something happens while one watches, and it can run for days."""
NOTHING: Tables = MappingProxyType({})
"""No settings that differ."""
START_ORDER = ("ledger", "consensus", "identity", "storage", "reencryption")
"""Consensus waits for its ledger, and the others read it; nothing breaks in another order, it only waits longer."""


@dataclass(frozen=True, slots=True)
class SandboxMember:
    """One institution: its folder, keys, services, and a credential to call them with."""

    layout: Layout
    member_id: str
    services: Mapping[str, SandboxService]

    @property
    def folder(self) -> Path:
        """Everything it has."""
        return self.layout.member(self.member_id)

    @property
    def keys(self) -> MemberKeys:
        """Its secrets."""
        return read_keys(self.folder / "keys")

    @property
    def administrator(self) -> Path:
        """The folder of its first administrator's credential: TLS files and `signing.key`."""
        return self.layout.administrator(self.member_id)

    @property
    def client_settings(self) -> Path:
        """The settings file of a client that works for it, for CONSILIUM_SETTINGS."""
        return self.layout.client_path(self.member_id)

    @asynccontextmanager
    async def channel(self, service: str, limits: Limits | None = None) -> AsyncIterator[Channel]:
        """A channel to one of its services as its administrator. Raises InvalidArgument: BAD_TLS_FILES."""
        tls, peer = Tls(self.administrator, ALLIANCE), Peer(self.member_id, service, self.services[service].address)
        async with Channel(peer, tls, limits) as channel:
            yield channel

    async def until_final(self, height: int) -> None:
        """Wait until its ledger has a result certificate of this height. Raises Unavailable when it is out of reach."""
        with typed():
            async with self.channel("ledger", Limits(stream_s=None)) as channel:
                async for tip in LedgerServiceStub(channel).StreamTips(ledger_pb2.StreamTipsRequest()):
                    if tip.certified_height >= height:
                        return


class SandboxAlliance:
    """The members and their processes; whoever holds it ends it."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.members = {
            each: SandboxMember(layout, each, {name: SandboxService(layout, each, name) for name in SERVICES})
            for each in layout.member_ids
        }

    @property
    def folder(self) -> Path:
        """Where everything lies."""
        return self.layout.folder

    @property
    def genesis(self) -> Genesis:
        """What the chain starts from."""
        return self.layout.genesis

    def member(self, member_id: str) -> SandboxMember:
        """A member. Raises NotFound: NO_MEMBER."""
        if member_id not in self.members:
            raise NotFound("NO_MEMBER", f"There is no member {member_id!r} here, but {', '.join(self.members)}.")
        return self.members[member_id]

    def service(self, member_id: str, name: str) -> SandboxService:
        """A member's service. Raises NotFound: NO_MEMBER or NO_SERVICE."""
        return self.services(member_id, name)[0]

    def services(self, member_id: str | None = None, name: str | None = None) -> list[SandboxService]:
        """Those of one member or of all, one of each or all, in the order they start in. Raises as `service`."""
        if name is not None and name not in SERVICES:
            raise NotFound("NO_SERVICE", f"There is no service {name!r}, but {', '.join(SERVICES)}.")
        members = self.members.values() if member_id is None else [self.member(member_id)]
        names = START_ORDER if name is None else (name,)
        return [each.services[one] for one in names for each in members]

    async def start(
        self,
        member_id: str | None = None,
        name: str | None = None,
        on_ready: Callable[[SandboxService], None] = lambda _: None,
    ) -> None:
        """Start those that are down and wait until all are ready; `on_ready` hears of each.

        Raises FailedPrecondition: START_FAILED, those that came up stay up; PORT_TAKEN.
        """
        chosen = self.services(member_id, name)
        for each in chosen:
            if not each.is_up:
                each.spawn()

        async def ready(service: SandboxService) -> None:
            await service.until_ready()
            on_ready(service)

        await _all([ready(each) for each in chosen])

    async def stop(self, member_id: str | None = None, name: str | None = None) -> None:
        """End services in good order."""
        await asyncio.gather(*(each.stop() for each in self.services(member_id, name)))

    def kill(self, member_id: str | None = None, name: str | None = None) -> None:
        """End services as a power cut does; they are gone on return."""
        for each in self.services(member_id, name):
            each.kill()

    def pause(self, member_id: str | None = None, name: str | None = None) -> None:
        """Have services stand still, their connections open."""
        for each in self.services(member_id, name):
            each.send(signal.SIGSTOP)

    def resume(self, member_id: str | None = None, name: str | None = None) -> None:
        """Have paused services go on."""
        for each in self.services(member_id, name):
            each.send(signal.SIGCONT)

    def ended(self) -> list[SandboxService]:
        """Services that have ended though nobody here told them to."""
        return [each for each in self.services() if each.ended_by_itself]

    async def until_final(self, height: int, member_id: str | None = None) -> None:
        """Wait until a member, or every member whose ledger is up, holds a height's result certificate."""
        members = self.members.values() if member_id is None else [self.member(member_id)]
        await _all([each.until_final(height) for each in members if each.services["ledger"].is_up])


async def _all(waits: list[Coroutine[None, None, None]]) -> None:
    """Wait for all, or for the first that fails, which is raised once the others are cancelled."""
    tasks = [asyncio.ensure_future(each) for each in waits]
    try:
        await asyncio.gather(*tasks)
    finally:
        for each in tasks:
            each.cancel()


class Sandbox:
    """The alliance of a folder while within; made by `sandbox`."""

    def __init__(self, opened: AbstractContextManager[SandboxAlliance]) -> None:
        self._opened = opened
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> SandboxAlliance:
        """All services are ready. Raises as `opened` and `SandboxAlliance.start`."""
        async with AsyncExitStack() as stack:
            alliance = stack.enter_context(self._opened)
            await alliance.start()
            stack.push_async_callback(alliance.stop)
            self._stack = stack.pop_all()
        return alliance

    async def __aexit__(self, *failure: object) -> None:
        """End the services in good order."""
        await self._stack.aclose()

    def __enter__(self) -> SandboxAlliance:
        """The same without asyncio."""
        return asyncio.run(self.__aenter__())

    def __exit__(self, *failure: object) -> None:
        asyncio.run(self.__aexit__())


def sandbox(
    folder: Path | None = None,
    *,
    founders: tuple[Founder, ...] = FIVE,
    parameters: Parameters = SANDBOX_PARAMETERS,
    settings: Tables = NOTHING,
) -> Sandbox:
    """An alliance for `async with` or `with`, all its services ready within; raises there, as `opened`.

    `folder` holds a sandbox, or is empty or new: then it is founded, by these founders and under these parameters. None
    is a temporary folder. `settings` are those that differ, by service and name.
    """
    return Sandbox(opened(folder, founders, parameters, settings))


@contextmanager
def opened(
    folder: Path | None, founders: tuple[Founder, ...], parameters: Parameters, settings: Tables
) -> Iterator[SandboxAlliance]:
    """A folder's alliance with nothing started, this process's alone; whatever runs at the end is killed.

    Raises FailedPrecondition: LOCKED, and as `foundation.open_sandbox`.
    """
    with ExitStack() as stack:
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="consilium-sandbox-")))
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        stack.callback(OsDisk().lock(folder / LOCK).close)
        alliance = SandboxAlliance(stack.enter_context(open_sandbox(folder, founders, parameters, settings)))
        stack.callback(alliance.kill)
        yield alliance
