"""A stream of chunks reads a few ahead, so that a distant database is not waited for once a chunk (S2)."""

from __future__ import annotations

from dataclasses import replace
from threading import Event
from typing import TYPE_CHECKING

from consilium.storage.memory import MemoryObjectStore
from tests.storage_service.test_storage_service import SCAN, play
from tests.storage_service.world import HOME, World

if TYPE_CHECKING:
    from pathlib import Path


class Distant(MemoryObjectStore):
    """A store whose first chunk comes only when the second has been asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.second_asked = Event()

    def read_chunk(self, record_id: bytes, index: int) -> bytes:
        """As `ObjectStore` does."""
        if index == 1:
            self.second_asked.set()
        assert self.second_asked.wait(30), "one chunk after the other"
        return super().read_chunk(record_id, index)


def test_get_object_reads_a_few_chunks_ahead(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        async with world.storage(HOME) as station:
            station.driver.stores = replace(station.driver.stores, objects=Distant())
            sharing = world.sharing(station)
            reference, grant = await sharing.shared(SCAN)
            assert await sharing.read(reference, grant) == SCAN

    play(tmp_path, scene)
