"""A real server on loopback for the shell's tests, with a method of each form, and a channel to it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from consilium.api.consensus.v1 import consensus_pb2, consensus_pb2_grpc, replica_pb2, replica_pb2_grpc
from consilium.api.ledger.v1 import ledger_pb2, ledger_pb2_grpc
from consilium.api.storage.v1 import storage_pb2, storage_pb2_grpc
from consilium.kernel.errors import InvalidArgument
from consilium.runtime.channels import Channel, Limits, Peer
from consilium.runtime.methods import Service
from consilium.runtime.names import PeerIdentity
from consilium.runtime.server import Running, ServerSettings, serving
from consilium.runtime.tls import Tls
from tests.runtime.authority import ALLIANCE, Authority

LEDGER = "/consilium.api.ledger.v1.LedgerService"
SUBMIT = "/consilium.api.consensus.v1.ConsensusService/SubmitTransaction"
UNHURRIED = Limits(unary_s=120)
"""For calls that are not about deadlines: a machine that stalls for some seconds ends none."""
Act = Callable[[], object]


@dataclass
class Scripted:
    """One method of each form; `act` runs at the beginning of each, `seen` is what it returned."""

    act: Act = lambda: None
    seen: list[object] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)

    def __getattr__(self, name: str) -> object:
        """The methods a test does not call."""
        if not name[0].isupper():
            raise AttributeError(name)
        return self.GetTip

    async def GetTip(self, request: Any, context: Any) -> Any:
        self.seen.append(self.act())
        return ledger_pb2.GetTipResponse(executed_height=7)

    async def SubmitTransaction(self, request: Any, context: Any) -> Any:
        self.seen.append(self.act())
        return consensus_pb2.SubmitTransactionResponse(height=7)

    async def StreamBlocks(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self.seen.append(self.act())
        for _ in range(request.first_height):
            yield ledger_pb2.StreamBlocksResponse()

    async def PutObject(self, request_iterator: AsyncIterator[Any], context: Any) -> Any:
        self.seen.append(self.act())
        async for request in request_iterator:
            self.frames.append(len(request.chunk.data))
        return storage_pb2.PutObjectResponse(replica_member_ids=[str(sum(self.frames))])

    async def Exchange(self, request_iterator: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        self.seen.append(self.act())
        async for request in request_iterator:
            self.frames.append(len(request.group.envelopes))
            yield replica_pb2.ExchangeResponse()


def services(scripted: Scripted) -> list[Service]:
    """The contracts that the scripted servicer answers."""
    found: list[tuple[Any, str, Any]] = [
        (ledger_pb2, "LedgerService", ledger_pb2_grpc.add_LedgerServiceServicer_to_server),
        (consensus_pb2, "ConsensusService", consensus_pb2_grpc.add_ConsensusServiceServicer_to_server),
        (storage_pb2, "StorageService", storage_pb2_grpc.add_StorageServiceServicer_to_server),
        (replica_pb2, "ReplicaService", replica_pb2_grpc.add_ReplicaServiceServicer_to_server),
    ]
    return [
        Service(contract.DESCRIPTOR.services_by_name[name], add, scripted, frozenset({"Exchange"}))
        for contract, name, add in found
    ]


def allow(method: str, peer: PeerIdentity) -> None:
    """Lets everyone in."""


@dataclass
class Loopback:
    """Two members' authorities, and a ledger service of the first."""

    path: Path
    home: Authority = field(default_factory=lambda: Authority("1A"))
    away: Authority = field(default_factory=lambda: Authority("2B"))

    def settings(self, **changed: Any) -> ServerSettings:
        """Settings with files, free ports, and nothing to wait for at the end."""
        directory = self.home.service().write(self.path / "server", self.home, self.away)
        usual: dict[str, Any] = {
            "alliance": ALLIANCE,
            "member_id": "1A",
            "tls_directory": directory,
            "drain_s": 0,
            "grace_s": 1,
        }
        return ServerSettings(**(usual | changed))

    @asynccontextmanager
    async def serve(
        self,
        scripted: Scripted,
        authorise: Callable[[str, PeerIdentity], None] = allow,
        tls: Callable[[Path, str], Tls] = Tls,
        **changed: Any,
    ) -> AsyncIterator[Running]:
        """A running server."""
        settings = self.settings(**changed)
        files = tls(settings.tls_directory, settings.alliance)
        async with serving(settings, services(scripted), authorise, files) as running:
            await running.set_ready(ready=True)
            yield running

    def client_tls(self, name: str = "client") -> Tls:
        """The files of a caller: a service of the second member."""
        return Tls(self.away.service("consensus").write(self.path / name, self.away, self.home), ALLIANCE)

    def channel(self, running: Running, tls: Tls | None = None, limits: Limits | None = None) -> Channel:
        """A channel to the server."""
        return Channel(Peer("1A", "ledger", f"127.0.0.1:{running.port}"), tls or self.client_tls(), limits or UNHURRIED)


class Lines(logging.Handler):
    """Keeps what was logged, as the lines it would be."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.setFormatter(formatter)

    def emit(self, record: logging.LogRecord) -> None:
        """Keeps a line."""
        self.lines.append(self.format(record))


FORMS = ("unary", "write", "server_stream", "client_stream", "bidi_stream")


async def call(form: str, channel: grpc.aio.Channel, **given: Any) -> Any:
    """Call the method of a form, and the answer or answers."""
    if form == "unary":
        return await ledger_pb2_grpc.LedgerServiceStub(channel).GetTip(ledger_pb2.GetTipRequest(), **given)
    if form == "write":
        stub = consensus_pb2_grpc.ConsensusServiceStub(channel)
        return await stub.SubmitTransaction(consensus_pb2.SubmitTransactionRequest(), **given)
    if form == "server_stream":
        answers = ledger_pb2_grpc.LedgerServiceStub(channel).StreamBlocks(
            ledger_pb2.StreamBlocksRequest(first_height=3), **given
        )
        return [each async for each in answers]
    if form == "client_stream":
        frames = [storage_pb2.PutObjectRequest(chunk=storage_pb2.Chunk(data=b"abc"))] * 2
        return await storage_pb2_grpc.StorageServiceStub(channel).PutObject(iter(frames), **given)
    if form == "bidi_stream":
        envelopes = [replica_pb2.ExchangeRequest(group=replica_pb2.EnvelopeGroup(envelopes=[b"a", b"b"]))] * 2
        return [each async for each in replica_pb2_grpc.ReplicaServiceStub(channel).Exchange(iter(envelopes), **given)]
    raise InvalidArgument("BAD_FORM", form)
