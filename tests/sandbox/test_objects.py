from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from consilium.kernel.errors import DataLoss, PermissionDenied, ResourceExhausted
from tests.sandbox.people import REASON, for_a_day, institution, patient
from tests.sandbox.running import play, running, until_certified

if TYPE_CHECKING:
    from pathlib import Path

    from consilium.sandbox.alliance import Alliance

DATA = bytes(range(256)) * 4_000


def damage(path: Path, place: int) -> None:
    """Flip one bit of a file."""
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1]))


def keepers(alliance: Alliance, record_id: bytes) -> list[str]:
    """The members that have the object's chunks."""
    return [each.member_id for each in alliance.up if each.storage.where(record_id).exists()]


def test_an_object_is_acknowledged_with_a_copy_elsewhere(tmp_path: Path) -> None:
    """S2: home and one other member, both before the record is registered."""

    async def story() -> None:
        async with running(tmp_path) as alliance:
            reference = await patient(alliance).write(DATA, "2A")
            found = keepers(alliance, reference.record_id)
            assert len(found) == 2
            assert "2A" in found

    play(story())


def test_scrub_heals_a_damaged_chunk_from_the_copy(tmp_path: Path) -> None:
    """S2: the damage is found by reading, named, and gone afterwards."""

    async def story() -> None:
        async with running(tmp_path) as alliance:
            reference = await patient(alliance).write(DATA, "2A")
            storage = alliance.member("2A").storage
            path = storage.where(reference.record_id)
            whole = path.read_bytes()
            damage(path, 300_000)
            other = next(name for name in keepers(alliance, reference.record_id) if name != "2A")
            assert (await storage.scrub()).healed == ((reference.record_id, 1, other),)
            assert path.read_bytes() == whole
            assert (await storage.scrub()).healed == ()

    play(story())


def test_damage_in_both_copies_is_said_and_not_healed(tmp_path: Path) -> None:
    """S2: a bad chunk is never taken for a good one, wherever it comes from."""

    async def story() -> None:
        async with running(tmp_path) as alliance:
            reference = await patient(alliance).write(DATA, "2A")
            for name in keepers(alliance, reference.record_id):
                damage(alliance.member(name).storage.where(reference.record_id), 300_000)
            with pytest.raises(DataLoss, match="NO_GOOD_COPY"):
                await alliance.member("2A").storage.scrub()

    play(story())


def test_reading_heals_on_the_way(tmp_path: Path) -> None:
    """S2: reads repair; the recipient gets the right bytes from a damaged home."""

    async def story() -> None:
        async with running(tmp_path) as alliance:
            owner = patient(alliance)
            client, _, address = institution(alliance, "3A")
            reference = await owner.write(DATA, "2A")
            grant = await owner.share(address, for_a_day())
            damage(alliance.member("2A").storage.where(reference.record_id), 300_000)
            opened = await client.open(grant.terms.grant_id, reference, REASON)
            assert b"".join([piece async for piece in client.read(opened, "2A")]) == DATA
            assert (await alliance.member("2A").storage.scrub()).healed == ()

    play(story())


def test_nothing_is_acknowledged_without_a_copy(tmp_path: Path) -> None:
    """S2: alone, the home member refuses to sign for an object."""

    async def story() -> None:
        async with running(tmp_path) as alliance:
            await until_certified(alliance, 1)
            alliance.board.isolate("2A")
            with pytest.raises(ResourceExhausted, match="NO_COPY"):
                await patient(alliance).write(DATA, "2A")

    play(story())


def test_storage_serves_the_granted_record_and_no_other(tmp_path: Path) -> None:
    """S2, S5: a granted request opens the door to its own record only, and not after a revocation."""

    async def story() -> None:
        async with running(tmp_path) as alliance:
            owner = patient(alliance)
            client, _, address = institution(alliance, "3A")
            wanted, other = await owner.write(b"wanted", "2A"), await owner.write(b"other", "2A")
            grant = await owner.share(address, for_a_day())
            asked = await client.request(grant.terms.grant_id, wanted, REASON)
            storage = alliance.member("2A").storage
            await storage.get_manifest(wanted.record_id, asked.transaction_hash)
            with pytest.raises(PermissionDenied, match="OTHER_RECORD"):
                await storage.get_shred_secret(other.record_id, asked.transaction_hash)
            await owner.revoke(grant)
            with pytest.raises(PermissionDenied, match="REVOKED"):
                await storage.get_shred_secret(wanted.record_id, asked.transaction_hash)

    play(story())
