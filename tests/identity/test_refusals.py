"""Every RPC refuses every kind of caller and of bytes it is not for, with a typed error (issue 4; design section 8).

The methods are taken from the contract, so a new one is refused here too, or the test fails.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from cryptography import x509

from consilium.api.identity.v1 import identity_pb2 as pb
from consilium.api.identity.v1.identity_pb2_grpc import IdentityServiceStub
from consilium.identity.authority import open_authority
from consilium.identity.core.admission import ADMITTED
from consilium.kernel.errors import (
    ConsiliumError,
    DeadlineExceeded,
    InvalidArgument,
    Malformed,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)
from consilium.kernel.membership import SERVICES
from consilium.runtime.channels import Channel, Limits, Peer
from consilium.runtime.names import Role, peer_uri, server_name
from consilium.runtime.tls import Tls
from tests.identity.hospital import ALLIANCE, AWAY, DEADLINE_S, HOME, Person, Served, hospitals, play, refusal
from tests.runtime.authority import DAY, Authority, Issued

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from google.protobuf.message import Message

    from tests.identity.hospital import Hospital

CONTRACT = pb.DESCRIPTOR.services_by_name["IdentityService"]
METHODS = {each.name: each for each in CONTRACT.methods}
UNKNOWN_FIELD = b"\xf8\x7f\x01"
"""Field 2047, which no contract has, with the value 1."""


def empty(method: str) -> Message:
    """A request in form, with nothing in it."""
    message: Message = getattr(pb, METHODS[method].input_type.name)()
    return message


async def called(channel: grpc.aio.Channel, method: str, request: Message | None = None) -> ConsiliumError:
    """What calling a method is refused with."""
    stub = IdentityServiceStub(channel)
    given = empty(method) if request is None else request
    return await refusal(getattr(stub, method)(given, timeout=DEADLINE_S))


async def all_called(channel: grpc.aio.Channel) -> dict[str, tuple[type[ConsiliumError], str]]:
    """How every method refuses."""
    found = {}
    for method in METHODS:
        error = await called(channel, method)
        found[method] = (type(error), error.reason)
    return found


def every(kind: type[ConsiliumError], reason: str) -> dict[str, tuple[type[ConsiliumError], str]]:
    """One refusal for every method."""
    return dict.fromkeys(METHODS, (kind, reason))


def foreign(served: Served, path: Path, issued: Issued) -> Channel:
    """A channel with a certificate that no identity service issued, trusting the home member."""
    folder = issued.write(path)
    (folder / "authorities.pem").write_bytes((served.hospital.home / "tls" / "identity" / "authorities.pem").read_bytes())
    return served.channel(Tls(folder, ALLIANCE))


def bearer(authority: Authority, role: Role, name: str, member_id: str = "", ends_in: dt.timedelta = DAY) -> Issued:
    """A certificate with a URI, and a service's DNS name; no address, which no constrained authority may certify."""
    member_id = member_id or authority.member_id
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(peer_uri(ALLIANCE, member_id, role, name))]
    if name in SERVICES:
        names.append(x509.DNSName(server_name(ALLIANCE, member_id, name)))
    return authority.issue(names, ends_in)


def with_own_authority(hospital: Hospital) -> Authority:
    """The member's own authority as something that issues whatever a test wants."""
    real = open_authority(
        hospital.home / "identity" / "authority" / "1", ALLIANCE, hospital.member_id, hospital.alliance.chain_id
    )
    made = Authority(hospital.member_id, ALLIANCE, real._key)  # noqa: SLF001  the tests' way to overstep
    made.certificate = real.certificate
    return made


def test_every_method_names_whom_it_admits() -> None:
    assert ADMITTED.keys() == METHODS.keys()
    assert all(ADMITTED.values())


@pytest.mark.parametrize("trusted", [True, False])
def test_no_certificate_and_wrong_authority(tmp_path: Path, trusted: bool) -> None:  # noqa: FBT001
    """Without a certificate, or with one of an authority nobody bound to the ledger, there is no connection."""

    async def scene() -> None:
        (home,) = hospitals(tmp_path, HOME)
        async with home.serving() as served:
            roots = (home.home / "tls" / "identity" / "authorities.pem").read_bytes()
            stranger = Authority(HOME, ALLIANCE).service("ledger")
            pair = (stranger.key, stranger.certificate) if trusted else (None, None)
            credentials = grpc.ssl_channel_credentials(roots, *pair)
            options = [("grpc.ssl_target_name_override", f"identity.{HOME}.{ALLIANCE}")]
            async with grpc.aio.secure_channel(f"127.0.0.1:{served.running.port}", credentials, options) as channel:
                for method in METHODS:
                    assert type(await called(channel, method)) is Unavailable

    play(scene)


def test_a_certificate_that_has_ended(tmp_path: Path) -> None:
    async def scene() -> None:
        (home,) = hospitals(tmp_path, HOME)
        async with home.serving() as served:
            authority = with_own_authority(home)
            ended = bearer(authority, Role.SERVICE, "ledger", ends_in=-dt.timedelta(minutes=1))
            async with foreign(served, tmp_path / "ended", ended) as channel:
                assert {kind for kind, _ in (await all_called(channel)).values()} == {Unavailable}
            valid = bearer(authority, Role.SERVICE, "ledger")
            async with foreign(served, tmp_path / "valid", valid) as channel:
                await IdentityServiceStub(channel).GetAuthority(pb.GetAuthorityRequest())

    play(scene)


def test_a_member_that_speaks_for_another(tmp_path: Path) -> None:
    """Its authority is trusted, the name in the certificate is another member's."""

    async def scene() -> None:
        home, away = hospitals(tmp_path, HOME, AWAY)
        async with home.serving() as served:
            posing = bearer(with_own_authority(away), Role.STAFF, "0" * 32, HOME)
            async with foreign(served, tmp_path / "posing", posing) as channel:
                assert await all_called(channel) == every(Unauthenticated, "FOREIGN_AUTHORITY")

    play(scene)


def test_an_authority_that_names_servers_of_another_member(tmp_path: Path) -> None:
    """The name constraints of its own certificate forbid it, and any address, whoever trusts that authority."""

    async def scene() -> None:
        home, away = hospitals(tmp_path, HOME, AWAY)
        async with home.serving() as served:
            authority = with_own_authority(away)
            for name, given in {
                "posing": bearer(authority, Role.SERVICE, "ledger", HOME),
                "address": authority.service(),
            }.items():
                async with foreign(served, tmp_path / name, given) as channel:
                    assert type(await called(channel, "GetAuthority")) is Unavailable
            async with foreign(served, tmp_path / "own", bearer(authority, Role.SERVICE, "ledger")) as channel:
                await IdentityServiceStub(channel).GetAuthority(pb.GetAuthorityRequest())

    play(scene)


def test_revoked(tmp_path: Path) -> None:
    async def scene() -> None:
        (home,) = hospitals(tmp_path, HOME)
        async with home.serving() as served, served.administrator() as channel:
            serial = served.driver.enrolment.store.credentials(0, 1)[0][1].terms.credential_id
            request = pb.RevokeCredentialRequest(credential_id=serial, reason=pb.REVOCATION_REASON_SUPERSEDED)
            await IdentityServiceStub(channel).RevokeCredential(request, timeout=DEADLINE_S)
            assert await all_called(channel) == every(PermissionDenied, "REVOKED")

    play(scene)


def test_a_member_that_the_ledger_does_not_know(tmp_path: Path) -> None:
    """Even when its authority is trusted by mistake."""

    async def scene() -> None:
        (home,) = hospitals(tmp_path, HOME)
        async with home.serving() as served:
            stranger = Authority("nowhere", ALLIANCE)
            bundle = home.home / "tls" / "identity" / "authorities.pem"
            bundle.write_bytes(bundle.read_bytes() + stranger.pem)
            served.running.tls.refresh()
            async with foreign(served, tmp_path / "stranger", stranger.service("ledger")) as channel:
                assert await all_called(channel) == every(PermissionDenied, "NOT_A_MEMBER")

    play(scene)


def test_before_the_ledger_was_read_nobody_foreign_is_let_in(tmp_path: Path) -> None:
    async def scene() -> None:
        home, away = hospitals(tmp_path, HOME, AWAY)
        async with home.serving() as served, served.service("ledger", away) as channel:
            served.driver.members.loaded.clear()
            assert (await called(channel, "GetAuthority")).reason == "STANDING_UNKNOWN"
            async with served.administrator() as own:
                await IdentityServiceStub(own).GetAuthority(pb.GetAuthorityRequest())

    play(scene)


CALLERS = {
    "own service": (HOME, Role.SERVICE, "ledger"),
    "own staff": (HOME, Role.STAFF, "ab"),
    "own patient": (HOME, Role.PATIENT, "ab"),
    "own application": (HOME, Role.SERVICE, "application.ab"),
    "foreign service": (AWAY, Role.SERVICE, "ledger"),
    "foreign staff": (AWAY, Role.STAFF, "ab"),
    "foreign patient": (AWAY, Role.PATIENT, "ab"),
    "foreign application": (AWAY, Role.SERVICE, "application.ab"),
}
PATIENTS_DUTY = "GetAuthority GetMember ListMembers"
WORKING = "GetCredential GetRankEvidence ListRankEvidence SignProposal GetProposal ListProposals"
ENROLLING = "IssueCredential ListCredentials AddRankEvidence ProposeMember ProposeGrade"
MAY = {
    "own service": f"{PATIENTS_DUTY} {WORKING} RevokeCredential",
    "own staff": f"{PATIENTS_DUTY} {WORKING} {ENROLLING} RevokeCredential",
    "own patient": f"{PATIENTS_DUTY} GetCredential RevokeCredential",
    "own application": f"{PATIENTS_DUTY} {WORKING} {ENROLLING} RevokeCredential",
    "foreign service": f"{PATIENTS_DUTY} {WORKING}",
    "foreign staff": f"{PATIENTS_DUTY} {WORKING}",
    "foreign patient": PATIENTS_DUTY,
    "foreign application": f"{PATIENTS_DUTY} {WORKING}",
}
"""Written out apart from the table in the code."""


def test_wrong_role(tmp_path: Path) -> None:
    """Each kind of caller gets past the door of the methods for it, and of no other."""

    async def scene() -> None:
        home, away = hospitals(tmp_path, HOME, AWAY)
        async with home.serving() as served:
            issuers = {each.member_id: with_own_authority(each) for each in (home, away)}
            for caller, (member_id, role, name) in CALLERS.items():
                issued = bearer(issuers[member_id], role, name)
                async with foreign(served, tmp_path / caller.replace(" ", "-"), issued) as channel:
                    passed = {method for method in METHODS if not await turned_away(channel, method)}
                assert passed == set(MAY[caller].split()), caller

    play(scene)


async def turned_away(channel: grpc.aio.Channel, method: str) -> bool:
    """Whether a method does not even look at the request."""
    try:
        await getattr(IdentityServiceStub(channel), method)(empty(method), timeout=DEADLINE_S)
    except grpc.aio.AioRpcError as error:
        return "This method is not for" in (error.details() or "")
    return False


def test_a_holder_without_the_role_enrols_and_governs_nobody(tmp_path: Path) -> None:
    async def scene() -> None:
        (home,) = hospitals(tmp_path, HOME)
        async with home.serving() as served:
            _, channel = await served.enrolled(Person("doctor"), pb.CREDENTIAL_KIND_STAFF)
            asked: Mapping[str, Message] = {
                "IssueCredential": pb.IssueCredentialRequest(kind=pb.CREDENTIAL_KIND_STAFF),
                "ListCredentials": pb.ListCredentialsRequest(),
                "RevokeCredential": pb.RevokeCredentialRequest(
                    credential_id=served.driver.enrolment.store.credentials(0, 1)[0][1].terms.credential_id,
                    reason=pb.REVOCATION_REASON_ROLE_ENDED,
                ),
                "AddRankEvidence": pb.AddRankEvidenceRequest(),
                "ProposeMember": pb.ProposeMemberRequest(),
                "ProposeGrade": pb.ProposeGradeRequest(),
            }
            async with channel:
                for method, request in asked.items():
                    error = await called(channel, method, request)
                    assert (type(error), error.reason) == (PermissionDenied, "WRONG_ROLE"), method

    play(scene)


def test_malformed_unknown_oversize_and_late(tmp_path: Path) -> None:
    """L1: no request has a second form; a write without a deadline, or after it, is refused."""

    async def scene() -> None:
        (home,) = hospitals(tmp_path, HOME)
        async with home.serving() as served, served.administrator() as channel:
            large = Channel(
                Peer(HOME, "identity", f"127.0.0.1:{served.running.port}"),
                Tls(home.home / "identity" / "administrator", ALLIANCE),
                Limits(message_bytes_max=16 * 1024 * 1024),
            )
            async with large:
                for method in METHODS:
                    path = f"/{CONTRACT.full_name}/{method}"
                    error = await refusal(channel.unary_unary(path)(b"\xff\xff", timeout=DEADLINE_S))
                    assert (type(error), error.reason) == (Malformed, "MALFORMED_MESSAGE"), method
                    error = await refusal(channel.unary_unary(path)(UNKNOWN_FIELD, timeout=DEADLINE_S))
                    assert (type(error), error.reason) == (Malformed, "UNKNOWN_FIELD"), method
                    error = await refusal(large.unary_unary(path)(bytes(5 * 1024 * 1024), timeout=DEADLINE_S))
                    assert type(error) is ResourceExhausted, method
                    error = await refusal(channel.unary_unary(path)(b"", timeout=-1.0))
                    assert type(error) is DeadlineExceeded, method

    play(scene)


BAD_REQUESTS: list[tuple[str, dict[str, Any], str]] = [
    ("IssueCredential", {"kind": 0}, "BAD_CHOICE"),
    ("IssueCredential", {"kind": 77}, "BAD_CHOICE"),
    ("IssueCredential", {"kind": 4}, "BAD_KIND"),
    ("IssueCredential", {"request_id": b"short"}, "BAD_FIELD"),
    ("IssueCredential", {"role": "captain"}, "BAD_ROLE"),
    ("IssueCredential", {"role": "x" * 65}, "BAD_FIELD"),
    ("IssueCredential", {"validity_seconds": 5}, "BAD_VALIDITY"),
    ("IssueCredential", {"validity_seconds": 8 * 86_400}, "BAD_VALIDITY"),
    ("IssueCredential", {"pseudonym": "nobody"}, "UNKNOWN_PSEUDONYM"),
    ("IssueCredential", {"certification_request": b"nothing"}, "BAD_CERTIFICATION_REQUEST"),
    ("IssueCredential", {"certification_request": bytes(5_000)}, "BAD_CERTIFICATION_REQUEST"),
    ("IssueCredential", {"signing_key": None}, "BAD_SIGNING_KEY"),
    ("GetCredential", {"credential_id": b"short"}, "BAD_FIELD"),
    ("GetCredential", {"credential_id": bytes(16)}, "NO_SUCH_CREDENTIAL"),
    ("ListCredentials", {"page_size": -1}, "BAD_PAGE_SIZE"),
    ("ListCredentials", {"page_token": "x"}, "BAD_PAGE_TOKEN"),
    ("ListCredentials", {"page_token": "9" * 40}, "BAD_PAGE_TOKEN"),
    ("ListCredentials", {"kind": 77}, "BAD_CHOICE"),
    ("RevokeCredential", {"credential_id": bytes(16)}, "BAD_CHOICE"),
    ("RevokeCredential", {"credential_id": bytes(16), "reason": 1}, "NO_SUCH_CREDENTIAL"),
    ("GetAuthority", {"member_id": "x" * 41}, "BAD_FIELD"),
    ("GetMember", {"member_id": ""}, "BAD_FIELD"),
    ("GetMember", {"member_id": "nowhere"}, "NO_SUCH_MEMBER"),
    ("ListMembers", {"page_token": "1"}, "BAD_PAGE_TOKEN"),
    ("ListMembers", {"page_token": "x/anshan"}, "BAD_PAGE_TOKEN"),
    ("ListMembers", {"page_token": "999/anshan"}, "NO_SUCH_HEIGHT"),
    ("GetRankEvidence", {"document_hash": b"short"}, "BAD_FIELD"),
    ("GetRankEvidence", {"document_hash": bytes(32)}, "NO_SUCH_DOCUMENT"),
    ("ListRankEvidence", {"page_token": "-1"}, "BAD_PAGE_TOKEN"),
    ("AddRankEvidence", {}, "BAD_FIELD"),
    ("ProposeMember", {}, "NOT_DETERMINISTIC"),
    ("ProposeGrade", {}, "NOT_DETERMINISTIC"),
    ("SignProposal", {"proposal_hash": b"short"}, "BAD_FIELD"),
    ("SignProposal", {"proposal_hash": bytes(32)}, "BAD_FIELD"),
    ("GetProposal", {"proposal_hash": bytes(32)}, "NO_SUCH_PROPOSAL"),
    ("ListProposals", {"state": 77}, "BAD_CHOICE"),
]


def test_values_out_of_form(tmp_path: Path) -> None:
    async def scene() -> None:
        (home,) = hospitals(tmp_path, HOME)
        home.scribe.write()
        usual = Person("doctor").request(pb.CREDENTIAL_KIND_STAFF, home.alliance.chain_id)
        fields = {each.name: getattr(usual, each.name) for each, _ in usual.ListFields()}
        async with home.serving() as served, served.administrator() as channel:
            for method, changed, reason in BAD_REQUESTS:
                given = (fields if method == "IssueCredential" else {}) | changed
                request = getattr(pb, METHODS[method].input_type.name)(**given)
                error = await called(channel, method, request)
                assert error.reason == reason, (method, changed)
            posing = Person("thief").request(pb.CREDENTIAL_KIND_STAFF, home.alliance.chain_id)
            posing.signing_key.CopyFrom(usual.signing_key)
            error = await called(channel, "IssueCredential", posing)
            assert (isinstance(error, InvalidArgument), error.reason) == (True, "BAD_SIGNATURE")

    play(scene)
