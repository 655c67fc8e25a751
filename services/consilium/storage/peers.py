"""What the storage service asks of the other members' storage (design section 8: no other calls but to its own ledger)."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Protocol

import grpc

from consilium.api.storage.v1 import storage_pb2 as pb
from consilium.api.storage.v1.storage_pb2_grpc import StorageServiceStub
from consilium.kernel.encoding import encode
from consilium.kernel.errors import DataLoss, NotFound
from consilium.kernel.manifest import Manifest, StorageReceipt
from consilium.kernel.retention import ErasureCertificate
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
        self, member_id: str, manifest: Manifest, receipt: StorageReceipt, read: "ReadChunk"
    ) -> StorageReceipt:
        """Have a member keep a copy; its word that it does."""

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
    manifest: Manifest, receipt: StorageReceipt, read: ReadChunk, kept: list[bytes], chain_id: bytes
) -> AsyncIterator[pb.ReplicateObjectRequest]:
    """A copy's frames, the next chunk being read while one is sent."""
    start = pb.ReplicationStart(manifest=encode(manifest, chain_id), home_receipt=wire.receipt_message(receipt, chain_id))
    yield pb.ReplicateObjectRequest(start=start)
    missing = [index for index, each in enumerate(manifest.chunk_hashes) if kept[index : index + 1] != [each]]
    async with aclosing(ahead((index, read(manifest.record_id, index)) for index in missing)) as chunks:
        async for index, data in chunks:
            yield pb.ReplicateObjectRequest(chunk=wire.chunk_message(index, data))
    yield pb.ReplicateObjectRequest(finish=pb.ReplicationFinish())
