"""Members' ledgers keep level with one another over real connections (rules C2, L8)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from consilium.ledger.core.sync import REQUEST_BLOCKS_MAX
from consilium.ledger.peers import OtherLedgers
from tests.ledger_service.serving import HOME, OTHER, Ledgers

WAIT_S = 30
FOR_EVER_S = 3_600
STREAM_BLOCKS = {
    "grpc_type": "server_stream",
    "grpc_service": "consilium.api.ledger.v1.LedgerService",
    "grpc_method": "StreamBlocks",
}


def test_a_follower_catches_up_and_follows(tmp_path: Path) -> None:
    """L8: blocks that were there and blocks that come, across an epoch; a certificate that was missed is fetched."""

    async def scene() -> None:
        ledgers = Ledgers(tmp_path)
        scribe = ledgers.scribe
        scribe.write(scribe.record("r"))
        scribe.cross_epoch()
        async with ledgers.serve(HOME) as home:
            await ledgers.give(home)
            peers = (f"{HOME}=127.0.0.1:{home.server.port}",)
            async with ledgers.serve(OTHER, peers=peers) as follower, asyncio.timeout(WAIT_S):
                await follower.keeper.until_certified(scribe.chain.height)
                scribe.write()
                scribe.write()
                scribe.write()
                await ledgers.give(home)
                await follower.keeper.until_certified(scribe.chain.height)
                assert follower.keeper.chain.outcome(scribe.chain.height) == scribe.chain.outcome(scribe.chain.height)
                assert follower.others.banned == {}

    asyncio.run(scene())


def test_a_missed_certificate_is_fetched(tmp_path: Path) -> None:
    """L4: a proof stands under the certificate of its own height, so none may stay missing."""

    async def scene() -> None:
        ledgers = Ledgers(tmp_path)
        scribe = ledgers.scribe
        for _ in range(3):
            scribe.write()
        async with ledgers.serve(HOME) as home:
            await ledgers.give(home)
            peers = (f"{HOME}=127.0.0.1:{home.server.port}",)
            async with ledgers.serve(OTHER, peers=peers) as other, asyncio.timeout(WAIT_S):
                await ledgers.give(other, [1, 2], certified=False)
                await ledgers.give(other, [3])
                await other.keeper.until(lambda: not other.keeper.unproven)
                assert other.keeper.chain.result_certificate(1) == ledgers.certificate(1)

    asyncio.run(scene())


def test_the_newest_certificate_is_fetched_though_no_block_follows(tmp_path: Path) -> None:
    """L4: its block came from a member that had executed it and had no certificate yet."""

    async def scene() -> None:
        ledgers = Ledgers(tmp_path)
        scribe = ledgers.scribe
        scribe.write()
        async with ledgers.serve(HOME) as home:
            await ledgers.give(home)
            peers = (f"{HOME}=127.0.0.1:{home.server.port}",)
            async with ledgers.serve(OTHER, peers=peers) as follower, asyncio.timeout(WAIT_S):
                await follower.keeper.until_certified(1)
                scribe.write()
                await ledgers.give(home, [2], certified=False)
                await follower.keeper.until_executed(2)
                await home.keeper.certify(ledgers.certificate(2))
                await follower.keeper.until_certified(2)

    asyncio.run(scene())


@pytest.mark.parametrize(("patience_ms", "by_consensus"), [(60_000, True), (10, False)])
def test_a_delegate_fetches_only_what_its_consensus_does_not_bring(
    tmp_path: Path, patience_ms: int, *, by_consensus: bool
) -> None:
    """L8: a block that is fetched beside consensus is verified twice, so a delegate asks once its tip stands still."""

    async def scene() -> float | None:
        ledgers = Ledgers(tmp_path)
        for _ in range(3):
            ledgers.scribe.write()
        async with ledgers.serve(HOME) as home:
            await ledgers.give(home)
            peers = (f"{HOME}=127.0.0.1:{home.server.port}",)
            async with ledgers.serve(OTHER, peers=peers, patience_ms=patience_ms) as other, asyncio.timeout(WAIT_S):
                assert other.keeper.chain.tip.outlook.committee.index_of(OTHER) is not None
                if by_consensus:
                    await ledgers.give(other)
                await other.keeper.until_certified(3)
            return home.server.metrics.registry.get_sample_value("grpc_server_started_total", STREAM_BLOCKS)

    assert (asyncio.run(scene()) == 0) is by_consensus


@pytest.mark.parametrize("seats", [True, False])
def test_who_stands_still_has_decided_blocks_that_lack_a_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, seats: bool
) -> None:
    """L8: the missing result may be a delegate's own, or that of a member that a recovery is about to seat (C10)."""
    monkeypatch.setattr(OtherLedgers, "_is_delegate", seats)

    async def scene() -> None:
        ledgers = Ledgers(tmp_path)
        for _ in range(3):
            ledgers.scribe.write()
        async with ledgers.serve(HOME) as home:
            await ledgers.give(home, [1])
            await ledgers.give(home, [2, 3], certified=False)
            peers = (f"{HOME}=127.0.0.1:{home.server.port}",)
            async with ledgers.serve(OTHER, peers=peers, patience_ms=10) as other, asyncio.timeout(WAIT_S):
                await other.keeper.until_executed(3)
                assert other.keeper.chain.certified_height == 1

    asyncio.run(scene())


def test_a_delegate_far_below_others_that_stand_still_comes_level(tmp_path: Path) -> None:
    """L8: they wait for it, so they show nothing new; what they have shown once has to do."""

    async def scene() -> None:
        ledgers = Ledgers(tmp_path)
        for _ in range(REQUEST_BLOCKS_MAX + 2):
            ledgers.scribe.write()
        async with ledgers.serve(HOME) as home:
            await ledgers.give(home)
            peers = (f"{HOME}=127.0.0.1:{home.server.port}",)
            async with ledgers.serve(OTHER, peers=peers, patience_ms=10) as other, asyncio.timeout(WAIT_S):
                await other.keeper.until_certified(ledgers.scribe.chain.height)

    asyncio.run(scene())


def test_a_delegate_that_fell_behind_is_not_patient_until_its_consensus_brings_blocks_again(tmp_path: Path) -> None:
    """L8: coming level now and then only, it would lie more than a window behind at each vote, and never vote again."""

    async def scene() -> None:
        ledgers = Ledgers(tmp_path)
        ledgers.scribe.write()
        async with ledgers.serve(HOME) as home:
            await ledgers.give(home)
            peers = (f"{HOME}=127.0.0.1:{home.server.port}",)
            async with ledgers.serve(OTHER, peers=peers, patience_ms=10) as other, asyncio.timeout(WAIT_S):
                await other.keeper.until_executed(1)
                other.others._patience_s = FOR_EVER_S  # noqa: SLF001  from now on it has to go without
                ledgers.scribe.write()
                await ledgers.give(home)
                await other.keeper.until_executed(2)
                assert other.others._lags  # noqa: SLF001
                ledgers.scribe.write()
                await ledgers.give(other)
                await other.keeper.until(lambda: not other.others._lags)  # noqa: SLF001  it is patient again

    asyncio.run(scene())
