"""The contract's methods: decode, call the driver, encode. Who may call at all is judged before (`core.admission`)."""

from collections.abc import AsyncIterator
from typing import Any

import grpc

from consilium.api.chain.v1 import chain_pb2
from consilium.api.storage.v1 import storage_pb2 as pb
from consilium.api.storage.v1.storage_pb2_grpc import StorageServiceServicer
from consilium.kernel.encoding import encode
from consilium.kernel.errors import FailedPrecondition, Malformed
from consilium.kernel.manifest import Manifest
from consilium.runtime import calls
from consilium.storage import wire
from consilium.storage.holdings import Holding
from consilium.storage.parts import Parts

PAGE_SIZE = 1_000
"""The most entries of a page."""

Context = grpc.aio.ServicerContext[Any, Any]


class StorageServicer(StorageServiceServicer):
    """The storage service of one member."""

    def __init__(self, parts: Parts) -> None:
        self._driver, self._chain_id = parts.driver, parts.driver.chain_id
        self._putting, self._reading = parts.putting, parts.reading
        self._erasing, self._healing, self._scrub = parts.erasing, parts.healing, parts.scrub

    # --- writing ---

    async def PutObject(self, request_iterator: AsyncIterator[pb.PutObjectRequest], _: Context) -> pb.PutObjectResponse:
        """Store an object of this member's own."""
        async with self._putting.intake() as intake:
            holding: Holding | None = None
            async for request in request_iterator:
                frame = request.WhichOneof("frame")
                if (frame == "start") is not (holding is None):
                    raise out_of_order()
                if holding is None:
                    record_id = wire.record_id(request.start.record_id)
                    holding = await self._putting.begin_put(record_id, request.start.size_class, calls.peer())
                elif frame == "chunk":
                    await intake.take(holding, *wire.chunk(request.chunk))
                else:
                    await intake.settle()
                    return await self._finish_put(holding, request.finish)
            await intake.settle()
        raise not_finished()

    async def _finish_put(self, holding: Holding, finish: pb.PutFinish) -> pb.PutObjectResponse:
        manifest, secret = wire.manifest(finish.manifest, self._chain_id), wire.shred_secret(finish.shred_secret)
        put = await self._putting.finish_put(holding, manifest, secret)
        receipt = wire.receipt_message(put.receipt, self._chain_id)
        return pb.PutObjectResponse(receipt=receipt, replica_member_ids=put.keepers)

    async def GetPutState(self, request: pb.GetPutStateRequest, _: Context) -> pb.GetPutStateResponse:
        """How far a put or a copy has come."""
        hashes, receipt = await self._putting.put_state(wire.record_id(request.record_id), calls.peer())
        if receipt is None:
            return pb.GetPutStateResponse(state=pb.PUT_STATE_OPEN, chunk_hashes=hashes)
        message = wire.receipt_message(receipt, self._chain_id)
        return pb.GetPutStateResponse(state=pb.PUT_STATE_COMPLETE, chunk_hashes=hashes, receipt=message)

    async def ReplicateObject(
        self, request_iterator: AsyncIterator[pb.ReplicateObjectRequest], _: Context
    ) -> pb.ReplicateObjectResponse:
        """Store a copy for another member."""
        async with self._putting.intake() as intake:
            begun: tuple[Holding, Manifest] | None = None
            escrow = b""
            async for request in request_iterator:
                frame = request.WhichOneof("frame")
                if (frame == "start") is not (begun is None):
                    raise out_of_order()
                if begun is None:
                    begun, escrow = await self._begin_copy(request.start), wire.escrow(request.start.sealed_shred_secret)
                elif frame == "chunk":
                    await intake.take(begun[0], *wire.chunk(request.chunk))
                else:
                    await intake.settle()
                    receipt = await self._putting.finish_copy(*begun, escrow)
                    return pb.ReplicateObjectResponse(receipt=wire.receipt_message(receipt, self._chain_id))
            await intake.settle()
        raise not_finished()

    async def _begin_copy(self, start: pb.ReplicationStart) -> tuple[Holding, Manifest]:
        manifest = wire.manifest(start.manifest, self._chain_id)
        receipt = wire.receipt(start.home_receipt, self._chain_id)
        return await self._putting.begin_copy(manifest, receipt, calls.peer()), manifest

    # --- reading ---

    async def GetObject(self, request: pb.GetObjectRequest, _: Context) -> AsyncIterator[pb.GetObjectResponse]:
        """The chunks of a range."""
        record_id = wire.record_id(request.record_id)
        request_hash = request.access_request_hash and wire.request_hash(request.access_request_hash)
        with self._driver.stream():
            chunks = self._reading.get_object(record_id, request_hash, request.offset, request.length, calls.peer())
            async for index, data in chunks:
                response = pb.GetObjectResponse()
                wire.write_chunk(response.chunk, index, data)
                yield response

    async def GetManifest(self, request: pb.GetManifestRequest, _: Context) -> pb.GetManifestResponse:
        """The manifest, and from the home the sealed shred secret."""
        record_id, request_hash = wire.record_id(request.record_id), wire.request_hash(request.access_request_hash)
        manifest, sealed = await self._reading.get_manifest(record_id, request_hash, calls.peer())
        encoded = encode(manifest, self._chain_id)
        return pb.GetManifestResponse(manifest=encoded, sealed_shred_secret=wire.sealed_message(sealed))

    # --- keeping ---

    async def ListCopies(self, request: pb.ListCopiesRequest, _: Context) -> pb.ListCopiesResponse:
        """What concerns the caller's member and this one."""
        own, other, after = self._driver.member_id, calls.peer().member_id, wire.page_token(request.page_token)
        size = min(request.page_size or PAGE_SIZE, PAGE_SIZE)
        holdings = self._driver.stores.holdings
        found = await self._driver.work(holdings.shared_with, own, other, after, size + 1)
        copies = [pb.Copy(record_id=each.record_id, home=each.home == own) for each in found[:size]]
        more = found[size - 1].record_id.hex() if len(found) > size else ""
        return pb.ListCopiesResponse(copies=copies, next_page_token=more)

    async def ListObjects(self, request: pb.ListObjectsRequest, _: Context) -> pb.ListObjectsResponse:
        """What is kept here."""
        after, size = wire.page_token(request.page_token), min(request.page_size or PAGE_SIZE, PAGE_SIZE)
        holdings = self._driver.stores.holdings
        found = await self._driver.work(holdings.complete, after, size + 1)
        objects = [
            pb.StoredObject(record_id=each.record_id, home_member_id=each.home, keeper_member_ids=each.keepers)
            for each in found[:size]
        ]
        more = found[size - 1].record_id.hex() if len(found) > size else ""
        total = await self._driver.work(holdings.count)
        return pb.ListObjectsResponse(objects=objects, next_page_token=more, total=total)

    async def GetCopy(self, request: pb.GetCopyRequest, _: Context) -> pb.GetCopyResponse:
        """What is beside an object's chunks."""
        manifest, escrow = await self._reading.get_copy(wire.record_id(request.record_id), calls.peer())
        return pb.GetCopyResponse(manifest=encode(manifest, self._chain_id), sealed_shred_secret=escrow)

    async def HealStorage(self, _request: pb.HealStorageRequest, _: Context) -> AsyncIterator[pb.HealStorageResponse]:
        """Fetch what was lost."""
        async for each in self._healing.heal():
            yield pb.HealStorageResponse(
                objects_total=each.objects_total,
                objects_done=each.objects_done,
                objects_healed=each.objects_healed,
                bytes_healed=each.bytes_healed,
                secrets_healed=each.secrets_healed,
                objects_failed=each.objects_failed,
                lost_record_ids=each.lost,
                unreached_member_ids=each.unreached,
            )

    async def SignRetention(self, request: pb.SignRetentionRequest, _: Context) -> pb.SignRetentionResponse:
        """Sign an erasure, or a hold's beginning or end, for the caller to submit."""
        record_id, order = wire.record_id(request.record_id), wire.order(request.order, self._chain_id)
        signed = await self._erasing.sign(record_id, wire.act(request.act), order, request.evidence_digest, calls.peer())
        return pb.SignRetentionResponse(transaction=chain_pb2.Transaction(encoded=signed))

    async def EraseObject(self, request: pb.EraseObjectRequest, _: Context) -> pb.EraseObjectResponse:
        """Destroy an object that the ledger has erased."""
        record_id = wire.record_id(request.record_id)
        erased = await self._erasing.erase(record_id, request.erased_height, calls.peer())
        copies = [encode(each, self._chain_id) for each in erased.copies]
        return pb.EraseObjectResponse(encoded=encode(erased.certificate, self._chain_id), copies=copies)

    async def GetScrubState(self, _request: pb.GetScrubStateRequest, _: Context) -> pb.GetScrubStateResponse:
        """What the scrub has found."""
        found = self._scrub.state
        return pb.GetScrubStateResponse(
            chunks_read=found.chunks_read,
            chunks_total=found.chunks_total,
            chunks_damaged=found.chunks_damaged,
            chunks_healed=found.chunks_healed,
            chunks_unhealed=found.chunks_unhealed,
            orphans=found.orphans,
            last_round_ms=found.last_round_ms,
            copies_missing=self._healing.copies_missing,
            last_backup=wire.backup_message(await self._driver.work(self._driver.stores.holdings.last_backup)),
        )

    async def NoteBackup(self, request: pb.NoteBackupRequest, _: Context) -> pb.NoteBackupResponse:
        """Keep word of a backup."""
        await self._driver.work(self._driver.stores.holdings.note_backup, wire.backup(request.backup))
        return pb.NoteBackupResponse()


def out_of_order() -> Malformed:
    """The refusal for a frame that stands in the wrong place."""
    return Malformed("BAD_FRAME", "A put is one start, then chunks, then one finish.", "L1")


def not_finished() -> FailedPrecondition:
    """The refusal for a stream that ends without saying that it is complete; what came waits for the next call."""
    return FailedPrecondition(
        "PUT_NOT_FINISHED", "The stream ended without a finish; GetPutState tells what has arrived.", "S2"
    )
