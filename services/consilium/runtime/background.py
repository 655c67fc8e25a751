"""What a service does besides answering: tasks that last as long as it does, and whose failure ends it."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager

from consilium.runtime.server import stop_signal


@asynccontextmanager
async def background(*coroutines: Coroutine[None, None, object]) -> AsyncIterator[asyncio.Event]:
    """Run beside what is within, which watches the event: it is set when one of them has ended.

    Afterwards all are cancelled; raises what the first of them failed with.
    """
    ended = asyncio.Event()
    running = [asyncio.create_task(each) for each in coroutines]
    for each in running:
        each.add_done_callback(lambda _: ended.set())
    try:
        yield ended
    finally:
        failed = [error for each in running if each.done() and (error := _failure(each)) is not None]
        for each in running:
            each.cancel()
        await asyncio.wait(running)
    if failed:
        raise failed[0]


async def until_stopped(ended: asyncio.Event, ready: Coroutine[None, None, None] | None = None) -> None:
    """Wait for SIGTERM, SIGINT, or the end of a background task; `ready` is awaited once signals are heeded."""
    stopped = stop_signal()
    if ready is not None:
        await ready
    waiting = [asyncio.create_task(_wait(each)) for each in (stopped, ended)]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waiting:
            each.cancel()


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


def _failure(task: asyncio.Task[object]) -> BaseException | None:
    """What a finished task failed with; of a group of failures the first."""
    error = None if task.cancelled() else task.exception()
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
