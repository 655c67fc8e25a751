"""Bad input to a running storage service: a typed refusal, nothing half visible, room given back (S2)."""

from __future__ import annotations

import asyncio
import errno
import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from consilium.api.storage.v1 import storage_pb2 as pb
from consilium.kernel.errors import FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted
from consilium.runtime.disk import File, OsDisk, OsFile
from consilium.runtime.names import Role
from consilium.storage.counters import StorageCounters
from consilium.storage.embedded import EmbeddedObjectStore
from consilium.storage.holdings import Holding, Holdings, HoldingState
from tests.storage_service.test_storage_service import SECRET, chain_of, play, put, refused
from tests.storage_service.world import HOME, KEEPER, RECIPIENT, Station, World, chunk, finish, frames, start
from tests.stores.objects import TWO_CHUNKS, make_chunks, make_manifest, record_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

CHUNKS = make_chunks("scan", TWO_CHUNKS)
MANIFEST = make_manifest("scan", TWO_CHUNKS, CHUNKS)
STATE = pb.GetPutStateRequest(record_id=MANIFEST.record_id)
BEGIN = start(MANIFEST.record_id, TWO_CHUNKS)
SIZE = sum(map(len, CHUNKS))


class SmallFile(OsFile):
    """A file on a small disk."""

    def __init__(self, descriptor: int, disk: SmallDisk) -> None:
        super().__init__(descriptor)
        self._disk = disk

    def write(self, offset: int, data: bytes) -> None:
        """Fails as a full disk does, before any byte."""
        if len(data) > self._disk.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._disk.room -= len(data)
        super().write(offset, data)


class SmallDisk(OsDisk):
    """The machine's disk, of which so many bytes are left."""

    def __init__(self, room: int) -> None:
        self.room = room

    def open(self, path: Path, *, create: bool = False) -> File:
        """A file that takes no more than there is room for."""
        return SmallFile(os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), 0o600), self)


async def nothing_is_there(station: Station, folder: Path) -> None:
    """Neither an object nor a byte of one."""
    assert station.driver.stores.objects.record_ids() == []
    assert OsDisk().names(folder / "chunks") == []


def metrics(station: Station) -> str:
    """What Prometheus reads."""
    registry = CollectorRegistry()
    registry.register(StorageCounters(station.parts))
    return generate_latest(registry).decode()


def test_an_upload_abandoned_half_way_is_dropped_and_its_room_given_back(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        async with world.storage(HOME, draft_s=-5) as station:
            stub = world.application(station)
            await refused(stub.PutObject(iter([BEGIN, chunk(0, CHUNKS[0])])), FailedPrecondition, "PUT_NOT_FINISHED")
            assert f"consilium_storage_staged_bytes {float(SIZE)}" in metrics(station)
            holdings = station.driver.stores.holdings
            [draft] = holdings.drafts(2**62)
            assert holdings.bytes_by(draft.writer) == SIZE
            await station.parts.scrub.tidy()
            assert holdings.bytes_by(draft.writer) == 0
            assert "consilium_storage_staged_bytes 0.0" in metrics(station)
            await nothing_is_there(station, tmp_path / f"state-{HOME}")
            await refused(stub.GetPutState(STATE), NotFound, "NO_SUCH_OBJECT")
            await put(world, stub)
            assert "consilium_storage_objects 1.0" in metrics(station)

    play(tmp_path, scene)


class Overtaken(Holdings):
    """Between the list of old drafts and what is done about it, all of them are finished."""

    def drafts(self, begun_before_s: int) -> list[Holding]:
        """As `Holdings` does."""
        found = super().drafts(begun_before_s)
        for each in found:
            self.finish(each.record_id, b"root")
        return found


def test_an_object_finished_while_old_drafts_are_dropped_stays(tmp_path: Path) -> None:
    """S2: what was acknowledged is not destroyed; and a put whose draft was dropped is not acknowledged."""

    async def scene(world: World) -> None:
        async with world.storage(HOME, draft_s=-5) as station:
            driver, stores = station.driver, station.driver.stores
            await put(world, world.application(station))
            stores.holdings.write(replace(stores.holdings.read(MANIFEST.record_id), state=HoldingState.DRAFT))
            driver.stores = replace(stores, holdings=Overtaken(stores.holdings._database))  # noqa: SLF001  the same rows
            await station.parts.scrub.tidy()
            assert stores.objects.record_ids() == [MANIFEST.record_id]
            assert not stores.holdings.drop_draft(MANIFEST.record_id)
            with pytest.raises(NotFound, match="NO_SUCH_OBJECT"):
                stores.holdings.finish(b"?" * 16, b"root")

    play(tmp_path, scene)


def test_a_wrong_length_or_digest_makes_no_object(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        async with world.storage(HOME) as station:
            stub, end = world.application(station), finish(MANIFEST, SECRET, chain_of(world))
            for index, data in ((0, CHUNKS[0][:-1]), (1, CHUNKS[0]), (2, b"x"), (1, CHUNKS[1] + b"x")):
                await refused(stub.PutObject(iter([BEGIN, chunk(index, data), end])), InvalidArgument, "BAD_CHUNK_PLACE")
            changed = bytes([CHUNKS[1][0] ^ 1]) + CHUNKS[1][1:]
            wrong = [BEGIN, chunk(0, CHUNKS[0]), chunk(1, changed), end]
            await refused(stub.PutObject(iter(wrong)), FailedPrecondition, "CHUNKS_MISSING")
            other = finish(replace(MANIFEST, size_class=TWO_CHUNKS - 1), SECRET, chain_of(world))
            await refused(stub.PutObject(iter([BEGIN, other])), InvalidArgument, "OTHER_MANIFEST")
            assert station.driver.stores.objects.record_ids() == []
            assert station.driver.stores.secrets.record_ids() == []
            await put(world, stub)

    play(tmp_path, scene)


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    """What was begun is dropped, so that others have the room; with more room the same put goes through."""

    async def scene(world: World) -> None:
        async with world.storage(HOME) as station:
            stub, disk, objects = world.application(station), SmallDisk(len(CHUNKS[0]) + 10), station.driver.stores.objects
            assert isinstance(objects, EmbeddedObjectStore)
            objects._disk = disk  # noqa: SLF001  the disk fills up under a store that is open
            sent = frames(MANIFEST, CHUNKS, SECRET, chain_of(world))
            await refused(stub.PutObject(sent), ResourceExhausted, "DISK_FULL")
            await nothing_is_there(station, tmp_path / f"state-{HOME}")
            disk.room = 2 * SIZE
            await put(world, stub)
            assert objects.read_chunk(MANIFEST.record_id, 1) == CHUNKS[1]

    play(tmp_path, scene)


def test_a_writer_beyond_its_quota_is_refused_before_a_byte(tmp_path: Path) -> None:
    """Of each person and application by itself; what is erased is given back."""

    async def scene(world: World) -> None:
        async with world.storage(HOME, writer_bytes_max=SIZE + 100) as station:
            stub, folder = world.application(station), tmp_path / f"state-{HOME}" / "chunks"
            await put(world, stub)
            await refused(stub.PutObject(iter([start(record_id("more"), TWO_CHUNKS)])), ResourceExhausted, "QUOTA")
            assert OsDisk().names(folder) == [MANIFEST.record_id.hex()]
            await put(world, world.person(station, Role.PATIENT), "another's")
            await stub.EraseObject(pb.EraseObjectRequest(record_id=MANIFEST.record_id))
            await put(world, stub, "more")

    play(tmp_path, scene)


def test_a_member_that_begins_copies_and_sends_nothing_leaves_room(tmp_path: Path) -> None:
    """C1: it has half of the streams at most; this member's own people write, and a third member's copies come."""

    async def scene(world: World) -> None:
        async with world.storage(HOME, streams_max=8) as station:
            hostile, other = (
                world.stub(station, world.authorities[each].service("storage")) for each in (KEEPER, RECIPIENT)
            )
            held = [hostile.ReplicateObject(silence()) for _ in range(4)]
            await until(lambda: station.driver.streams.open == len(held))
            await refused(hostile.ReplicateObject(silence()), ResourceExhausted, "TOO_MANY_CALLS")
            await refused(other.ReplicateObject(iter(())), FailedPrecondition, "PUT_NOT_FINISHED")
            await put(world, world.application(station))
            for each in held:
                each.cancel()

    play(tmp_path, scene)


async def silence() -> AsyncIterator[pb.ReplicateObjectRequest]:
    """Frames that never come."""
    await asyncio.Event().wait()
    yield pb.ReplicateObjectRequest()


async def until(holds: Callable[[], bool]) -> None:
    """Let the service work until something is so."""
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110  nothing tells of a stream that was begun
            await asyncio.sleep(0.01)
