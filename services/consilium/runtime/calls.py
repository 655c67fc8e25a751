"""What a running call knows about itself: its request id, its time, its caller; followed into every call it causes.

The interceptor opens a call and ends it; servicers, log lines and outgoing calls read it through the functions here. What a
call leaves running behind it (a batch being filled, a link) sees no call any more once the call has ended.
"""

import re
import secrets
import time
from contextvars import ContextVar
from dataclasses import dataclass

from consilium.runtime.names import PeerIdentity

REQUEST_ID_HEADER = "x-request-id"
"""The metadata key of the request id, in requests and in trailing metadata."""
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(slots=True)
class Scope:
    """One running call. `deadline_s` is on the monotonic clock, None for no deadline."""

    request_id: str
    deadline_s: float | None
    peer: PeerIdentity | None = None
    ended: bool = False

    def remaining_s(self) -> float | None:
        """Seconds left, never below 0; None without a deadline."""
        return None if self.deadline_s is None else max(self.deadline_s - time.monotonic(), 0.0)


_scope: ContextVar[Scope | None] = ContextVar("scope", default=None)


def enter(scope: Scope) -> None:
    """Make a call the current one of this task and of those it starts."""
    _scope.set(scope)


def request_id() -> str:
    """The id of the request being served; "" outside of one."""
    scope = _current()
    return scope.request_id if scope else ""


def remaining_s() -> float | None:
    """Seconds left to the caller's deadline, never below 0; None without a deadline or outside of a call."""
    scope = _current()
    return scope.remaining_s() if scope else None


def peer() -> PeerIdentity:
    """Who is calling; only inside a served call, where the caller is always known."""
    scope = _current()
    assert scope is not None, "peer() is asked outside of a call"
    assert scope.peer is not None, "peer() is asked before the caller was admitted"
    return scope.peer


def new_request_id() -> str:
    """A fresh request id: 128 random bits in hexadecimal."""
    return secrets.token_hex(16)


def accepted_request_id(offered: str | bytes | None) -> str:
    """The caller's request id if it is 1 to 64 letters, digits, dots, dashes or underscores; else a fresh one."""
    if isinstance(offered, str) and _REQUEST_ID.fullmatch(offered):
        return offered
    return new_request_id()


def _current() -> Scope | None:
    scope = _scope.get()
    return None if scope is None or scope.ended else scope
