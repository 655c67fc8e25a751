"""Taking a backup of a running member, over the wire, with the member's own credential (rule S10).

First the height: what is final now. Then its blocks, then every object that is complete, manifest and chunks; what was kept
by an earlier backup is passed over, and a damaged object is left out and told. Blocks and objects never change, so the
service goes on meanwhile, and what comes later is the next backup's. The snapshot is written last: before it there is none.
"""

import asyncio
import struct
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from consilium.api.ledger.v1 import ledger_pb2
from consilium.api.ledger.v1.ledger_pb2_grpc import LedgerServiceStub
from consilium.api.storage.v1 import storage_pb2
from consilium.api.storage.v1.storage_pb2_grpc import StorageServiceStub
from consilium.backup.vault import PAGE_OBJECTS, KeptObject, Page, Segment, Snapshot, Vault
from consilium.client.remote import Alliance
from consilium.kernel.certificates import ResultCertificate
from consilium.kernel.encoding import decode, encode
from consilium.kernel.errors import DataLoss, FailedPrecondition, NotFound
from consilium.kernel.hashing import ZERO_DIGEST
from consilium.kernel.manifest import Manifest, verify_chunk
from consilium.kernel.sealing import CHUNK_BYTES
from consilium.runtime.channels import typed
from consilium.runtime.clock import wall_ms

if TYPE_CHECKING:  # names of the generated types alone
    from consilium.api.ledger.v1.ledger_pb2_grpc import LedgerServiceAsyncStub
    from consilium.api.storage.v1.storage_pb2_grpc import StorageServiceAsyncStub

SEGMENT_BLOCKS, SEGMENT_BYTES = 256, 8_388_608
"""The most blocks, and about the most bytes, of one blob."""
_LENGTHS = struct.Struct(">II")

Show = Callable[[str, int, int], None]
"""Told what is being kept, how many there are of it, and how many in all."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a backup came to; bytes and files are what it has added, `damaged` the records whose objects it left out."""

    name: str
    snapshot: Snapshot
    objects: int
    damaged: tuple[bytes, ...]
    files_added: int
    bytes_added: int


async def take(alliance: Alliance, vault: Vault, show: Show) -> Taken:
    """Back the home member up.

    Raises FailedPrecondition: NOT_FINAL for a chain with nothing certified; what the member refuses with, and the place.
    """
    member_id, chain_id, taken_ms = alliance.settings.member_id, alliance.genesis.chain_id, wall_ms()
    before = await asyncio.to_thread(_newest, vault, member_id, chain_id)
    ledger = LedgerServiceStub(alliance.channel(member_id, "ledger"))
    with typed():
        certificate = (await ledger.GetTip(ledger_pb2.GetTipRequest())).result_certificate
    if not certificate:
        raise FailedPrecondition("NOT_FINAL", "The member has nothing certified yet; there is nothing to back up.", "S10")
    height = decode(ResultCertificate, certificate, chain_id).result.height
    segments = await keep_blocks(ledger, vault, before.segments if before else (), height, show)
    storage = StorageServiceStub(alliance.channel(member_id, "storage"))
    pages, count, damaged = await keep_objects(storage, vault, chain_id, show)
    snapshot = Snapshot(member_id, chain_id, taken_ms, height, certificate, segments, pages)
    name = await asyncio.to_thread(vault.put_snapshot, snapshot)
    taken = Taken(name, snapshot, count, damaged, vault.files_put, vault.bytes_put)
    await _note(storage, taken)
    return taken


async def _note(storage: "StorageServiceAsyncStub", taken: Taken) -> None:
    """Tell the member, whose metrics say how old its last backup is."""
    backup = storage_pb2.Backup(
        taken_ms=taken.snapshot.taken_ms,
        height=taken.snapshot.height,
        bytes_added=taken.bytes_added,
        objects=taken.objects,
        objects_damaged=len(taken.damaged),
    )
    with typed():
        await storage.NoteBackup(storage_pb2.NoteBackupRequest(backup=backup))


def _newest(vault: Vault, member_id: str, chain_id: bytes) -> Snapshot | None:
    """The snapshot to go on from. Raises FailedPrecondition: OTHER_BACKUP for one of another member or chain."""
    if not vault.snapshots():
        return None
    found = vault.snapshot()
    if (found.member_id, found.chain) != (member_id, chain_id):
        raise FailedPrecondition("OTHER_BACKUP", f"This place holds backups of {found.member_id}; name another.", "S10")
    return found


# --- blocks ---


async def keep_blocks(
    ledger: "LedgerServiceAsyncStub", vault: Vault, before: Sequence[Segment], height: int, show: Show
) -> tuple[Segment, ...]:
    """All blocks up to a height; the segments of the backup before are taken over but for the last, which grows."""
    segments = [each for each in before[:-1] if each.last_height < height]
    first = segments[-1].last_height + 1 if segments else 1
    parts, begun = list[bytes](), first
    request = ledger_pb2.StreamBlocksRequest(first_height=first, last_height=height)
    with typed():
        async for sent in ledger.StreamBlocks(request):
            block = sent.certified_block
            parts.append(packed(block.encoded, block.result_certificate))
            if len(parts) == SEGMENT_BLOCKS or sum(map(len, parts)) >= SEGMENT_BYTES:
                segments.append(await _segment(vault, begun, parts))
                begun, parts = segments[-1].last_height + 1, []
            show("blocks", begun + len(parts) - 1, height)
    if parts:
        segments.append(await _segment(vault, begun, parts))
    return tuple(segments)


async def _segment(vault: Vault, first: int, parts: Sequence[bytes]) -> Segment:
    blob = await asyncio.to_thread(vault.put_blob, b"".join(parts))
    return Segment(first, first + len(parts) - 1, blob)


def packed(block: bytes, certificate: bytes) -> bytes:
    """A block as it lies in a segment."""
    return _LENGTHS.pack(len(block), len(certificate)) + block + certificate


def blocks_of(segment: bytes) -> list[tuple[bytes, bytes]]:
    """The encoded blocks of a segment, each with its result certificate, empty for none."""
    found, at = list[tuple[bytes, bytes]](), 0
    while at < len(segment):
        block, certificate = _LENGTHS.unpack_from(segment, at)
        at += _LENGTHS.size
        found.append((segment[at : at + block], segment[at + block : at + block + certificate]))
        at += block + certificate
    return found


# --- objects ---


async def keep_objects(
    storage: "StorageServiceAsyncStub", vault: Vault, chain_id: bytes, show: Show
) -> tuple[tuple[bytes, ...], int, tuple[bytes, ...]]:
    """Every complete object: the pages that name them, how many they are, and the records of those that are damaged."""
    pages, kept, count, lost = list[bytes](), list[KeptObject](), 0, list[bytes]()
    async with aclosing(_listed(storage)) as listed:
        async for each, total in listed:
            try:
                kept.append(await _object(storage, vault, chain_id, each))
            except NotFound:  # erased meanwhile
                continue
            except DataLoss:  # one is no reason to have no backup of the others
                lost.append(each.record_id)
                continue
            count += 1
            show("objects", count, total)
            if len(kept) == PAGE_OBJECTS:
                pages.append(await _page(vault, kept))
                kept = []
    if kept:
        pages.append(await _page(vault, kept))
    return tuple(pages), count, tuple(lost)


async def _page(vault: Vault, kept: Sequence[KeptObject]) -> bytes:
    return await asyncio.to_thread(vault.put_blob, encode(Page(tuple(kept)), ZERO_DIGEST))


async def _listed(storage: "StorageServiceAsyncStub") -> AsyncGenerator[tuple[storage_pb2.StoredObject, int], None]:
    """The objects as the member lists them, page by page, and how many it says there are."""
    token: str | None = ""
    while token is not None:
        with typed():
            page = await storage.ListObjects(storage_pb2.ListObjectsRequest(page_token=token))
        for each in page.objects:
            yield each, page.total
        token = page.next_page_token or None


async def _object(
    storage: "StorageServiceAsyncStub", vault: Vault, chain_id: bytes, listed: storage_pb2.StoredObject
) -> KeptObject:
    """One object: its chunks, those that are not kept yet, and its manifest."""
    with typed():
        copy = await storage.GetCopy(storage_pb2.GetCopyRequest(record_id=listed.record_id))
    manifest = decode(Manifest, copy.manifest, chain_id)
    first = await asyncio.to_thread(_first_missing, vault, copy.manifest, manifest)
    if first is not None:
        await _chunks(storage, vault, manifest, first)
    name = await asyncio.to_thread(vault.put_blob, copy.manifest)
    return KeptObject(listed.record_id, listed.home_member_id, tuple(listed.keeper_member_ids), name)


def _first_missing(vault: Vault, encoded: bytes, manifest: Manifest) -> int | None:
    """The first chunk that is not kept yet. An object whose manifest is kept is whole: that is written last."""
    if vault.has_blob(encoded):
        return None
    return next((index for index, leaf in enumerate(manifest.chunk_hashes) if not vault.has_chunk(leaf)), None)


async def _chunks(storage: "StorageServiceAsyncStub", vault: Vault, manifest: Manifest, first: int) -> None:
    """The chunks from one on, each verified; the next comes while one is being kept."""
    request = storage_pb2.GetObjectRequest(record_id=manifest.record_id, offset=first * CHUNK_BYTES)
    call = storage.GetObject(request)
    try:
        with typed():
            async for each in call:
                index = each.chunk.offset // CHUNK_BYTES
                verify_chunk(manifest.chunk_hashes, index, each.chunk.data)
                await asyncio.to_thread(vault.put_chunk, manifest.chunk_hashes[index], each.chunk.data)
    finally:
        call.cancel()
