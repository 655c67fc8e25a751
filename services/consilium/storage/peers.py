"""What the storage service asks of its member's own ledger and of other members' storage (design section 8: no other calls).

Even the member's own ledger proves what it says: a verdict opens data, so it is read under a result certificate, and the
committees are learned hop by hop from genesis (L5).
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import grpc

from consilium.api.ledger.v1 import ledger_pb2
from consilium.api.ledger.v1.ledger_pb2_grpc import LedgerServiceStub
from consilium.api.storage.v1 import storage_pb2 as pb
from consilium.api.storage.v1.storage_pb2_grpc import StorageServiceStub
from consilium.kernel.chain import Genesis
from consilium.kernel.codes import Code
from consilium.kernel.encoding import decode, encode
from consilium.kernel.errors import Conflict, DataLoss, InvalidArgument, NotFound
from consilium.kernel.light_client import (
    EpochHop,
    StateProof,
    TransactionProof,
    TrustedHistory,
    VerifiedState,
    VerifiedTransaction,
)
from consilium.kernel.manifest import Manifest, StorageReceipt
from consilium.kernel.opening import open_transaction
from consilium.kernel.signing import Verifier
from consilium.kernel.transactions import Body, Kind, RecordBody
from consilium.runtime.channels import Channel, Peer, typed
from consilium.runtime.threads import run_to_end
from consilium.runtime.tls import Tls
from consilium.storage import wire

if TYPE_CHECKING:  # a name of the generated types alone
    from consilium.api.storage.v1.storage_pb2_grpc import StorageServiceAsyncStub


@dataclass(frozen=True, slots=True)
class LedgerEvent:
    """A final transaction, and the cursor to resume after it."""

    cursor: bytes
    height: int
    body: Body


class LedgerReader(Protocol):
    """The member's own ledger. Every method raises Unavailable while it cannot be reached."""

    async def read_transaction(self, transaction_hash: bytes) -> VerifiedTransaction:
        """A transaction and how it ended. Raises NotFound or FailedPrecondition (NOT_FINAL) until it is final."""

    async def read_record(self, record_id: bytes) -> RecordBody | None:
        """A record as registered, None for one that is not."""

    async def read_state(self, key: bytes) -> VerifiedState:
        """What the map holds at the newest certified height. Raises FailedPrecondition (NOT_FINAL) before the first."""

    def events(self, kind: Kind, cursor: bytes) -> AsyncIterator[LedgerEvent]:
        """Every final transaction of a kind after the cursor, each at least once, and then new ones."""


class OtherStorages(Protocol):
    """The other members' storage services. Every method raises Unavailable when the member cannot be reached."""

    def names(self) -> list[str]:
        """The members whose storage is known, sorted."""

    async def replicate(
        self, member_id: str, manifest: Manifest, receipt: StorageReceipt, read: "ReadChunk"
    ) -> StorageReceipt:
        """Have a member keep a copy; its word that it does."""

    async def fetch_chunk(self, member_id: str, record_id: bytes, index: int) -> bytes:
        """One chunk of an object both keep."""

    async def erase(self, member_id: str, record_id: bytes) -> None:
        """Have a member delete its copy; again is no fault."""


ReadChunk = Callable[[bytes, int], bytes]
"""Reads one chunk of a record's object, blocking."""


class GrpcLedger:
    """The ledger behind a channel."""

    def __init__(self, channel: grpc.aio.Channel, genesis: Genesis, verifier: Verifier) -> None:
        """Raises what `TrustedHistory` does."""
        self._stub = LedgerServiceStub(channel)
        self._verifier = verifier
        self._history = TrustedHistory(genesis)
        self._learning = asyncio.Lock()

    async def read_transaction(self, transaction_hash: bytes) -> VerifiedTransaction:
        """A transaction and how it ended. Raises DataLoss (LEDGER_CONTRADICTS) besides, for a proof that does not hold."""
        request = ledger_pb2.GetTransactionProofRequest(transaction_hash=transaction_hash)
        with typed():
            response = await self._stub.GetTransactionProof(request)
        found = await self._verified(response.proof.encoded)
        if found.transaction_hash != transaction_hash:
            raise contradiction("transaction")
        return found

    async def read_record(self, record_id: bytes) -> RecordBody | None:
        """A record as registered. Raises DataLoss (LEDGER_CONTRADICTS) besides."""
        try:
            with typed():
                response = await self._stub.GetRecord(ledger_pb2.GetRecordRequest(record_id=record_id))
        except NotFound:
            return None
        found = await self._verified(response.registration.encoded)
        body = found.payload.body
        if found.code is not Code.APPLIED or not isinstance(body, RecordBody) or body.record_id != record_id:
            raise contradiction("record")
        return body

    async def read_state(self, key: bytes) -> VerifiedState:
        """What the map holds. Raises DataLoss (LEDGER_CONTRADICTS) besides."""
        with typed():
            response = await self._stub.GetStateProof(ledger_pb2.GetStateProofRequest(key=key))
        try:
            proof = decode(StateProof, response.proof.encoded, self._history.chain_id)
            await self._learn(proof.certificate.result.epoch)
            state = self._history.verify_state(proof, self._verifier)
        except (InvalidArgument, Conflict) as error:
            raise contradiction("state") from error
        if state.key != key:
            raise contradiction("state")
        return state

    async def events(self, kind: Kind, cursor: bytes) -> AsyncIterator[LedgerEvent]:
        """Final transactions of a kind; what they changed is read from the state."""
        request = ledger_pb2.StreamEventsRequest(cursor=cursor, kinds=[kind.name])
        with typed():
            async for each in self._stub.StreamEvents(request):
                opened = open_transaction(each.transaction.encoded, self._history.chain_id)
                yield LedgerEvent(each.cursor, each.height, opened.payload.body)

    async def _verified(self, encoded: bytes) -> VerifiedTransaction:
        try:
            proof = decode(TransactionProof, encoded, self._history.chain_id)
            await self._learn(proof.certificate.result.epoch)
            return self._history.verify_transaction(proof, self._verifier)
        except (InvalidArgument, Conflict) as error:
            raise contradiction("transaction") from error

    async def _learn(self, epoch: int) -> None:
        """Cross the epochs up to this one. Raises as `TrustedHistory.hop`."""
        async with self._learning:
            while self._history.epoch < epoch:
                request = ledger_pb2.GetEpochHopRequest(epoch=self._history.epoch + 1)
                with typed():
                    response = await self._stub.GetEpochHop(request)
                self._history.hop(decode(EpochHop, response.encoded, self._history.chain_id), self._verifier)


class GrpcStorages:
    """The other members' storage behind channels, each opened when it is first needed."""

    def __init__(self, addresses: Mapping[str, str], tls: Tls, chain_id: bytes) -> None:
        self._addresses, self._tls, self._chain_id = dict(addresses), tls, chain_id
        self._channels: dict[str, Channel] = {}

    def names(self) -> list[str]:
        """The members whose addresses are known."""
        return sorted(self._addresses)

    async def replicate(
        self, member_id: str, manifest: Manifest, receipt: StorageReceipt, read: ReadChunk
    ) -> StorageReceipt:
        """Send what the other side does not hold yet."""
        stub, kept = self._stub(member_id), await self._chunks_kept(member_id, manifest.record_id)
        with typed():
            response = await stub.ReplicateObject(_copy_frames(manifest, receipt, read, kept, self._chain_id))
        return wire.receipt(response.receipt, self._chain_id)

    async def fetch_chunk(self, member_id: str, record_id: bytes, index: int) -> bytes:
        """One chunk."""
        offset = wire.chunk_message(index, b"").offset
        request = pb.GetObjectRequest(record_id=record_id, offset=offset, length=1)
        with typed():
            chunks = [wire.chunk(each.chunk) async for each in self._stub(member_id).GetObject(request)]
        if [number for number, _ in chunks] != [index]:
            raise DataLoss("OTHER_CHUNK", f"{member_id} has sent other chunks than the one asked for.", "S2")
        return chunks[0][1]

    async def erase(self, member_id: str, record_id: bytes) -> None:
        """Delete a copy."""
        try:
            with typed():
                await self._stub(member_id).EraseObject(pb.EraseObjectRequest(record_id=record_id))
        except NotFound:
            return

    async def close(self) -> None:
        """Close the channels."""
        for each in self._channels.values():
            await each.close()

    async def _chunks_kept(self, member_id: str, record_id: bytes) -> list[bytes]:
        try:
            with typed():
                state = await self._stub(member_id).GetPutState(pb.GetPutStateRequest(record_id=record_id))
        except NotFound:
            return []
        return list(state.chunk_hashes)

    def _stub(self, member_id: str) -> "StorageServiceAsyncStub":
        if member_id not in self._channels:
            peer = Peer(member_id, "storage", self._addresses[member_id])
            self._channels[member_id] = Channel(peer, self._tls)
        channel: grpc.aio.Channel = self._channels[member_id]
        return StorageServiceStub(channel)


async def _copy_frames(
    manifest: Manifest, receipt: StorageReceipt, read: ReadChunk, kept: list[bytes], chain_id: bytes
) -> AsyncIterator[pb.ReplicateObjectRequest]:
    """A copy's frames; one chunk is in memory at a time."""
    start = pb.ReplicationStart(manifest=encode(manifest, chain_id), home_receipt=wire.receipt_message(receipt, chain_id))
    yield pb.ReplicateObjectRequest(start=start)
    for index, chunk_hash in enumerate(manifest.chunk_hashes):
        if kept[index : index + 1] != [chunk_hash]:
            data = await run_to_end(read, manifest.record_id, index)
            yield pb.ReplicateObjectRequest(chunk=wire.chunk_message(index, data))
    yield pb.ReplicateObjectRequest(finish=pb.ReplicationFinish())


def contradiction(what: str) -> DataLoss:
    """The refusal for an answer of the own ledger that its proof does not bear out."""
    return DataLoss("LEDGER_CONTRADICTS", f"This member's ledger says of a {what} what its proof does not.", "L4")
