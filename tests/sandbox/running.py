"""A sandbox alliance for a test: founded in a folder, started, and stopped whatever happens."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from consilium.kernel.chain import Parameters
from consilium.sandbox.alliance import Alliance
from consilium.sandbox.founders import found
from consilium.sandbox.replicas import wall_clock_ms

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path

    from consilium.ledger.core.chain import Chain

WAIT_S = 60
"""How long a test waits for what must come; nothing is judged by how long it took."""
QUICK = Parameters(term_blocks=10, heartbeat_ms=100, view_timeout_ms=600, view_timeout_max_ms=4_000, tip_age_max_ms=10_000)
"""Terms of ten blocks, ten heartbeats a second."""


@asynccontextmanager
async def running(folder: Path, parameters: Parameters = QUICK) -> AsyncIterator[Alliance]:
    """The five members, up."""
    alliance = Alliance(folder, found(folder, parameters, wall_clock_ms()))
    await alliance.start()
    try:
        yield alliance
    finally:
        await alliance.stop()
    assert alliance.failure is None, f"a member ended by an error: {alliance.failure}"


async def until(alliance: Alliance, member_id: str, holds: Callable[[Chain], bool]) -> None:
    """Wait for something to become true of a member's chain; raises what a member failed with meanwhile."""
    waiting = asyncio.ensure_future(alliance.member(member_id).ledger.until(holds))
    watching = asyncio.ensure_future(alliance.watch())
    await asyncio.wait({waiting, watching}, timeout=WAIT_S, return_when=asyncio.FIRST_COMPLETED)
    came = waiting.done()
    waiting.cancel()
    watching.cancel()
    if alliance.failure is not None:
        raise alliance.failure[1]
    assert came, f"{member_id} waited in vain for {WAIT_S} seconds"


async def until_certified(alliance: Alliance, height: int) -> None:
    """Wait for a height to be final at every member that is up."""
    for member in alliance.up:
        await until(alliance, member.member_id, lambda chain: chain.certified_height >= height)


def play(story: Coroutine[None, None, None]) -> None:
    """Run a test's coroutine to its end."""
    asyncio.run(story)
