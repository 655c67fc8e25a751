"""Many homes over real gRPC (S9): copies brought, missed and brought again; a member's whole storage lost and had again."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from consilium.api.storage.v1 import storage_pb2 as pb
from consilium.kernel.encoding import encode
from consilium.kernel.errors import DataLoss, FailedPrecondition, NotFound, PermissionDenied, Unavailable
from consilium.storage.core.escrow import open_escrow
from consilium.storage.driver import storage_of
from consilium.storage.healing import HealState
from consilium.storage.holdings import Holding, Holdings, HoldingState
from consilium.storage.memory import MemoryObjectStore
from consilium.storage.peers import GrpcStorages, OtherStorages
from tests.storage_service.test_storage_service import SCAN, play, refused
from tests.storage_service.world import HOME, KEEPER, RECIPIENT, STRANGER, Sharing, Station, World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from consilium.kernel.manifest import Manifest


@asynccontextmanager
async def two(world: World, **changed: object) -> AsyncIterator[tuple[Station, Station]]:
    """Home and keeper that know of each other, each behind the port it had before."""
    async with world.storage(KEEPER) as keeper, world.storage(HOME, {KEEPER: keeper.address}, **changed) as home:
        others = keeper.driver.others
        assert isinstance(others, GrpcStorages)
        others._addresses[HOME] = home.address  # noqa: SLF001  its port was not known before
        yield home, keeper


async def healed(station: Station) -> HealState:
    """How a whole heal ended."""
    last = HealState()
    async for each in station.parts.healing.heal():
        last = each
    return last


def again(world: World, sharing: Sharing, station: Station) -> None:
    """The same people, over a station that was started again."""
    kfrags = world.local.members[HOME].kfrags
    world.sharing(station)
    world.local.members[HOME].kfrags |= kfrags
    for client in (sharing.patient, sharing.recipient):
        client._session.members = world.local.members  # noqa: SLF001  the client's own


def test_s9_a_home_that_lost_everything_has_it_again(tmp_path: Path) -> None:
    """Objects, holdings and shred secrets: every record reads as before, and the keepers are known again."""

    async def scene(world: World) -> None:
        async with two(world) as (home, _):
            sharing = world.sharing(home)
            kept = [await sharing.shared(SCAN + bytes([number])) for number in range(3)]
        shutil.rmtree(tmp_path / f"state-{HOME}")
        async with two(world) as (home, _):
            again(world, sharing, home)
            assert home.driver.stores.objects.record_ids() == []
            state = await healed(home)
            assert (state.objects_healed, state.secrets_healed, state.objects_failed, state.lost) == (3, 3, 0, [])
            for number, (reference, grant) in enumerate(kept):
                assert await sharing.read(reference, grant) == SCAN + bytes([number])
                assert home.driver.stores.holdings.read(reference.record_id).keepers == (KEEPER,)
            assert (await healed(home)).objects_healed == 0

    play(tmp_path, scene)


def test_s9_a_keeper_that_lost_everything_has_it_again(tmp_path: Path) -> None:
    """By itself, with the sealed secrets; and the home brings copies to whom they are missing."""

    async def scene(world: World) -> None:
        async with two(world) as (home, _):
            reference, _ = await world.sharing(home).shared(SCAN)
        for by_home in (False, True):
            shutil.rmtree(tmp_path / f"state-{KEEPER}")
            async with two(world) as (home, keeper):
                if by_home:
                    await home.parts.healing.check_copies()
                    assert (home.parts.healing.copies_missing, home.parts.healing.copies_restored) == (0, 1)
                else:
                    assert (await healed(keeper)).objects_healed == 1
                stores = keeper.driver.stores
                assert stores.objects.record_ids() == [reference.record_id]
                escrow = stores.escrows.read(reference.record_id)
                assert escrow == await home.driver.escrow_of(reference.record_id)
                assert home.driver.stores.secrets.read(reference.record_id) not in escrow

    play(tmp_path, scene)


def test_s9_a_keeper_without_the_sealed_secrets_has_them_again(tmp_path: Path) -> None:
    """As after a restore, whose backup holds none (S10): else the home that is lost next has lost its records."""

    async def scene(world: World) -> None:
        async with two(world) as (home, _):
            sharing = world.sharing(home)
            reference, grant = await sharing.shared(SCAN)
        with sqlite3.connect(tmp_path / f"state-{KEEPER}" / "escrows.db") as rows:
            assert rows.execute("DELETE FROM kept").rowcount == 1
        rows.close()
        async with two(world) as (_, keeper):
            state = await healed(keeper)
            assert (state.objects_healed, state.secrets_healed, state.objects_failed) == (0, 1, 0)
            assert (await healed(keeper)).secrets_healed == 0
        shutil.rmtree(tmp_path / f"state-{HOME}")
        async with two(world) as (home, _):
            again(world, sharing, home)
            assert (await healed(home)).secrets_healed == 1
            assert await sharing.read(reference, grant) == SCAN

    play(tmp_path, scene)


def test_s9_damaged_rows_are_healed_one_by_one(tmp_path: Path) -> None:
    """Good chunks under a damaged row are kept: here the only copy's first chunk is damaged too."""

    async def scene(world: World) -> None:
        async with two(world) as (home, _):
            sharing = world.sharing(home)
            (first, grant), (second, _) = await sharing.shared(SCAN), await sharing.shared(SCAN)
        folder = tmp_path / f"state-{HOME}"
        with sqlite3.connect(folder / "objects.db") as rows:
            rows.execute("UPDATE objects SET manifest = x'00' WHERE record_id = ?", (first.record_id,))
        rows.close()
        (folder / "chunks" / second.record_id.hex()).write_bytes(b"cut")
        with (tmp_path / f"state-{KEEPER}" / "chunks" / first.record_id.hex()).open("r+b") as file:
            file.write(b"damaged")
        async with two(world) as (home, _):
            again(world, sharing, home)
            state = await healed(home)
            assert (state.objects_healed, state.objects_failed, state.secrets_healed) == (2, 0, 0)
            assert await sharing.read(first, grant) == SCAN
            assert (await healed(home)).objects_healed == 0

    play(tmp_path, scene)


def test_s9_the_scrub_misses_what_no_row_names_any_more(tmp_path: Path) -> None:
    """S2: a table that was emptied is no clean one; what the holdings name is had again, a damaged row too."""

    async def scene(world: World) -> None:
        async with two(world) as (home, _):
            sharing = world.sharing(home)
            kept = [await sharing.shared(SCAN) for _ in range(2)]
        with sqlite3.connect(tmp_path / f"state-{HOME}" / "objects.db") as rows:
            rows.execute("DELETE FROM objects WHERE record_id = ?", (kept[0][0].record_id,))
            rows.execute("UPDATE objects SET manifest = x'00'")
        rows.close()
        async with two(world) as (home, _):
            again(world, sharing, home)
            await home.parts.scrub.round()
            assert (home.parts.scrub.state.chunks_damaged, home.parts.scrub.state.chunks_healed) == (2, 2)
            for reference, grant in kept:
                assert await sharing.read(reference, grant) == SCAN
            await home.parts.scrub.round()
            assert home.parts.scrub.state.chunks_damaged == 2

    play(tmp_path, scene)


def rolled_back(holdings: Holdings, record_id: bytes) -> None:
    """An older row that was valid: of the time when the put was not finished, long ago."""
    holdings.write(replace(holdings.read(record_id), state=HoldingState.DRAFT, begun_s=1, root=b"", keepers=()))


def spoilt(holdings: Holdings, record_id: bytes) -> None:
    """A row with another writer in it."""
    with holdings._database.transaction() as connection:  # noqa: SLF001  behind the store's back
        connection.execute("UPDATE holdings SET writer = 'another' WHERE record_id = ?", (record_id,))


@pytest.mark.parametrize("change", [rolled_back, spoilt])
@pytest.mark.parametrize("whose", [HOME, KEEPER])
def test_s2_a_holding_changed_or_rolled_back_costs_no_object_and_is_noted_again(
    tmp_path: Path, change: Callable[[Holdings, bytes], None], whose: str
) -> None:
    """An old draft is dropped with what was put of it: not one that the ledger's record says was acknowledged."""

    async def scene(world: World) -> None:
        async with two(world) as (home, keeper):
            sharing = world.sharing(home)
            reference, grant = await sharing.shared(SCAN)
            station = home if whose == HOME else keeper
            holdings = station.driver.stores.holdings
            before = holdings.read(reference.record_id)
            change(holdings, reference.record_id)
            await station.parts.scrub.tidy()
            assert station.driver.stores.objects.record_ids() == [reference.record_id]
            await station.parts.scrub.round()
            found, now = station.parts.scrub.state, holdings.read(reference.record_id)
            assert (found.chunks_damaged, found.chunks_healed) == (1, 1)
            assert (now.state, now.root) == (HoldingState.COMPLETE, before.root)
            assert holdings.bytes_by(now.writer) == now.size
            await home.parts.healing.check_copies()
            assert home.driver.stores.holdings.read(reference.record_id).keepers == (KEEPER,)
            assert await sharing.read(reference, grant) == SCAN
            await station.parts.scrub.round()
            assert found.chunks_damaged == 1

    play(tmp_path, scene)


def flipped(folder: Path, store: str) -> None:
    """A bit of every value of a store, while nobody has it open."""
    with sqlite3.connect(folder / store) as rows:
        for key, value in rows.execute("SELECT key, value FROM kept").fetchall():
            rows.execute("UPDATE kept SET value = ? WHERE key = ?", (bytes([value[0] ^ 1, *value[1:]]), key))
    rows.close()


@pytest.mark.parametrize("mended_by", ["heal", "scrub"])
def test_s9_a_damaged_shred_secret_is_had_again_from_a_keeper(tmp_path: Path, mended_by: str) -> None:
    """Else every copy would be ciphertext that nobody opens any more."""

    async def scene(world: World) -> None:
        async with two(world) as (home, _):
            sharing = world.sharing(home)
            reference, grant = await sharing.shared(SCAN)
        flipped(tmp_path / f"state-{HOME}", "shred-secrets.db")
        async with two(world) as (home, _):
            again(world, sharing, home)
            with pytest.raises(DataLoss, match="BAD_SECRET"):
                await sharing.read(reference, grant)
            if mended_by == "heal":
                assert (await healed(home)).secrets_healed == 1
            else:
                await home.parts.scrub.round()
                assert (home.parts.scrub.state.chunks_damaged, home.parts.scrub.state.chunks_healed) == (1, 1)
            assert await sharing.read(reference, grant) == SCAN

    play(tmp_path, scene)


def test_s9_a_damaged_sealed_secret_opens_nothing_and_is_sealed_again_by_its_home(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        async with two(world) as (home, keeper):
            sharing = world.sharing(home)
            reference, _ = await sharing.shared(SCAN)
            record, before = reference.record_id, keeper.driver.stores.escrows.read(reference.record_id)
        flipped(tmp_path / f"state-{KEEPER}", "escrows.db")
        async with two(world) as (home, keeper):
            changed = keeper.driver.stores.escrows.read(record)
            for bad in (changed, before[:-1], b""):
                with pytest.raises(DataLoss, match="BAD_ESCROW"):
                    open_escrow(home.driver.keys.escrow, record, bad)
            with pytest.raises(DataLoss, match="BAD_ESCROW"):
                open_escrow(home.driver.keys.escrow, bytes(16), before)
            assert (await healed(keeper)).secrets_healed == 1
            assert keeper.driver.stores.escrows.read(record) == before
            assert (await healed(keeper)).secrets_healed == 0

    play(tmp_path, scene)


class Down(MemoryObjectStore):
    """A database that answers nobody."""

    def read_manifest(self, record_id: bytes) -> Manifest:
        """As a lost ring does."""
        raise Unavailable("DATABASE_UNREACHABLE", record_id.hex(), "S2")


def test_s9_a_record_opens_while_its_home_has_no_objects(tmp_path: Path) -> None:
    """S2: the home's database is out of reach, or empty: it still gives the secret, and a keeper the rest."""

    async def scene(world: World) -> None:
        async with two(world) as (home, keeper):
            sharing = world.sharing(home)
            reference, grant = await sharing.shared(SCAN)
            asked = await sharing.request(reference, grant)
            wanted = pb.GetManifestRequest(record_id=reference.record_id, access_request_hash=asked)
            reader = world.application(home, RECIPIENT)
            for objects in (Down(), MemoryObjectStore()):
                home.driver.stores = replace(home.driver.stores, objects=objects)
                response = await reader.GetManifest(wanted)
                assert response.HasField("sealed_shred_secret")
                kept = keeper.driver.stores.objects.read_manifest(reference.record_id)
                assert response.manifest == encode(kept, world.local.scribe.alliance.chain_id)
            keeper.driver.stores.objects.delete(reference.record_id)
            await refused(reader.GetManifest(wanted), NotFound, "NO_SUCH_OBJECT")

    play(tmp_path, scene)


class OneSilent:
    """The other members, with one more, which takes a call and never answers."""

    def __init__(self, others: OtherStorages) -> None:
        self._others = others

    def __getattr__(self, name: str) -> Any:
        """As the others do."""
        return getattr(self._others, name)

    async def fetch_copy(self, member_id: str, record_id: bytes) -> tuple[Manifest, bytes]:
        """As the others do, or never."""
        if member_id == "silent":
            await asyncio.Event().wait()
        return await self._others.fetch_copy(member_id, record_id)


def test_s9_a_reader_does_not_wait_for_a_keeper_that_is_silent(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        async with two(world) as (home, keeper):
            sharing = world.sharing(home)
            reference, grant = await sharing.shared(SCAN)
            asked, holdings = await sharing.request(reference, grant), home.driver.stores.holdings
            holdings.write(replace(holdings.read(reference.record_id), keepers=("silent", KEEPER)))
            home.driver.stores = replace(home.driver.stores, objects=MemoryObjectStore())
            home.driver.others = OneSilent(home.driver.others)
            wanted = pb.GetManifestRequest(record_id=reference.record_id, access_request_hash=asked)
            response = await world.application(home, RECIPIENT).GetManifest(wanted, timeout=60)
            kept = keeper.driver.stores.objects.read_manifest(reference.record_id)
            assert response.manifest == encode(kept, world.local.scribe.alliance.chain_id)

    play(tmp_path, scene)


def test_s9_objects_whose_holdings_were_lost_are_held_again(tmp_path: Path) -> None:
    """As where the objects lie in a database of their own, and the small stores on the lost disk."""

    async def scene(world: World) -> None:
        async with two(world) as (home, _):
            sharing = world.sharing(home)
            reference, grant = await sharing.shared(SCAN)
        for name in (HOME, KEEPER):
            for store in ("holdings.db", "shred-secrets.db"):
                with sqlite3.connect(tmp_path / f"state-{name}" / store) as rows:
                    rows.execute(f"DELETE FROM {'holdings' if store == 'holdings.db' else 'kept'}")  # noqa: S608
                rows.close()
        async with two(world) as (home, keeper):
            again(world, sharing, home)
            assert (await healed(home)).lost == [reference.record_id]
            row = Holding(reference.record_id, HOME, storage_of(HOME), 0, 1, 1, HoldingState.COMPLETE)
            keeper.driver.stores.holdings.write(row)
            state = await healed(home)
            assert (state.objects_healed, state.secrets_healed, state.lost) == (0, 1, [])
            assert await sharing.read(reference, grant) == SCAN

    play(tmp_path, scene)


def test_s9_what_no_member_has_is_told(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        async with world.storage(HOME) as home:
            reference, _ = await world.sharing(home).shared(SCAN)
        shutil.rmtree(tmp_path / f"state-{HOME}")
        async with world.storage(HOME, {KEEPER: "127.0.0.1:1"}) as home:
            state = await healed(home)
            assert (state.lost, state.unreached) == ([reference.record_id], [KEEPER])

    play(tmp_path, scene)


def test_s9_a_heal_brings_nothing_erased_back(tmp_path: Path) -> None:
    """Not even from a keeper that has not heard of the erasure."""

    async def scene(world: World) -> None:
        async with two(world) as (home, keeper):
            sharing = world.sharing(home)
            reference, _ = await sharing.shared(SCAN)
            saved = tmp_path / "saved"
            shutil.copytree(tmp_path / f"state-{KEEPER}", saved)
            await sharing.patient.erase(reference.record_id)
            assert keeper.driver.stores.objects.record_ids() == []
        shutil.rmtree(tmp_path / f"state-{HOME}")
        shutil.rmtree(tmp_path / f"state-{KEEPER}")
        shutil.copytree(saved, tmp_path / f"state-{KEEPER}")
        async with two(world) as (home, _):
            state = await healed(home)
            assert (state.objects_healed, state.lost) == (0, [])
            assert home.driver.stores.objects.record_ids() == []

    play(tmp_path, scene)


def test_s9_copies_and_sealed_secrets_are_for_their_members_alone(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        async with two(world) as (home, keeper):
            sharing = world.sharing(home)
            reference, _ = await sharing.shared(SCAN)
            wanted = pb.GetCopyRequest(record_id=reference.record_id)
            stranger = world.stub(keeper, world.authorities[STRANGER].service("storage"))
            await refused(stranger.GetCopy(wanted), PermissionDenied, "NOT_A_KEEPER")
            assert list((await stranger.ListCopies(pb.ListCopiesRequest())).copies) == []
            reader = world.application(keeper, RECIPIENT)
            await refused(reader.GetCopy(wanted), PermissionDenied, "WRONG_ROLE")
            running = home.parts.healing.heal()
            await anext(running)
            with pytest.raises(FailedPrecondition, match="HEAL_RUNNING"):
                await anext(home.parts.healing.heal())
            await running.aclose()
            await healed(home)

    play(tmp_path, scene)


def test_s9_residency_keeps_copies_where_they_may_be(tmp_path: Path) -> None:
    """The setting names the only members that may keep copies, whatever the order of the record says."""

    async def scene(world: World) -> None:
        async with (
            world.storage(KEEPER) as keeper,
            world.storage(STRANGER) as stranger,
            world.storage(
                HOME, {KEEPER: keeper.address, STRANGER: stranger.address}, copies=1, residency=(STRANGER,)
            ) as home,
        ):
            sharing = world.sharing(home)
            for _ in range(4):
                reference, _ = await sharing.shared(SCAN)
                assert home.driver.stores.holdings.read(reference.record_id).keepers == (STRANGER,)
            assert keeper.driver.stores.objects.record_ids() == []

    play(tmp_path, scene)
