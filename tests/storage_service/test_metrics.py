"""What an operator's alarms rest on: how old the last backup is and how the last heal ended (S9, S10)."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from consilium.api.storage.v1 import storage_pb2 as pb
from consilium.kernel.errors import Malformed
from consilium.runtime.clock import wall_ms
from consilium.runtime.names import Role
from tests.storage_service.test_bad_input import metrics
from tests.storage_service.test_healing import healed, two
from tests.storage_service.test_storage_service import SCAN, play, refused
from tests.storage_service.world import HOME, World

if TYPE_CHECKING:
    from pathlib import Path

TAKEN_MS = 1_700_000_000_000


def noted(taken_ms: int, height: int = 7) -> pb.NoteBackupRequest:
    """Word of a backup."""
    backup = pb.Backup(taken_ms=taken_ms, height=height, bytes_added=1_234, objects=5, objects_damaged=1)
    return pb.NoteBackupRequest(backup=backup)


def test_s10_the_last_backup_is_told_and_outlives_the_process(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        async with world.storage(HOME) as station:
            staff = world.person(station, Role.STAFF)
            assert "consilium_storage_backup_timestamp_seconds 0.0" in metrics(station)
            assert not (await staff.GetScrubState(pb.GetScrubStateRequest())).HasField("last_backup")
            await staff.NoteBackup(noted(TAKEN_MS))
            await staff.NoteBackup(noted(TAKEN_MS - 1, height=6))
        async with world.storage(HOME) as station:
            said = metrics(station)
            for line in ("timestamp_seconds 1.7e+09", "height 7.0", "bytes 1234.0", "objects 5.0", "objects_damaged 1.0"):
                assert f"consilium_storage_backup_{line}" in said
            staff = world.person(station, Role.STAFF)
            found = await staff.GetScrubState(pb.GetScrubStateRequest())
            assert (found.last_backup.taken_ms, found.last_backup.height) == (TAKEN_MS, 7)

    play(tmp_path, scene)


def test_l1_a_backup_of_tomorrow_or_of_nothing_is_refused(tmp_path: Path) -> None:
    """Else one slip of a clock would hide every later backup, or that there is none."""

    async def scene(world: World) -> None:
        async with world.storage(HOME) as station:
            staff = world.person(station, Role.STAFF)
            for bad in (noted(wall_ms() + 86_400_000), noted(0), noted(TAKEN_MS, height=0), noted(-1), noted(1, 2**63)):
                await refused(staff.NoteBackup(bad), Malformed, "BAD_FIELD")
            assert "consilium_storage_backup_timestamp_seconds 0.0" in metrics(station)

    play(tmp_path, scene)


def test_s9_how_the_last_heal_ended_is_told(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        async with two(world) as (home, _):
            await world.sharing(home).shared(SCAN)
            assert "consilium_storage_heal_timestamp_seconds 0.0" in metrics(home)
        shutil.rmtree(tmp_path / f"state-{HOME}")
        async with two(world) as (home, _):
            state = await healed(home)
            said = metrics(home)
            assert "consilium_storage_heal_timestamp_seconds 0.0" not in said
            for line in ("heal_running 0.0", "heal_objects_left 0.0", f"healed_bytes_total {float(state.bytes_healed)}"):
                assert f"consilium_storage_{line}" in said

    play(tmp_path, scene)
