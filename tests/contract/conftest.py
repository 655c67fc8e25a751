"""One world for all tests of the contracts, in an event loop that runs beside them."""

from __future__ import annotations

import asyncio
import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from consilium.runtime.logs import JsonLines
from tests.contract.world import World, started
from tests.runtime.loopback import Lines

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

Made = TypeVar("Made")


@dataclass(repr=False)
class Stage:
    """The world, and a way to act in it from a test."""

    world: World
    loop: asyncio.AbstractEventLoop

    def play(self, scene: Coroutine[Any, Any, Made]) -> Made:
        """Runs a scene to its end."""
        return asyncio.run_coroutine_threadsafe(scene, self.loop).result()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The running services of one member; at the end no call may have failed unforeseen."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    lines = Lines(JsonLines("contract", "anshan"))
    logging.getLogger().addHandler(lines)
    running = started(tmp_path_factory.mktemp("contract"))
    try:
        yield Stage(asyncio.run_coroutine_threadsafe(running.__aenter__(), loop).result(), loop)
        asyncio.run_coroutine_threadsafe(running.__aexit__(None, None, None), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        logging.getLogger().removeHandler(lines)
    assert [each for each in lines.lines if "rpc_failed" in each] == []
