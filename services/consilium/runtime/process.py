"""How a process starts: `--help`, settings or a sentence and exit code 2, logs, and its `main` in an event loop.

The loop is uvloop's: gRPC on it takes about an eighth less CPU than on asyncio's own. Threads change hands ten times as
often as Python would have them, so that the loop does not wait 5 ms for a thread that verifies.
"""

import asyncio
import logging
import sys
import time
from collections.abc import Callable, Coroutine
from typing import ClassVar, Protocol, TypeVar

import uvloop

from consilium.kernel.errors import ConsiliumError, FailedPrecondition
from consilium.runtime import logs
from consilium.runtime.memory import keep_freed_memory
from consilium.runtime.settings import FILE_VARIABLE, Settings, describe, load
from consilium.runtime.traces import tracing

REFUSED = 2
"""The exit code when settings, TLS files or a port are refused; the sentence is on standard error."""

SWITCH_S = 0.000_5
"""How long a thread may keep others from running, instead of Python's 0.005."""

LOOK_S = 0.25
"""How often a process that waits for its state looks whether it is free."""

_log = logs.Log("consilium.runtime.process")


class ServiceSettings(Settings, Protocol):
    """The settings that starting a process needs."""

    SECTION: ClassVar[str]

    @property
    def member_id(self) -> str:
        """The member it belongs to."""

    @property
    def log_level(self) -> str:
        """What is logged and above."""

    @property
    def traces_endpoint(self) -> str:
        """Where traces go, empty for no traces."""

    @property
    def traces_percent(self) -> int:
        """How many of a hundred that begin here."""

    @property
    def lock_s(self) -> int:
        """For how many seconds to wait for another process that holds the state."""


Filled = TypeVar("Filled", bound=ServiceSettings)


def run(kind: type[Filled], main: Callable[[Filled], Coroutine[None, None, None]]) -> int:
    """Run a service's main until it ends and return the exit code; `__main__` hands it to sys.exit."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        sys.stdout.write(f"{_usage(kind)}\n")
        return 0
    try:
        settings = load(kind)
        logs.configure(kind.SECTION, settings.member_id, settings.log_level)
        sys.setswitchinterval(SWITCH_S)
        keep_freed_memory()
        with tracing(settings.traces_endpoint, kind.SECTION, settings.member_id, settings.traces_percent):
            _patient(settings, lambda: uvloop.run(_watched(main(settings))))
    except ConsiliumError as error:
        sys.stderr.write(f"consilium.{kind.SECTION}: {error}\n")
        return REFUSED
    return 0


def _patient(settings: ServiceSettings, once: Callable[[], None]) -> None:
    """Run once the state is free: a pod removed by force still ends while its successor starts, and lets go only then.

    Waiting here costs as long as that takes; a container that ends and is started again costs the kubelet's growing
    pauses. The lock itself is never passed by (C5). Raises what `once` does.
    """
    deadline, is_told = time.monotonic() + settings.lock_s, False
    while (held := _held(once, deadline)) is not None:
        if not is_told:
            _log.write(logging.WARNING, "state_is_held", held)
        is_told = True
        time.sleep(LOOK_S)


def _held(once: Callable[[], None], deadline: float) -> FailedPrecondition | None:
    """Run; what kept it from running when another process holds the state, until the deadline. Raises what `once` does."""
    try:
        once()
    except FailedPrecondition as error:
        if error.reason != "LOCKED" or time.monotonic() >= deadline:
            raise
        return error
    return None


async def _watched(main: Coroutine[None, None, None]) -> None:
    """Run main with an exception handler that logs what background tasks fail with, without what it was about."""
    asyncio.get_running_loop().set_exception_handler(_report)
    await main


def _report(_: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    error = context.get("exception")
    _log.write(logging.ERROR, "task_failed", error if isinstance(error, BaseException) else None)


def _usage(kind: type[Settings]) -> str:
    return (
        f"usage: python -m consilium.{kind.SECTION}\n\nSettings come from the environment, or from the table "
        f"[{kind.SECTION}] of the TOML file that {FILE_VARIABLE} names.\n\n{describe(kind)}"
    )
