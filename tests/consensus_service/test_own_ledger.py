"""What passes at the own ledger is waited for, whatever it is; the process does not end by it (C1, L8)."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest

from consilium.api.ledger.v1 import ledger_pb2 as pb
from consilium.api.ledger.v1.ledger_pb2_grpc import LedgerServiceServicer, add_LedgerServiceServicer_to_server
from consilium.consensus import own_ledger
from consilium.consensus.own_ledger import OwnLedger
from tests.alliance import Alliance, Scribe


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
