"""Growing goes to its end, whoever gives up on it, and everybody who waits is told (L3, L8)."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

import pytest

from consilium.kernel.errors import DataLoss
from consilium.kernel.merkle import leaf_hash
from consilium.ledger.core.chain import Chain
from consilium.ledger.keeper import Keeper
from consilium.ledger.store import MemoryBlockStore
from consilium.ledger.waiting import AHEAD_MAX, Waiting
from tests.alliance import Alliance, Scribe, now_ms

WAIT_S = 20


class HeldStore(MemoryBlockStore):
    """A store that takes its time: `entered` says that it is at work, which goes on at `released`, or fails."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.released = threading.Event(), threading.Event()
        self.fails = False

    def hold(self) -> None:
        self.entered.set()
        assert self.released.wait(WAIT_S)
        if self.fails:
            raise DataLoss("SYNC_FAILED", "The disk does not answer.", "L1")

    def sync(self) -> None:
        self.hold()
        super().sync()

    def add_certificate(self, height: int, certificate: bytes) -> None:
        self.hold()
        super().add_certificate(height, certificate)


async def given_up(store: HeldStore, work: Coroutine[Any, Any, object]) -> None:
    """Cancel work while the store is busy with it, twice, and let the store go on."""
    task = asyncio.create_task(work)
    await asyncio.to_thread(store.entered.wait, WAIT_S)
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0)
    store.released.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    store.entered.clear()
    store.released.clear()


@pytest.fixture
def scribe() -> Scribe:
    return Scribe(Alliance.founded())


def test_who_waits_is_told_although_the_caller_is_gone(scribe: Scribe) -> None:
    """Consensus was killed, or its deadline over; a block or a certificate handed in again changes nothing any more."""
    record = scribe.record("r")
    scribe.write(record, time_ms=now_ms())
    certificate = scribe.chain.result_certificate(1)
    assert certificate is not None

    async def scene() -> None:
        store = HeldStore()
        keeper = Keeper(scribe.alliance.genesis, store, scribe.verifier)
        async with asyncio.timeout(WAIT_S):
            final = asyncio.create_task(keeper.waiting.until_final(leaf_hash(record)))
            executed = asyncio.create_task(keeper.until_executed(1))
            await asyncio.sleep(0)
            await given_up(store, keeper.execute(scribe.blocks[0]))
            await executed
            await given_up(store, keeper.certify(certificate))
            await final
            assert keeper.tip_age_ms < WAIT_S * 1_000
            assert keeper.waiting.count == 0

    asyncio.run(scene())


def test_an_old_certificate_that_comes_now_is_old(scribe: Scribe) -> None:
    """S5: a peer that hands out blocks late, one by one, keeps no tip fresh."""
    skew_ms = scribe.alliance.genesis.parameters.clock_skew_max_ms

    async def scene() -> None:
        keeper = Keeper(scribe.alliance.genesis, MemoryBlockStore(), scribe.verifier)
        for height, behind_ms in ((1, skew_ms + 3_600_000), (2, 0)):
            scribe.write(time_ms=now_ms() - behind_ms)
            await keeper.execute(scribe.blocks[height - 1])
            certificate = scribe.chain.result_certificate(height)
            assert certificate is not None
            await keeper.certify(certificate)
            assert (keeper.tip_age_ms >= 3_600_000) is bool(behind_ms)

    asyncio.run(scene())


def test_a_failure_is_known_although_the_caller_is_gone(scribe: Scribe) -> None:
    """C5: nobody works on with a store that failed."""
    scribe.write()

    async def scene() -> None:
        store = HeldStore()
        store.fails = True
        keeper = Keeper(scribe.alliance.genesis, store, scribe.verifier)
        await given_up(store, keeper.execute(scribe.blocks[0]))
        with pytest.raises(DataLoss, match="SYNC_FAILED"):
            async with asyncio.timeout(WAIT_S):
                await keeper.broken()

    asyncio.run(scene())


def test_only_heights_to_come_soon_are_waited_for(scribe: Scribe) -> None:
    """Habit 8: whatever a caller asks for. The certificate of one height is not that of another."""
    scribe.write()
    scribe.write()
    chain = Chain(scribe.alliance.genesis, scribe.verifier)
    certificates = [scribe.chain.result_certificate(height) for height in (1, 2)]

    async def scene() -> None:
        waiting = Waiting(chain)
        async with asyncio.timeout(WAIT_S):
            await waiting.until_certified(AHEAD_MAX + 1)
            await waiting.until_proven(AHEAD_MAX + 1)
            wanted = [waiting.until_proven(1), *(waiting.until_certified(height) for height in (1, 2, 3))]
            proven, first, second, third = tasks = [asyncio.create_task(each) for each in wanted]
            await asyncio.sleep(0)
            for block in scribe.blocks:
                chain.append_block(block)
            for height in (2, 1):
                await asyncio.sleep(0)
                certificate = certificates[height - 1]
                assert certificate is not None
                chain.add_result_certificate(certificate)
                waiting.certified(height)
                if height > 1:
                    await asyncio.gather(first, second)
                    assert not proven.done()
            await proven
            third.cancel()
            await asyncio.wait(tasks)
            assert waiting.count == 0

    asyncio.run(scene())
