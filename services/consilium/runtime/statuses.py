"""The one translator between the error tree and gRPC statuses, both ways (AIP-193).

A refusal leaves as its canonical code, its sentence, and one google.rpc.ErrorInfo: reason, domain, and in the metadata the
rule that refused and the class in our tree; of calls that came too fast a google.rpc.RetryInfo besides. `to_error` restores
the same class on the other side. A status without ErrorInfo comes from gRPC itself (a broken connection, a message too
large) and becomes the class of its code.
"""

from collections.abc import Iterable
from typing import Final, Protocol

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.message import DecodeError, Message
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from consilium.kernel import errors
from consilium.kernel.errors import ConsiliumError
from consilium.runtime.rates import TooFast

DOMAIN = "consilium"
"""ErrorInfo.domain of every refusal of ours."""
DETAILS_KEY = "grpc-status-details-bin"
"""The metadata key of the serialised google.rpc.Status, as every gRPC library reads it."""
SENTENCE_MAX = 1_024
"""The longest sentence sent, in characters: statuses travel as HTTP/2 headers, which are bounded."""


class Failed(Protocol):
    """What the exceptions of both clients, grpc.RpcError of a call and grpc.aio.AioRpcError, tell."""

    def code(self) -> grpc.StatusCode:
        """The status code."""

    def details(self) -> str | None:
        """The sentence."""

    def trailing_metadata(self) -> Iterable[tuple[str, str | bytes]] | None:
        """What came after the last message."""


CODES: Final[dict[type[ConsiliumError], grpc.StatusCode]] = {
    errors.InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    errors.PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.Conflict: grpc.StatusCode.ALREADY_EXISTS,
    errors.ResourceExhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.DataLoss: grpc.StatusCode.DATA_LOSS,
    errors.Internal: grpc.StatusCode.INTERNAL,
}
"""Every class of the tree, or its nearest base, has one code."""
FOREIGN: Final[dict[grpc.StatusCode, type[ConsiliumError]]] = {
    **{code: kind for kind, code in CODES.items()},
    grpc.StatusCode.ABORTED: errors.Conflict,
    grpc.StatusCode.OUT_OF_RANGE: errors.InvalidArgument,
    grpc.StatusCode.UNIMPLEMENTED: errors.FailedPrecondition,
    grpc.StatusCode.CANCELLED: errors.Unavailable,
}
"""What a code without our ErrorInfo means; UNKNOWN, which nothing of ours sends, is Internal."""
_KINDS: Final[dict[str, type[ConsiliumError]]] = {
    each.__name__: each
    for each in vars(errors).values()
    if isinstance(each, type) and issubclass(each, ConsiliumError) and each is not ConsiliumError
}


def code_of(error: ConsiliumError) -> grpc.StatusCode:
    """The canonical code of a refusal."""
    return CODES[_coded(type(error))]


def details_of(error: ConsiliumError) -> bytes:
    """The google.rpc.Status that travels beside the code, serialised for DETAILS_KEY."""
    info = ErrorInfo(reason=error.reason, domain=DOMAIN, metadata={"class": _class_of(error)})
    if error.rule:
        info.metadata["rule"] = error.rule
    details = [_packed(info)]
    if isinstance(error, TooFast):
        retry = RetryInfo()
        retry.retry_delay.FromNanoseconds(error.retry_ns)
        details.append(_packed(retry))
    code: int = code_of(error).value[0]
    serialised: bytes = Status(code=code, message=sentence_of(error), details=details).SerializeToString()
    return serialised


def sentence_of(error: ConsiliumError) -> str:
    """The sentence as it is sent."""
    return error.sentence[:SENTENCE_MAX]


def to_error(failed: Failed) -> ConsiliumError:
    """Restore the typed error from a failed call, of the synchronous or the asyncio client."""
    code = failed.code()
    sentence = failed.details() or f"The call ended with {code.name}."
    info = _error_info(failed)
    if info is None:
        return FOREIGN.get(code, errors.Internal)(code.name, sentence)
    kind = _KINDS.get(info.metadata["class"], errors.Internal)
    if CODES[_coded(kind)] is not code:
        # A name of the other side's choosing never outweighs the code that everything in between acted on.
        kind = FOREIGN.get(code, errors.Internal)
    return kind(info.reason, sentence, info.metadata["rule"])


def _class_of(error: ConsiliumError) -> str:
    """The name of a refusal's class in the tree, or of its nearest base there."""
    return next(each.__name__ for each in type(error).__mro__ if each.__name__ in _KINDS)


def _packed(message: Message) -> Any:
    packed = Any()
    packed.Pack(message)
    return packed


def _coded(kind: type[ConsiliumError]) -> type[ConsiliumError]:
    """A class, or its nearest base, that has a code."""
    return next(each for each in kind.__mro__ if each in CODES)


def _error_info(failed: Failed) -> ErrorInfo | None:
    """Our ErrorInfo out of a failed call's trailing metadata, None when there is none."""
    for key, value in failed.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            return _unpacked(value)
    return None


def _unpacked(details: bytes) -> ErrorInfo | None:
    info = ErrorInfo()
    try:
        for each in Status.FromString(details).details:
            if each.Unpack(info) and info.domain == DOMAIN:
                return info
    except DecodeError:
        return None
    return None
