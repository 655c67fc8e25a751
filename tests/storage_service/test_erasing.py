"""Erasure and legal hold over real gRPC (S8, promise 6): on the ledger's word, keys first, nothing comes back."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from consilium.api.storage.v1 import storage_pb2 as pb
from consilium.client.retention import erase_record, read_retention, retain
from consilium.kernel.codes import Code
from consilium.kernel.encoding import encode
from consilium.kernel.errors import (
    BadSignature,
    Conflict,
    FailedPrecondition,
    Malformed,
    NotFound,
    PermissionDenied,
)
from consilium.kernel.hashing import sha256
from consilium.kernel.opening import open_transaction
from consilium.kernel.transactions import ParametersAct, RetentionAct
from consilium.runtime.channels import typed
from consilium.runtime.names import Role
from consilium.storage import wire
from tests.alliance import PARAMETERS
from tests.storage_service.test_storage_service import SCAN, chain_of, play, put, refused
from tests.storage_service.world import HOME, KEEPER, RECIPIENT, STRANGER, Sharing, Station, World, start
from tests.stores.objects import TWO_CHUNKS, record_id

if TYPE_CHECKING:
    from pathlib import Path

    from consilium.client.sharing import RecordReference

WHY = sha256(b"the order of a court")


def session_of(sharing: Sharing) -> Any:
    return sharing.patient._session  # noqa: SLF001  the client's own


async def still(station: Station) -> None:
    """Waits until the station has obeyed all erasures there are."""
    async with asyncio.timeout(60):
        while station.driver.stores.objects.record_ids():  # noqa: ASYNC110  the store tells nobody
            await asyncio.sleep(0.01)


async def followed(station: Station, height: int) -> None:
    """Waits until the station has obeyed the erasure at this height: it looks for what it was told of once."""
    while int.from_bytes(station.parts.erasing._cursor, "big") < height:  # noqa: ASYNC110, SLF001  it tells nobody
        await asyncio.sleep(0.01)


async def unreadable(world: World, station: Station, reference: RecordReference, asked: bytes, reason: str) -> None:
    """Neither manifest nor chunks are handed out, to the recipient or to another member's storage."""
    reader = world.application(station, RECIPIENT)
    record = reference.record_id
    manifest = pb.GetManifestRequest(record_id=record, access_request_hash=asked)
    await refused(reader.GetManifest(manifest), NotFound, reason)
    chunks = pb.GetObjectRequest(record_id=record, access_request_hash=asked)
    await refused(reader.GetObject(chunks), NotFound, reason)


def test_the_act_expires_within_the_numbers_in_force(tmp_path: Path) -> None:
    """G4, L6: the alliance has lowered the limit since genesis, and storage goes by half of it."""

    async def scene(world: World) -> None:
        async with world.storage(HOME) as station:
            sharing, scribe = world.sharing(station), world.local.scribe
            reference, _ = await sharing.shared(b"a letter")
            assert scribe.govern(ParametersAct(PARAMETERS, replace(PARAMETERS, expiry_blocks_max=99))) == Code.APPLIED
            scribe.cross_epoch()
            act = await world.local.members[HOME].sign_retention(reference.record_id, RetentionAct.HOLD, None, WHY)
            assert open_transaction(act, scribe.chain.chain_id).payload.expiry_height == scribe.chain.height + 49

    play(tmp_path, scene)


def test_promise_6_the_owner_erases_and_it_ends_everywhere(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        async with world.storage(KEEPER) as keeper, world.storage(HOME, {KEEPER: keeper.address}) as station:
            sharing = world.sharing(station)
            reference, grant = await sharing.shared(SCAN)
            asked = await sharing.request(reference, grant)
            erased = await sharing.patient.erase(reference.record_id)
            assert (erased.copies_deleted, erased.copies_left) == ((KEEPER,), ())
            assert (erased.statement.shred_secret_destroyed, erased.statement.erased_height) == (True, erased.height)
            await unreadable(world, station, reference, asked, "ERASED")
            for each in (station, keeper):
                assert each.driver.stores.objects.record_ids() == []
                assert each.driver.stores.secrets.record_ids() == []
                holdings = each.driver.stores.holdings
                assert holdings.bytes_by(holdings.read(reference.record_id).writer) == 0
            with pytest.raises(PermissionDenied, match="RECORD_ERASED"):
                await sharing.request(reference, grant)
            again = await sharing.patient.erase(reference.record_id)
            assert (again.copies_deleted, again.height) == ((KEEPER,), erased.height)
            await refused(
                world.application(station).PutObject(iter([start(reference.record_id, TWO_CHUNKS)])), Conflict, "ERASED"
            )

    play(tmp_path, scene)


def test_p4_no_backup_that_is_put_back_yields_a_data_key(tmp_path: Path) -> None:
    """Not even one that held the shred secrets, which none should: the ledger's word is asked at every read, and obeyed."""

    async def scene(world: World) -> None:
        folder, saved = tmp_path / f"state-{HOME}", tmp_path / "saved"
        async with world.storage(HOME) as station:
            sharing = world.sharing(station)
            reference, grant = await sharing.shared(SCAN)
            asked = await sharing.request(reference, grant)
        shutil.copytree(folder, saved)
        async with world.storage(HOME) as station:
            world.sharing(station)
            session = session_of(sharing)
            session.members[HOME] = world.local.members[HOME]
            await sharing.patient.erase(reference.record_id)
        shutil.rmtree(folder)
        shutil.copytree(saved, folder)
        async with world.storage(HOME) as station:
            assert station.driver.stores.secrets.read(reference.record_id)  # it is all there again
            await unreadable(world, station, reference, asked, "ERASED")
            await still(station)
            with pytest.raises(NotFound, match="DESTROYED"):
                station.driver.stores.secrets.read(reference.record_id)
            await unreadable(world, station, reference, asked, "ERASED")

    play(tmp_path, scene)


def test_p4_a_zombie_row_and_a_staged_upload_are_unreadable(tmp_path: Path) -> None:
    """Rows that come back beside a store that knows of the erasure: an unlogged repair, a replica that slept."""

    async def scene(world: World) -> None:
        async with world.storage(HOME) as station:
            sharing = world.sharing(station)
            reference, grant = await sharing.shared(SCAN)
            asked = await sharing.request(reference, grant)
            objects = station.driver.stores.objects
            manifest = objects.read_manifest(reference.record_id)
            chunks = [objects.read_chunk(reference.record_id, index) for index in range(len(manifest.chunk_hashes))]
            erased = await sharing.patient.erase(reference.record_id)
            await followed(station, erased.height)
            for index, each in enumerate(chunks):
                objects.put_chunk(reference.record_id, index, each)
            await unreadable(world, station, reference, asked, "ERASED")
            objects.complete(manifest)
            await unreadable(world, station, reference, asked, "ERASED")
            await station.parts.scrub.round()
            assert objects.record_ids() == []

    play(tmp_path, scene)


@pytest.mark.parametrize("edit", ["DELETE FROM holdings", "UPDATE holdings SET state = 3"])
def test_promise_6_keys_are_destroyed_though_nothing_sound_is_noted(tmp_path: Path, edit: str) -> None:
    """The row that says whose the object is was lost or changed; the secret and the ciphertext go all the same."""

    async def scene(world: World) -> None:
        async with world.storage(HOME) as station:
            sharing = world.sharing(station)
            reference, grant = await sharing.shared(SCAN)
            asked = await sharing.request(reference, grant)
            stores = station.driver.stores
            with stores.holdings._database.transaction() as connection:  # noqa: SLF001  behind the store's back
                connection.execute(edit)
            await retain(session_of(sharing), reference.record_id, RetentionAct.ERASE, None, WHY)
            await still(station)
            assert stores.secrets.record_ids() == []
            with pytest.raises(NotFound, match="DESTROYED"):
                stores.secrets.read(reference.record_id)
            await unreadable(world, station, reference, asked, "ERASED")

    play(tmp_path, scene)


def test_s8_a_hold_refuses_the_erasure_until_it_is_lifted(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        async with world.storage(HOME) as station:
            sharing = world.sharing(station)
            reference, grant = await sharing.shared(SCAN)
            session, record = session_of(sharing), reference.record_id
            with pytest.raises(FailedPrecondition, match="NOT_HELD"):
                await retain(session, record, RetentionAct.LIFT, None, WHY)
            await retain(session, record, RetentionAct.HOLD, None, WHY)
            with pytest.raises(FailedPrecondition, match="legal hold since height"):
                await sharing.patient.erase(record)
            erase = pb.EraseObjectRequest(record_id=record)
            await refused(world.application(station).EraseObject(erase), FailedPrecondition, "NOT_ERASED")
            assert await sharing.read(reference, grant) == SCAN
            await retain(session, record, RetentionAct.LIFT, None, WHY)
            assert await read_retention(session, record) is None
            await erase_record(session, record, None, WHY)
            with pytest.raises(Conflict, match="ERASED"):
                await retain(session, record, RetentionAct.HOLD, None, WHY)

    play(tmp_path, scene)


def test_s8_an_order_is_the_owners_or_none(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        async with world.storage(HOME) as station:
            sharing = world.sharing(station)
            reference, _ = await sharing.shared(SCAN)
            other, _ = await sharing.shared(SCAN)
            chain_id, device = chain_of(world), world.person(station, Role.PATIENT)

            def asked(record: bytes, order: bytes, act: int = RetentionAct.ERASE, evidence: bytes = b"") -> Any:
                return device.SignRetention(
                    pb.SignRetentionRequest(
                        record_id=record, act=pb.RetentionAct.ValueType(act), order=order, evidence_digest=evidence
                    )
                )

            good = sharing.patient.owner.erase(reference.record_id)
            later = sharing.patient.owner.successor().erase(reference.record_id)
            forged = type(good)(good.order, sharing.patient.owner.erase(other.record_id).ownership)
            encoded = encode(good, chain_id)
            await refused(asked(other.record_id, encoded), PermissionDenied, "OTHER_RECORD")
            await refused(asked(reference.record_id, encode(later, chain_id)), PermissionDenied, "NOT_THE_OWNER")
            await refused(asked(reference.record_id, encode(forged, chain_id)), BadSignature, "BAD_OWNERSHIP")
            await refused(asked(reference.record_id, b""), PermissionDenied, "NO_ORDER")
            await refused(asked(reference.record_id, b"", evidence=WHY), PermissionDenied, "NO_ORDER")
            await refused(asked(reference.record_id, encoded, RetentionAct.HOLD, WHY), PermissionDenied, "NO_ORDER")
            await refused(asked(reference.record_id, encoded, 0), Malformed, "BAD_FIELD")
            await refused(asked(record_id("unknown"), encoded), NotFound, "UNKNOWN_RECORD")
            with typed():
                await asked(reference.record_id, encoded)

    play(tmp_path, scene)


def test_s8_a_copy_goes_on_the_ledgers_word_not_on_the_homes(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        async with world.storage(KEEPER) as keeper, world.storage(HOME, {KEEPER: keeper.address}) as station:
            sharing = world.sharing(station)
            reference, _ = await sharing.shared(SCAN)
            home = world.stub(keeper, world.authorities[HOME].service("storage"))
            erase = pb.EraseObjectRequest(record_id=reference.record_id)
            await refused(home.EraseObject(erase), FailedPrecondition, "NOT_ERASED")
            elsewhere = world.stub(keeper, world.authorities[STRANGER].service("storage"))
            await refused(elsewhere.EraseObject(erase), PermissionDenied, "NOT_THE_HOME")
            await retain(session_of(sharing), reference.record_id, RetentionAct.ERASE, None, WHY)
            await still(keeper)  # nobody told it but its own ledger
            await still(station)
            assert station.driver.stores.secrets.record_ids() == []
            receipt = await world.application(station).EraseObject(erase)
            assert wire.erasure(receipt.encoded, chain_of(world)).statement.copies_left == ()

    play(tmp_path, scene)


def test_s8_a_copy_out_of_reach_is_named_and_asked_again(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        async with world.storage(KEEPER) as keeper:
            address = keeper.address
            async with world.storage(HOME, {KEEPER: address}) as station:
                reference, _ = await world.sharing(station).shared(SCAN)
        async with world.storage(HOME, {KEEPER: "127.0.0.1:1"}) as station:
            sharing = world.sharing(station)
            erased = await erase_record(session_of(sharing), reference.record_id, None, WHY)
            assert (erased.copies_deleted, erased.copies_left) == ((), (KEEPER,))
        async with world.storage(KEEPER) as keeper, world.storage(HOME, {KEEPER: keeper.address}) as station:
            await station.parts.scrub.tidy()
            assert keeper.driver.stores.objects.record_ids() == []
            assert station.driver.stores.holdings.erased() == []

    play(tmp_path, scene)


def test_an_object_no_record_names_is_erased_by_who_put_it_or_by_staff(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        async with world.storage(HOME) as station:
            manifest = await put(world, world.application(station))
            erase = pb.EraseObjectRequest(record_id=manifest.record_id)
            device = world.person(station, Role.PATIENT)
            await refused(device.EraseObject(erase), PermissionDenied, "OTHER_WRITER")
            encoded = (await world.application(station).EraseObject(erase)).encoded
            said = wire.erasure(encoded, chain_of(world)).statement
            assert (said.erased_height, said.shred_secret_destroyed) == (0, True)
            with typed():
                unknown = pb.EraseObjectRequest(record_id=record_id("unknown"))
                await refused(world.application(station).EraseObject(unknown), NotFound, "NO_SUCH_OBJECT")

    play(tmp_path, scene)
