"""Keeps the status a server sent when it ended a stream before the caller had finished writing.

grpc.aio replaces that status by INTERNAL "Internal error from Core" whenever a write fails because the stream is already
over (github.com/grpc/grpc, issue 36066, open at version 1.85), so a refused upload would look like a broken server half of
the time. Here a failed write only ends a call on its own when no status arrives; the file goes when the issue is closed.
"""

import asyncio
from typing import Any

STATUS_WAIT_S = 5.0
"""How long a call whose write failed waits for the status that explains it."""


class _Patient:
    """The inner call, except that a failed write waits for the status."""

    def __init__(self, inner: Any) -> None:  # noqa: ANN401  the library's own class, which has no types
        self._inner = inner

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def set_internal_error(self, details: str) -> None:
        """What grpc.aio does on a failed write."""
        asyncio.get_running_loop().call_later(STATUS_WAIT_S, self._give_up, details)

    def _give_up(self, details: str) -> None:
        if not self._inner.done():
            self._inner.set_internal_error(details)


def keep_early_status(call: Any) -> Any:  # noqa: ANN401  any call with a stream of requests
    """The same call, which reports the server's status."""
    call._cython_call = _Patient(call._cython_call)  # noqa: SLF001  there is no other way in
    return call
