"""Real ledger services on loopback over mutual TLS: the founders of `tests.alliance`, each with authority and files."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from consilium.api.ledger.v1 import ledger_pb2 as pb
from consilium.api.ledger.v1.ledger_pb2_grpc import LedgerServiceStub
from consilium.kernel.certificates import ResultCertificate
from consilium.kernel.chain import CertifiedBlock
from consilium.kernel.encoding import encode
from consilium.kernel.errors import ConsiliumError
from consilium.ledger.__main__ import RunningService, service
from consilium.ledger.settings import LedgerSettings
from consilium.runtime.channels import Channel, Limits, Peer
from consilium.runtime.names import Role
from consilium.runtime.statuses import to_error
from consilium.runtime.tls import Tls
from tests.alliance import Alliance, Scribe
from tests.runtime.authority import ALLIANCE, Authority, Issued

if TYPE_CHECKING:
    from consilium.api.ledger.v1.ledger_pb2_grpc import LedgerServiceAsyncStub

HOME, OTHER = "anshan", "benxi"
WAIT_S = 20
LEDGER = "/consilium.api.ledger.v1.LedgerService"


@dataclass
class Ledgers:
    """Services started and stopped by a test; `scribe` writes the chain they are given."""

    path: Path
    scribe: Scribe = field(default_factory=lambda: Scribe(Alliance.founded()))

    def __post_init__(self) -> None:
        """Every member's authority, and the genesis file."""
        self.authorities = {name: Authority(name) for name in self.scribe.alliance.keys}
        (self.path / "genesis").write_bytes(self.scribe.alliance.genesis_file)

    def tls_folder(self, name: str, issued: Issued) -> Path:
        """A folder of TLS files that trusts all members."""
        return issued.write(self.path / name, *self.authorities.values())

    def settings(self, member: str = HOME, **changed: Any) -> LedgerSettings:
        """Settings with files, free ports, and nothing to wait for at the end."""
        usual: dict[str, Any] = {
            "alliance": ALLIANCE,
            "member_id": member,
            "genesis": self.path / "genesis",
            "blocks": self.path / member / "blocks",
            "tls_directory": self.tls_folder(f"{member}-tls", self.authorities[member].service("ledger")),
            "drain_s": 0,
            "grace_s": 0,
        }
        return LedgerSettings(**(usual | changed))

    @contextlib.asynccontextmanager
    async def serve(self, member: str = HOME, **changed: Any) -> AsyncIterator[RunningService]:
        """A member's ledger service."""
        async with contextlib.AsyncExitStack() as stack:
            found, _ = await service(self.settings(member, **changed), stack)
            yield found

    @contextlib.asynccontextmanager
    async def stub(
        self, running: RunningService, issued: Issued, name: str = "caller", member: str = HOME
    ) -> AsyncIterator[LedgerServiceAsyncStub]:
        """A stub that calls a member's service with a certificate."""
        tls = Tls(self.tls_folder(name, issued), ALLIANCE)
        async with self.channel(running, tls, member) as channel:
            yield LedgerServiceStub(channel)

    def channel(self, running: RunningService, tls: Tls, member: str = HOME) -> Channel:
        """A channel to a member's service."""
        peer = Peer(member, "ledger", f"127.0.0.1:{running.server.port}")
        return Channel(peer, tls, Limits(message_bytes_max=80 * 1024 * 1024))

    def consensus(self, member: str = HOME) -> Issued:
        """The certificate of a member's consensus service."""
        return self.authorities[member].service("consensus")

    def clinician(self, member: str = OTHER) -> Issued:
        """The certificate of somebody who works for a member."""
        return self.authorities[member].person(Role.STAFF, "s1")

    # --- the chain ---

    def block_request(self, block: CertifiedBlock) -> pb.ExecuteBlockRequest:
        """A decided block as consensus hands it over."""
        return pb.ExecuteBlockRequest(block=encode(block, self.scribe.alliance.chain_id))

    def certificate_request(self, height: int) -> pb.ExecuteBlockRequest:
        """The certificate of a block as consensus hands it over."""
        return pb.ExecuteBlockRequest(result_certificate=encode(self.certificate(height), self.scribe.alliance.chain_id))

    def certificate(self, height: int) -> ResultCertificate:
        """The certificate of a block that was written."""
        found = self.scribe.chain.result_certificate(height)
        assert found is not None
        return found

    async def give(self, running: RunningService, heights: Iterable[int] | None = None, *, certified: bool = True) -> None:
        """Hand blocks that were written (all, unless heights are named) to a service, as its consensus does."""
        for height in heights or range(running.keeper.chain.height + 1, self.scribe.chain.height + 1):
            await running.keeper.execute(self.scribe.blocks[height - 1])
            if certified:
                await running.keeper.certify(self.certificate(height))


async def until_waiting(running: RunningService, count: int) -> None:
    """Until so many wait for something to be final."""
    async with asyncio.timeout(WAIT_S):
        while running.keeper.waiting.count < count:  # noqa: ASYNC110  the service tells nobody who waits
            await asyncio.sleep(0)


async def refusal(call: Any) -> ConsiliumError:
    """The typed error a call, or the first answer of a stream, ends with; never INTERNAL or UNKNOWN."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await (read_all(call) if hasattr(call, "__aiter__") else call)
    assert caught.value.code() not in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
    return to_error(caught.value)


async def read_all(call: Any) -> list[Any]:
    """All answers of a stream."""
    return [each async for each in call]
