"""Blocking work off the event loop."""

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

Given = ParamSpec("Given")
Made = TypeVar("Made")


async def run_to_end(work: Callable[Given, Made], *args: Given.args, **kwargs: Given.kwargs) -> Made:
    """Do blocking work in a thread, and when cancelled wait for its end before saying so.

    A thread cannot be stopped: without this its file might be closed under a write, and the number of that file belong
    to another by the time the write happens.
    """
    running = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        running.exception()  # looked at, so that it is not reported as overlooked: who cancels wants no answer
        raise
