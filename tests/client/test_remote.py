"""The SDK over gRPC on a real alliance: five members, each with five services as processes, mutual TLS between all."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from consilium.api.identity.v1 import identity_pb2
from consilium.api.identity.v1.identity_pb2_grpc import add_IdentityServiceServicer_to_server
from consilium.api.ledger.v1 import ledger_pb2
from consilium.api.ledger.v1.ledger_pb2_grpc import LedgerServiceStub
from consilium.client import (
    Alliance,
    ClientSettings,
    Event,
    PatientKeys,
    RecipientKeys,
    client_settings,
    open_alliance,
    sync,
)
from consilium.client.enrolment import draft, issue, revoke, write_credential
from consilium.client.sharing import Permission, Recipient
from consilium.identity.authority import create_authority
from consilium.kernel.encoding import encode
from consilium.kernel.errors import (
    BadSignature,
    ConsiliumError,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
)
from consilium.kernel.hashing import sha256
from consilium.kernel.signing import Ed25519Signer
from consilium.kernel.state_values import member_entry
from consilium.kernel.transactions import Purpose
from consilium.runtime.channels import typed
from consilium.runtime.methods import Service
from consilium.runtime.server import ServerSettings, serving
from consilium.runtime.tls import SIGNING_KEY
from consilium.sandbox.local import SandboxAlliance, sandbox
from tests.runtime.loopback import Scripted, allow

pytestmark = pytest.mark.slow
HOME, AWAY, STRANGER = "2A", "3A", "3B"
WHY = sha256(b"a referral")
PERMISSION = Permission(Purpose.TREATMENT, sha256(b"a ward"), 0, 4_000_000_000_000)
SCAN = secrets.token_bytes(3_000_000)
LETTER = b"a letter"


@pytest.fixture(scope="module")
def alliance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxAlliance]:
    with sandbox(tmp_path_factory.mktemp("alliance")) as running:
        yield running


def run(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(story)


def settings_of(alliance: SandboxAlliance, member_id: str) -> ClientSettings:
    return client_settings(alliance.member(member_id).client_settings)


class People:
    """A patient at home, two other hospitals, and their clients."""

    def __init__(self, home: Alliance, away: Alliance, stranger: Alliance) -> None:
        self.home, self.away = home, away
        self.patient = home.patient(PatientKeys(secrets.token_bytes(32)), "imaging")
        keys = RecipientKeys(secrets.token_bytes(32))
        self.address = Recipient(AWAY, keys.author.public_key, keys.receiving.public_key)
        self.recipient = away.recipient(keys)
        self.stranger = stranger.recipient(RecipientKeys(secrets.token_bytes(32)))


@asynccontextmanager
async def people(alliance: SandboxAlliance) -> AsyncIterator[People]:
    async with AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(open_alliance(settings_of(alliance, each))) for each in (HOME, AWAY, STRANGER)
        ]
        yield People(*opened)


def test_a_record_is_written_shared_opened_revoked_and_reported(alliance: SandboxAlliance, tmp_path: Path) -> None:
    """Promises 2, 3, 8; S1 to S6: from a file at one hospital to the other, and into the patient's report."""

    async def story() -> None:
        (tmp_path / "scan").write_bytes(SCAN)
        told: list[int] = []
        async with people(alliance) as all_of:
            reference = await all_of.patient.write(tmp_path / "scan", media_class=2, progress=told.append)
            assert told == sorted(told)
            assert told[-1] == len(SCAN)
            grant = await all_of.patient.share(all_of.address, PERMISSION)
            opened = await all_of.recipient.open(grant.terms.grant_id, reference, WHY)
            assert b"".join([each async for each in all_of.recipient.read(opened)]) == SCAN
            with pytest.raises(PermissionDenied, match="NOT_THE_RECIPIENT, rule S3"):
                await all_of.stranger.open(grant.terms.grant_id, reference, WHY)
            await all_of.patient.revoke(grant)
            with pytest.raises(PermissionDenied, match="GRANT_REVOKED, rule S6"):
                await all_of.recipient.open(grant.terms.grant_id, reference, WHY)
            events = [each.event for each in (await all_of.patient.report()).lines]
            assert events[:2] == [Event.GRANTED_ACCESS, Event.REQUEST_GRANTED]
            assert events.count(Event.REQUEST_DENIED) == 2
            assert {Event.FRAGMENT_RELEASED, Event.OPENED, Event.REVOKED} <= {*events}
            assert Event.UNEXPLAINED not in events

    run(story())


def test_a_report_of_many_pages_is_whole(alliance: SandboxAlliance) -> None:
    """Promise 8: every page is asked for under a signature of its own."""

    async def story() -> None:
        async with people(alliance) as all_of:
            reference = await all_of.patient.write(LETTER)
            grant = await all_of.patient.share(all_of.address, PERMISSION)
            asked = [all_of.recipient.request(grant.terms.grant_id, reference, sha256(bytes([i]))) for i in range(60)]
            await asyncio.gather(*asked)
            events = [each.event for each in (await all_of.patient.report()).lines]
            assert events == [Event.GRANTED_ACCESS, *[Event.REQUEST_GRANTED] * 60]

    run(story())


def test_one_credential_is_accepted_at_every_member(alliance: SandboxAlliance) -> None:
    """Design section 8: the home's authorities.pem names one member; the others are learned, and prove themselves."""

    async def story() -> None:
        async with open_alliance(settings_of(alliance, HOME)) as opened:
            assert opened.faults == {}
            for member_id in alliance.members:
                stub = LedgerServiceStub(opened.channel(member_id, "ledger"))
                with typed():
                    assert (await stub.GetTip(ledger_pb2.GetTipRequest())).executed_height > 0
            with pytest.raises(NotFound, match="NO_WAY_TO_SERVICE"):
                opened.channel("9Z", "ledger")

    run(story())


class Lying(Scripted):
    """An identity service that hands over what it is told to."""

    bound: bytes = b""

    async def GetAuthority(self, request: Any, context: Any) -> Any:
        return identity_pb2.GetAuthorityResponse(authorities=[self.bound])


@pytest.mark.parametrize(("named", "error"), [(AWAY, BadSignature), (HOME, InvalidArgument)])
def test_an_authority_the_member_does_not_stand_behind_is_not_trusted(
    alliance: SandboxAlliance, tmp_path: Path, named: str, error: type[ConsiliumError]
) -> None:
    """L5: the home member may keep an authority back; it cannot put its own in another's place."""

    async def story() -> None:
        home, lying = alliance.member(HOME), Lying()
        signer = home.keys.member if named == HOME else Ed25519Signer.from_seed(b"f" * 32)
        made = create_authority(tmp_path, "consilium", named, signer, alliance.genesis.chain_id, 1_700_000_000_000, 10**12)
        lying.bound = encode(made.bound, alliance.genesis.chain_id)
        contract = identity_pb2.DESCRIPTOR.services_by_name["IdentityService"]
        offered = [Service(contract, add_IdentityServiceServicer_to_server, lying)]
        served = ServerSettings(member_id=HOME, tls_directory=home.folder / "tls" / "identity", drain_s=0, grace_s=0)
        async with serving(served, offered, allow) as running:
            settings = settings_of(alliance, HOME)
            ways = [each for each in settings.services if not each.startswith(f"{HOME}/identity=")]
            ways.append(f"{HOME}/identity=127.0.0.1:{running.port}")
            async with open_alliance(replace(settings, services=tuple(ways))) as opened:
                assert isinstance(opened.faults[AWAY], error)
                assert opened.faults.keys() == alliance.members.keys() - {HOME}
                with pytest.raises(InvalidArgument, match="UNKNOWN_MEMBER"):
                    opened.channel(AWAY, "ledger")

    run(story())


def test_settings_that_do_not_fit_are_refused(alliance: SandboxAlliance) -> None:
    """A sentence that names the setting, before anything is called."""

    async def refused(**changed: Any) -> str:
        with pytest.raises(InvalidArgument) as caught:
            async with open_alliance(replace(settings_of(alliance, HOME), **changed)):
                pass
        return caught.value.sentence

    async def story() -> None:
        assert "member_id is '3A'" in await refused(member_id=AWAY)
        for wrong in ("2A/ledger", "ledger=127.0.0.1:1", "2A/ledger=127.0.0.1", "2A/mail=127.0.0.1:1"):
            assert wrong in await refused(services=(wrong,))
        assert "nowhere" in await refused(credential=Path("nowhere"))
        assert "nowhere" in await refused(genesis=Path("nowhere"))

    run(story())


def test_a_patients_device_acts_under_its_own_credential_until_it_is_revoked(
    alliance: SandboxAlliance, tmp_path: Path
) -> None:
    """L2, S1: it writes, and the member vouches on the receipt of its storage; it shares; then the member ends it."""

    async def story() -> None:
        settings, folder = settings_of(alliance, HOME), tmp_path / "device"
        async with open_alliance(settings) as administrator:
            drafted = draft(HOME, identity_pb2.CREDENTIAL_KIND_PATIENT, administrator.genesis.chain_id)
            issued = await issue(administrator.identity, drafted)
            write_credential(folder, drafted, issued, administrator.genesis.chain_id)
            assert {each.stat().st_mode & 0o777 for each in folder.iterdir()} == {0o600}
            async with people(alliance) as all_of, open_alliance(replace(settings, credential=folder)) as device:
                assert device.signer.public_key == issued.credential.signing_key
                (folder / SIGNING_KEY).chmod(0o640)
                with pytest.raises(FailedPrecondition, match="OPEN_TO_OTHERS"):
                    _ = device.signer
                patient = device.patient(PatientKeys(secrets.token_bytes(32)), "imaging")
                reference = await patient.write(LETTER)
                grant = await patient.share(all_of.address, PERMISSION)
                opened = await all_of.recipient.open(grant.terms.grant_id, reference, WHY)
                assert b"".join([each async for each in all_of.recipient.read(opened)]) == LETTER
                assert (await patient.report()).lines[0].event is Event.GRANTED_ACCESS
                reason = identity_pb2.REVOCATION_REASON_ROLE_ENDED
                await revoke(administrator.identity, issued.credential.credential_id, reason)
                with pytest.raises(PermissionDenied, match="REVOKED"), typed():
                    await device.identity.ListMembers(identity_pb2.ListMembersRequest())

    run(story())


def test_a_put_whose_storage_is_killed_goes_on(alliance: SandboxAlliance) -> None:
    """S2: kill -9 in mid-put; the client asks what has arrived and sends the rest. What is read is what was written."""

    async def story() -> None:
        data, killed = SCAN * 5, list[asyncio.Task[None]]()

        def progress(sealed: int) -> None:
            if sealed > len(data) // 2 and not killed:
                alliance.kill(HOME, "storage")
                killed.append(asyncio.ensure_future(alliance.start(HOME, "storage")))

        async with people(alliance) as all_of:
            reference = await all_of.patient.write(data, progress=progress)
            await asyncio.gather(*killed)
            grant = await all_of.patient.share(all_of.address, PERMISSION)
            opened = await all_of.recipient.open(grant.terms.grant_id, reference, WHY)
            assert b"".join([each async for each in all_of.recipient.read(opened)]) == data

    run(story())


def test_reading_goes_on_from_a_copy_when_the_home_goes_down(alliance: SandboxAlliance) -> None:
    """S2: the stream breaks in the middle; the copy serves from the next chunk on."""

    async def story() -> None:
        data = SCAN * 5
        async with people(alliance) as all_of:
            reference = await all_of.patient.write(data)
            grant = await all_of.patient.share(all_of.address, PERMISSION)
            opened = await all_of.recipient.open(grant.terms.grant_id, reference, WHY)
            got = bytearray()
            async for piece in all_of.recipient.read(opened):
                if not got:
                    alliance.kill(HOME, "storage")
                got += piece
            await alliance.start(HOME, "storage")
            assert bytes(got) == data

    run(story())


def test_what_is_not_there_is_waited_for_or_refused(alliance: SandboxAlliance) -> None:
    """L3, L5: a height to come comes; a record, a hop, a transaction nobody knows is refused by its reason."""

    async def story() -> None:
        async with open_alliance(settings_of(alliance, HOME)) as opened:
            home = opened.session.home
            await opened.session.member(HOME)
            coming = opened.session.height + 2
            assert (await home.prove_state(member_entry(HOME), coming)).certificate.result.height >= coming
            with pytest.raises(NotFound, match="UNKNOWN_RECORD"):
                await home.prove_record(bytes(16))
            with pytest.raises(NotFound, match="NO_SUCH_HOP"):
                await home.epoch_hop(99)
        async with open_alliance(replace(settings_of(alliance, HOME), wait_s=1)) as opened:
            with pytest.raises(NotFound, match="NO_SUCH_TRANSACTION"):
                await opened.session.home.prove_transaction(bytes(32))
            with pytest.raises(FailedPrecondition, match="NOT_FINAL"):
                await opened.session.home.prove_state(member_entry(HOME), 10**9)

    run(story())


def test_a_client_that_starts_anew_starts_where_it_had_been(alliance: SandboxAlliance) -> None:
    """L4: a height that was kept is the least the home member may answer from."""

    async def story() -> None:
        async with open_alliance(settings_of(alliance, HOME)) as opened:
            kept = opened.session.height
        async with open_alliance(settings_of(alliance, HOME), kept + 5) as anew:
            assert anew.session.height >= kept + 5

    run(story())


def test_many_use_one_session_at_once(alliance: SandboxAlliance) -> None:
    """L3: an answer is held against what had been seen when it was asked for, so that honest answers may overtake."""

    async def story() -> None:
        async with open_alliance(settings_of(alliance, HOME)) as opened:
            patients = [opened.patient(PatientKeys(secrets.token_bytes(32)), "all") for _ in range(20)]
            await asyncio.gather(*(each.write(LETTER) for each in patients))

    run(story())


def test_the_same_without_asyncio(alliance: SandboxAlliance) -> None:
    """The synchronous face: same names, same errors."""
    owner, keys = PatientKeys(secrets.token_bytes(32)), RecipientKeys(secrets.token_bytes(32))
    with sync.open_alliance(settings_of(alliance, HOME)) as home, sync.open_alliance(settings_of(alliance, AWAY)) as away:
        patient, recipient = home.patient(owner, "imaging"), away.recipient(keys)
        reference = patient.write(SCAN)
        grant = patient.share(Recipient(AWAY, keys.author.public_key, keys.receiving.public_key), PERMISSION)
        assert away.session.grant(grant.terms.grant_id).terms == grant.terms
        opened = recipient.open(grant.terms.grant_id, reference, WHY)
        assert b"".join(recipient.read(opened)) == SCAN
        patient.revoke(grant)
        with pytest.raises(PermissionDenied, match="GRANT_REVOKED"):
            recipient.open(grant.terms.grant_id, reference, WHY)
        assert patient.report().lines[0].event is Event.GRANTED_ACCESS
        assert patient.report().faults == {}
        assert [each.grant.terms for each in patient.find_grants(owner).grants] == [grant.terms]
