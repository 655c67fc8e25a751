"""Traces: off by default; on, a call and its serving are one trace at a collector, without what was asked."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from consilium.api.chain.v1 import chain_pb2
from consilium.api.consensus.v1 import consensus_pb2, consensus_pb2_grpc
from consilium.api.ledger.v1 import ledger_pb2, ledger_pb2_grpc
from consilium.api.storage.v1 import storage_pb2, storage_pb2_grpc
from consilium.kernel.errors import Conflict
from consilium.runtime.traces import client_interceptors, server_interceptors, tracing
from tests.runtime.loopback import Loopback, Scripted

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = b"what was asked, which no span may hold"


@dataclass
class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """A collector that keeps what it is sent."""

    sent: list[bytes] = field(default_factory=list)

    def Export(self, request: Any, context: Any) -> Any:
        self.sent.append(request.SerializeToString())
        return trace_service_pb2.ExportTraceServiceResponse()

    @property
    def spans(self) -> list[Any]:
        """All spans so far."""
        found = map(trace_service_pb2.ExportTraceServiceRequest.FromString, self.sent)
        return [span for each in found for part in each.resource_spans for one in part.scope_spans for span in one.spans]


@contextmanager
def collecting() -> Iterator[tuple[Collector, str]]:
    """A collector at work in threads of its own, and its address."""
    server, collector = grpc.server(ThreadPoolExecutor(1)), Collector()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield collector, f"http://127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def test_without_a_collector_nothing_is_around_calls() -> None:
    with tracing("", "ledger", "1A", 100):
        assert (server_interceptors(), client_interceptors()) == ((), ())


@pytest.mark.parametrize(("percent", "expected"), [(100, True), (0, False)])
def test_a_call_and_its_serving_are_one_trace(tmp_path: Path, percent: int, *, expected: bool) -> None:
    with collecting() as (collector, endpoint):
        with tracing(endpoint, "ledger", "1A", percent):
            asyncio.run(called(tmp_path))
        assert (server_interceptors(), client_interceptors()) == ((), ())
    by_kind = {span.kind: span for span in collector.spans if span.name.endswith("/GetTip")}
    assert bool(by_kind) is expected
    if expected:
        server, client = by_kind[2], by_kind[3]
        assert server.trace_id == client.trace_id
        assert server.parent_span_id == client.span_id
        assert not any(span.name.endswith("/Exchange") for span in collector.spans)
        assert SECRET not in b"".join(collector.sent)


class Relaying(Scripted):
    """Answers by a stream to itself, as storage hands a copy on while it serves a put."""

    channel: grpc.aio.Channel

    async def GetTip(self, request: Any, context: Any) -> Any:
        frames = [storage_pb2.PutObjectRequest(chunk=storage_pb2.Chunk(data=SECRET))]
        await storage_pb2_grpc.StorageServiceStub(self.channel).PutObject(iter(frames))
        return ledger_pb2.GetTipResponse()


def test_a_stream_belongs_to_the_trace_of_the_call_that_it_is_for(tmp_path: Path) -> None:
    async def scene() -> None:
        loopback, relaying = Loopback(tmp_path), Relaying()
        async with loopback.serve(relaying) as running, loopback.channel(running) as channel:
            relaying.channel = channel
            await ledger_pb2_grpc.LedgerServiceStub(channel).GetTip(ledger_pb2.GetTipRequest())

    with collecting() as (collector, endpoint), tracing(endpoint, "ledger", "1A", 100):
        asyncio.run(scene())
    served = {span.name.rpartition("/")[2]: span for span in collector.spans if span.kind == 2}
    assert served["PutObject"].trace_id == served["GetTip"].trace_id
    assert served["PutObject"].parent_span_id == served["GetTip"].span_id


async def called(path: Path) -> None:
    """A read, and a write that is refused."""
    loopback, scripted = Loopback(path), Scripted()
    async with loopback.serve(scripted) as running, loopback.channel(running) as channel:
        await ledger_pb2_grpc.LedgerServiceStub(channel).GetTip(ledger_pb2.GetTipRequest())

        def refuse() -> object:
            raise Conflict("ANY", "Any.")

        scripted.act = refuse
        transaction = chain_pb2.Transaction(encoded=SECRET)
        with pytest.raises(grpc.aio.AioRpcError):
            await consensus_pb2_grpc.ConsensusServiceStub(channel).SubmitTransaction(
                consensus_pb2.SubmitTransactionRequest(transaction=transaction)
            )
