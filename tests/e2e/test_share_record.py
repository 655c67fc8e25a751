"""The steel thread: one record from one hospital to another, through every service, as docs/architecture.md tells it."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from consilium.api.identity.v1 import identity_pb2
from consilium.api.ledger.v1 import ledger_pb2
from consilium.api.ledger.v1.ledger_pb2_grpc import LedgerServiceStub
from consilium.client.keys import PatientKeys
from consilium.client.report import Event
from consilium.client.sharing import Permission
from consilium.kernel.chain import CertifiedBlock
from consilium.kernel.encoding import decode
from consilium.kernel.errors import FailedPrecondition, PermissionDenied
from consilium.kernel.founding import first_committee
from consilium.kernel.hashing import sha256
from consilium.kernel.opening import open_block
from consilium.kernel.transactions import Purpose, RevealBody
from consilium.sandbox.local import sandbox
from consilium.sandbox.medical import fhir_bundle, read_bundle
from consilium.sandbox.stage import Institution, set_stage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from consilium.client.patient import PatientClient
    from consilium.client.recipient import OpenedRecord
    from consilium.client.remote import Alliance
    from consilium.client.session import Session
    from consilium.client.sharing import PreparedGrant
    from consilium.sandbox.local import SandboxAlliance

pytestmark = pytest.mark.slow
DAY_MS = 86_400_000
REASON = sha256(b"a test's referral")


@dataclass
class Cast:
    """A patient of 2A, and physicians of two other hospitals, each through a credential of their own."""

    owner: PatientClient
    session: Session
    administrator: Alliance
    hospital: Institution
    stranger: Institution

    async def share(self) -> PreparedGrant:
        """Let the hospital in, for treatment, from a moment ago until tomorrow."""
        now_ms = time.time_ns() // 1_000_000
        permission = Permission(Purpose.TREATMENT, sha256(b"a ward"), now_ms - DAY_MS, now_ms + DAY_MS)
        grant = await self.owner.share(self.hospital.address, permission)
        # The recipient's own ledger may be a moment behind the owner's.
        for each in (self.hospital, self.stranger):
            await each.session.home.prove_state(b"grant", self.session.height)
        return grant

    async def read(self, opened: OpenedRecord) -> bytes:
        """All bytes of an opened record."""
        return b"".join([piece async for piece in self.hospital.client.read(opened)])

    async def reveals(self) -> list[tuple[int, bytes]]:
        """Epoch and author of every reveal that was ordered so far, refused ones too."""
        stub = LedgerServiceStub(self.administrator.channel("2A", "ledger"))
        blocks = stub.StreamBlocks(ledger_pb2.StreamBlocksRequest(first_height=1, last_height=self.session.height))
        chain_id, found = self.session.chain_id, list[tuple[int, bytes]]()
        async for each in blocks:
            opened = open_block(decode(CertifiedBlock, each.certified_block.encoded, chain_id), chain_id)
            payloads = [one.payload for batch in opened.batches for one in batch.transactions]
            found += [(opened.header.epoch, one.author) for one in payloads if isinstance(one.body, RevealBody)]
        return found

    async def until_deleted(self, grant: PreparedGrant) -> None:
        """Wait until all holders' deletion receipts are final, looking at every block."""
        while set((await self.session.grant(grant.terms.grant_id)).deleted_by) != set(grant.terms.holders):
            await self.session.home.prove_state(b"grant", self.session.height + 1)


@pytest.fixture(scope="module")
def alliance() -> Iterator[SandboxAlliance]:
    """Five members, twenty-five processes."""
    with sandbox() as running:
        yield running


@asynccontextmanager
async def cast(alliance: SandboxAlliance, folder: Path) -> AsyncIterator[Cast]:
    """Everybody enrolled by their own hospital."""
    async with AsyncExitStack() as stack:
        stage = await set_stage(alliance, folder, stack)
        device = await stage.enrol("2A", identity_pb2.CREDENTIAL_KIND_PATIENT)
        staff = [await stage.enrol(each, identity_pb2.CREDENTIAL_KIND_STAFF, "physician") for each in ("3A", "3B")]
        owner = device.patient(PatientKeys(secrets.token_bytes(32)), "all")
        yield Cast(owner, device.session, stage.administrators["2A"], *map(Institution, staff))


def test_share_record(alliance: SandboxAlliance, tmp_path: Path) -> None:
    """S1 to S6, promises 2 and 8: store, grant, open, be refused, revoke, be refused, and read the report."""

    async def story() -> None:
        async with cast(alliance, tmp_path) as people:
            owner, hospital = people.owner, people.hospital
            bundle = fhir_bundle()
            reference = await owner.write(bundle)
            grant = await people.share()
            grant_id = grant.terms.grant_id

            data = await people.read(await hospital.client.open(grant_id, reference, REASON))
            assert data == bundle
            assert read_bundle(data).resources == 57

            with pytest.raises(PermissionDenied, match=r"NOT_THE_RECIPIENT, rule S3"):
                await people.stranger.client.open(grant_id, reference, REASON)

            before = owner.owner
            await owner.close(grant)
            with pytest.raises(PermissionDenied, match=r"GRANT_REVOKED, rule S6"):
                await hospital.client.open(grant_id, reference, REASON)
            assert owner.owner.epoch == 1

            await people.until_deleted(grant)
            lines = (await owner.report()).lines
            events = [(line.event, line.member, line.proof.author) for line in lines]
            asked = hospital.keys.author.public_key, people.stranger.keys.author.public_key
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

            # A writer that missed the revocation is refused by its own client, before anything is sealed (S6).
            owner.owner = before
            with pytest.raises(FailedPrecondition, match=r"KEY_CLOSED, rule S6"):
                await owner.write(b"too late")

    asyncio.run(story())


def test_share_record_while_a_holder_is_down(alliance: SandboxAlliance, tmp_path: Path) -> None:
    """C2, S4, S6: a delegate and holder is killed; the rest share without it; back again it deletes what was revoked.

    Nor does it reveal a second preimage in one epoch, from which the next draw could be worked out beforehand (C6).
    """

    async def story() -> None:
        async with cast(alliance, tmp_path) as people:
            reference = await people.owner.write(b"a letter")
            grant = await people.share()
            delegates = {each.member_id for each in first_committee(alliance.genesis).delegates}
            down = next(name for name in grant.terms.holders if name in delegates - {"2A", "3A"})
            alliance.kill(down)
            opened = await people.hospital.client.open(grant.terms.grant_id, reference, REASON)
            assert await people.read(opened) == b"a letter"
            assert [name for name, _ in opened.faults] == [down]

            await people.owner.revoke(grant)
            assert down not in (await people.session.grant(grant.terms.grant_id)).deleted_by
            await alliance.start(down)
            await people.until_deleted(grant)
            revealed = Counter(await people.reveals())
            assert (0, alliance.member(down).keys.member.public_key) in revealed
            assert set(revealed.values()) == {1}

    asyncio.run(story())
