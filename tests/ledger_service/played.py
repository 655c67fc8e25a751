"""A member's ledger that a test plays: behind real connections, saying whatever it likes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from consilium.api.ledger.v1 import ledger_pb2 as pb
from consilium.api.ledger.v1.ledger_pb2_grpc import LedgerServiceServicer, add_LedgerServiceServicer_to_server
from consilium.kernel.errors import NotFound
from consilium.runtime.methods import Service
from consilium.runtime.server import Running, serving
from tests.ledger_service.serving import Ledgers

Tips = Callable[[], AsyncIterator[int]]


@dataclass
class Played(LedgerServiceServicer):
    """Shows `tips`; of the first `sends` blocks that are asked for it sends one, and then stands still."""

    ledgers: Ledgers
    tips: Tips
    sends: bool = False
    asked: asyncio.Queue[int] = field(default_factory=asyncio.Queue)
    """The first heights of the blocks that it was asked for."""
    asked_to: list[int] = field(default_factory=list)
    """And the last."""
    certificates: dict[int, bytes] = field(default_factory=dict)
    """What it says are certificates of heights; it does not answer for others."""

    async def StreamTips(self, request: Any, context: Any) -> AsyncIterator[pb.StreamTipsResponse]:
        async for each in self.tips():
            yield pb.StreamTipsResponse(certified_height=each)
        await asyncio.Event().wait()

    async def StreamBlocks(self, request: Any, context: Any) -> AsyncIterator[pb.StreamBlocksResponse]:
        self.asked_to.append(request.last_height)
        self.asked.put_nowait(request.first_height)
        if not self.sends:
            raise NotFound("NO_SUCH_HEIGHT", "There is no such block here.")
        block = self.ledgers.scribe.blocks[request.first_height - 1]
        response = pb.StreamBlocksResponse()
        response.certified_block.encoded = self.ledgers.block_request(block).block
        yield response
        await asyncio.Event().wait()

    async def GetConsistencyProof(self, request: Any, context: Any) -> pb.GetConsistencyProofResponse:
        if request.first_height not in self.certificates:
            await asyncio.Event().wait()
        return pb.GetConsistencyProofResponse(first_result_certificate=self.certificates[request.first_height])

    @contextlib.asynccontextmanager
    async def serve(self, member: str) -> AsyncIterator[Running]:
        """Its server, in the name of a member."""
        contract = pb.DESCRIPTOR.services_by_name["LedgerService"]
        service = Service(contract, add_LedgerServiceServicer_to_server, self, frozenset({"StreamTips", "StreamBlocks"}))
        async with serving(self.ledgers.settings(member), [service], lambda _, __: None) as running:
            yield running
