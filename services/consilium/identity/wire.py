"""What crosses the border: requests into checked values, once, and values into answers."""

from enum import IntEnum
from typing import NamedTuple, TypeVar

from consilium.api.chain.v1 import chain_pb2
from consilium.api.identity.v1 import identity_pb2 as pb
from consilium.identity.core.credentials import (
    Credential,
    CredentialKind,
    CredentialRequest,
    RevocationReason,
)
from consilium.identity.core.evidence import RankEvidence
from consilium.identity.core.recovery import RecoveryPart
from consilium.kernel.acts import says
from consilium.kernel.election import stratum_of
from consilium.kernel.encoding import encode
from consilium.kernel.errors import InvalidArgument, Malformed
from consilium.kernel.signing import PUBLIC_KEY_BYTES, SIGNATURE_BYTES
from consilium.kernel.state_values import MemberState, ProposalState
from consilium.kernel.transactions import Endorsement

PAGE_SIZE = 50
"""How many things a page holds when the caller does not say."""
PAGE_SIZE_MAX = 200
"""How many things a page holds at most."""
IDENTIFIER_BYTES, DIGEST_BYTES = 16, 32
MEMBER_ID_MAX = 40
"""The longest member id, in characters."""
NUMBER_MAX = 2**63 - 1
Kind = TypeVar("Kind", bound=IntEnum)


class Page(NamedTuple):
    """Where a list goes on, and how far."""

    start: int
    size: int


def exactly(data: bytes, length: int, what: str) -> bytes:
    """Bytes of one length. Raises Malformed: BAD_FIELD."""
    if len(data) != length:
        raise Malformed("BAD_FIELD", f"{what} has {length} bytes, not {len(data)}.", "L1")
    return data


def identifier(data: bytes, what: str) -> bytes:
    """A random id. Raises Malformed: BAD_FIELD."""
    return exactly(data, IDENTIFIER_BYTES, what)


def digest(data: bytes, what: str) -> bytes:
    """A SHA-256. Raises Malformed: BAD_FIELD."""
    return exactly(data, DIGEST_BYTES, what)


def member_id(text: str) -> str:
    """A member's id. Raises Malformed: BAD_FIELD."""
    if not 0 < len(text) <= MEMBER_ID_MAX:
        raise Malformed("BAD_FIELD", f"A member_id has 1 to {MEMBER_ID_MAX} characters.", "L1")
    return text


def choice(kind: type[Kind], number: int, what: str) -> Kind:
    """A value of an enumeration of the contract. Raises InvalidArgument: BAD_CHOICE for an unspecified or unknown one."""
    if number not in kind.__members__.values():
        allowed = ", ".join(each.name for each in kind)
        raise InvalidArgument("BAD_CHOICE", f"{what} is {number}; allowed: {allowed}.")
    return kind(number)


def page(size: int, token: str) -> Page:
    """Where to go on. Raises InvalidArgument: BAD_PAGE_SIZE or BAD_PAGE_TOKEN."""
    return Page(_number(token), page_size(size))


def page_size(size: int) -> int:
    """How many things to return. Raises InvalidArgument: BAD_PAGE_SIZE (AIP-158)."""
    if size < 0:
        raise InvalidArgument("BAD_PAGE_SIZE", "A page_size is not negative.")
    return min(size or PAGE_SIZE, PAGE_SIZE_MAX)


def members_page(size: int, token: str) -> tuple[int | None, str, int]:
    """The height of a list of members, the id after which it goes on, and how many; raises as `page`."""
    height, _, after = token.partition("/")
    if token and not (height and after):
        raise _bad_token()
    return (_number(height) if token else None), after, page_size(size)


def signature(given: chain_pb2.Signature, what: str) -> Endorsement:
    """A key and a signature. Raises Malformed: BAD_FIELD."""
    public_key = exactly(given.public_key, PUBLIC_KEY_BYTES, f"The public_key of {what}")
    return Endorsement(public_key, exactly(given.signature, SIGNATURE_BYTES, f"The signature of {what}"))


def credential_request(request: pb.IssueCredentialRequest, tls_key: bytes, signing_key: bytes | None) -> CredentialRequest:
    """The request, once both keys were shown to be the holder's. Raises Malformed (BAD_FIELD) or as `choice`."""
    if max(len(request.role), len(request.pseudonym)) > 64:  # noqa: PLR2004  the bound of both fields
        raise Malformed("BAD_FIELD", "A role and a pseudonym have at most 64 characters.", "L1")
    return CredentialRequest(
        identifier(request.request_id, "A request_id"),
        choice(CredentialKind, request.kind, "kind"),
        tls_key,
        signing_key,
        request.role,
        request.validity_seconds,
        request.pseudonym,
    )


def credential_message(credential: Credential, now_ms: int) -> pb.Credential:
    """A credential as it stands; the numbers of its enumerations are those of the contract."""
    terms, revocation = credential.terms, credential.revocation
    return pb.Credential(
        credential_id=terms.credential_id,
        kind=terms.kind,  # type: ignore[arg-type]
        pseudonym=terms.name,
        signing_key=terms.signing_key or b"",
        role=terms.role,
        certificate_chain=[credential.certificate],
        not_before_ms=terms.not_before_ms,
        not_after_ms=terms.not_after_ms,
        state=credential.state_at(now_ms),  # type: ignore[arg-type]
        revocation_reason=revocation.reason if revocation else 0,  # type: ignore[arg-type]
    )


def revocation_reason(number: int) -> RevocationReason:
    """Why a credential ends. Raises InvalidArgument: BAD_CHOICE."""
    return choice(RevocationReason, number, "reason")


def member_message(state: MemberState) -> pb.Member:
    """A member as the ledger knows it."""
    profile = state.profile
    return pb.Member(
        member_id=profile.member_id,
        member_key=profile.member_key,
        consensus_key=profile.consensus_key,
        owner_group=profile.owner_group,
        grade=profile.grade.name,
        grade_expires_height=state.grade_expires_height,
        stratum=stratum_of(profile.grade),
        score=state.score,
        tombstoned=state.tombstoned,
        state=state.status,  # type: ignore[arg-type]
    )


def evidence(given: pb.RankEvidence) -> RankEvidence:
    """An attested document. Raises Malformed: BAD_FIELD."""
    attestation = signature(given.attestation, "the attestation")
    if len(given.media_type) > 80:  # noqa: PLR2004  the bound of the field
        raise Malformed("BAD_FIELD", "A media_type has at most 80 characters.", "L1")
    return RankEvidence(
        digest(given.document_hash, "A document_hash"),
        member_id(given.member_id),
        given.media_type,
        attestation.public_key,
        attestation.signature,
    )


def evidence_message(kept: RankEvidence, document: bytes = b"") -> pb.RankEvidence:
    """An attested document, without its content in lists."""
    return pb.RankEvidence(
        document_hash=kept.document_hash,
        member_id=kept.member_id,
        media_type=kept.media_type,
        document=document,
        attestation=chain_pb2.Signature(public_key=kept.attester_key, signature=kept.attestation),
    )


def proposal_message(proposal_id: bytes, state: ProposalState) -> pb.Proposal:
    """A proposal as the ledger knows it."""
    return pb.Proposal(
        proposal_id=proposal_id,
        author_member_id=state.author,
        act=state.body.act.KIND,  # type: ignore[arg-type]
        says=says(state.body.act),
        evidence_digest=state.body.evidence_digest,
        opened_height=state.opened_height,
        decide_by_height=state.body.decide_by,
        state=state.status,  # type: ignore[arg-type]
        ballots=[pb.Ballot(member_id=each.member_id, yes=each.yes) for each in state.ballots],
        closed_height=state.closed_height,
        outcome="" if state.outcome is None else state.outcome.name,
    )


def wanted(number: int, kind: type[Kind], what: str) -> Kind | None:
    """A filter: None for all. Raises InvalidArgument: BAD_CHOICE."""
    return None if number == 0 else choice(kind, number, what)


def _number(text: str) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdecimal() and len(text) < len(str(NUMBER_MAX))):
        raise _bad_token()
    return int(text)


def _bad_token() -> InvalidArgument:
    return InvalidArgument("BAD_PAGE_TOKEN", "The page_token is not one that this service gave.")


def recovery_message(part: RecoveryPart | None, chain_id: bytes) -> pb.GetRecoveryResponse:
    """What a member has done in a recovery; empty for nothing."""
    if part is None:
        return pb.GetRecoveryResponse()
    found = pb.GetRecoveryResponse(epoch=part.epoch, report=encode(part.report, chain_id), reports=part.reports)
    if part.draft is not None:
        found.draft, found.signature = encode(part.draft, chain_id), part.signature or b""
    return found
