"""S2: an object on its way to its home, and on its way once more after the connection broke."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from consilium.api.storage.v1 import storage_pb2 as pb
from consilium.api.storage.v1.storage_pb2_grpc import add_StorageServiceServicer_to_server
from consilium.client.outgoing import PIECE_BYTES, OutgoingRecord, ignore, length_of
from consilium.client.records import OpenKey, RecordWriter
from consilium.client.remote_member import PUTS_MAX, RemoteMember
from consilium.kernel.encoding import encode
from consilium.kernel.errors import InvalidArgument, Unavailable
from consilium.kernel.manifest import StorageReceipt, StorageStatement
from consilium.kernel.merkle import leaf_hash
from consilium.kernel.sealing import CHUNK_BYTES
from consilium.runtime.channels import Channel
from consilium.runtime.methods import Service
from consilium.runtime.server import serving
from tests.client.cases import CHAIN, owner
from tests.client.test_records import entropy, place, read
from tests.runtime.loopback import Loopback, Scripted, allow

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

DATA = bytes(range(251)) * (3 * PIECE_BYTES // 251)
RECEIPT = StorageReceipt(StorageStatement("alder", b"r" * 16, b"c" * 32), b"s" * 64)


def outgoing(source: bytes | Path, told: list[int] | None = None) -> OutgoingRecord:
    writer = RecordWriter(OpenKey(owner().delegating_pk, 7), place("scan"), length_of(source), entropy("scan"), CHAIN)
    return OutgoingRecord(source, writer, ignore if told is None else told.append)


async def all_chunks(of: OutgoingRecord) -> list[bytes]:
    return [each async for each in of.chunks()]


def test_the_same_chunks_come_again_and_open(tmp_path: Path) -> None:
    """From memory or a file, at the first time or the second: one manifest, which opens."""
    (tmp_path / "scan").write_bytes(DATA)
    told: list[int] = []
    first, second = outgoing(DATA, told), outgoing(tmp_path / "scan")
    chunks = asyncio.run(all_chunks(first))
    assert told[-1] == len(DATA)
    manifest = first.finish()
    assert asyncio.run(all_chunks(first)) == asyncio.run(all_chunks(second)) == chunks
    assert first.finish() == manifest
    assert read(first.writer.written(), chunks) == DATA


@pytest.mark.parametrize(
    ("changed", "reason"),
    [(b"x" + DATA[1:], "OTHER_BYTES"), (DATA[:-1], "OTHER_LENGTH"), (DATA + b"x", "OTHER_LENGTH"), (b"", "OTHER_LENGTH")],
)
def test_a_file_that_has_changed_is_not_sealed_under_the_same_keys(tmp_path: Path, changed: bytes, reason: str) -> None:
    """One nonce for two plaintexts would give both away: no chunk of the second is let out."""
    path = tmp_path / "scan"
    path.write_bytes(DATA)
    one = outgoing(path)
    before = asyncio.run(all_chunks(one))
    path.write_bytes(changed)
    let_out: list[bytes] = []

    async def once_more() -> None:
        async for each in one.chunks():
            let_out.append(each)  # noqa: PERF401  what came before the error counts

    with pytest.raises(InvalidArgument, match=reason):
        asyncio.run(once_more())
    assert let_out == before[: len(let_out)]


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="NO_SUCH_FILE"):
        length_of(tmp_path / "scan")


def test_an_object_that_nobody_takes_any_further_lets_its_file_go(tmp_path: Path) -> None:
    (tmp_path / "scan").write_bytes(DATA)

    async def leave() -> None:
        async with aclosing(outgoing(tmp_path / "scan").chunks()) as chunks:
            await anext(chunks)

    asyncio.run(leave())


@dataclass
class Breaking(Scripted):
    """A storage service that breaks off each put after so many chunks, and keeps what has come."""

    breaks_after: list[int] = field(default_factory=list)
    kept: dict[int, bytes] = field(default_factory=dict)
    sent: int = 0
    is_lost: bool = False
    """Whether the answer to the last put is lost on its way."""

    async def PutObject(self, request_iterator: AsyncIterator[Any], context: Any) -> Any:
        left = self.breaks_after.pop(0) if self.breaks_after else 1_000
        async for request in request_iterator:
            if request.WhichOneof("frame") == "chunk":
                if not left:
                    raise Unavailable("UNAVAILABLE", "The connection broke.")
                left, self.sent = left - 1, self.sent + 1
                self.kept[request.chunk.offset // CHUNK_BYTES] = leaf_hash(request.chunk.data)
        if self.is_lost:
            raise Unavailable("UNAVAILABLE", "The connection broke.")
        return pb.PutObjectResponse(receipt=pb.StorageReceipt(encoded=encode(RECEIPT, CHAIN)))

    async def GetPutState(self, request: Any, context: Any) -> Any:
        hashes = [self.kept.get(index, bytes(32)) for index in range(max(self.kept, default=-1) + 1)]
        if self.is_lost:
            receipt = pb.StorageReceipt(encoded=encode(RECEIPT, CHAIN))
            return pb.GetPutStateResponse(state=pb.PUT_STATE_COMPLETE, chunk_hashes=hashes, receipt=receipt)
        return pb.GetPutStateResponse(state=pb.PUT_STATE_OPEN, chunk_hashes=hashes)


async def put(path: Path, storage: Breaking, of: OutgoingRecord) -> StorageReceipt:
    """Put an object into the service over gRPC."""
    loopback = Loopback(path)
    contract = pb.DESCRIPTOR.services_by_name["StorageService"]
    offered = [Service(contract, add_StorageServiceServicer_to_server, storage)]
    async with serving(loopback.settings(), offered, allow) as running, loopback.channel(running) as channel:

        def way(service: str) -> Channel:
            assert service == "storage"
            return channel

        return await RemoteMember(way, CHAIN, 10).put_object(of)


def test_a_put_that_breaks_off_sends_only_what_is_missing(tmp_path: Path) -> None:
    """However often it breaks, up to a bound, and wherever; each chunk is taken once."""
    storage, one = Breaking(breaks_after=[0, 5, 1]), outgoing(DATA)
    assert asyncio.run(put(tmp_path, storage, one)) == RECEIPT
    hashes = one.writer.written().manifest.chunk_hashes
    assert storage.sent == len(hashes)
    assert tuple(storage.kept[index] for index in range(len(hashes))) == hashes


def test_a_put_whose_answer_is_lost_is_complete(tmp_path: Path) -> None:
    """The receipt is asked for again, and the manifest is the one that was sent."""
    storage, one = Breaking(is_lost=True), outgoing(DATA)
    assert asyncio.run(put(tmp_path, storage, one)) == RECEIPT
    assert storage.sent == len(one.writer.written().manifest.chunk_hashes)


def test_a_put_that_always_breaks_off_is_given_up(tmp_path: Path) -> None:
    storage = Breaking(breaks_after=[1] * PUTS_MAX)
    with pytest.raises(Unavailable):
        asyncio.run(put(tmp_path, storage, outgoing(DATA)))
    assert storage.sent == PUTS_MAX


@pytest.mark.parametrize(
    ("left", "error"), [(b"x" + DATA[1:], InvalidArgument), (DATA[:-1], InvalidArgument), (None, OSError)]
)
def test_a_source_that_fails_in_mid_put_says_how(tmp_path: Path, left: bytes | None, error: type[Exception]) -> None:
    """What is wrong with the file is told, and no cancelling that nobody asked for; after a break or at once."""
    path, storage = tmp_path / "scan", Breaking(breaks_after=[2])
    path.write_bytes(DATA)
    one = outgoing(path)
    if left is None:
        path.unlink()
    else:
        asyncio.run(all_chunks(one))
        path.write_bytes(left)
    with pytest.raises(error):
        asyncio.run(put(tmp_path, storage, one))


class Counted(OutgoingRecord):
    """Counts how often its chunks are being made at the same time."""

    at_once = most = 0

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            async with aclosing(super().chunks()) as chunks:
                async for each in chunks:
                    yield each
        finally:
            self.at_once -= 1


def test_one_attempt_has_ended_before_the_next_begins(tmp_path: Path) -> None:
    """Both would seal with the same writer."""
    one = outgoing(DATA)
    counted = Counted(DATA, one.writer, ignore)
    assert asyncio.run(put(tmp_path, Breaking(breaks_after=[0, 5, 1]), counted)) == RECEIPT
    assert (counted.most, counted.at_once) == (1, 0)
