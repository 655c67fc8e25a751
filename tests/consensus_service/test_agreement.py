"""Four members' services agree over real streams, and one that is killed comes back (rules C1, C5, C7, L8)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest

from consilium.kernel.codes import Code
from consilium.kernel.encoding import decode
from consilium.kernel.light_client import TransactionProof
from tests.consensus_service.serving import FOUR, final, founded, kill, register

pytestmark = pytest.mark.slow
WAIT_S = 90


def test_four_agree_across_an_epoch(tmp_path: Path) -> None:
    """C6, C7: what goes in at one is final at all; reveals and handover come by themselves; one sync a block."""

    async def scene() -> None:
        async with asyncio.timeout(WAIT_S), founded(tmp_path) as alliances, alliances.members(*FOUR) as members:
            async with alliances.application("anshan") as stub, alliances.reader("dalian") as reader:
                hashes = await register(stub, *(alliances.registration(str(i), "anshan") for i in range(3)))
                for each in hashes:
                    proof = decode(TransactionProof, await final(reader, each), alliances.alliance.chain_id)
                    assert proof.code is Code.APPLIED
            keepers = [each.ledger.keeper for each in members.values()]
            for keeper in keepers:
                while keeper.chain.tip.outlook.epoch == 0:
                    await keeper.until_executed(keeper.chain.height + 1)
            height = min(each.chain.height for each in keepers)
            assert len({each.chain.outcome(height).result for each in keepers}) == 1
            revealed = members["anshan"].ledger.keeper.chain.member("anshan")
            assert revealed is not None
            assert revealed.reveal_anchor != revealed.profile.reveal_anchor
            for member in members.values():
                assert member.ledger.store.syncs <= member.ledger.keeper.blocks_kept + 1
                counts = member.consensus.links.counts
                assert 0 < counts["messages_sent"] <= counts["envelopes_sent"]
                assert member.consensus.links.dropped == 0

    asyncio.run(scene())


def test_one_is_killed_and_comes_back(tmp_path: Path) -> None:
    """C5, L8: kill -9 of both its processes in mid-work; the others go on; restarted, it has all and votes again."""

    async def scene() -> None:
        async with asyncio.timeout(WAIT_S), founded(tmp_path) as alliances:
            processes = [await alliances.start_process("dalian", each) for each in ("ledger", "consensus")]
            async with (
                alliances.members("anshan", "benxi", "chaoyang") as members,
                alliances.application("anshan") as stub,
                alliances.reader("dalian") as away,
                alliances.reader("anshan") as home,
            ):
                (first,) = await register(stub, alliances.registration("first", "anshan"))
                await until_answered(away, first)
                for each in processes:
                    kill(each)
                    await each.wait()
                (second,) = await register(stub, alliances.registration("second", "anshan"))
                await final(home, second)
                processes = [await alliances.start_process("dalian", each) for each in ("ledger", "consensus")]
                await until_answered(away, second)
                incarnations = [each.consensus.links.incarnation_of("dalian") for each in members.values()]
                while min(incarnations) < 2:
                    await asyncio.sleep(0.1)
                    incarnations = [each.consensus.links.incarnation_of("dalian") for each in members.values()]
                for each in processes:
                    each.terminate()
                assert [await each.wait() for each in processes] == [0, 0]

    asyncio.run(scene())


async def until_answered(reader: Any, transaction_hash: bytes) -> None:
    """Wait for a proof from a service that may not be up yet."""
    while True:
        try:
            await final(reader, transaction_hash)
        except grpc.aio.AioRpcError:
            await asyncio.sleep(0.1)
        else:
            return
