"""One member over gRPC: `alliance.MemberGateway` on its five services.

Encodes, calls, decodes; what comes back is verified by those who asked. A put is one stream that ends with its finish; when
the connection breaks, GetPutState tells what has arrived, and the rest is sent in another stream. Memory is bounded by what
gRPC has in flight, because the next chunk is made only when the one before is on its way.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeVar

from consilium.api.chain.v1 import chain_pb2
from consilium.api.consensus.v1 import consensus_pb2
from consilium.api.consensus.v1.consensus_pb2_grpc import ConsensusServiceStub
from consilium.api.identity.v1.identity_pb2_grpc import IdentityServiceStub
from consilium.api.ledger.v1 import ledger_pb2
from consilium.api.ledger.v1.ledger_pb2_grpc import LedgerServiceStub
from consilium.api.reencryption.v1 import reencryption_pb2
from consilium.api.reencryption.v1.reencryption_pb2_grpc import ReencryptionServiceStub
from consilium.api.storage.v1 import storage_pb2
from consilium.api.storage.v1.storage_pb2_grpc import StorageServiceStub
from consilium.client.alliance import HistoryPage, OutgoingObject, SignedQuery, StoredManifest
from consilium.kernel.consent import Release
from consilium.kernel.encoding import decode, encode
from consilium.kernel.errors import FailedPrecondition, NotFound, Unavailable
from consilium.kernel.light_client import Finality, Hop, StateProof, TransactionProof, decode_hop
from consilium.kernel.manifest import Manifest, StorageReceipt
from consilium.kernel.merkle import ConsistencyProof, leaf_hash
from consilium.kernel.retention import ERASURE_BYTES_MAX, ErasureCertificate, SignedErasureOrder
from consilium.kernel.sealing import CHUNK_BYTES
from consilium.kernel.transactions import RetentionAct
from consilium.kernel.umbral import Sealed
from consilium.runtime.channels import Channel, typed

if TYPE_CHECKING:
    from consilium.api.consensus.v1.consensus_pb2_grpc import ConsensusServiceAsyncStub
    from consilium.api.identity.v1.identity_pb2_grpc import IdentityServiceAsyncStub
    from consilium.api.ledger.v1.ledger_pb2_grpc import LedgerServiceAsyncStub
    from consilium.api.reencryption.v1.reencryption_pb2_grpc import ReencryptionServiceAsyncStub
    from consilium.api.storage.v1.storage_pb2_grpc import StorageServiceAsyncStub

PAGE_SIZE = 50
"""How many transactions of a history are asked for at once."""
PUTS_MAX = 4
"""How often a put that broke off is taken up."""
ANSWERING_S = 5
"""How much longer than it waits a call may take."""
PAUSE_S, PAUSE_S_MAX = 0.1, 2.0
"""How long after an answer that came too early the question is put again, at first and at most."""

Answer = TypeVar("Answer")


class RemoteMember:
    """One member's services, each behind a channel of its own; whoever made the channels closes them."""

    def __init__(self, channel: Callable[[str], Channel], chain_id: bytes, wait_s: int) -> None:
        """`channel` gives the way to a service by its name. A transaction or a height is waited for `wait_s` seconds."""
        self._channel, self._chain_id, self._wait_s = channel, chain_id, wait_s

    @property
    def _identity(self) -> "IdentityServiceAsyncStub":
        return IdentityServiceStub(self._channel("identity"))

    @property
    def _consensus(self) -> "ConsensusServiceAsyncStub":
        return ConsensusServiceStub(self._channel("consensus"))

    @property
    def _ledger(self) -> "LedgerServiceAsyncStub":
        return LedgerServiceStub(self._channel("ledger"))

    @property
    def _storage(self) -> "StorageServiceAsyncStub":
        return StorageServiceStub(self._channel("storage"))

    @property
    def _proxy(self) -> "ReencryptionServiceAsyncStub":
        return ReencryptionServiceStub(self._channel("reencryption"))

    # --- consensus ---

    async def submit(self, transaction: bytes) -> None:
        """Take in a transaction that its author has signed."""
        carried = chain_pb2.Transaction(encoded=transaction)
        with typed():
            await self._consensus.SubmitTransaction(consensus_pb2.SubmitTransactionRequest(transaction=carried))

    async def register(self, payload: bytes, receipt: StorageReceipt) -> None:
        """Take in a record's payload, with the receipt that a patient's device has to show."""
        request = consensus_pb2.SubmitRegistrationsRequest(
            registrations=[chain_pb2.Transaction(encoded=payload)], storage_receipts=[encode(receipt, self._chain_id)]
        )
        with typed():
            await self._consensus.SubmitRegistrations(request)

    # --- ledger ---

    async def prove_transaction(self, transaction_hash: bytes, finality: Finality = Finality.COMMITTEE) -> TransactionProof:
        """The proof of a transaction, once it is as final as that."""

        def ask(wait_ms: int, timeout_s: float) -> Awaitable[ledger_pb2.GetTransactionProofResponse]:
            request = ledger_pb2.GetTransactionProofRequest(
                transaction_hash=transaction_hash, wait_ms=wait_ms, finality=chain_pb2.Finality.ValueType(finality)
            )
            return self._ledger.GetTransactionProof(request, timeout=timeout_s)

        return self._proof((await self._awaited(ask)).proof)

    async def prove_record(self, record_id: bytes) -> TransactionProof:
        """The proof of a record's registration."""
        with typed():
            response = await self._ledger.GetRecord(ledger_pb2.GetRecordRequest(record_id=record_id))
        return self._proof(response.registration)

    async def prove_state(self, key: bytes, least_height: int = 0) -> StateProof:
        """What the map holds at the newest certified height, not below the least."""

        def ask(wait_ms: int, timeout_s: float) -> Awaitable[ledger_pb2.GetStateProofResponse]:
            request = ledger_pb2.GetStateProofRequest(key=key, least_height=least_height, wait_ms=wait_ms)
            return self._ledger.GetStateProof(request, timeout=timeout_s)

        return decode(StateProof, (await self._awaited(ask)).proof.encoded, self._chain_id)

    async def _awaited(self, ask: Callable[[int, float], Awaitable[Answer]]) -> Answer:
        """The answer to a question that the ledger waits with; one with many waiting says at once what is not there yet.

        `ask` is told for how long to wait, in milliseconds, and when to give the call up, in seconds.
        """
        clock, pause_s = asyncio.get_running_loop().time, PAUSE_S
        end_s = clock() + self._wait_s
        while True:
            left_s = max(end_s - clock(), 0.0)
            try:
                with typed():
                    return await ask(round(left_s * 1_000), left_s + ANSWERING_S)
            except (NotFound, FailedPrecondition):
                if clock() + pause_s >= end_s:
                    raise
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, PAUSE_S_MAX)

    async def grant_history(self, signed: SignedQuery, page_token: str) -> HistoryPage:
        """A page of what happened under the grants of a key."""
        query, owner = signed.query, signed.owner
        request = ledger_pb2.ListGrantHistoryRequest(
            delegating_public_key=query.delegating_pk,
            owner_signature=chain_pb2.Signature(public_key=owner.public_key, signature=owner.signature),
            nonce=query.nonce,
            expiry_height=query.expiry_height,
            page_size=PAGE_SIZE,
            page_token=page_token,
        )
        with typed():
            response = await self._ledger.ListGrantHistory(request)
        return HistoryPage([self._proof(each) for each in response.transactions], response.next_page_token)

    async def prove_consistency(self, old_height: int, new_height: int) -> ConsistencyProof:
        """That the log at one height continues the log at an earlier one."""
        request = ledger_pb2.GetConsistencyProofRequest(first_height=old_height, second_height=new_height)
        with typed():
            response = await self._ledger.GetConsistencyProof(request)
        return decode(ConsistencyProof, response.encoded, self._chain_id)

    async def epoch_hop(self, epoch: int) -> Hop:
        """What it takes to cross from `epoch` into the next."""
        with typed():
            response = await self._ledger.GetEpochHop(ledger_pb2.GetEpochHopRequest(epoch=epoch + 1))
        return decode_hop(response.encoded, self._chain_id)

    # --- storage ---

    async def put_object(self, outgoing: OutgoingObject) -> StorageReceipt:
        """Take in an object; a put that breaks off is resumed. Raises what the object's source fails with."""
        arrived: dict[int, bytes] = {}
        for attempts_left in reversed(range(PUTS_MAX)):
            try:
                async with aclosing(self._frames(outgoing, arrived)) as frames:
                    response = await self._put(frames)
                return decode(StorageReceipt, response.receipt.encoded, self._chain_id)
            except Unavailable:
                if not attempts_left:
                    raise
            state = await self._put_state(outgoing.record_id)
            if state.state == storage_pb2.PUT_STATE_COMPLETE:
                return decode(StorageReceipt, state.receipt.encoded, self._chain_id)
            arrived = dict(enumerate(state.chunk_hashes))
        raise AssertionError("the last attempt returns or raises")

    async def _put(self, frames: AsyncGenerator[storage_pb2.PutObjectRequest, None]) -> storage_pb2.PutObjectResponse:
        """Send one stream. Frame by frame, as gRPC would take an error of an iterator for its caller's cancelling."""
        call = self._storage.PutObject()
        try:
            with typed():
                async for frame in frames:
                    if call.done():  # refused or broken; how, the call says
                        break
                    await call.write(frame)
                await call.done_writing()
                return await call
        finally:
            call.cancel()

    async def _put_state(self, record_id: bytes) -> storage_pb2.GetPutStateResponse:
        """What has arrived, once the service answers again; nothing where the put has not begun."""
        request = storage_pb2.GetPutStateRequest(record_id=record_id)
        try:
            with typed():
                return await self._storage.GetPutState(request, timeout=self._wait_s, wait_for_ready=True)
        except NotFound:
            return storage_pb2.GetPutStateResponse(state=storage_pb2.PUT_STATE_OPEN)

    async def _frames(
        self, outgoing: OutgoingObject, arrived: Mapping[int, bytes]
    ) -> AsyncGenerator[storage_pb2.PutObjectRequest, None]:
        """A put in its frames, without the chunks that have arrived."""
        start = storage_pb2.PutStart(record_id=outgoing.record_id, size_class=outgoing.size_class)
        yield storage_pb2.PutObjectRequest(start=start)
        index = 0
        async with aclosing(outgoing.chunks()) as chunks:
            async for chunk in chunks:
                if index not in arrived or arrived[index] != leaf_hash(chunk):
                    frame = storage_pb2.PutObjectRequest()  # filled in place: a chunk that is handed over is copied again
                    frame.chunk.offset, frame.chunk.data = index * CHUNK_BYTES, chunk
                    yield frame
                index += 1
        manifest, shred_secret = outgoing.finish()
        finish = storage_pb2.PutFinish(manifest=encode(manifest, self._chain_id), shred_secret=shred_secret)
        yield storage_pb2.PutObjectRequest(finish=finish)

    async def get_manifest(self, record_id: bytes, request_hash: bytes) -> StoredManifest:
        """The manifest and the sealed shred secret."""
        request = storage_pb2.GetManifestRequest(record_id=record_id, access_request_hash=request_hash)
        with typed():
            response = await self._storage.GetManifest(request)
        manifest = decode(Manifest, response.manifest, self._chain_id)
        secret = response.sealed_shred_secret
        is_there = response.HasField("sealed_shred_secret")
        return StoredManifest(manifest, Sealed(secret.capsule, secret.ciphertext) if is_there else None)

    async def get_object(
        self, record_id: bytes, request_hash: bytes, first: int, count: int = 0
    ) -> AsyncGenerator[bytes, None]:
        """The sealed chunks in one stream."""
        offset, length = first * CHUNK_BYTES, count * CHUNK_BYTES
        request = storage_pb2.GetObjectRequest(
            record_id=record_id, access_request_hash=request_hash, offset=offset, length=length
        )
        call = self._storage.GetObject(request)
        try:
            with typed():
                async for response in call:
                    yield response.chunk.data
        finally:
            call.cancel()

    async def sign_retention(
        self, record_id: bytes, act: RetentionAct, order: SignedErasureOrder | None, evidence: bytes
    ) -> bytes:
        """An erasure or hold, signed by the member."""
        request = storage_pb2.SignRetentionRequest(
            record_id=record_id,
            act=storage_pb2.RetentionAct.ValueType(act),
            order=b"" if order is None else encode(order, self._chain_id),
            evidence_digest=evidence,
        )
        with typed():
            response = await self._storage.SignRetention(request)
        return response.transaction.encoded

    async def erase_object(self, record_id: bytes, height: int) -> tuple[ErasureCertificate, Sequence[ErasureCertificate]]:
        """Destroy what the ledger has erased."""
        request = storage_pb2.EraseObjectRequest(record_id=record_id, erased_height=height)
        with typed():
            response = await self._storage.EraseObject(request)
        own, *copies = (
            decode(ErasureCertificate, each, self._chain_id, ERASURE_BYTES_MAX)
            for each in (response.encoded, *response.copies)
        )
        return own, copies

    # --- re-encryption ---

    async def grant_access(self, grant_id: bytes, kfrag: bytes) -> None:
        """Take in this holder's key fragment."""
        with typed():
            await self._proxy.GrantAccess(reencryption_pb2.GrantAccessRequest(grant_id=grant_id, key_fragment=kfrag))

    async def reencrypt_capsule(self, request_hash: bytes, capsule: bytes) -> Release:
        """A capsule fragment under the release rule."""
        request = reencryption_pb2.ReencryptCapsuleRequest(access_request_hash=request_hash, capsule=capsule)
        with typed():
            response = await self._proxy.ReencryptCapsule(request)
        return decode(Release, response.encoded, self._chain_id)

    async def revoke_access(self, grant_id: bytes) -> None:
        """Wait until this holder has deleted its fragment."""
        with typed():
            await self._proxy.RevokeAccess(reencryption_pb2.RevokeAccessRequest(grant_id=grant_id))

    def _proof(self, message: chain_pb2.TransactionProof) -> TransactionProof:
        return decode(TransactionProof, message.encoded, self._chain_id)
