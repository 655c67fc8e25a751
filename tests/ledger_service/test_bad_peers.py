"""What another member's ledger claims, leaves out or holds back costs little and holds nobody up (rules C2, L8)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from consilium.kernel.encoding import encode
from tests.ledger_service.played import Played
from tests.ledger_service.serving import HOME, OTHER, Ledgers

WAIT_S = 40
ABSURD = 2**40
THIRD = "chaoyang"


def test_a_claim_that_is_repeated_is_looked_at_once(tmp_path: Path) -> None:
    """Habit 8: a peer makes no work by saying the same again, and none at all once it is banned."""

    async def scene() -> None:
        async def tips() -> AsyncIterator[int]:
            yield ABSURD
            await asked.wait()
            for _ in range(300):
                yield ABSURD
                yield 1
            repeated.set()
            await seen.wait()
            yield ABSURD + 1

        asked, repeated, seen = (asyncio.Event() for _ in range(3))
        ledgers = Ledgers(tmp_path)
        played = Played(ledgers, tips)  # type: ignore[abstract]
        async with played.serve(HOME) as server, asyncio.timeout(WAIT_S):
            peers = (f"{HOME}=127.0.0.1:{server.port}",)
            async with ledgers.serve(OTHER, peers=peers, patience_ms=0) as laggard:
                await played.asked.get()
                asked.set()
                await repeated.wait()
                assert played.asked.empty()
                assert laggard.others._inputs.qsize() <= 1  # noqa: SLF001  nothing else shows that nothing piles up
                seen.set()
                await played.asked.get()

    asyncio.run(scene())


def test_a_peer_that_stops_in_between_holds_nobody_up(tmp_path: Path) -> None:
    """C2: another is asked beside it, however long its answer may take in all."""

    async def scene() -> None:
        async def tips() -> AsyncIterator[int]:
            yield ABSURD

        ledgers = Ledgers(tmp_path)
        for _ in range(3):
            ledgers.scribe.write()
        played = Played(ledgers, tips, sends=True)  # type: ignore[abstract]
        async with AsyncExitStack() as stack:
            bad = await stack.enter_async_context(played.serve(HOME))
            good = await stack.enter_async_context(ledgers.serve(THIRD))
            peers = (f"{HOME}=127.0.0.1:{bad.port}", f"{THIRD}=127.0.0.1:{good.server.port}")
            laggard = await stack.enter_async_context(ledgers.serve(OTHER, peers=peers, fetch_s=600, patience_ms=0))
            async with asyncio.timeout(WAIT_S):
                await played.asked.get()
                await ledgers.give(good)
                await laggard.keeper.until_certified(3)

    asyncio.run(scene())


@pytest.mark.slow
@pytest.mark.parametrize("answers", [False, True])
def test_certificates_are_had_from_whoever_has_them(tmp_path: Path, *, answers: bool) -> None:
    """L4: not from one that does not answer, nor from one that answers with another height's."""

    async def scene() -> None:
        async def tips() -> AsyncIterator[int]:
            yield 0

        ledgers = Ledgers(tmp_path)
        for _ in range(3):
            ledgers.scribe.write()
        other = encode(ledgers.certificate(3), ledgers.scribe.alliance.chain_id)
        played = Played(ledgers, tips, certificates={1: other} if answers else {})  # type: ignore[abstract]
        async with AsyncExitStack() as stack:
            bad = await stack.enter_async_context(played.serve(HOME))
            good = await stack.enter_async_context(ledgers.serve(THIRD))
            await ledgers.give(good)
            peers = (f"{HOME}=127.0.0.1:{bad.port}", f"{THIRD}=127.0.0.1:{good.server.port}")
            laggard = await stack.enter_async_context(ledgers.serve(OTHER, peers=peers, fetch_s=600, patience_ms=60_000))
            await ledgers.give(laggard, [1, 2], certified=False)
            await ledgers.give(laggard, [3])
            async with asyncio.timeout(WAIT_S):
                await laggard.keeper.until(lambda: not laggard.keeper.unproven)
            assert laggard.keeper.chain.result_certificate(1) == ledgers.certificate(1)

    asyncio.run(scene())
