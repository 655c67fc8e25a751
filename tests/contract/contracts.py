"""Every method of every contract, read from the descriptors, and calls that send bytes as no stub would."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message_factory import GetMessageClass
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from consilium.api.consensus.v1 import consensus_pb2, replica_pb2
from consilium.api.identity.v1 import identity_pb2
from consilium.api.ledger.v1 import ledger_pb2
from consilium.api.reencryption.v1 import reencryption_pb2
from consilium.api.storage.v1 import storage_pb2
from consilium.runtime.early_status import keep_early_status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from google.protobuf.descriptor import Descriptor, MethodDescriptor
    from google.protobuf.message import Message

FILES = {
    "identity": (identity_pb2,),
    "consensus": (consensus_pb2, replica_pb2),
    "ledger": (ledger_pb2,),
    "storage": (storage_pb2,),
    "reencryption": (reencryption_pb2,),
}
"""What each of a member's five services serves."""
LIVES_ON = frozenset({"StreamTips", "StreamBlocks", "StreamEvents", "StreamExecutions", "Exchange"})
"""Streams without an end of their own, which need no deadline."""
UNKNOWN_FIELD = b"\xf8\x7f\x01"
"""Field 2047, which no contract has, with the value 1."""
DETAILS_KEY = "grpc-status-details-bin"
DEADLINE_S = 20.0


@dataclass(frozen=True)
class Method:
    """One method of a service."""

    service: str
    described: MethodDescriptor

    @property
    def name(self) -> str:
        return str(self.described.name)

    @property
    def path(self) -> str:
        return f"/{self.described.containing_service.full_name}/{self.name}"

    @property
    def form(self) -> str:
        """What gRPC calls its form, for instance `unary_stream`."""
        streamed = self.described.client_streaming, self.described.server_streaming
        return "_".join("stream" if each else "unary" for each in streamed)

    @property
    def is_write(self) -> bool:
        """Whether it changes something, as far as its name tells (AIP-131, AIP-132)."""
        return self.name not in LIVES_ON and not self.name.startswith(("Get", "List"))

    @property
    def request(self) -> Descriptor:
        found: Descriptor = self.described.input_type
        return found

    def message(self, **fields: Any) -> Message:
        """A request, or one frame of it."""
        made: Message = GetMessageClass(self.request)(**fields)
        return made

    def answer(self, raw: bytes) -> Any:
        """An answer out of its bytes."""
        return GetMessageClass(self.described.output_type).FromString(raw)


METHODS = {
    method.name: Method(service, method)
    for service, files in FILES.items()
    for each in files
    for contract in each.DESCRIPTOR.services_by_name.values()
    for method in contract.methods
}
"""By the method's name, which is unique over all contracts."""


@dataclass(frozen=True)
class Ending:
    """How a call ended: its answers, or its refusal with the ErrorInfo that came along."""

    code: grpc.StatusCode
    sentence: str = ""
    reason: str = ""
    rule: str = ""
    domain: str = ""
    answers: tuple[bytes, ...] = ()

    @property
    def refusal(self) -> tuple[grpc.StatusCode, str, str]:
        """What a caller acts on."""
        return self.code, self.reason, self.rule


async def attempt(
    channel: grpc.aio.Channel,
    method: Method,
    *frames: bytes,
    timeout: float | None = DEADLINE_S,  # noqa: ASYNC109  the deadline that travels with the call
    metadata: Sequence[tuple[str, str | bytes]] = (),
    answers_max: int | None = 1,
    ends: bool = True,
) -> Ending:
    """Call a method with these bytes, and read so many answers at most; None reads until the call is over.

    A stream of requests that does not end is left open behind them.
    """
    described = method.described
    given = _frames(frames, ends=ends) if described.client_streaming else frames[0]
    call = getattr(channel, method.form)(method.path)(given, timeout=timeout, metadata=metadata)
    if described.client_streaming:
        keep_early_status(call)
    try:
        return Ending(grpc.StatusCode.OK, answers=await _answers(call, answers_max, streamed=described.server_streaming))
    except grpc.aio.AioRpcError as error:
        return _ending(error)


async def _frames(frames: Sequence[bytes], *, ends: bool) -> AsyncIterator[bytes]:
    for each in frames:
        yield each
    if not ends:
        await asyncio.Event().wait()


async def _answers(call: Any, most: int | None, *, streamed: bool) -> tuple[bytes, ...]:
    if not streamed:
        return (await call,)
    found: list[bytes] = []
    async for each in call:
        found.append(each)
        if len(found) == most:
            call.cancel()
            break
    return tuple(found)


def _ending(error: grpc.aio.AioRpcError) -> Ending:
    found = ErrorInfo()
    for key, value in error.trailing_metadata() or ():
        if key == DETAILS_KEY:
            status = Status.FromString(value)
            assert status.code == error.code().value[0]
            assert status.message == error.details()
            [packed] = status.details
            assert packed.Unpack(found)
    return Ending(error.code(), error.details() or "", found.reason, found.metadata["rule"], found.domain)
