"""What a backup asks of a member, and what it leaves out: nothing twice, and no more than what is damaged (S10)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from consilium.api.chain.v1 import chain_pb2
from consilium.api.ledger.v1 import ledger_pb2
from consilium.api.storage.v1 import storage_pb2
from consilium.backup.places import Folder
from consilium.backup.taking import Taken, blocks_of, keep_blocks, keep_objects
from consilium.backup.vault import Segment, Snapshot, Vault
from consilium.client.commands.backups import told_backup
from consilium.kernel.encoding import encode
from consilium.kernel.errors import DataLoss
from consilium.kernel.sealing import CHUNK_BYTES
from tests.client.local_member import LocalAlliance
from tests.storage_service.world import HOME, Sharing

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

BLOCKS = 600


class CountingFolder(Folder):
    """A folder that counts how often it was asked."""

    asked = 0

    def has(self, name: str) -> bool:
        """Count."""
        self.asked += 1
        return super().has(name)


class OwnLedger:
    """A ledger of made-up blocks, which a backup does not open; what it was asked for."""

    def __init__(self, block_bytes: int) -> None:
        self.asked: list[tuple[int, int]] = []
        self._block_bytes = block_bytes

    async def StreamBlocks(
        self, request: ledger_pb2.StreamBlocksRequest
    ) -> AsyncGenerator[ledger_pb2.StreamBlocksResponse, None]:
        """As the service."""
        self.asked.append((request.first_height, request.last_height))
        for height in range(request.first_height, request.last_height + 1):
            encoded = height.to_bytes(4, "big") * (self._block_bytes // 4)
            yield ledger_pb2.StreamBlocksResponse(certified_block=chain_pb2.CertifiedBlock(encoded=encoded))


class Chunks:
    """A stream that can be ended."""

    def __init__(self, storage: OwnStorage, record_id: bytes, first: int) -> None:
        self._storage, self._record_id, self._first = storage, record_id, first

    async def __aiter__(self) -> AsyncIterator[storage_pb2.GetObjectResponse]:
        """From the first one on."""
        count = len(self._storage.local.manifest(self._record_id).chunk_hashes)
        for index in range(self._first, count):
            if (self._record_id, index) == self._storage.damaged:
                raise DataLoss("DAMAGED", "A chunk of it is damaged.", "S2")
            data = self._storage.local.members[HOME].chunks[self._record_id, index]
            yield storage_pb2.GetObjectResponse(chunk=storage_pb2.Chunk(offset=index * CHUNK_BYTES, data=data))

    def cancel(self) -> None:
        """As of a call."""


class OwnStorage:
    """The storage of a member with three objects, of which one chunk may be damaged."""

    damaged: tuple[bytes, int] | None = None

    def __init__(self) -> None:
        self.local = LocalAlliance()
        patient = Sharing(self.local).patient
        written = [asyncio.run(patient.write(bytes([each]) * 900_000, media_class=2)) for each in range(3)]
        self.records = [each.record_id for each in written]
        self.chain_id = self.local.scribe.chain.chain_id

    async def ListObjects(self, _: storage_pb2.ListObjectsRequest) -> storage_pb2.ListObjectsResponse:
        """As the service, on one page."""
        listed = [storage_pb2.StoredObject(record_id=each, home_member_id=HOME) for each in self.records]
        return storage_pb2.ListObjectsResponse(objects=listed, total=len(listed))

    async def GetCopy(self, request: storage_pb2.GetCopyRequest) -> storage_pb2.GetCopyResponse:
        """As the service."""
        return storage_pb2.GetCopyResponse(manifest=encode(self.local.manifest(request.record_id), self.chain_id))

    def GetObject(self, request: storage_pb2.GetObjectRequest) -> Chunks:
        """As the service."""
        return Chunks(self, request.record_id, request.offset // CHUNK_BYTES)


def kept(storage: OwnStorage, vault: Vault) -> tuple[list[bytes], int, tuple[bytes, ...]]:
    """The records whose objects a backup names, how many it says, and those it left out."""
    pages, count, lost = asyncio.run(keep_objects(storage, vault, storage.chain_id, lambda *_: None))  # type: ignore[arg-type]
    return [each.record_id for page in pages for each in vault.page(page).objects], count, lost


def test_s10_a_damaged_object_is_left_out_and_named(tmp_path: Path) -> None:
    """It does not end the backup of the others; healed, it is in the next one."""
    storage, vault = OwnStorage(), Vault(Folder(tmp_path), b"k" * 32)
    first, second, third = storage.records
    storage.damaged = (second, 1)
    assert kept(storage, vault) == ([first, third], 2, (second,))
    storage.damaged = None
    assert kept(storage, vault) == (storage.records, 3, ())


def test_s10_a_damaged_object_is_told_with_an_exit_code() -> None:
    snapshot = Snapshot("2A", bytes(32), 1, 7, b"certificate", (), ())
    whole, cut = (told_backup("/mnt", Taken("1-7", snapshot, 3, lost, 0, 0)) for lost in ((), (b"\x0a" * 16,)))
    assert (whole.code, whole.facts["damaged"], cut.code, cut.facts["damaged"]) == (0, [], 1, ["0a" * 16])


def test_s10_an_object_that_is_kept_whole_is_asked_for_once(tmp_path: Path) -> None:
    """By its manifest, which is written last; not chunk by chunk."""
    storage, folder = OwnStorage(), CountingFolder(tmp_path)
    kept(storage, Vault(folder, b"k" * 32))
    chunks = sum(len(storage.local.manifest(each).chunk_hashes) for each in storage.records)
    assert chunks > 2 * len(storage.records)
    folder.asked = 0
    kept(storage, Vault(folder, b"k" * 32))
    assert folder.asked == 2 * len(storage.records) + 1, "the manifest looked for, and passed over; and the page"


@pytest.mark.parametrize("block_bytes", [400, 100_000])
def test_s10_a_later_backup_reads_blocks_from_the_last_segment_on(tmp_path: Path, block_bytes: int) -> None:
    """Whether segments are cut by blocks or by bytes, and what it keeps is every block once."""
    ledger, vault = OwnLedger(block_bytes), Vault(Folder(tmp_path), b"k" * 32)
    segments: tuple[Segment, ...] = ()
    for height in (BLOCKS, BLOCKS + 1, BLOCKS + 1):
        before = segments
        segments = asyncio.run(keep_blocks(ledger, vault, before, height, lambda *_: None))  # type: ignore[arg-type]
        assert ledger.asked[-1] == (before[-1].first_height if before else 1, height)
    found = [int.from_bytes(block[:4], "big") for each in segments for block, _ in blocks_of(vault.get_blob(each.blob))]
    assert (len(segments) > 2, found) == (True, list(range(1, BLOCKS + 2)))
