"""What every call passes on its way in, in one order, and on its way out in the reverse (design section 8).

`LAYERS` is that order. Each layer is a context around the handler: it may refuse by raising before it yields, and sees on
the way out how the call ended. The request id comes first, so that every refusal carries it; counting and logging stand
around the translation of errors, so that they see its outcome; who calls, and whether it still may, is asked last and again
at each message of a stream, because a stream outlives a certificate and a membership. The one request of a unary call is
read after that, as a stream's first would be: who opens calls and says nothing is known by then, and kept to its share.

Servicers are coroutines where the answer is one message and asynchronous generators where it is a stream; they hold no `try`
and never touch a status. The end of a request stream is no proof that the caller was done: a broken connection ends it the
same way, so a contract says for itself when it is complete.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError, Message

from consilium.kernel.errors import ConsiliumError, DeadlineExceeded, Internal, InvalidArgument, Malformed
from consilium.runtime import calls, methods
from consilium.runtime.logs import Log
from consilium.runtime.methods import Method
from consilium.runtime.metrics import MethodMetrics, Metrics, go_name
from consilium.runtime.names import PeerIdentity, Role
from consilium.runtime.rates import Rates, TooFast
from consilium.runtime.shares import Shares
from consilium.runtime.statuses import DETAILS_KEY, code_of, details_of, sentence_of, to_error
from consilium.runtime.strict import refuse_unknown_fields

Authorise = Callable[[str, PeerIdentity], None]
"""Given a method's path and who calls, raises PermissionDenied or Unauthenticated unless the ledger's state lets it."""
Identify = Callable[[Mapping[str, Any]], PeerIdentity]
"""Given a connection's authentication context, who calls; raises Unauthenticated."""
Context = grpc.aio.ServicerContext[Any, Any]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

_log = Log("consilium.runtime.rpc")


@dataclass(frozen=True, slots=True)
class Gate:
    """What the layers of one server share."""

    metrics: Metrics
    identify: Identify
    authorise: Authorise
    shares: Shares
    rates: Rates


@dataclass(slots=True)
class Call:
    """One call on its way through the layers."""

    gate: Gate
    method: Method
    metrics: MethodMetrics
    context: Context
    scope: calls.Scope
    received: int = 0
    sent: int = 0
    code: grpc.StatusCode = grpc.StatusCode.OK
    error: ConsiliumError | None = None
    started_s: float = field(default_factory=time.perf_counter)

    def admit(self) -> None:
        """Learn who calls and whether it may, now. Raises Unauthenticated or PermissionDenied."""
        peer = self.scope.peer or self.gate.identify(self.context.auth_context())
        peer.verify_valid_at(int(time.time()))
        self.gate.authorise(self.method.path, peer)
        self.scope.peer = peer

    def end(self, error: ConsiliumError) -> ConsiliumError:
        """Note how the call ends."""
        self.code, self.error = code_of(error), error
        return error


@contextmanager
def request_id(call: Call) -> Iterator[None]:
    """The request id: the caller's or a fresh one, on every log line, in every call from here, and in the answer."""
    call.context.set_trailing_metadata(((calls.REQUEST_ID_HEADER, call.scope.request_id),))
    calls.enter(call.scope)
    try:
        yield
    finally:
        call.scope.ended = True


@contextmanager
def access_log(call: Call) -> Iterator[None]:
    """One line a call, when it has ended; of people only their role and member."""
    try:
        yield
    finally:
        peer, error = call.scope.peer, call.error
        _log.write(
            logging.INFO if call.code is not grpc.StatusCode.INTERNAL else logging.ERROR,
            "rpc",
            method=call.method.path,
            code=go_name(call.code),
            duration_ms=int((time.perf_counter() - call.started_s) * 1_000),
            received=call.received,
            sent=call.sent,
            **({"peer_member": peer.member_id, "peer_role": peer.role} if peer else {}),
            **({"peer_service": peer.name} if peer and peer.role is Role.SERVICE else {}),
            **({"reason": error.reason, "rule": error.rule or None} if error else {}),
        )


@contextmanager
def counts(call: Call) -> Iterator[None]:
    """The stock metrics, and why calls were refused."""
    call.metrics.started.inc()
    try:
        yield
    finally:
        call.metrics.handled[call.code].inc()
        if call.error is not None:
            call.metrics.refuse(call.error.reason)
        if call.metrics.handling is not None:
            call.metrics.handling.observe(time.perf_counter() - call.started_s)


@contextmanager
def typed_errors(call: Call) -> Iterator[None]:
    """Whatever ends a call early becomes an error of the tree; what nobody foresaw is logged with its stack, as Internal.

    A caller whose time is over cancels, and on the wire that is any other cancelling. Its deadline began when it called,
    ours when the call came in, so on a busy machine the cancelling may come first: then it counts as Canceled.
    """
    try:
        yield
    except ConsiliumError as error:
        call.end(error)
        raise
    except grpc.aio.AioRpcError as error:
        raise call.end(to_error(error)) from error
    except (asyncio.CancelledError, GeneratorExit, grpc.aio.BaseError):
        over = call.scope.remaining_s() == 0.0
        call.code = grpc.StatusCode.DEADLINE_EXCEEDED if over else grpc.StatusCode.CANCELLED
        raise
    except Exception as error:
        _log.write(logging.ERROR, "rpc_failed", error, method=call.method.path)
        sentence = f"The service failed; its log says how under request id {call.scope.request_id}."
        raise call.end(Internal("INTERNAL", sentence)) from error


@contextmanager
def deadline(call: Call) -> Iterator[None]:
    """The caller's time: over is over, and a write without one is refused, because its caller could wait for ever."""
    remaining_s = call.scope.remaining_s()
    if remaining_s is None and call.method.needs_deadline:
        raise InvalidArgument("DEADLINE_REQUIRED", f"{call.method.name} changes something, so the call needs a deadline.")
    if remaining_s == 0.0:
        raise DeadlineExceeded("DEADLINE_EXCEEDED", "The call's deadline was over before it was looked at.")
    yield


@contextmanager
def admission(call: Call) -> Iterator[None]:
    """Who calls, by its certificate, and whether the ledger's state lets it."""
    call.admit()
    yield


@contextmanager
def pace(call: Call) -> Iterator[None]:
    """Not more calls a second than the caller may make; whose came too fast is counted, from the caller's first call on.

    A counter that began with the flood would hide its beginning from Prometheus, which sees growth alone.
    """
    assert call.scope.peer is not None, "paced is a caller that was admitted"
    too_fast = call.gate.metrics.too_fast.labels(call.method.kind, call.scope.peer.member_id)
    try:
        call.gate.rates.take(call.scope.peer, time.monotonic_ns())
    except TooFast:
        too_fast.inc()
        raise
    yield


@contextmanager
def place(call: Call) -> Iterator[None]:
    """One of the places of this server, as long as the call lasts."""
    assert call.scope.peer is not None, "a place is taken by a caller that was admitted"
    with call.gate.shares.place(call.scope.peer):
        yield


Layer = Callable[[Call], AbstractContextManager[None]]
LAYERS: tuple[Layer, ...] = (request_id, counts, access_log, typed_errors, deadline, admission, pace, place)
"""The order in which a call passes them, outermost first."""


class Interceptor(grpc.aio.ServerInterceptor):
    """Puts the layers around every handler of a server, and makes requests strict."""

    def __init__(self, gate: Gate, known: Mapping[str, Method]) -> None:
        self._gate = gate
        self._known = {path: (method, MethodMetrics(gate.metrics, method)) for path, method in known.items()}
        self._guarded: dict[str, tuple[Handler, Handler]] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable["Handler | None"]],
        details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        """The handler with the layers around it, made once a method; None for a method nobody serves."""
        handler = await continuation(details)
        if handler is None:
            return None
        made_of, guarded = self._guarded.get(details.method, (None, None))
        if guarded is None or made_of is not handler:
            guarded = self._guard(details.method, handler)
            self._guarded[details.method] = (handler, guarded)
        return guarded

    def _guard(self, path: str, handler: Handler) -> Handler:
        kind = methods.kind_of(request_streaming=handler.request_streaming, response_streaming=handler.response_streaming)
        if path not in self._known:
            method = methods.foreign_method(path, kind)
            self._known[path] = method, MethodMetrics(self._gate.metrics, method)
        return _GUARDS[kind](_Guarded(self._gate, *self._known[path], handler))


@dataclass(frozen=True, slots=True)
class _Guarded:
    """A handler between bytes and bytes: decoding and encoding happen inside the layers, where their failures are typed."""

    gate: Gate
    method: Method
    metrics: MethodMetrics
    handler: Handler

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[Call]:
        """A call within all layers; a typed error leaves as a status."""
        call = Call(self.gate, self.method, self.metrics, context, _scope(context))
        try:
            with ExitStack() as stack:
                for layer in LAYERS:
                    stack.enter_context(layer(call))
                yield call
        except ConsiliumError as error:
            await context.abort(code_of(error), sentence_of(error), _trailing(call, error))

    def take(self, call: Call, raw: bytes) -> Message:
        """A request out of its bytes. Raises Malformed."""
        call.received += 1
        self.metrics.received.inc()
        assert self.handler.request_deserializer is not None
        try:
            message: Message = self.handler.request_deserializer(raw)
        except DecodeError as error:
            raise Malformed("MALFORMED_MESSAGE", f"The bytes are no request of {self.method.name}.", "L1") from error
        refuse_unknown_fields(message)
        return message

    async def take_one(self, call: Call) -> Message:
        """The one request of a call. Raises Malformed."""
        raw = await call.context.read()
        if raw is grpc.aio.EOF:
            raise Malformed("NO_REQUEST", f"The call has ended without a request of {self.method.name}.", "L1")
        return self.take(call, raw)

    async def take_all(self, call: Call, raws: AsyncIterator[bytes]) -> AsyncGenerator[Message, None]:
        """The requests of a stream, the caller's standing asked again at each."""
        async for raw in raws:
            call.admit()
            yield self.take(call, raw)

    def give(self, call: Call, response: Message) -> bytes:
        """An answer's bytes."""
        assert self.handler.response_serializer is not None
        raw = self.handler.response_serializer(response)
        call.sent += 1
        self.metrics.sent.inc()
        return raw


def _scope(context: Context) -> calls.Scope:
    """What is known of a call before any layer."""
    offered = next((value for key, value in context.invocation_metadata() or () if key == calls.REQUEST_ID_HEADER), None)
    remaining_s: float | None = context.time_remaining()
    deadline_s = None if remaining_s is None else time.monotonic() + remaining_s
    return calls.Scope(calls.accepted_request_id(offered), deadline_s)


def _trailing(call: Call, error: ConsiliumError) -> tuple[tuple[str, str | bytes], ...]:
    return (calls.REQUEST_ID_HEADER, call.scope.request_id), (DETAILS_KEY, details_of(error))


def _unary(guarded: _Guarded) -> Handler:
    async def handle(_: AsyncIterator[bytes], context: Context) -> bytes:
        async with guarded.open(context) as call:
            response = await _behaviour(guarded.handler.unary_unary)(await guarded.take_one(call), context)
            return guarded.give(call, response)
        raise AssertionError("a call that did not answer was aborted")

    return grpc.stream_unary_rpc_method_handler(handle)


def _client_stream(guarded: _Guarded) -> Handler:
    async def handle(raws: AsyncIterator[bytes], context: Context) -> bytes:
        async with guarded.open(context) as call, aclosing(guarded.take_all(call, raws)) as requests:
            response = await _behaviour(guarded.handler.stream_unary)(requests, context)
            return guarded.give(call, response)
        raise AssertionError("a call that did not answer was aborted")

    return grpc.stream_unary_rpc_method_handler(handle)


def _server_stream(guarded: _Guarded) -> Handler:
    async def handle(_: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        async with (
            guarded.open(context) as call,
            aclosing(_behaviour(guarded.handler.unary_stream)(await guarded.take_one(call), context)) as responses,
        ):
            async for response in responses:
                call.admit()
                yield guarded.give(call, response)

    return grpc.stream_stream_rpc_method_handler(handle)


def _bidi_stream(guarded: _Guarded) -> Handler:
    async def handle(raws: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        async with (
            guarded.open(context) as call,
            aclosing(guarded.take_all(call, raws)) as requests,
            aclosing(_behaviour(guarded.handler.stream_stream)(requests, context)) as responses,
        ):
            async for response in responses:
                call.admit()
                yield guarded.give(call, response)

    return grpc.stream_stream_rpc_method_handler(handle)


def _behaviour(found: Callable[..., Any] | None) -> Callable[..., Any]:
    assert found is not None, "a handler of this form holds this behaviour"
    return found


_GUARDS: dict[str, Callable[[_Guarded], Handler]] = {
    methods.UNARY: _unary,
    methods.CLIENT_STREAM: _client_stream,
    methods.SERVER_STREAM: _server_stream,
    methods.BIDI_STREAM: _bidi_stream,
}
