"""What a service reads of its member's own ledger, every answer under proof (rules L3 to L5; promise 8).

A verdict opens data and a member's standing opens doors, so even the member's own ledger is not believed: what it says is
read under a result certificate, and the committees are learned hop by hop from genesis. A ledger that contradicts its own
proof is an error that ends the call. Every method raises Unavailable while the ledger cannot be reached.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
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
from consilium.kernel.errors import Conflict, DataLoss, FailedPrecondition, InvalidArgument, NotFound, Unavailable
from consilium.kernel.light_client import (
    StateProof,
    TransactionProof,
    TrustedHistory,
    VerifiedState,
    VerifiedTransaction,
    decode_hop,
)
from consilium.kernel.opening import open_transaction
from consilium.kernel.signing import Verifier
from consilium.kernel.transactions import Body, Kind, RecordBody
from consilium.runtime.channels import typed

WAIT_S = 2.0
"""How long the ledger may take to have a height certified that it has executed, in seconds."""
ANSWER_S = 10.0
"""How long it may take to answer, besides what it is asked to wait, in seconds."""


@dataclass(frozen=True, slots=True)
class LedgerEvent:
    """A final transaction, and the cursor to resume after it."""

    cursor: bytes
    height: int
    body: Body


@dataclass(frozen=True, slots=True)
class LedgerTip:
    """How far the own ledger is: the height executed, the height certified (0 for none), and the age of that in ms.

    The age is on monotonic clocks alone: the ledger's own, and this process's for the time the answer took (S5). Versions
    are what this build knows, and what the alliance goes over to at which height; 0 where no upgrade is adopted (G5).
    """

    executed_height: int
    certified_height: int
    age_ms: int
    known_version: int = 0
    upgrade_version: int = 0
    upgrade_height: int = 0


class LedgerReader(Protocol):
    """What services ask of it. Every method raises Unavailable while it cannot be reached."""

    async def read_tip(self) -> LedgerTip:
        """How far it is, under proof."""

    async def read_transaction(self, transaction_hash: bytes, wait_s: float = 0.0) -> VerifiedTransaction:
        """A transaction and how it ended, waited for so long, but never longer than the call being served has.

        Raises NotFound or FailedPrecondition (NOT_FINAL) while it is not final.
        """

    async def read_record(self, record_id: bytes) -> RecordBody | None:
        """A record as registered, None for one that is not."""

    async def read_state(self, key: bytes, least_height: int = 0, wait_s: float = WAIT_S) -> VerifiedState:
        """What the map holds at the newest certified height, which is waited for so long to be at least this.

        Raises FailedPrecondition (NOT_FINAL) before.
        """

    def events(self, kinds: Sequence[Kind], cursor: bytes, last_height: int | None = None) -> AsyncIterator[LedgerEvent]:
        """Every final transaction of some kinds after the cursor, each at least once, and then new ones.

        With a last height it ends there.
        """


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
        versions = response.known_version, response.upgrade_version, response.upgrade_height
        return LedgerTip(response.executed_height, certified, response.age_ms + took_ms, *versions)

    async def put_authorities(self, authorities: Sequence[bytes]) -> None:
        """Have the ledger hand on bound authorities (ADR 22). Raises what it refuses."""
        with typed():
            await self._stub.PutAuthorities(pb.PutAuthoritiesRequest(authorities=authorities))

    async def get_authorities(self, known: Sequence[bytes]) -> list[bytes]:
        """Bound authorities that are not among those with these hashes; each is to be judged by its member's key."""
        with typed():
            return list((await self._stub.GetAuthorities(pb.GetAuthoritiesRequest(known_hashes=known))).authorities)

    async def draft_recovery(self, lost: Sequence[str], reports: Sequence[bytes]) -> bytes:
        """What the electors may sign after these reports (C10). Raises what the ledger refuses."""
        with typed():
            response = await self._stub.GetRecoveryComposition(
                pb.GetRecoveryCompositionRequest(lost_member_ids=lost, reports=reports)
            )
        return response.draft

    async def read_transaction(self, transaction_hash: bytes, wait_s: float = 0.0) -> VerifiedTransaction:
        """A transaction and how it ended, waited for so long, but never longer than the call being served has.

        Raises NotFound or FailedPrecondition (NOT_FINAL) while it is not final.
        """
        request = pb.GetTransactionProofRequest(transaction_hash=transaction_hash, wait_ms=_milliseconds(wait_s))
        with typed():
            response = await self._stub.GetTransactionProof(request, timeout=ANSWER_S + wait_s)
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

    async def read_state(self, key: bytes, least_height: int = 0, wait_s: float = WAIT_S) -> VerifiedState:
        """What the map holds at the newest certified height, which is waited for so long to be at least this.

        Raises FailedPrecondition (NOT_FINAL) before.
        """
        wait_ms = _milliseconds(wait_s) if least_height else 0
        state = (await self._state(key, pb.GetStateProofRequest(key=key, least_height=least_height, wait_ms=wait_ms)))[0]
        if state.height < least_height:
            raise contradiction("state")
        return state

    async def prove_state(self, key: bytes, height: int | None = None) -> tuple[VerifiedState, bytes]:
        """What the map holds, at a recent height or the newest certified one, and the encoded proof to hand on.

        Raises NotFound (NO_SUCH_HEIGHT) or FailedPrecondition (NOT_FINAL, STATE_GONE) as the ledger does.
        """
        state, encoded = await self._state(key, pb.GetStateProofRequest(key=key, height=height))
        if height not in (None, state.height):
            raise contradiction("state")
        return state, encoded

    async def _state(self, key: bytes, request: pb.GetStateProofRequest) -> tuple[VerifiedState, bytes]:
        with typed():
            response = await self._stub.GetStateProof(request, timeout=ANSWER_S + request.wait_ms / 1_000)
        with _contradicting("state"):
            proof = decode(StateProof, response.proof.encoded, self._history.chain_id)
            await self._learn(proof.certificate.result.epoch)
            state = self._history.verify_state(proof, self._verifier)
        if state.key != key:
            raise contradiction("state")
        return state, response.proof.encoded

    async def events(
        self, kinds: Sequence[Kind], cursor: bytes, last_height: int | None = None
    ) -> AsyncIterator[LedgerEvent]:
        """Every final transaction of some kinds after the cursor, each at least once, and then new ones.

        Applied or not: what they changed is read from the state.
        """
        request = pb.StreamEventsRequest(cursor=cursor, kinds=[each.name for each in kinds], last_height=last_height)
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
        """Cross the epochs up to this one. Raises Unavailable: COMMITTEE_UNKNOWN; and as `TrustedHistory.hop`."""
        async with self._learning:
            while self._history.epoch < epoch:
                request = pb.GetEpochHopRequest(epoch=self._history.epoch + 1)
                try:
                    with typed():
                        response = await self._stub.GetEpochHop(request)
                except (NotFound, FailedPrecondition) as error:
                    # Said of the hop, not of what was asked for: that is there.
                    sentence = f"This member's ledger cannot prove the step into epoch {request.epoch} yet; ask again."
                    raise Unavailable("COMMITTEE_UNKNOWN", sentence, "L5") from error
                self._history.hop(decode_hop(response.encoded, self._history.chain_id), self._verifier)


def _milliseconds(seconds: float) -> int:
    """As the contract counts; what is over already is 0."""
    return max(int(seconds * 1_000), 0)


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
