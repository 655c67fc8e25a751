"""A whole object put back by hand to an older one that was valid: the ledger's record says so, and it is had again (S2, S9).

On both back ends. Nothing in the rows tells it from a good one: manifest and chunks agree, and every hash is right.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from consilium.api.storage.v1 import storage_pb2 as pb
from consilium.kernel.errors import DataLoss
from consilium.kernel.merkle import leaf_hash
from consilium.kernel.sealing import chunk_count, sealed_chunk_bytes
from consilium.runtime.channels import typed
from consilium.storage.__main__ import open_stores
from consilium.storage.settings import StorageSettings
from tests.storage_service.test_healing import again, healed, two
from tests.storage_service.test_storage_service import SCAN, chain_of, play
from tests.storage_service.world import HOME, RECIPIENT, World

if TYPE_CHECKING:
    from pathlib import Path

    from consilium.kernel.manifest import Manifest
    from consilium.storage.store import ObjectStore


@pytest.fixture(params=["embedded", pytest.param("cassandra", marks=[pytest.mark.slow, pytest.mark.timeout(900)])])
def lying(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """The settings that say where the home's objects lie."""
    if request.param == "embedded":
        return {}
    found: dict[str, Any] = request.getfixturevalue("ring").home_of(HOME, chain_of(World(tmp_path)))
    return found


def roll_back(objects: ObjectStore, record_id: bytes) -> Manifest:
    """An older object of the same record in the place of the newer: as large, whole, and with other bytes."""
    newer = objects.read_manifest(record_id)
    count = chunk_count(newer.size_class)
    chunks = [bytes([index]) * sealed_chunk_bytes(newer.size_class, index) for index in range(count)]
    older = replace(newer, chunk_hashes=tuple(map(leaf_hash, chunks)))
    objects.delete(record_id)
    for index, chunk in enumerate(chunks):
        objects.put_chunk(record_id, index, chunk)
    objects.complete(older)
    return older


@pytest.mark.parametrize("mended_by", ["heal", "scrub"])
def test_s2_an_object_rolled_back_whole_is_refused_and_had_again(
    tmp_path: Path, lying: dict[str, Any], mended_by: str
) -> None:
    async def scene(world: World) -> None:
        async with two(world, **lying) as (home, _):
            sharing = world.sharing(home)
            reference, grant = await sharing.shared(SCAN)
        settings = StorageSettings(member_id=HOME, state_directory=tmp_path / f"state-{HOME}", **lying)
        async with AsyncExitStack() as stack:
            older = roll_back(open_stores(settings, chain_of(world), stack).objects, reference.record_id)
        async with two(world, **lying) as (home, _):
            again(world, sharing, home)
            objects, asked = home.driver.stores.objects, await sharing.request(reference, grant)
            assert objects.read_manifest(reference.record_id) == older
            request = pb.GetObjectRequest(record_id=reference.record_id, access_request_hash=asked)
            with pytest.raises(DataLoss, match="BAD_MANIFEST"), typed():
                await world.application(home, RECIPIENT).GetObject(request).read()
            if mended_by == "heal":
                assert (await healed(home)).objects_healed == 1
            else:
                await home.parts.scrub.round()
                found = home.parts.scrub.state
                assert (found.chunks_damaged, found.chunks_healed, found.orphans) == (1, 1, 0)
            assert await sharing.read(reference, grant) == SCAN
            assert objects.read_manifest(reference.record_id) != older

    play(tmp_path, scene)
