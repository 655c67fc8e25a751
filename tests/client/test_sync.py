"""The loop behind the synchronous face: a call that is interrupted has ended before anything else goes on."""

from __future__ import annotations

import asyncio
import signal
import threading
from typing import TYPE_CHECKING

import pytest

from consilium.client.sync import Loop

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator


@pytest.fixture
def loop() -> Iterator[Loop]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    made = Loop()
    yield made
    made.close()
    signal.signal(signal.SIGINT, before)


async def press() -> None:
    """Ctrl-C, from within the call that is to be interrupted; which then has a few steps of clearing up to do."""
    threads = {each.name: each for each in threading.enumerate()}
    signal.pthread_kill(threads["MainThread"].ident or 0, signal.SIGINT)
    await asyncio.Event().wait()


def test_interrupted_call_ends_before_the_interruption_goes_on(loop: Loop) -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await press()
        finally:
            for _ in range(3):
                await asyncio.sleep(0)
            ended.append("work")

    with pytest.raises(KeyboardInterrupt):
        loop.run(work())
    assert ended == ["work"]


def test_interrupted_iteration_is_closed(loop: Loop) -> None:
    """The generator's own end runs, and no second error takes the interruption's place."""
    ended: list[str] = []

    async def items() -> AsyncGenerator[int, None]:
        try:
            yield 1
            await press()
        finally:
            await asyncio.sleep(0)
            ended.append("items")

    with pytest.raises(KeyboardInterrupt):
        assert list(loop.iterate(items())) == []
    assert ended == ["items"]


def test_what_is_left_at_the_end_is_cancelled() -> None:
    ended: list[str] = []
    left: list[asyncio.Task[None]] = []

    async def for_ever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("for ever")

    async def leave() -> None:
        left.append(asyncio.ensure_future(for_ever()))
        await asyncio.sleep(0)

    loop = Loop()
    loop.run(leave())
    loop.close()
    assert ended == ["for ever"]
    assert left[0].cancelled()
