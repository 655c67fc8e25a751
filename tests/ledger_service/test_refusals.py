"""What the ledger service refuses besides what every service does (tests/contract); never INTERNAL or UNKNOWN."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from consilium.api.ledger.v1 import ledger_pb2 as pb
from consilium.kernel.state_values import MemberStatus
from consilium.kernel.transactions import MemberAct, MemberAction
from consilium.ledger.__main__ import RunningService
from tests.alliance import Scribe
from tests.ledger_service.serving import OTHER, Ledgers, refusal


@asynccontextmanager
async def given(path: Path, **changed: Any) -> AsyncIterator[tuple[Ledgers, RunningService]]:
    """A service that holds one block."""
    ledgers = Ledgers(path)
    async with ledgers.serve(**changed) as running:
        ledgers.scribe.write()
        await ledgers.give(running)
        yield ledgers, running


def test_an_expelled_member_is_refused_on_its_open_connection(tmp_path: Path) -> None:
    """Design section 8: a connection outlives a membership."""

    async def scene() -> None:
        ledgers = Ledgers(tmp_path)
        scribe = ledgers.scribe
        async with ledgers.serve() as running, ledgers.stub(running, ledgers.clinician()) as stub:
            await stub.GetTip(pb.GetTipRequest())
            profile = scribe.alliance.keys[OTHER].profile
            scribe.govern(MemberAct(MemberAction.EXPEL, profile))
            await ledgers.give(running)
            member = running.keeper.chain.member(OTHER)
            assert member is not None
            assert member.status is MemberStatus.EXPELLED
            assert (await refusal(stub.GetTip(pb.GetTipRequest()))).reason == "NOT_A_MEMBER"

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("method", "request_", "reason"),
    [
        ("GetBlock", pb.GetBlockRequest(), "BAD_HEIGHT"),
        ("GetBlock", pb.GetBlockRequest(height=9), "NO_SUCH_HEIGHT"),
        ("StreamBlocks", pb.StreamBlocksRequest(first_height=3, last_height=2), "BAD_HEIGHT"),
        ("StreamEvents", pb.StreamEventsRequest(cursor=b"no"), "BAD_CURSOR"),
        ("StreamEvents", pb.StreamEventsRequest(kinds=["SONNET"]), "UNKNOWN_KIND"),
        ("GetRecord", pb.GetRecordRequest(record_id=b"short"), "BAD_LENGTH"),
        ("GetRecord", pb.GetRecordRequest(record_id=bytes(16)), "UNKNOWN_RECORD"),
        ("GetTransactionProof", pb.GetTransactionProofRequest(transaction_hash=bytes(32)), "NO_SUCH_TRANSACTION"),
        ("GetStateProof", pb.GetStateProofRequest(), "BAD_LENGTH"),
        ("GetTransactionProof", pb.GetTransactionProofRequest(transaction_hash=bytes(32), wait_ms=1), "NO_SUCH_TRANSACTION"),
        ("GetStateProof", pb.GetStateProofRequest(key=b"k", height=9), "NO_SUCH_HEIGHT"),
        ("GetStateProof", pb.GetStateProofRequest(key=b"k", least_height=9, wait_ms=1), "NOT_FINAL"),
        ("GetStateProof", pb.GetStateProofRequest(key=b"k", height=1, least_height=1), "BAD_HEIGHT"),
        ("GetConsistencyProof", pb.GetConsistencyProofRequest(first_height=2, second_height=1), "BAD_HEIGHT"),
        ("GetEpochHop", pb.GetEpochHopRequest(), "BAD_EPOCH"),
        ("GetEpochHop", pb.GetEpochHopRequest(epoch=1), "NO_SUCH_HOP"),
        ("ListGrantHistory", pb.ListGrantHistoryRequest(nonce=bytes(16)), "BAD_LENGTH"),
        ("ListGrantHistory", pb.ListGrantHistoryRequest(page_token="x"), "BAD_LENGTH"),
        ("ExecuteBlock", pb.ExecuteBlockRequest(), "NO_ITEM"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_a_reason(tmp_path: Path, method: str, request_: Any, reason: str) -> None:
    async def scene() -> None:
        async with given(tmp_path) as (ledgers, running), ledgers.stub(running, ledgers.consensus()) as stub:
            assert (await refusal(getattr(stub, method)(request_, timeout=10))).reason == reason

    asyncio.run(scene())


def test_another_block_at_a_height_is_refused(tmp_path: Path) -> None:
    """L3: whoever may call."""

    async def scene() -> None:
        async with given(tmp_path) as (ledgers, running), ledgers.stub(running, ledgers.consensus()) as stub:
            other = Scribe(ledgers.scribe.alliance)
            other.write(time_ms=1_700_000_009_999)
            error = await refusal(stub.ExecuteBlock(ledgers.block_request(other.blocks[0]), timeout=10))
            assert error.reason == "OTHER_BLOCK"

    asyncio.run(scene())
