"""A member's ledger and consensus for the identity service's tests: the real chain behind the real contracts.

Whatever is submitted stands in a certified block at once. `Scribe` writes the blocks; nothing here judges anything.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from consilium.api.chain.v1 import chain_pb2
from consilium.api.consensus.v1 import consensus_pb2, consensus_pb2_grpc
from consilium.api.ledger.v1 import ledger_pb2, ledger_pb2_grpc
from consilium.kernel.chain import Batch
from consilium.kernel.encoding import decode, encode
from consilium.kernel.merkle import leaf_hash
from consilium.kernel.opening import open_transaction
from consilium.ledger.authorities import Authorities
from consilium.runtime.methods import Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from consilium.kernel.errors import ConsiliumError
    from tests.alliance import Scribe

CURSOR_BYTES = 8


@dataclass
class OwnLedger(ledger_pb2_grpc.LedgerServiceServicer):
    """Reads and proofs out of a scribe's chain.

    `lie` stands in the place of every proof; the next `behind` reads of state are of the height before the tip,
    which nobody believes who was told of the tip.
    """

    scribe: Scribe
    lie: bytes | None = None
    behind: int = 0
    grown: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        """What ledgers hand on, judged by the scribe's chain."""
        self.authorities = Authorities(self.scribe.chain, "liaoning", self.scribe.verifier)

    async def GetTip(self, request: Any, context: Any) -> Any:
        chain = self.scribe.chain
        certificate = chain.result_certificate(chain.certified_height) if chain.certified_height else None
        encoded = encode(certificate, chain.chain_id) if certificate else b""
        return ledger_pb2.GetTipResponse(executed_height=chain.height, result_certificate=encoded)

    async def GetStateProof(self, request: Any, context: Any) -> Any:
        chain = self.scribe.chain
        height = request.height if request.HasField("height") else None
        if self.behind:
            self.behind, height = self.behind - 1, chain.certified_height - 1
        encoded = self.lie or encode(chain.prove_state(request.key, height), chain.chain_id)
        return ledger_pb2.GetStateProofResponse(proof=chain_pb2.StateProof(encoded=encoded))

    async def GetTransactionProof(self, request: Any, context: Any) -> Any:
        chain = self.scribe.chain
        encoded = self.lie or encode(chain.prove_transaction(request.transaction_hash), chain.chain_id)
        return ledger_pb2.GetTransactionProofResponse(proof=chain_pb2.TransactionProof(encoded=encoded))

    async def GetEpochHop(self, request: Any, context: Any) -> Any:
        chain = self.scribe.chain
        return ledger_pb2.GetEpochHopResponse(encoded=encode(chain.epoch_hop(request.epoch - 1), chain.chain_id))

    async def StreamEvents(self, request: Any, context: Any) -> AsyncIterator[Any]:
        height = int.from_bytes(request.cursor)
        while True:
            self.grown.clear()
            while height < self.scribe.chain.certified_height:
                height += 1
                for transaction in self._changing_at(height):
                    yield ledger_pb2.StreamEventsResponse(
                        cursor=height.to_bytes(CURSOR_BYTES),
                        height=height,
                        transaction=chain_pb2.Transaction(encoded=transaction),
                    )
            await self.grown.wait()

    async def PutAuthorities(self, request: Any, context: Any) -> Any:
        self.authorities.put(request.authorities)
        return ledger_pb2.PutAuthoritiesResponse()

    async def GetAuthorities(self, request: Any, context: Any) -> Any:
        return ledger_pb2.GetAuthoritiesResponse(authorities=self.authorities.told(request.known_hashes))

    def _changing_at(self, height: int) -> list[bytes]:
        """The ballots and handovers of a block."""
        chain = self.scribe.chain
        batches = [decode(Batch, each, chain.chain_id) for each in chain.block(height).batches]
        found = [each for batch in batches for each in batch.transactions]
        names = [type(open_transaction(each, chain.chain_id).payload.body).__name__ for each in found]
        return [each for each, name in zip(found, names, strict=True) if name in ("BallotBody", "HandoverBody")]

    def write(self, *transactions: bytes) -> None:
        """Append a block, and wake who follows."""
        self.scribe.write(*transactions)
        self.grown.set()


@dataclass
class OwnConsensus(consensus_pb2_grpc.ConsensusServiceServicer):
    """Orders a transaction as soon as it comes, once; `refusal` is raised instead."""

    ledger: OwnLedger
    refusal: ConsiliumError | None = None
    submitted: list[bytes] = field(default_factory=list)

    async def SubmitTransaction(self, request: Any, context: Any) -> Any:
        if self.refusal is not None:
            raise self.refusal
        transaction = request.transaction.encoded
        if transaction not in self.submitted:
            self.submitted.append(transaction)
            self.ledger.write(transaction)
        height = self.ledger.scribe.chain.height
        return consensus_pb2.SubmitTransactionResponse(transaction_hash=leaf_hash(transaction), height=height)


def ledger_service(ledger: OwnLedger) -> Service:
    """The ledger's contract."""
    contract = ledger_pb2.DESCRIPTOR.services_by_name["LedgerService"]
    return Service(contract, ledger_pb2_grpc.add_LedgerServiceServicer_to_server, ledger, frozenset({"StreamEvents"}))


def consensus_service(consensus: OwnConsensus) -> Service:
    """The consensus contract."""
    contract = consensus_pb2.DESCRIPTOR.services_by_name["ConsensusService"]
    return Service(contract, consensus_pb2_grpc.add_ConsensusServiceServicer_to_server, consensus)
