"""`python -m tests.storage_service.full_disk FOLDER`: a storage service on a real disk that is full, and what it says.

For a mount namespace of its own (`unshare --mount`), in which a small disk is mounted and goes with it. The room that is
left is chosen so that the disk fills at one step of a put after another.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from consilium.api.storage.v1 import storage_pb2 as pb
from consilium.kernel.errors import ResourceExhausted
from consilium.runtime.channels import typed
from tests.storage_service.test_storage_service import SECRET, chain_of, play, put, refused
from tests.storage_service.world import HOME, World, frames
from tests.stores.objects import TWO_CHUNKS, make_chunks, make_manifest

if TYPE_CHECKING:
    from tests.storage_service.world import Station, Stub

DISK = "size=16m"
CHUNKS = make_chunks("late", TWO_CHUNKS)
MANIFEST = make_manifest("late", TWO_CHUNKS, CHUNKS)
ROOMS = range(0, 720_896, 49_152)
"""Bytes left: from nothing to more than a whole put takes."""


def mount(folder: Path) -> Path:
    """A small disk of its own."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", DISK, "none", str(folder)], check=True)  # noqa: S603, S607
    return folder


def fill(disk: Path, room: int) -> Path:
    """Ballast that leaves so much."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4_096)):
                pass
        except OSError:
            file.truncate(max(file.tell() - room, 0))
    return ballast


async def refusal(stub: Stub, world: World) -> str:
    """What a put says; empty when it went through."""
    try:
        with typed():
            await stub.PutObject(frames(MANIFEST, CHUNKS, SECRET, chain_of(world)))
    except ResourceExhausted as error:
        return error.reason
    return ""


def check(station: Station, kept: bytes, disk: Path) -> None:
    """What was stored before is whole, and of what was refused no byte is left."""
    objects = station.driver.stores.objects
    assert objects.record_ids() == [kept]
    assert objects.read_chunk(kept, 1) == make_chunks("early", TWO_CHUNKS)[1]
    assert [each.name for each in (disk / "state" / "chunks").iterdir()] == [kept.hex()]


async def scene(world: World, disk: Path) -> None:
    """A put at each amount of room; then with room enough."""
    async with world.storage(HOME, state_directory=disk / "state") as station:
        stub, said = world.application(station), list[str]()
        kept = (await put(world, stub, "early")).record_id
        for room in ROOMS:
            ballast = fill(disk, room)
            said.append(await refusal(stub, world))
            if said[-1]:
                check(station, kept, disk)
            ballast.unlink()
        sys.stdout.write(f"{' '.join(each or 'stored' for each in said)}\n")
        assert said[0] == "DISK_FULL"
        assert set(said) == {"DISK_FULL", ""}
        assert station.driver.stores.objects.read_chunk(MANIFEST.record_id, 1) == CHUNKS[1]
        ballast = fill(disk, 0)
        await refused(stub.EraseObject(pb.EraseObjectRequest(record_id=kept)), ResourceExhausted, "DISK_FULL")
        ballast.unlink()
        await stub.EraseObject(pb.EraseObjectRequest(record_id=kept))
        assert station.driver.stores.objects.record_ids() == [MANIFEST.record_id]


def main() -> None:
    """Play it."""
    folder = Path(sys.argv[1])
    disk = mount(folder / "small")
    play(folder, lambda world: scene(world, disk))


if __name__ == "__main__":
    main()
