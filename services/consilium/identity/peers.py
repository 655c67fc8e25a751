"""What the identity service asks of its member's own ledger and consensus (design section 8: no other calls).

Even the member's own ledger proves what it says: a member's standing opens doors, so it is read under a result certificate,
and the committees are learned hop by hop from genesis (L5).
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

import grpc

from consilium.api.chain.v1 import chain_pb2
from consilium.api.consensus.v1 import consensus_pb2
from consilium.api.consensus.v1.consensus_pb2_grpc import ConsensusServiceStub
from consilium.api.ledger.v1 import ledger_pb2
from consilium.api.ledger.v1.ledger_pb2_grpc import LedgerServiceStub
from consilium.kernel.chain import Genesis
from consilium.kernel.codes import Code
from consilium.kernel.encoding import decode
from consilium.kernel.errors import Conflict, DataLoss, FailedPrecondition, InvalidArgument, NotFound
from consilium.kernel.light_client import EpochHop, StateProof, TransactionProof, TrustedHistory, VerifiedState
from consilium.kernel.opening import open_transaction
from consilium.kernel.signing import Verifier
from consilium.kernel.transactions import Kind, MemberBody
from consilium.runtime.channels import typed


@dataclass(frozen=True, slots=True)
class MemberEvent:
    """That a transaction about a member was executed, and the cursor to resume after it."""

    cursor: bytes
    height: int
    member_id: str


class Ledger(Protocol):
    """The member's own ledger. Every method raises Unavailable while it cannot be reached."""

    async def height(self) -> int:
        """The highest height executed, 0 at genesis."""

    async def has_certified(self) -> bool:
        """Whether any height has a result certificate: only then can state be proven."""

    async def read_state(self, key: bytes, height: int | None = None) -> tuple[VerifiedState, bytes]:
        """What the map holds at the newest certified height or a recent one, and the encoded proof.

        Raises NotFound (NO_SUCH_HEIGHT) or FailedPrecondition (NOT_FINAL, STATE_GONE) as the ledger does.
        """

    async def read_outcome(self, transaction_hash: bytes) -> Code | None:
        """How a transaction ended, None while it is not final."""

    def member_events(self, cursor: bytes) -> AsyncIterator[MemberEvent]:
        """Every executed transaction about a member after the cursor, each at least once, and then new ones."""


class Consensus(Protocol):
    """The member's own consensus."""

    async def submit(self, transaction: bytes) -> None:
        """Hand over a transaction to be ordered; again is no fault. Raises Unavailable while it cannot be reached."""


class GrpcLedger:
    """The ledger behind a channel."""

    def __init__(self, channel: grpc.aio.Channel, genesis: Genesis, verifier: Verifier) -> None:
        """Raises what `TrustedHistory` does."""
        self._stub = LedgerServiceStub(channel)
        self._verifier = verifier
        self._history = TrustedHistory(genesis)

    async def height(self) -> int:
        """The highest height executed."""
        with typed():
            return (await self._stub.GetTip(ledger_pb2.GetTipRequest())).executed_height

    async def has_certified(self) -> bool:
        """Whether any height is certified."""
        with typed():
            return bool((await self._stub.GetTip(ledger_pb2.GetTipRequest())).result_certificate)

    async def read_state(self, key: bytes, height: int | None = None) -> tuple[VerifiedState, bytes]:
        """What the map holds. Raises DataLoss (LEDGER_CONTRADICTS) besides, for a proof that does not hold."""
        with typed():
            response = await self._stub.GetStateProof(ledger_pb2.GetStateProofRequest(key=key, height=height))
        encoded = response.proof.encoded
        try:
            proof = decode(StateProof, encoded, self._history.chain_id)
            await self._learn(proof.certificate.result.epoch)
            state = self._history.verify_state(proof, self._verifier)
        except (InvalidArgument, Conflict) as error:
            raise contradiction("state") from error
        if state.key != key or height not in (None, state.height):
            raise contradiction("state")
        return state, encoded

    async def read_outcome(self, transaction_hash: bytes) -> Code | None:
        """How a transaction ended. Raises DataLoss (LEDGER_CONTRADICTS) besides, for a proof that does not hold."""
        request = ledger_pb2.GetTransactionProofRequest(transaction_hash=transaction_hash)
        try:
            with typed():
                encoded = (await self._stub.GetTransactionProof(request)).proof.encoded
        except (NotFound, FailedPrecondition):
            return None
        try:
            proof = decode(TransactionProof, encoded, self._history.chain_id)
            await self._learn(proof.certificate.result.epoch)
            transaction = self._history.verify_transaction(proof, self._verifier)
        except (InvalidArgument, Conflict) as error:
            raise contradiction("transaction") from error
        if transaction.transaction_hash != transaction_hash:
            raise contradiction("transaction")
        return transaction.code

    async def member_events(self, cursor: bytes) -> AsyncIterator[MemberEvent]:
        """Executed transactions about members. Applied or not is read from the state."""
        request = ledger_pb2.StreamEventsRequest(cursor=cursor, kinds=[Kind.MEMBER.name])
        with typed():
            async for each in self._stub.StreamEvents(request):
                opened = open_transaction(each.transaction.encoded, self._history.chain_id)
                if isinstance(opened.payload.body, MemberBody):
                    yield MemberEvent(each.cursor, each.height, opened.payload.body.profile.member_id)

    async def _learn(self, epoch: int) -> None:
        """Cross the epochs up to this one. Raises as `TrustedHistory.hop`."""
        while self._history.epoch < epoch:
            request = ledger_pb2.GetEpochHopRequest(epoch=self._history.epoch + 1)
            with typed():
                response = await self._stub.GetEpochHop(request)
            self._history.hop(decode(EpochHop, response.encoded, self._history.chain_id), self._verifier)


class GrpcConsensus:
    """The consensus service behind a channel."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = ConsensusServiceStub(channel)

    async def submit(self, transaction: bytes) -> None:
        """Hand over a transaction."""
        carried = chain_pb2.Transaction(encoded=transaction)
        with typed():
            await self._stub.SubmitTransaction(consensus_pb2.SubmitTransactionRequest(transaction=carried))


def contradiction(what: str) -> DataLoss:
    """The refusal for an answer of the own ledger that its proof does not bear out."""
    return DataLoss("LEDGER_CONTRADICTS", f"This member's ledger says of a {what} what its proof does not.", "L4")
