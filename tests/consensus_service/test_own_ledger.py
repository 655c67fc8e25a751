"""What passes at the own ledger is waited for, whatever it is; the process does not end by it (C1, L8)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import grpc
import pytest

from consilium.api.ledger.v1 import ledger_pb2 as pb
from consilium.api.ledger.v1.ledger_pb2_grpc import LedgerServiceServicer, add_LedgerServiceServicer_to_server
from consilium.consensus import own_ledger
from consilium.consensus.own_ledger import OwnLedger, Start
from consilium.kernel.encoding import encode
from consilium.kernel.executions import Execution
from consilium.kernel.transactions import Grade
from tests.alliance import GRADES, PARAMETERS, Alliance, Scribe

EIGHT = {**GRADES, "jinzhou": Grade.B1, "panjin": Grade.C2, "yingkou": Grade.SPECIAL3}


class Busy(LedgerServiceServicer):
    """A ledger whose calls are all taken, the first time that each method is called."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    async def answer(self, method: str, context: Any) -> None:
        self.calls.append(method)
        if self.calls.count(method) == 1:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Concurrent RPC limit exceeded!")

    async def GetTip(self, request: Any, context: Any) -> pb.GetTipResponse:
        await self.answer("GetTip", context)
        return pb.GetTipResponse()

    async def ExecuteBlock(self, request: Any, context: Any) -> pb.ExecuteBlockResponse:
        await self.answer("ExecuteBlock", context)
        return pb.ExecuteBlockResponse()


class Recorded(LedgerServiceServicer):
    """A ledger that has executed these blocks."""

    def __init__(self, scribe: Scribe) -> None:
        chain, heights = scribe.chain, range(1, scribe.chain.height + 1)
        outcomes = [(block, chain.outcome(height)) for height, block in zip(heights, scribe.blocks, strict=True)]
        executions = [Execution(block.header, block.commit, each.result, each.outlook) for block, each in outcomes]
        self.executions = [encode(each, chain.chain_id) for each in executions]

    async def GetTip(self, request: Any, context: Any) -> pb.GetTipResponse:
        return pb.GetTipResponse(executed_height=len(self.executions))

    async def StreamExecutions(self, request: Any, context: Any) -> AsyncIterator[pb.StreamExecutionsResponse]:
        assert request.first_height > 0
        for each in self.executions[request.first_height - 1 : request.last_height]:
            yield pb.StreamExecutionsResponse(execution=each)


@pytest.mark.parametrize("height", [0, 1, 2, 11], ids=["no-block", "one-block", "two-blocks", "none-since-the-handover"])
def test_a_replica_starts_after_a_recovery_wherever_it_came(height: int) -> None:
    """C10: the committee before is the one that the recovery dismissed."""
    scribe = Scribe(Alliance.founded(EIGHT, replace(PARAMETERS, committee_target=4)))
    scribe.write_until(min(height, 10))
    if height > 10:
        scribe.write(scribe.handover())
    before = scribe.chain.tip.outlook
    scribe.recover()

    async def scene() -> Start:
        server = grpc.aio.server()
        add_LedgerServiceServicer_to_server(Recorded(scribe), server)  # type: ignore[abstract]
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel, asyncio.timeout(20):
                return await OwnLedger(channel, scribe.alliance.genesis).start()
        finally:
            await server.stop(None)

    start = asyncio.run(scene())
    assert (start.tip.previous_committee, start.previous_start) == (before.committee, before.epoch_start)


def test_a_ledger_that_takes_no_more_calls_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the start, and when a block is handed over."""
    monkeypatch.setattr(own_ledger, "RETRY_S_MIN", 0.0)

    async def scene() -> None:
        scribe, busy, server = Scribe(Alliance.founded()), Busy(), grpc.aio.server()  # type: ignore[abstract]
        scribe.write()
        add_LedgerServiceServicer_to_server(busy, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel, asyncio.timeout(20):
            ledger = OwnLedger(channel, scribe.alliance.genesis)
            assert (await ledger.start()).height == 0
            await ledger.deliver(scribe.blocks[0])
        await server.stop(None)
        assert busy.calls == ["GetTip"] * 2 + ["ExecuteBlock"] * 2

    asyncio.run(scene())
