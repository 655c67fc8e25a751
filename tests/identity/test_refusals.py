"""What the identity service refuses besides what every service does (tests/contract): authorities, roles, values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc

from consilium.api.identity.v1 import identity_pb2 as pb
from consilium.api.identity.v1.identity_pb2_grpc import IdentityServiceStub
from consilium.kernel.errors import (
    ConsiliumError,
    InvalidArgument,
    PermissionDenied,
    Unavailable,
)
from consilium.runtime.channels import Channel
from consilium.runtime.names import Role
from consilium.runtime.tls import Tls
from tests.identity.hospital import (
    ALLIANCE,
    AWAY,
    DEADLINE_S,
    HOME,
    Person,
    Served,
    bearer,
    hospitals,
    play,
    refusal,
    with_own_authority,
)
from tests.runtime.authority import Issued

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from google.protobuf.message import Message


CONTRACT = pb.DESCRIPTOR.services_by_name["IdentityService"]
METHODS = {each.name: each for each in CONTRACT.methods}


def empty(method: str) -> Message:
    """A request in form, with nothing in it."""
    message: Message = getattr(pb, METHODS[method].input_type.name)()
    return message


async def called(channel: grpc.aio.Channel, method: str, request: Message | None = None) -> ConsiliumError:
    """What calling a method is refused with."""
    stub = IdentityServiceStub(channel)
    given = empty(method) if request is None else request
    return await refusal(getattr(stub, method)(given, timeout=DEADLINE_S))


def foreign(served: Served, path: Path, issued: Issued) -> Channel:
    """A channel with a certificate that no identity service issued, trusting the home member."""
    folder = issued.write(path)
    (folder / "authorities.pem").write_bytes((served.hospital.home / "tls" / "identity" / "authorities.pem").read_bytes())
    return served.channel(Tls(folder, ALLIANCE))


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


def test_before_the_ledger_was_read_nobody_foreign_is_let_in(tmp_path: Path) -> None:
    async def scene() -> None:
        home, away = hospitals(tmp_path, HOME, AWAY)
        async with home.serving() as served, served.service("ledger", away) as channel:
            served.driver.members.loaded.clear()
            assert (await called(channel, "GetAuthority")).reason == "STANDING_UNKNOWN"
            async with served.administrator() as own:
                await IdentityServiceStub(own).GetAuthority(pb.GetAuthorityRequest())

    play(scene)


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
                "AddAuthority": pb.AddAuthorityRequest(),
                "AddRankEvidence": pb.AddRankEvidenceRequest(),
                "SignInvitation": pb.SignInvitationRequest(),
                "ProposeChange": pb.ProposeChangeRequest(),
                "CastBallot": pb.CastBallotRequest(),
            }
            async with channel:
                for method, request in asked.items():
                    error = await called(channel, method, request)
                    assert (type(error), error.reason) == (PermissionDenied, "WRONG_ROLE"), method

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
    ("ProposeChange", {}, "NOT_DETERMINISTIC"),
    ("CastBallot", {}, "NOT_DETERMINISTIC"),
    ("GetProposal", {"proposal_id": b"short"}, "BAD_FIELD"),
    ("GetProposal", {"proposal_id": bytes(32)}, "NO_SUCH_PROPOSAL"),
    ("ListProposals", {"page_token": "x/anshan"}, "BAD_PAGE_TOKEN"),
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
