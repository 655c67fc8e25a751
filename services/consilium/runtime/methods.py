"""What a server serves: each service with its contract, and what the interceptor needs to know of each of its methods."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

READS = ("Get", "List", "Stream")
"""How the names of methods begin that change nothing (AIP-131, AIP-132); all others are writes."""
UNARY, CLIENT_STREAM, SERVER_STREAM, BIDI_STREAM = "unary", "client_stream", "server_stream", "bidi_stream"
_KINDS = {
    (False, False): UNARY,
    (True, False): CLIENT_STREAM,
    (False, True): SERVER_STREAM,
    (True, True): BIDI_STREAM,
}


@dataclass(frozen=True, slots=True)
class Service:
    """A contract, what the generated module calls `add_<Name>Servicer_to_server`, and the servicer.

    `long_lived` names methods whose streams last as long as both sides do: they need no deadline and count in no latency.
    """

    descriptor: ServiceDescriptor
    add: Callable[[Any, grpc.aio.Server], None]
    servicer: object
    long_lived: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Method:
    """A method as metrics, log lines and rules see it; `path` is `/package.Service/Method`."""

    path: str
    service: str
    name: str
    kind: str
    needs_deadline: bool
    long_lived: bool


def methods_of(services: Iterable[Service]) -> dict[str, Method]:
    """All methods by their paths."""
    found = [_method(each, method) for each in services for method in each.descriptor.methods]
    return {each.path: each for each in found}


def foreign_method(path: str, kind: str) -> Method:
    """A method that no contract of ours describes, such as reflection's."""
    service, _, name = path.removeprefix("/").partition("/")
    return Method(path, service, name, kind, needs_deadline=False, long_lived=True)


def kind_of(*, request_streaming: bool, response_streaming: bool) -> str:
    """The stock name of a method's form."""
    return _KINDS[request_streaming, response_streaming]


def _method(service: Service, described: MethodDescriptor) -> Method:
    name, full_name = described.name, service.descriptor.full_name
    kind = kind_of(request_streaming=described.client_streaming, response_streaming=described.server_streaming)
    long_lived = name in service.long_lived
    needs_deadline = not long_lived and not name.startswith(READS)
    return Method(f"/{full_name}/{name}", full_name, name, kind, needs_deadline, long_lived)
