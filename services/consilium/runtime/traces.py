"""Traces across services, by OpenTelemetry; off unless `traces_endpoint` names a collector.

Calls carry their trace on (W3C trace context), and whoever serves one notes a span: the method, the status, the caller's
address, how long it took; never what was asked or answered. Whoever calls notes one too, of a call with one question and one
answer. Long-lived streams have neither: a span of a month tells nothing. Needs the extra `otel`. Spans show who talks to
whom and when: the collector is one's own.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc

from consilium.kernel.errors import FailedPrecondition

LONG_LIVED = ("Exchange", "StreamTips", "StreamBlocks", "StreamEvents", "StreamExecutions")
"""The methods that have no span."""


@dataclass(slots=True)
class _Interceptors:
    """What this process's servers and channels are made with; nothing while traces are off."""

    server: tuple[Any, ...] = ()
    client: tuple[Any, ...] = ()


_now = _Interceptors()


@contextmanager
def tracing(endpoint: str, service: str, member_id: str, percent: int) -> Iterator[None]:
    """Send to a collector, from servers and channels made within, so many of a hundred traces that begin here.

    Traces that began elsewhere are sent if they were there. `endpoint` is http://host:port, or https:// for TLS; empty for
    none at all. Raises FailedPrecondition: NO_OPENTELEMETRY.
    """
    if not endpoint:
        yield
        return
    provider = _provider(endpoint, service, member_id, percent)
    try:
        yield
    finally:
        _now.server = _now.client = ()
        provider.shutdown()


def server_interceptors() -> Sequence[grpc.aio.ServerInterceptor]:
    """What a server is made with, outermost."""
    return _now.server


def client_interceptors() -> Sequence[grpc.aio.ClientInterceptor]:
    """What a channel is made with."""
    return _now.client


def carried(method: str) -> tuple[tuple[str, str], ...]:
    """What a stream carries of the trace that it belongs to, as metadata; the interceptors do it for other calls."""
    if not _now.client or not _is_short(method):
        return ()
    from opentelemetry.propagate import inject  # noqa: PLC0415  of the extra `otel`

    found: dict[str, str] = {}
    inject(found)
    return tuple(found.items())


def _provider(endpoint: str, service: str, member_id: str, percent: int) -> Any:  # noqa: ANN401  of the extra `otel`
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.instrumentation.grpc import aio_client_interceptors, aio_server_interceptor  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        raise FailedPrecondition("NO_OPENTELEMETRY", f"Traces need {missing.name}: install consilium[otel].") from missing
    resource = Resource({"service.name": f"consilium-{service}", "service.namespace": member_id})
    provider = TracerProvider(sampler=ParentBasedTraceIdRatio(percent / 100), resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint)))
    # Streams are called without: their calls would become other objects than those that links and readers know.
    found = aio_client_interceptors(provider)  # type: ignore[no-untyped-call]
    unary = grpc.aio.UnaryUnaryClientInterceptor
    _now.client = tuple(each for each in found if isinstance(each, unary))
    _now.server = (aio_server_interceptor(provider, filter_=_serves_short),)  # type: ignore[no-untyped-call]
    return provider


def _serves_short(details: grpc.HandlerCallDetails) -> bool:
    return _is_short(details.method)


def _is_short(method: str) -> bool:
    return method.rpartition("/")[2] not in LONG_LIVED
