"""The re-encryption service over real gRPC and mutual TLS: each method, its worker process, and every kind of refusal."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from consilium.api.reencryption.v1 import reencryption_pb2 as pb
from consilium.kernel.consent import Release, verify_release
from consilium.kernel.encoding import decode
from consilium.kernel.errors import (
    Conflict,
    ConsiliumError,
    FailedPrecondition,
    Malformed,
    PermissionDenied,
    Unavailable,
)
from consilium.kernel.opening import open_transaction
from consilium.kernel.signing import Ed25519Verifier
from consilium.kernel.transactions import ReceiptBody, ReceiptKind
from consilium.kernel.umbral import CAPSULE_BYTES, KFRAG_BYTES, seal
from consilium.runtime.channels import typed
from consilium.runtime.names import Role
from tests.client.local_member import named_key
from tests.reencryption_service.world import HOME, RECIPIENT, Station, World

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from consilium.client.sharing import PreparedGrant, RecordReference

SERVICE = "/consilium.api.reencryption.v1.ReencryptionService"


def play(path: Path, scene: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    """Runs a scene."""

    async def told() -> None:
        async with World(path) as world:
            await scene(world)

    asyncio.run(told())


async def refused(call: Any, kind: type[ConsiliumError], reason: str) -> None:
    """The call is refused with this class and for this reason."""
    with pytest.raises(kind) as found, typed():
        await call
    assert (type(found.value), found.value.reason) == (kind, reason)


async def until(holds: Callable[[], object]) -> None:
    """Lets the service go on until something holds."""
    while not holds():  # noqa: ASYNC110  it is told by nobody
        await asyncio.sleep(0)


def first(grant: PreparedGrant) -> str:
    """The first holder besides the patient's own member, which a test may take off the air."""
    return next(each for each in grant.terms.holders if each != HOME)


def own(station: Station, grant: PreparedGrant) -> bytes:
    """The holder's fragment."""
    return grant.kfrags[grant.terms.holders.index(station.member_id)]


def foreign(station: Station, grant: PreparedGrant) -> bytes:
    """Another holder's fragment."""
    return next(each for each in grant.kfrags if each != own(station, grant))


async def begin(world: World, station: Station, grant: PreparedGrant) -> None:
    """The patient hands this holder its fragment."""
    owner = world.stub(station, world.authorities[HOME].person(Role.PATIENT, "someone"))
    request = pb.GrantAccessRequest(grant_id=grant.terms.grant_id, key_fragment=own(station, grant))
    with typed():
        await owner.GrantAccess(request)
        await owner.GrantAccess(request)


def asking(world: World, reference: RecordReference, request_hash: bytes) -> pb.ReencryptCapsuleRequest:
    """What the recipient asks a holder for."""
    return pb.ReencryptCapsuleRequest(access_request_hash=request_hash, capsule=world.capsule(reference))


def test_grant_access_and_reencrypt_capsule(tmp_path: Path) -> None:
    """S4, S5: a fragment in, a signed release out, one receipt with consensus; nothing unsealed on the disk."""

    async def scene(world: World) -> None:
        reference, grant = await world.shared()
        name = first(grant)
        async with world.holder(name) as station:
            await begin(world, station, grant)
            recipient, chain_id = world.application(station, RECIPIENT), world.local.scribe.alliance.chain_id
            asked = await world.request(reference, grant)
            for _ in range(2):
                encoded = (await recipient.ReencryptCapsule(asking(world, reference, asked))).encoded
                release = decode(Release, encoded, chain_id)
                key = world.local.scribe.alliance.keys[name].profile.member_key
                verify_release(release, key, chain_id, Ed25519Verifier())
                assert (release.statement.request_hash, release.statement.holder) == (asked, name)
            assert (station.driver.held, station.driver.counts) == (1, {"released": 2})
            [receipt] = station.ordering.submitted
            body = open_transaction(receipt, chain_id).payload.body
            assert isinstance(body, ReceiptBody)
            assert (body.receipt, body.request_hash) == (ReceiptKind.RELEASE, asked)
            for path in station.state.iterdir():
                assert own(station, grant)[:32] not in path.read_bytes()

    play(tmp_path, scene)


def test_g3_a_release_is_signed_under_the_key_that_the_ledger_names(tmp_path: Path) -> None:
    """G3, S5: the worker holds both keys; the release and its receipt go over to the next one together."""

    async def scene(world: World) -> None:
        reference, grant = await world.shared()
        name, chain_id = first(grant), world.local.scribe.alliance.chain_id
        async with world.holder(name) as station:
            await begin(world, station, grant)
            recipient = world.application(station, RECIPIENT)

            async def key_of_release_is(key: bytes) -> None:
                wanted = asking(world, reference, await world.request(reference, grant))
                release = decode(Release, (await recipient.ReencryptCapsule(wanted)).encoded, chain_id)
                verify_release(release, key, chain_id, Ed25519Verifier())
                assert open_transaction(station.ordering.submitted[-1], chain_id).payload.author == key

            await key_of_release_is(world.local.scribe.alliance.keys[name].profile.member_key)
            following = world.local.adopt_next_key(name)
            await until(lambda: named_key(station.standing, name) == following)
            await key_of_release_is(following)

    play(tmp_path, scene)


def test_list_receipts_in_pages(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        reference, grant = await world.shared()
        async with world.holder(first(grant)) as station:
            await begin(world, station, grant)
            recipient, own = world.application(station, RECIPIENT), world.application(station, station.member_id)
            for _ in range(3):
                await recipient.ReencryptCapsule(asking(world, reference, await world.request(reference, grant)))
            found: list[pb.Receipt] = []
            token = ""
            for expected in (2, 1):
                page = await own.ListReceipts(pb.ListReceiptsRequest(page_size=2, page_token=token))
                assert len(page.receipts) == expected
                found, token = [*found, *page.receipts], page.next_page_token
            assert (token, [each.encoded for each in found]) == ("", station.ordering.submitted)
            none = await own.ListReceipts(pb.ListReceiptsRequest(kind=pb.RECEIPT_KIND_DELETION))
            assert list(none.receipts) == []

    play(tmp_path, scene)


def test_revoke_access_deletes_for_ever(tmp_path: Path) -> None:
    """S6: refused while the grant stands; then the fragment is gone, the receipt is kept, and nothing is released."""

    async def scene(world: World) -> None:
        reference, grant = await world.shared()
        async with world.holder(first(grant)) as station:
            await begin(world, station, grant)
            asked = await world.request(reference, grant)
            owner = world.application(station, HOME)
            wanted = pb.RevokeAccessRequest(grant_id=grant.terms.grant_id)
            await refused(owner.RevokeAccess(wanted), FailedPrecondition, "NOT_REVOKED")
            world.local.members[station.member_id].is_down = True
            await world.patient.revoke(grant)
            receipt = (await owner.RevokeAccess(wanted)).receipt
            assert receipt.kind == pb.RECEIPT_KIND_DELETION
            assert (await owner.RevokeAccess(wanted)).receipt == receipt
            recipient = world.application(station, RECIPIENT)
            await refused(recipient.ReencryptCapsule(asking(world, reference, asked)), PermissionDenied, "REVOKED")
            late = pb.GrantAccessRequest(grant_id=grant.terms.grant_id, key_fragment=own(station, grant))
            await refused(owner.GrantAccess(late), FailedPrecondition, "REVOKED")

    play(tmp_path, scene)


def test_a_call_waits_for_the_ledger_to_know(tmp_path: Path) -> None:
    """S6: who asks a moment before this holder's ledger has the revocation is answered as soon as it has."""

    async def scene(world: World) -> None:
        _, grant = await world.shared()
        async with world.holder(first(grant), wait_s=60) as station:
            await begin(world, station, grant)
            wanted = pb.RevokeAccessRequest(grant_id=grant.terms.grant_id)
            call = world.application(station, HOME).RevokeAccess(wanted, timeout=50)
            asked = asyncio.ensure_future(call)
            await until(lambda: station.ledger.waiting)
            world.local.scribe.write()
            world.local.members[station.member_id].is_down = True
            await world.patient.revoke(grant)
            assert (await asked).receipt.kind == pb.RECEIPT_KIND_DELETION

    play(tmp_path, scene)


def test_closing_a_key_costs_every_fragment_under_it_without_a_call(tmp_path: Path) -> None:
    """S6: the holder follows the ledger by itself, and settles the receipts that consensus missed."""

    async def scene(world: World) -> None:
        _, grant = await world.shared()
        async with world.holder(first(grant)) as station:
            await begin(world, station, grant)
            for each in world.local.members.values():
                each.kfrags.clear()
            world.local.members[station.member_id].is_down = True
            await world.patient.close(grant)
            station.ordering.is_down = True
            following = asyncio.get_running_loop().create_task(station.driver.follow())
            await until(station.driver.receipts.unsettled)
            unsettled = station.driver.receipts.unsettled()
            following.cancel()
            assert station.ordering.submitted == []
            station.ordering.is_down = False
            settling = asyncio.get_running_loop().create_task(station.driver.settle(0))
            await until(lambda: not station.driver.receipts.unsettled())
            settling.cancel()
            assert station.ordering.submitted == [unsettled[0].carried]
            state = world.local.scribe.chain.grant(grant.terms.grant_id)
            assert state is not None
            assert station.member_id in state.deleted_by

    play(tmp_path, scene)


@pytest.mark.parametrize("is_restarted", [False, True])
def test_a_deletion_that_could_not_be_signed_is_signed_later(tmp_path: Path, *, is_restarted: bool) -> None:
    """S6: the fragment goes at once; its receipt follows when the ledger has been read, whatever process is there then."""

    async def signed_for(station: Station, grant: PreparedGrant) -> None:
        following = asyncio.get_running_loop().create_task(station.driver.follow())
        await until(lambda: station.ordering.submitted)
        following.cancel()
        [kept] = station.driver.receipts.page(0, 9, grant.terms.grant_id, ReceiptKind.DELETION)
        assert station.ordering.submitted == [kept.carried]

    async def scene(world: World) -> None:
        _, grant = await world.shared()
        grant_id = grant.terms.grant_id
        async with world.holder(first(grant)) as station:
            await begin(world, station, grant)
            world.local.members[station.member_id].is_down = True
            await world.patient.revoke(grant)
            station.standing.loaded.clear()
            with pytest.raises(Unavailable, match="STANDING_UNKNOWN"):
                await station.driver.revoke_access(grant_id)
            assert (station.driver.held, station.ordering.submitted, station.driver.receipts.unsettled()) == (0, [], [])
            station.standing.loaded.set()
            if not is_restarted:
                await signed_for(station, grant)
                assert station.driver.counts["deleted"] == 1
        if is_restarted:
            async with world.holder(first(grant)) as station:
                await signed_for(station, grant)

    play(tmp_path, scene)


def test_release_rule_stands_before_every_release(tmp_path: Path) -> None:
    """S5, promise 2: a stale tip, another capsule, another member, no verdict, or no way to a receipt: no fragment."""

    async def scene(world: World) -> None:
        reference, grant = await world.shared()
        async with world.holder(first(grant)) as station:
            await begin(world, station, grant)
            asked = await world.request(reference, grant)
            wanted, recipient = asking(world, reference, asked), world.application(station, RECIPIENT)
            await refused(world.application(station, HOME).ReencryptCapsule(wanted), PermissionDenied, "NOT_THE_RECIPIENT")
            other = pb.ReencryptCapsuleRequest(
                access_request_hash=asked, capsule=seal(world.patient.owner.delegating_pk, b"k" * 64).capsule
            )
            await refused(recipient.ReencryptCapsule(other), PermissionDenied, "WRONG_CAPSULE")
            unknown = asking(world, reference, b"?" * 32)
            await refused(recipient.ReencryptCapsule(unknown), FailedPrecondition, "NOT_FINAL")
            station.ledger.age_ms = 10**6
            await refused(recipient.ReencryptCapsule(wanted), FailedPrecondition, "STALE_TIP")
            station.ledger.age_ms, station.ordering.is_down = 0, True
            await refused(recipient.ReencryptCapsule(wanted), Unavailable, "UNAVAILABLE")
            station.ordering.is_down = False
            await recipient.ReencryptCapsule(wanted)

    play(tmp_path, scene)


def test_nothing_of_an_erased_record_is_released(tmp_path: Path) -> None:
    """S8: a request granted before the erasure opens nothing after it; other records under the grant stay open."""

    async def scene(world: World) -> None:
        reference, grant = await world.shared()
        other = await world.patient.write(b"another letter")
        async with world.holder(first(grant)) as station:
            await begin(world, station, grant)
            wanted = asking(world, reference, await world.request(reference, grant))
            beside = asking(world, other, await world.request(other, grant))
            recipient = world.application(station, RECIPIENT)
            await recipient.ReencryptCapsule(wanted)
            await world.patient.erase(reference.record_id)
            await refused(recipient.ReencryptCapsule(wanted), PermissionDenied, "RECORD_ERASED")
            await recipient.ReencryptCapsule(beside)

    play(tmp_path, scene)


def test_a_killed_worker_is_replaced(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        reference, grant = await world.shared()
        async with world.holder(first(grant)) as station:
            await begin(world, station, grant)
            for each in list(station.workers._pool._processes):  # noqa: SLF001
                os.kill(each, signal.SIGKILL)
            asked = await world.request(reference, grant)
            await world.application(station, RECIPIENT).ReencryptCapsule(asking(world, reference, asked))

    play(tmp_path, scene)


def test_too_many_jobs_are_refused(tmp_path: Path) -> None:
    """The first job also starts the worker, so the others come while it is waited for."""

    async def scene(world: World) -> None:
        _, grant = await world.shared()
        async with world.holder(first(grant), starts_workers=False, waiting_max=1) as station:
            owner = world.application(station, HOME)
            request = pb.GrantAccessRequest(grant_id=grant.terms.grant_id, key_fragment=own(station, grant))
            answers = await asyncio.gather(*(owner.GrantAccess(request) for _ in range(8)), return_exceptions=True)
            codes = {each.code() for each in answers if isinstance(each, grpc.aio.AioRpcError)}
            assert codes == {grpc.StatusCode.RESOURCE_EXHAUSTED}

    play(tmp_path, scene)


Act = "Callable[[World, Station, PreparedGrant], Any]"


def granting(world: World, station: Station, grant_id: bytes, kfrag: bytes, **given: Any) -> Any:
    request = pb.GrantAccessRequest(grant_id=grant_id, key_fragment=kfrag)
    return world.application(station, HOME).GrantAccess(request, **given)


REFUSALS: list[tuple[str, Any, type[ConsiliumError], str]] = [
    ("malformed id", lambda world, station, _: granting(world, station, b"short", b""), Malformed, "BAD_FIELD"),
    (
        "malformed fragment",
        lambda world, station, g: granting(world, station, g.terms.grant_id, b"x"),
        Malformed,
        "BAD_FIELD",
    ),
    (
        "no fragment",
        lambda world, station, g: granting(world, station, g.terms.grant_id, bytes(KFRAG_BYTES)),
        Malformed,
        "BAD_KFRAG",
    ),
    (
        "another holder's fragment",
        lambda world, station, g: granting(world, station, g.terms.grant_id, foreign(station, g)),
        Conflict,
        "OTHER_FRAGMENT",
    ),
    (
        "unknown grant",
        lambda world, station, g: granting(world, station, b"?" * 16, own(station, g)),
        FailedPrecondition,
        "NOT_FINAL",
    ),
    (
        "no capsule",
        lambda world, station, _: world.application(station, RECIPIENT).ReencryptCapsule(
            pb.ReencryptCapsuleRequest(access_request_hash=b"?" * 32, capsule=bytes(CAPSULE_BYTES - 1))
        ),
        Malformed,
        "BAD_FIELD",
    ),
]


def test_refusals(tmp_path: Path) -> None:
    """Every refusal is typed, with its reason; none is INTERNAL or UNKNOWN."""

    async def scene(world: World) -> None:
        _, grant = await world.shared()
        async with world.holder(first(grant), message_bytes_max=65_536) as station:
            for _, call, kind, reason in REFUSALS:
                await refused(call(world, station, grant), kind, reason)
            assert station.driver.counts == {"wrong": 2}, "no fragment, and another holder's"

    play(tmp_path, scene)
