"""Members whose objects lie in a real Cassandra: lost, had again, and put back from a backup, as with the embedded store."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from consilium.kernel.errors import FailedPrecondition, Unavailable
from consilium.runtime.process import REFUSED
from consilium.storage.cassandra.schema import VERSION
from consilium.storage.cassandra.session import Database
from consilium.storage.cassandra.store import CassandraObjectStore
from tests.backup.test_restoring import RECORDS, Kept, Leaving
from tests.ring.ring import MIGRATOR, SERVICE
from tests.storage_service.test_healing import again, healed, two
from tests.storage_service.test_process import environment
from tests.storage_service.test_storage_service import SCAN, chain_of, play
from tests.storage_service.world import HOME, KEEPER, World

if TYPE_CHECKING:
    from pathlib import Path

    from tests.ring.ring import Ring

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.parametrize("lost", ["all", "the ring", "the small volume"])
def test_s9_a_home_on_cassandra_that_lost_it_has_it_again(tmp_path: Path, ring: Ring, lost: str) -> None:
    """Its keyspace, the volume beside it with secrets and holdings, or both."""
    chain_id = chain_of(World(tmp_path))
    lying = ring.home_of(HOME, chain_id)

    async def scene(world: World) -> None:
        async with two(world, **lying) as (home, _):
            sharing = world.sharing(home)
            kept = [await sharing.shared(SCAN + bytes([number])) for number in range(2)]
        if lost != "the ring":
            shutil.rmtree(tmp_path / f"state-{HOME}")
        now: dict[str, Any] = lying if lost == "the small volume" else ring.home_of(HOME, chain_id)
        async with two(world, **now) as (home, _):
            again(world, sharing, home)
            state = await healed(home)
            assert (state.objects_failed, state.lost) == (0, [])
            assert state.objects_healed == (0 if lost == "the small volume" else len(kept))
            assert state.secrets_healed == (0 if lost == "the ring" else len(kept))
            for number, (reference, grant) in enumerate(kept):
                assert await sharing.read(reference, grant) == SCAN + bytes([number])
                assert home.driver.stores.holdings.read(reference.record_id).keepers == (KEEPER,)
            assert (await healed(home)).objects_healed == 0

    play(tmp_path, scene)


def test_s9_a_keeper_on_cassandra_that_lost_everything_has_it_again(tmp_path: Path, ring: Ring) -> None:
    chain_id = chain_of(World(tmp_path))

    async def scene(world: World) -> None:
        lying = ring.home_of(KEEPER, chain_id)
        async with world.storage(KEEPER, **lying) as keeper, world.storage(HOME, {KEEPER: keeper.address}) as home:
            reference, _ = await world.sharing(home).shared(SCAN)
            assert keeper.driver.stores.objects.record_ids() == [reference.record_id]
        shutil.rmtree(tmp_path / f"state-{KEEPER}")
        lying = ring.home_of(KEEPER, chain_id)
        async with world.storage(KEEPER, **lying) as keeper, world.storage(HOME, {KEEPER: keeper.address}) as home:
            await home.parts.healing.check_copies()
            assert (home.parts.healing.copies_missing, home.parts.healing.copies_restored) == (0, 1)
            assert keeper.driver.stores.objects.record_ids() == [reference.record_id]

    play(tmp_path, scene)


def test_s10_a_restore_puts_objects_into_cassandra_and_goes_on_where_it_broke_off(tmp_path: Path, ring: Ring) -> None:
    kept, place = Kept(tmp_path), Leaving(tmp_path / "elsewhere")
    kept.lies_in(ring.home_of(HOME, kept.local.scribe.alliance.chain_id))
    kept.move_to(place)
    place.reads_left = 7
    with pytest.raises(Unavailable, match="S3_UNREACHABLE"):
        kept.restore()
    place.reads_left = 1_000
    found = kept.restore()
    assert (found.objects, found.damaged, found.to_heal, kept.objects()) == (RECORDS, 0, 0, sorted(kept.records))
    assert not (kept.member.storage.state_directory / "chunks").exists()


def test_s10_a_damaged_object_is_left_out_of_cassandra(tmp_path: Path, ring: Ring) -> None:
    """No row of it stays that a heal would have to work around."""
    kept = Kept(tmp_path)
    kept.lies_in(ring.home_of(HOME, kept.local.scribe.alliance.chain_id))
    kept.file_of_chunk(kept.records[1], 1).unlink()
    found = kept.restore()
    assert (found.objects, found.damaged, found.to_heal) == (RECORDS - 1, 1, 1)
    assert kept.objects() == sorted({*kept.records} - {kept.records[1]})


def test_s2_one_command_makes_the_tables_and_refuses_newer_ones(tmp_path: Path, ring: Ring) -> None:
    """`python -m consilium.storage migrate`, as an operator runs it; no service does any of it."""
    keyspace, world = f"command_{secrets.token_hex(6)}", World(tmp_path)
    (tmp_path / "genesis").write_bytes(world.local.scribe.alliance.genesis_file)
    words = environment(
        tmp_path, "storage",
        objects="cassandra", cassandra_hosts=",".join(ring.addresses), cassandra_keyspace=keyspace,
        cassandra_user=MIGRATOR, cassandra_password_file=str(ring.folder / f"{MIGRATOR}.password"),
        cassandra_tls_directory=str(ring.folder / "client"), cassandra_grant_to=SERVICE,
    )  # fmt: skip
    service = replace(ring.settings(keyspace), member_id=HOME)

    def migrate() -> tuple[int, str]:
        command = [sys.executable, "-m", "consilium.storage", "migrate"]
        done = subprocess.run(command, env=words, capture_output=True, text=True, check=False)  # noqa: S603
        return done.returncode, done.stderr

    with pytest.raises(FailedPrecondition, match="SCHEMA_MISSING"):
        CassandraObjectStore.open(service, chain_of(world))
    for _ in range(2):
        assert migrate()[0] == 0
        CassandraObjectStore.open(service, chain_of(world)).close()
    with closing(Database.open(service)) as database:
        database.enter(keyspace)
        database.run(database.prepare("UPDATE schema_version SET version = ? WHERE name = 'store'"), VERSION + 1)
    code, said = migrate()
    assert (code, "SCHEMA_NEWER" in said) == (REFUSED, True)
    with pytest.raises(FailedPrecondition, match="SCHEMA_NEWER"):
        CassandraObjectStore.open(service, chain_of(world))
