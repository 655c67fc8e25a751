"""A ledger for tests over a scribe's chain: in the same process, and as a ledger service over gRPC."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from consilium.api.chain.v1 import chain_pb2
from consilium.api.ledger.v1 import ledger_pb2
from consilium.api.ledger.v1.ledger_pb2_grpc import add_LedgerServiceServicer_to_server
from consilium.kernel.encoding import encode
from consilium.kernel.errors import FailedPrecondition, NotFound
from consilium.kernel.light_client import VerifiedState, VerifiedTransaction, verify_state, verify_transaction
from consilium.kernel.opening import OpenedTransaction, open_block
from consilium.runtime.methods import Service
from consilium.runtime.server import ServerSettings, serving
from tests.runtime.authority import ALLIANCE
from tests.runtime.loopback import allow

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from consilium.kernel.transactions import Kind, RecordBody
    from consilium.ledger.core.chain import Chain
    from tests.alliance import Scribe

LOOK_S = 0.01


class ChainLedger:
    """Answers from the chain, every answer verified as a light client would."""

    def __init__(self, scribe: Scribe, event: Callable[..., Any], tip: Callable[..., Any] | None = None) -> None:
        """`event` and `tip` are the service's own classes for events and tips."""
        self.scribe, self._event, self._tip = scribe, event, tip
        self.age_ms = 0
        self.waiting = 0
        """How many calls wait for something now."""

    @property
    def chain(self) -> Chain:
        return self.scribe.chain

    async def read_tip(self) -> Any:
        assert self._tip is not None
        return self._tip(self.chain.height, self.chain.certified_height, self.age_ms)

    async def _wait(self, holds: Callable[[], bool], wait_s: float) -> None:
        self.waiting += 1
        over_s = asyncio.get_running_loop().time() + wait_s
        while not holds() and asyncio.get_running_loop().time() < over_s:  # noqa: ASYNC110  the chain tells nobody
            await asyncio.sleep(LOOK_S)
        self.waiting -= 1

    async def read_transaction(self, transaction_hash: bytes, wait_s: float = 0.0) -> VerifiedTransaction:
        await self._wait(lambda: is_final(self.chain, transaction_hash), wait_s)
        proof = self.chain.prove_transaction(transaction_hash)
        committee = self.chain.committee_of(proof.certificate.result.epoch)
        return verify_transaction(committee, self.chain.chain_id, proof, self.scribe.verifier)

    async def read_record(self, record_id: bytes) -> RecordBody | None:
        entry = self.chain.record(record_id)
        return None if entry is None else entry.body

    async def read_state(self, key: bytes, least_height: int = 0, wait_s: float = 0.0) -> VerifiedState:
        await self._wait(lambda: self.chain.certified_height >= least_height, wait_s)
        if self.chain.certified_height < max(least_height, 1):
            raise FailedPrecondition("NOT_FINAL", "Nothing is certified.")
        proof = self.chain.prove_state(key)
        committee = self.chain.committee_of(proof.certificate.result.epoch)
        return verify_state(committee, self.chain.chain_id, proof, self.scribe.verifier)

    async def events(self, kinds: Sequence[Kind], cursor: bytes, last_height: int | None = None) -> AsyncIterator[Any]:
        height = int.from_bytes(cursor, "big")
        while last_height is None or height < last_height:
            while height < self.chain.certified_height:
                height += 1
                for each in transactions(self.chain, height):
                    if each.payload.body.KIND in kinds:
                        yield self._event(height.to_bytes(8, "big"), height, each.payload.body)
            await asyncio.sleep(LOOK_S)


@asynccontextmanager
async def serving_chain(scribe: Scribe, member_id: str, tls_directory: Path, *, has_hops: bool = True) -> AsyncIterator[str]:
    """A member's ledger service over a chain; its address. Without hops it cannot prove epochs yet."""
    contract = ledger_pb2.DESCRIPTOR.services_by_name["LedgerService"]
    offered = [Service(contract, add_LedgerServiceServicer_to_server, ChainServicer(scribe, has_hops=has_hops))]
    settings = ServerSettings(alliance=ALLIANCE, member_id=member_id, tls_directory=tls_directory, drain_s=0, grace_s=1)
    async with serving(settings, offered, allow) as running:
        yield f"127.0.0.1:{running.port}"


class ChainServicer:
    """The ledger service's methods that other services of the member call."""

    def __init__(self, scribe: Scribe, *, has_hops: bool) -> None:
        self._scribe, self._has_hops = scribe, has_hops

    def __getattr__(self, name: str) -> object:
        """The methods nobody here calls."""
        if not name[0].isupper():
            raise AttributeError(name)
        return self.GetTip

    async def GetTip(self, request: Any, context: Any) -> Any:
        chain = self._scribe.chain
        certificate = chain.result_certificate(chain.certified_height) if chain.certified_height else None
        encoded = b"" if certificate is None else encode(certificate, chain.chain_id)
        return ledger_pb2.GetTipResponse(result_certificate=encoded, executed_height=chain.height, age_ms=3)

    async def GetTransactionProof(self, request: Any, context: Any) -> Any:
        proof = self._scribe.chain.prove_transaction(request.transaction_hash)
        return ledger_pb2.GetTransactionProofResponse(proof=self._transaction(proof))

    async def GetRecord(self, request: Any, context: Any) -> Any:
        entry = self._scribe.chain.record(request.record_id)
        if entry is None:
            raise NotFound("UNKNOWN_RECORD", "No such record.", "S3")
        proof = self._scribe.chain.prove_transaction(entry.transaction_hash)
        return ledger_pb2.GetRecordResponse(registration=self._transaction(proof))

    async def GetStateProof(self, request: Any, context: Any) -> Any:
        encoded = encode(self._scribe.chain.prove_state(request.key), self._scribe.chain.chain_id)
        return ledger_pb2.GetStateProofResponse(proof=chain_pb2.StateProof(encoded=encoded))

    async def GetEpochHop(self, request: Any, context: Any) -> Any:
        if not self._has_hops:
            raise NotFound("NO_SUCH_HOP", "The alliance certificate has not come yet.", "L5")
        encoded = encode(self._scribe.chain.epoch_hop(request.epoch - 1), self._scribe.chain.chain_id)
        return ledger_pb2.GetEpochHopResponse(encoded=encoded)

    async def StreamEvents(self, request: Any, context: Any) -> AsyncIterator[Any]:
        for height in range(1, self._scribe.chain.certified_height + 1):
            for each in transactions(self._scribe.chain, height):
                if type(each.payload.body).__name__.upper() == f"{request.kinds[0]}BODY":
                    carried = chain_pb2.Transaction(encoded=self._carried(each.leaf))
                    yield ledger_pb2.StreamEventsResponse(cursor=b"%d" % height, height=height, transaction=carried)

    def _carried(self, leaf: bytes) -> bytes:
        return self._scribe.chain.prove_transaction(leaf).transaction

    def _transaction(self, proof: Any) -> Any:
        return chain_pb2.TransactionProof(encoded=encode(proof, self._scribe.chain.chain_id))


def is_final(chain: Chain, transaction_hash: bytes) -> bool:
    """Whether a transaction was ordered and its height certified."""
    try:
        chain.prove_transaction(transaction_hash)
    except (NotFound, FailedPrecondition):
        return False
    return True


def transactions(chain: Chain, height: int) -> list[OpenedTransaction]:
    """The transactions of a block."""
    return [each for batch in open_block(chain.block(height), chain.chain_id).batches for each in batch.transactions]
