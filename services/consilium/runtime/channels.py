"""Calling another service: mutual TLS to one named service, deadlines, retries, and the request id carried on.

A channel is made once and kept: it follows changed certificates by itself, new calls on new connections while running ones
end on the old. Stubs work on it as on any channel; their calls fail with grpc.aio.AioRpcError, which `typed` turns back into
the error tree. Only UNAVAILABLE is retried, and only before an answer began (AIP-194); writes carry request ids, so a
retried one takes effect once (L6).
"""

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import grpc

from consilium.kernel.errors import Unavailable
from consilium.runtime import calls
from consilium.runtime.early_status import keep_early_status
from consilium.runtime.names import server_name
from consilium.runtime.statuses import to_error
from consilium.runtime.tls import Tls, TlsMaterial
from consilium.runtime.traces import carried, client_interceptors

RETRIES = {
    "maxAttempts": 4,
    "initialBackoff": "0.05s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
SERVICE_CONFIG = json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": RETRIES}]})
"""gRPC's own retries, for every method (gRFC A6)."""
Metadata = Iterable[tuple[str, str | bytes]]
Codec = Callable[[Any], Any]
CONNECT_S = 3
"""How long an attempt to connect may take, TLS included: a packet lost at its start is sent again after 1 s (RFC 6298)."""
CLOSING_GRACE_S = 30.0
"""How long calls on a channel with the old certificates may go on."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A service to call: its member, its name, and the host and port it answers on, `host:port`."""

    member_id: str
    service: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How a channel behaves: times in seconds, sizes in bytes. None: as long as it takes, for links between replicas."""

    unary_s: float | None = 10.0
    stream_s: float | None = 300.0
    message_bytes_max: int = 4 * 1024 * 1024
    keepalive_s: int = 30
    keepalive_timeout_s: int = 10
    reconnect_s_max: int = 2


@contextmanager
def typed() -> Iterator[None]:
    """Turn a failed call within into the error of the tree that the other side raised.

    A call that outlasts its connection's certificates is cancelled by the library, though nobody has cancelled its task: to
    whoever calls that is a connection that went away, Unavailable: CONNECTION_RENEWED.
    """
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise to_error(error) from error
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise Unavailable("CONNECTION_RENEWED", "The connection was renewed with other certificates; call again.") from error


class Channel(grpc.aio.Channel):
    """A channel to one service of one member."""

    def __init__(self, peer: Peer, tls: Tls, limits: Limits | None = None) -> None:
        """Raises InvalidArgument: UNKNOWN_MEMBER when no authority of the member is known."""
        self._peer, self._tls, self._limits = peer, tls, limits or Limits()
        self._closing: set[asyncio.Task[None]] = set()
        self._callables: dict[tuple[str, str], Any] = {}
        self._material, self._inner = self._open()

    def _open(self) -> tuple[TlsMaterial, grpc.aio.Channel]:
        credentials = self._tls.channel_credentials(self._peer.member_id)
        name = server_name(self._tls.material.alliance, self._peer.member_id, self._peer.service)
        around = client_interceptors() or None
        options = _options(name, self._limits)
        return self._tls.material, grpc.aio.secure_channel(self._peer.address, credentials, options, interceptors=around)

    def _current(self) -> grpc.aio.Channel:
        """The channel with the certificates of now; one with older ones is closed once its calls have ended."""
        if self._material is not self._tls.material:
            old = self._inner
            self._material, self._inner = self._open()
            self._callables.clear()
            closing = asyncio.get_running_loop().create_task(old.close(CLOSING_GRACE_S))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        return self._inner

    def _multi_callable(self, form: str, default_s: float | None, method: str, *described: object) -> Callable[..., Any]:
        """What a stub calls: the method of the current channel, with deadline and request id filled in."""

        def call(request: object = None, timeout: float | None = None, metadata: Metadata = (), **rest: object) -> object:
            current = self._current()
            inner = self._callables.get((form, method))
            if inner is None:
                inner = self._callables[form, method] = getattr(current, form)(method, *described)
            told = (*_metadata(metadata), *(() if form == "unary_unary" else carried(method)))
            made = inner(request, timeout=_timeout_s(timeout, default_s), metadata=told, **rest)
            return keep_early_status(made) if form.startswith("stream") else made

        return call

    def unary_unary(
        self,
        method: str,
        request_serializer: Codec | None = None,
        response_deserializer: Codec | None = None,
        _registered_method: bool | None = False,  # noqa: FBT001, FBT002  as generated stubs call it
    ) -> grpc.aio.UnaryUnaryMultiCallable[Any, Any]:
        """As grpc.aio.Channel."""
        described = request_serializer, response_deserializer, _registered_method
        return self._multi_callable("unary_unary", self._limits.unary_s, method, *described)  # type: ignore[return-value]

    def unary_stream(
        self,
        method: str,
        request_serializer: Codec | None = None,
        response_deserializer: Codec | None = None,
        _registered_method: bool | None = False,  # noqa: FBT001, FBT002
    ) -> grpc.aio.UnaryStreamMultiCallable[Any, Any]:
        """As grpc.aio.Channel."""
        described = request_serializer, response_deserializer, _registered_method
        return self._multi_callable("unary_stream", self._limits.stream_s, method, *described)  # type: ignore[return-value]

    def stream_unary(
        self,
        method: str,
        request_serializer: Codec | None = None,
        response_deserializer: Codec | None = None,
        _registered_method: bool | None = False,  # noqa: FBT001, FBT002
    ) -> grpc.aio.StreamUnaryMultiCallable[Any, Any]:
        """As grpc.aio.Channel."""
        described = request_serializer, response_deserializer, _registered_method
        return self._multi_callable("stream_unary", self._limits.stream_s, method, *described)  # type: ignore[return-value]

    def stream_stream(
        self,
        method: str,
        request_serializer: Codec | None = None,
        response_deserializer: Codec | None = None,
        _registered_method: bool | None = False,  # noqa: FBT001, FBT002
    ) -> grpc.aio.StreamStreamMultiCallable[Any, Any]:
        """As grpc.aio.Channel."""
        described = request_serializer, response_deserializer, _registered_method
        return self._multi_callable("stream_stream", self._limits.stream_s, method, *described)  # type: ignore[return-value]

    async def close(self, grace: float | None = None) -> None:
        """Close the connections, running calls ended after `grace` seconds."""
        for each in self._closing:
            each.cancel()
        await self._inner.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:  # noqa: FBT001, FBT002  as the base
        """As grpc.aio.Channel."""
        return self._current().get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """As grpc.aio.Channel."""
        await self._inner.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """As grpc.aio.Channel."""
        await self._current().channel_ready()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _timeout_s(asked: float | None, default: float | None) -> float | None:
    """The shortest of what the call asks for, or else the default, and what is left to the call being served."""
    known = [each for each in (default if asked is None else asked, calls.remaining_s()) if each is not None]
    return min(known, default=None)


def _metadata(given: Metadata) -> tuple[tuple[str, str | bytes], ...]:
    """The caller's metadata with the request id of the call being served, or a fresh one."""
    given = tuple(given)
    if any(key == calls.REQUEST_ID_HEADER for key, _ in given):
        return given
    return (*given, (calls.REQUEST_ID_HEADER, calls.request_id() or calls.new_request_id()))


def _options(name: str, limits: Limits) -> list[tuple[str, Any]]:
    return [
        ("grpc.ssl_target_name_override", name),
        ("grpc.service_config", SERVICE_CONFIG),
        ("grpc.max_receive_message_length", limits.message_bytes_max),
        ("grpc.max_send_message_length", limits.message_bytes_max),
        ("grpc.keepalive_time_ms", limits.keepalive_s * 1_000),
        ("grpc.keepalive_timeout_ms", limits.keepalive_timeout_s * 1_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", CONNECT_S * 1_000),
        ("grpc.max_reconnect_backoff_ms", limits.reconnect_s_max * 1_000),
    ]
