"""Work that is never left half done: in a thread off the event loop, or in several steps on it; and work done ahead."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from itertools import islice
from typing import Any, ParamSpec, TypeVar

Given = ParamSpec("Given")
Made = TypeVar("Made")
Item = TypeVar("Item")


async def run_to_end(work: Callable[Given, Made], *args: Given.args, **kwargs: Given.kwargs) -> Made:
    """Do blocking work in a thread, and when cancelled wait for its end before saying so.

    A thread cannot be stopped: without this its file might be closed under a write, and the number of that file belong
    to another by the time the write happens.
    """
    return await to_end(asyncio.to_thread(work, *args, **kwargs))


async def to_end(work: Coroutine[Any, Any, Made]) -> Made:
    """Do all of some work, and when cancelled, however often, say so only at its end.

    What the work made or failed with is dropped then, for who cancels wants no answer: work that must tell of its failure
    does so itself.
    """
    running = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([running])
        if not running.cancelled():
            running.exception()  # looked at, so that it is not reported as overlooked
        raise


async def ahead(made: Iterator[Item]) -> AsyncGenerator[Item, None]:
    """What a blocking iterator gives, each made in a thread while the one before is used."""
    making = asyncio.ensure_future(asyncio.to_thread(next, made, None))
    try:
        while (item := await making) is not None:
            making = asyncio.ensure_future(asyncio.to_thread(next, made, None))
            yield item
    finally:
        await asyncio.wait([making])  # the thread uses files until then


async def some_ahead(making: Iterator[Coroutine[Any, Any, Item]], count: int) -> AsyncGenerator[Item, None]:
    """What pieces of work give, in their order, `count` of them under way or waiting to be used; raises what one raises."""
    under_way = deque[asyncio.Future[Item]]()
    try:
        while True:
            under_way.extend(asyncio.ensure_future(each) for each in islice(making, count - len(under_way)))
            if not under_way:
                return
            yield await under_way[0]
            under_way.popleft()
    finally:
        for each in under_way:
            each.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
