"""What the storage service asks of the other members' storage (design section 8: no other calls but to its own ledger)."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Protocol

import grpc

from consilium.api.storage.v1 import storage_pb2 as pb
from consilium.api.storage.v1.storage_pb2_grpc import StorageServiceStub
from consilium.kernel.encoding import encode
from consilium.kernel.errors import DataLoss, NotFound
from consilium.kernel.manifest import Manifest, StorageReceipt
from consilium.kernel.retention import ErasureCertificate
from consilium.kernel.sealing import CHUNK_BYTES
from consilium.runtime.channels import Channel, Peer, typed
from consilium.runtime.threads import ahead
from consilium.runtime.tls import Tls
from consilium.storage import wire

if TYPE_CHECKING:  # a name of the generated types alone
    from consilium.api.storage.v1.storage_pb2_grpc import StorageServiceAsyncStub


class OtherStorages(Protocol):
    """The other members' storage services. Every method raises Unavailable when the member cannot be reached."""

    def names(self) -> list[str]:
        """The members whose storage is known, sorted."""

    async def replicate(
        self, member_id: str, manifest: Manifest, receipt: StorageReceipt, escrow: bytes, read: "ReadChunk"
    ) -> StorageReceipt:
        """Have a member keep a copy, and the sealed shred secret with it; its word that it does."""

    def list_copies(self, member_id: str) -> AsyncIterator[tuple[bytes, bool]]:
        """The records whose objects concern both members; whether the other one is the home."""

    async def fetch_copy(self, member_id: str, record_id: bytes) -> tuple[Manifest, bytes]:
        """The manifest of an object both keep, and the sealed shred secret, empty for none."""

    def fetch_chunks(self, member_id: str, record_id: bytes, first: int) -> AsyncGenerator[tuple[int, bytes], None]:
        """The chunks of such an object from one on, with their indexes, in one stream."""

    async def fetch_chunk(self, member_id: str, record_id: bytes, index: int) -> bytes:
        """One chunk of an object both keep."""

    async def erase(self, member_id: str, record_id: bytes, erased_height: int) -> ErasureCertificate:
        """Have a member destroy its copy of what the ledger erased at a height; its word that it has.

        Raises NotFound where it keeps nothing of it.
        """


ReadChunk = Callable[[bytes, int], bytes]
"""Reads one chunk of a record's object, blocking."""


class GrpcStorages:
    """The other members' storage behind channels, each opened when it is first needed."""

    def __init__(self, addresses: Mapping[str, str], tls: Tls, chain_id: bytes) -> None:
        self._addresses, self._tls, self._chain_id = dict(addresses), tls, chain_id
        self._channels: dict[str, Channel] = {}

    def names(self) -> list[str]:
        """The members whose addresses are known."""
        return sorted(self._addresses)

    async def replicate(
        self, member_id: str, manifest: Manifest, receipt: StorageReceipt, escrow: bytes, read: ReadChunk
    ) -> StorageReceipt:
        """Send what the other side does not hold yet."""
        stub, kept = self._stub(member_id), await self._chunks_kept(member_id, manifest.record_id)
        start = pb.ReplicationStart(
            manifest=encode(manifest, self._chain_id),
            home_receipt=wire.receipt_message(receipt, self._chain_id),
            sealed_shred_secret=escrow,
        )
        with typed():
            response = await stub.ReplicateObject(_copy_frames(start, manifest, read, kept))
        return wire.receipt(response.receipt, self._chain_id)

    async def list_copies(self, member_id: str) -> AsyncIterator[tuple[bytes, bool]]:
        """Page by page."""
        token: str | None = ""
        last = b""
        while token is not None:
            with typed():
                page = await self._stub(member_id).ListCopies(pb.ListCopiesRequest(page_token=token))
            for each in page.copies:
                record_id = wire.record_id(each.record_id)
                if record_id <= last:
                    raise DataLoss("ENDLESS_LIST", f"{member_id} lists its copies out of order, or without end.", "S9")
                yield record_id, each.home
                last = record_id
            token = page.next_page_token if page.copies and page.next_page_token else None

    async def fetch_copy(self, member_id: str, record_id: bytes) -> tuple[Manifest, bytes]:
        """The manifest and the sealed secret."""
        with typed():
            response = await self._stub(member_id).GetCopy(pb.GetCopyRequest(record_id=record_id))
        return wire.manifest(response.manifest, self._chain_id), wire.escrow(response.sealed_shred_secret)

    async def fetch_chunks(self, member_id: str, record_id: bytes, first: int) -> AsyncGenerator[tuple[int, bytes], None]:
        """One stream, ended with the iteration."""
        offset = first * CHUNK_BYTES
        call = self._stub(member_id).GetObject(pb.GetObjectRequest(record_id=record_id, offset=offset))
        try:
            with typed():
                async for each in call:
                    yield wire.chunk(each.chunk)
        finally:
            call.cancel()

    async def fetch_chunk(self, member_id: str, record_id: bytes, index: int) -> bytes:
        """One chunk."""
        offset = index * CHUNK_BYTES
        request = pb.GetObjectRequest(record_id=record_id, offset=offset, length=1)
        with typed():
            chunks = [wire.chunk(each.chunk) async for each in self._stub(member_id).GetObject(request)]
        if [number for number, _ in chunks] != [index]:
            raise DataLoss("OTHER_CHUNK", f"{member_id} has sent other chunks than the one asked for.", "S2")
        return chunks[0][1]

    async def erase(self, member_id: str, record_id: bytes, erased_height: int) -> ErasureCertificate:
        """Have a copy destroyed."""
        request = pb.EraseObjectRequest(record_id=record_id, erased_height=erased_height)
        with typed():
            response = await self._stub(member_id).EraseObject(request)
        return wire.erasure(response.encoded, self._chain_id)

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
    start: pb.ReplicationStart, manifest: Manifest, read: ReadChunk, kept: list[bytes]
) -> AsyncIterator[pb.ReplicateObjectRequest]:
    """A copy's frames, the next chunk being read while one is sent."""
    yield pb.ReplicateObjectRequest(start=start)
    missing = [index for index, each in enumerate(manifest.chunk_hashes) if kept[index : index + 1] != [each]]
    async with aclosing(ahead((index, read(manifest.record_id, index)) for index in missing)) as chunks:
        async for index, data in chunks:
            frame = pb.ReplicateObjectRequest()
            wire.write_chunk(frame.chunk, index, data)
            yield frame
    yield pb.ReplicateObjectRequest(finish=pb.ReplicationFinish())
