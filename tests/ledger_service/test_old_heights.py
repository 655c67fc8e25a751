"""The service answers about old heights from its disk as it did when they were new (L3, L4, L8)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from consilium.api.ledger.v1 import ledger_pb2 as pb
from consilium.kernel.certificates import ResultCertificate
from consilium.kernel.chain import CertifiedBlock
from consilium.kernel.encoding import decode, encode
from consilium.kernel.executions import Execution
from consilium.kernel.light_client import TransactionProof
from consilium.kernel.merkle import ConsistencyProof, leaf_hash, verify_consistency
from consilium.ledger.core.archive import BLOCKS_KEPT
from tests.ledger_service.serving import Ledgers, read_all

if TYPE_CHECKING:
    from consilium.ledger.__main__ import RunningService

LARGE = 16
"""So many registrations make a block that is read in a thread, old or new."""


def test_old_heights_are_read_from_the_disk(tmp_path: Path) -> None:
    """GetBlock, StreamBlocks, StreamEvents, StreamExecutions and all proofs, at once and after a start."""

    async def scene() -> None:
        ledgers = Ledgers(tmp_path)
        scribe = ledgers.scribe
        records = [scribe.record(f"r{number}") for number in range(LARGE)]
        scribe.write(*records)
        scribe.write_until(BLOCKS_KEPT + 3)
        async with ledgers.serve() as running:
            await ledgers.give(running)
            await asked(ledgers, running, records)
        async with ledgers.serve() as running:
            await asked(ledgers, running, records)

    asyncio.run(scene())


async def asked(ledgers: Ledgers, running: RunningService, records: list[bytes]) -> None:
    """Everything about heights 1 and 2, which are old."""
    scribe, chain_id = ledgers.scribe, ledgers.scribe.alliance.chain_id
    assert not running.keeper.chain.is_recent(2)
    async with ledgers.stub(running, ledgers.consensus()) as stub:
        block = (await stub.GetBlock(pb.GetBlockRequest(height=1))).certified_block
        streamed = await read_all(stub.StreamBlocks(pb.StreamBlocksRequest(first_height=1, last_height=2)))
        assert [each.certified_block.encoded for each in streamed] == [encode(each, chain_id) for each in scribe.blocks[:2]]
        assert streamed[0].certified_block == block
        assert decode(CertifiedBlock, block.encoded, chain_id) == scribe.blocks[0]
        assert decode(ResultCertificate, block.result_certificate, chain_id) == ledgers.certificate(1)
        events = await read_all(stub.StreamEvents(pb.StreamEventsRequest(last_height=2)))
        assert [each.transaction.encoded for each in events] == records
        found = await stub.GetTransactionProof(pb.GetTransactionProofRequest(transaction_hash=leaf_hash(records[3])))
        assert decode(TransactionProof, found.proof.encoded, chain_id) == scribe.chain.prove_places(1, [3])[0]
        told = await read_all(stub.StreamExecutions(pb.StreamExecutionsRequest(first_height=1, last_height=2)))
        executions = [decode(Execution, each.execution, chain_id) for each in told if each.execution]
        assert [each.result for each in executions] == [scribe.chain.outcome(height).result for height in (1, 2)]
        log = await stub.GetConsistencyProof(
            pb.GetConsistencyProofRequest(first_height=1, second_height=scribe.chain.height)
        )
        first, second = (
            decode(ResultCertificate, each, chain_id).result
            for each in (log.first_result_certificate, log.second_result_certificate)
        )
        verify_consistency(first.log_root, second.log_root, decode(ConsistencyProof, log.encoded, chain_id))
