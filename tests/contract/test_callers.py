"""Who calls: every method turns away every caller it is not for, with the one refusal that fits (design section 8)."""

from __future__ import annotations

import datetime as dt
import time
from typing import TYPE_CHECKING

import grpc
import pytest
from cryptography import x509

from consilium.api.identity.v1 import identity_pb2
from consilium.api.identity.v1.identity_pb2_grpc import IdentityServiceStub
from consilium.runtime.names import Role
from tests.contract.contracts import DEADLINE_S, FILES, METHODS, UNKNOWN_FIELD, Ending, attempt
from tests.contract.expected import ADMITTED, KINDS
from tests.contract.refusals import clean
from tests.identity.hospital import ALLIANCE, AWAY, HOME, Person, bearer
from tests.runtime.authority import Authority, Issued

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.contract.conftest import Stage
    from tests.contract.world import World

Refusal = tuple[grpc.StatusCode, str, str]
PAST_THE_DOOR = grpc.StatusCode.INVALID_ARGUMENT, "UNKNOWN_FIELD", "L1"
"""An unknown field is looked for behind the door: whoever is told of it was let in."""
WRONG_ROLE = grpc.StatusCode.PERMISSION_DENIED, "WRONG_ROLE", ""
NO_CONNECTION = grpc.StatusCode.UNAVAILABLE, "", ""
"""The handshake fails, so nobody is there who could say why."""


async def knock(stage: Stage, channel_to: Callable[[str], grpc.aio.Channel]) -> dict[str, Ending]:
    """How every method answers the same caller."""
    found = {name: await attempt(channel_to(each.service), each, UNKNOWN_FIELD) for name, each in METHODS.items()}
    for ending in found.values():
        clean(stage.world, ending)
    return found


def knocks(stage: Stage, issued: Issued | None) -> set[Refusal]:
    """Every way in which a bearer with new connections is answered."""

    async def scene() -> dict[str, Ending]:
        async with stage.world.channels(issued) as channels:
            return await knock(stage, channels.__getitem__)

    return {each.refusal for each in stage.play(scene()).values()}


def test_every_method_has_its_row() -> None:
    assert ADMITTED.keys() == METHODS.keys()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("member", ["own", "other", "suspended"])
def test_wrong_role(stage: Stage, member: str, kind: str) -> None:
    """Each kind of caller gets past the door of the methods for it, and of no other."""
    found = stage.play(knock(stage, lambda service: stage.world.caller(service, member, kind)))
    for method, ending in found.items():
        row = ADMITTED[method]
        if kind in getattr(row, member).split():
            assert ending.refusal == PAST_THE_DOOR, method
        elif member == "suspended" and kind in row.other.split():
            assert ending.refusal == (grpc.StatusCode.PERMISSION_DENIED, "SUSPENDED", ""), method
        else:
            assert ending.refusal == WRONG_ROLE, method


def test_expelled_member(stage: Stage) -> None:
    """It holds a certificate of an authority that was the alliance's, and is no member any more."""
    assert knocks(stage, stage.world.issue("expelled", "staff")) == {(grpc.StatusCode.PERMISSION_DENIED, "NOT_A_MEMBER", "")}


def test_no_member(stage: Stage) -> None:
    """An authority that is trusted by mistake, of a member that the ledger has never heard of."""
    stranger = Authority("nowhere", ALLIANCE)
    for bundle in (stage.world.home.home / "tls").glob("*/authorities.pem"):
        bundle.write_bytes(bundle.read_bytes() + stranger.pem)
    issued = bearer(stranger, Role.STAFF, "ab" * 16)
    assert knocks(stage, issued) == {(grpc.StatusCode.PERMISSION_DENIED, "NOT_A_MEMBER", "")}


def test_no_certificate(stage: Stage) -> None:
    assert knocks(stage, None) == {NO_CONNECTION}


def test_wrong_authority(stage: Stage) -> None:
    """An authority that calls itself the member's, and nobody bound to the member's key."""
    assert knocks(stage, bearer(Authority(HOME, ALLIANCE), Role.STAFF, "ab" * 16)) == {NO_CONNECTION}


def test_wrong_member(stage: Stage) -> None:
    """An authority of the alliance that certifies for another member."""
    posing = bearer(stage.world.authorities[AWAY], Role.STAFF, "ab" * 16, HOME)
    assert knocks(stage, posing) == {(grpc.StatusCode.UNAUTHENTICATED, "FOREIGN_AUTHORITY", "")}


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        (f"spiffe://another/member/{HOME}/staff/ab", "FOREIGN_ALLIANCE"),
        (f"spiffe://{ALLIANCE}/member/elsewhere/staff/ab", "UNKNOWN_MEMBER"),
        (f"spiffe://{ALLIANCE}/member/{HOME}/director/ab", "BAD_IDENTITY"),
        (f"spiffe://{ALLIANCE}/member/{HOME}", "BAD_IDENTITY"),
    ],
)
def test_wrong_name(stage: Stage, uri: str, reason: str) -> None:
    """A true authority of the alliance; the name it certifies is nobody's."""
    named = stage.world.authorities[AWAY].issue([x509.UniformResourceIdentifier(uri)], dt.timedelta(days=1))
    assert knocks(stage, named) == {(grpc.StatusCode.UNAUTHENTICATED, reason, "")}


def test_expired(stage: Stage) -> None:
    assert knocks(stage, stage.world.issue("own", "staff", -dt.timedelta(minutes=1))) == {NO_CONNECTION}


def test_expired_while_the_connection_is_open(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection outlives its certificate, and no call on it does."""
    now = time.time

    async def scene() -> set[Refusal]:
        issued = stage.world.issue("own", "staff", dt.timedelta(hours=1))
        async with stage.world.channels(issued) as channels:
            assert_let_in(await knock(stage, channels.__getitem__))
            monkeypatch.setattr(time, "time", lambda: now() + 7_200)
            return {each.refusal for each in (await knock(stage, channels.__getitem__)).values()}

    assert stage.play(scene()) == {(grpc.StatusCode.UNAUTHENTICATED, "CERTIFICATE_EXPIRED", "")}


def test_revoked_while_the_connection_is_open(stage: Stage) -> None:
    """Revoked at identity, refused by all five services at the next call."""

    async def scene() -> set[Refusal]:
        issued, revoke = await enrolled(stage.world)
        async with stage.world.channels(issued) as channels:
            assert_let_in(await knock(stage, channels.__getitem__))
            await revoke()
            return {each.refusal for each in (await knock(stage, channels.__getitem__)).values()}

    assert stage.play(scene()) == {(grpc.StatusCode.PERMISSION_DENIED, "REVOKED", "")}


def assert_let_in(found: dict[str, Ending]) -> None:
    """The caller is known, and past the door somewhere at every service."""
    assert {METHODS[name].service for name, each in found.items() if each.refusal == PAST_THE_DOOR} == FILES.keys()


async def enrolled(world: World) -> tuple[Issued, Callable[[], Awaitable[None]]]:
    """Somebody with a credential that identity issued, and its revocation."""
    person, stub = Person("revoked one"), IdentityServiceStub(world.administrator())
    request = person.request(identity_pb2.CREDENTIAL_KIND_STAFF, world.home.alliance.chain_id)
    issued = (await stub.IssueCredential(request, timeout=DEADLINE_S)).credential

    async def revoke() -> None:
        reason = identity_pb2.REVOCATION_REASON_KEY_COMPROMISE
        request = identity_pb2.RevokeCredentialRequest(credential_id=issued.credential_id, reason=reason)
        await stub.RevokeCredential(request, timeout=DEADLINE_S)

    return person.bearing(issued), revoke
