"""The steel thread: one record from one hospital to another, through every part (docs/architecture.md, "share a record")."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from consilium.client.report import Event
from consilium.kernel.errors import FailedPrecondition, PermissionDenied
from consilium.sandbox.medical import fhir_bundle, read_bundle
from tests.sandbox.people import REASON, for_a_day, institution, patient
from tests.sandbox.running import play, running, until

if TYPE_CHECKING:
    from pathlib import Path


def test_share_record(tmp_path: Path) -> None:
    """S1 to S6, promises 2 and 8: store, grant, open, be refused, revoke, be refused, and read the report."""

    async def story() -> None:
        async with running(tmp_path) as alliance:
            owner = patient(alliance, "2A")
            hospital, keys, address = institution(alliance, "3A")
            stranger, other_keys, _ = institution(alliance, "3B")

            bundle = fhir_bundle()
            reference = await owner.write(bundle, "2A")
            grant = await owner.share(address, for_a_day())
            grant_id = grant.terms.grant_id

            opened = await hospital.open(grant_id, reference, REASON)
            data = b"".join([piece async for piece in hospital.read(opened, "2A")])
            assert data == bundle
            assert read_bundle(data).resources == 57

            with pytest.raises(PermissionDenied, match=r"NOT_THE_RECIPIENT, rule S3"):
                await stranger.open(grant_id, reference, REASON)

            await owner.close(grant)
            with pytest.raises(PermissionDenied, match=r"GRANT_REVOKED, rule S6"):
                await hospital.open(grant_id, reference, REASON)
            assert owner.owner.epoch == 1

            await until(alliance, "2A", lambda chain: len(getattr(chain.grant(grant_id), "deleted_by", ())) == 3)
            lines = await owner.report()
            events = [(line.event, line.member, line.proof.author) for line in lines]
            asked = keys.author.public_key, other_keys.author.public_key
            assert [author for event, _, author in events if event is Event.REQUEST_GRANTED] == [asked[0]]
            assert [author for event, _, author in events if event is Event.REQUEST_DENIED] == [asked[1], asked[0]]
            assert sum(event is Event.OPENED for event, *_ in events) == 1
            released = [member for event, member, _ in events if event is Event.FRAGMENT_RELEASED]
            assert set(released) <= set(grant.terms.holders)
            assert len(released) >= grant.terms.threshold
            deleted = sorted(member for event, member, _ in events if event is Event.FRAGMENT_DELETED)
            assert deleted == sorted(grant.terms.holders)
            assert sum(event is Event.GRANT_DEAD for event, *_ in events) == 1
            assert sum(event is Event.UNEXPLAINED for event, *_ in events) == 0

    play(story())


def test_share_record_while_a_delegate_is_down(tmp_path: Path) -> None:
    """C2, S4: one of four delegates and one of three holders may be missing."""

    async def story() -> None:
        async with running(tmp_path) as alliance:
            owner = patient(alliance, "2A")
            hospital, _, address = institution(alliance, "3A")
            reference = await owner.write(b"a letter", "2A")
            grant = await owner.share(address, for_a_day())
            committee = alliance.member("2A").ledger.chain.tip.outlook.committee
            down = next(
                name for name in grant.terms.holders if name not in ("2A", "3A") and committee.index_of(name) is not None
            )
            await alliance.member(down).stop()
            opened = await hospital.open(grant.terms.grant_id, reference, REASON)
            assert b"".join([piece async for piece in hospital.read(opened, "2A")]) == b"a letter"
            assert [name for name, _ in opened.faults] == [down]

    play(story())


def test_a_closed_key_takes_no_new_record(tmp_path: Path) -> None:
    """S6: a writer that missed the revocation is refused by its own client, before anything is sealed."""

    async def story() -> None:
        async with running(tmp_path) as alliance:
            owner = patient(alliance, "2A")
            _, _, address = institution(alliance, "3A")
            grant = await owner.share(address, for_a_day())
            before = owner.owner
            await owner.close(grant)
            owner.owner = before
            with pytest.raises(FailedPrecondition, match=r"KEY_CLOSED, rule S6"):
                await owner.write(b"too late", "2A")

    play(story())
