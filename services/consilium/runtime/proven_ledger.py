"""What a service reads of its member's own ledger, every answer under proof (rules L3 to L5; promise 8).

A verdict opens data and a member's standing opens doors, so even the member's own ledger is not believed: what it says is
read under a result certificate, and the committees are learned hop by hop from genesis. A ledger that contradicts its own
proof is an error that ends the call. Every method raises Unavailable while the ledger cannot be reached.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import grpc

from consilium.api.ledger.v1 import ledger_pb2 as pb
from consilium.api.ledger.v1.ledger_pb2_grpc import LedgerServiceStub
from consilium.kernel.certificates import ResultCertificate, verify_result_certificate
from consilium.kernel.chain import Genesis
from consilium.kernel.codes import Code
from consilium.kernel.encoding import decode
from consilium.kernel.errors import Conflict, DataLoss, InvalidArgument, NotFound
from consilium.kernel.light_client import (
    EpochHop,
    StateProof,
    TransactionProof,
    TrustedHistory,
    VerifiedState,
    VerifiedTransaction,
)
from consilium.kernel.opening import open_transaction
from consilium.kernel.signing import Verifier
from consilium.kernel.transactions import Body, Kind, RecordBody
from consilium.runtime.channels import typed


@dataclass(frozen=True, slots=True)
class LedgerEvent:
    """A final transaction, and the cursor to resume after it."""

    cursor: bytes
    height: int
    body: Body


@dataclass(frozen=True, slots=True)
class LedgerTip:
    """How far the own ledger is: the height executed, the height certified (0 for none), and the age of that in ms.

    The age is on monotonic clocks alone: the ledger's own, and this process's for the time the answer took (S5).
    """

    executed_height: int
    certified_height: int
    age_ms: int


class LedgerReader(Protocol):
    """What services ask of it. Every method raises Unavailable while it cannot be reached."""

    async def read_tip(self) -> LedgerTip:
        """How far it is, under proof."""

    async def read_transaction(self, transaction_hash: bytes) -> VerifiedTransaction:
        """A transaction and how it ended. Raises NotFound or FailedPrecondition (NOT_FINAL) until it is final."""

    async def read_record(self, record_id: bytes) -> RecordBody | None:
        """A record as registered, None for one that is not."""

    async def read_state(self, key: bytes) -> VerifiedState:
        """What the map holds at the newest certified height. Raises FailedPrecondition (NOT_FINAL) before the first."""

    def events(self, kind: Kind, cursor: bytes) -> AsyncIterator[LedgerEvent]:
        """Every final transaction of a kind after the cursor, each at least once, and then new ones."""


class ProvenLedger:
    """The ledger behind a channel. Every method raises DataLoss (LEDGER_CONTRADICTS) for a proof that does not hold."""

    def __init__(self, channel: grpc.aio.Channel, genesis: Genesis, verifier: Verifier) -> None:
        """Raises what `TrustedHistory` does."""
        self._stub = LedgerServiceStub(channel)
        self._verifier = verifier
        self._history = TrustedHistory(genesis)
        self._learning = asyncio.Lock()

    async def read_tip(self) -> LedgerTip:
        """How far it is."""
        asked_s = time.monotonic()
        with typed():
            response = await self._stub.GetTip(pb.GetTipRequest())
        certified = await self._certified(response.result_certificate)
        took_ms = int((time.monotonic() - asked_s) * 1_000) + 1
        return LedgerTip(response.executed_height, certified, response.age_ms + took_ms)

    async def read_transaction(self, transaction_hash: bytes) -> VerifiedTransaction:
        """A transaction and how it ended. Raises NotFound or FailedPrecondition (NOT_FINAL) until it is final."""
        request = pb.GetTransactionProofRequest(transaction_hash=transaction_hash)
        with typed():
            response = await self._stub.GetTransactionProof(request)
        found = await self._verified(response.proof.encoded)
        if found.transaction_hash != transaction_hash:
            raise contradiction("transaction")
        return found

    async def read_record(self, record_id: bytes) -> RecordBody | None:
        """A record as registered, None for one that is not."""
        try:
            with typed():
                response = await self._stub.GetRecord(pb.GetRecordRequest(record_id=record_id))
        except NotFound:
            return None
        found = await self._verified(response.registration.encoded)
        body = found.payload.body
        if found.code is not Code.APPLIED or not isinstance(body, RecordBody) or body.record_id != record_id:
            raise contradiction("record")
        return body

    async def read_state(self, key: bytes) -> VerifiedState:
        """What the map holds at the newest certified height. Raises FailedPrecondition (NOT_FINAL) before the first."""
        return (await self.prove_state(key))[0]

    async def prove_state(self, key: bytes, height: int | None = None) -> tuple[VerifiedState, bytes]:
        """What the map holds, at a recent height or the newest certified one, and the encoded proof to hand on.

        Raises NotFound (NO_SUCH_HEIGHT) or FailedPrecondition (NOT_FINAL, STATE_GONE) as the ledger does.
        """
        with typed():
            response = await self._stub.GetStateProof(pb.GetStateProofRequest(key=key, height=height))
        with _contradicting("state"):
            proof = decode(StateProof, response.proof.encoded, self._history.chain_id)
            await self._learn(proof.certificate.result.epoch)
            state = self._history.verify_state(proof, self._verifier)
        if state.key != key or height not in (None, state.height):
            raise contradiction("state")
        return state, response.proof.encoded

    async def events(self, kind: Kind, cursor: bytes) -> AsyncIterator[LedgerEvent]:
        """Every final transaction of a kind after the cursor, each at least once, and then new ones.

        Applied or not: what they changed is read from the state.
        """
        request = pb.StreamEventsRequest(cursor=cursor, kinds=[kind.name])
        with typed():
            async for each in self._stub.StreamEvents(request):
                opened = open_transaction(each.transaction.encoded, self._history.chain_id)
                yield LedgerEvent(each.cursor, each.height, opened.payload.body)

    async def _certified(self, encoded: bytes) -> int:
        """The height that a result certificate proves, 0 where there is none."""
        if not encoded:
            return 0
        chain_id = self._history.chain_id
        with _contradicting("tip"):
            certificate = decode(ResultCertificate, encoded, chain_id)
            await self._learn(certificate.result.epoch)
            committee = self._history.committee_of(certificate.result.epoch)
            verify_result_certificate(committee, certificate, chain_id, self._verifier)
        return certificate.result.height

    async def _verified(self, encoded: bytes) -> VerifiedTransaction:
        with _contradicting("transaction"):
            proof = decode(TransactionProof, encoded, self._history.chain_id)
            await self._learn(proof.certificate.result.epoch)
            return self._history.verify_transaction(proof, self._verifier)

    async def _learn(self, epoch: int) -> None:
        """Cross the epochs up to this one. Raises as `TrustedHistory.hop`."""
        async with self._learning:
            while self._history.epoch < epoch:
                request = pb.GetEpochHopRequest(epoch=self._history.epoch + 1)
                with typed():
                    response = await self._stub.GetEpochHop(request)
                self._history.hop(decode(EpochHop, response.encoded, self._history.chain_id), self._verifier)


@contextmanager
def _contradicting(what: str) -> Iterator[None]:
    """Turn what a proof is refused for into the refusal of the ledger's answer."""
    try:
        yield
    except (InvalidArgument, Conflict) as error:
        raise contradiction(what) from error


def contradiction(what: str) -> DataLoss:
    """The refusal for an answer of the own ledger that its proof does not bear out."""
    return DataLoss("LEDGER_CONTRADICTS", f"This member's ledger says of a {what} what its proof does not.", "L4")
