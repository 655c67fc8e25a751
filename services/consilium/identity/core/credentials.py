"""What a credential is, who gets one, and how it ends (design section 8).

A credential is a certificate for connections and, for people, the Ed25519 key they sign transactions with. Its id is the
certificate's serial number. It names nobody: `spiffe://<alliance>/member/<member>/<staff|patient>/<pseudonym>`, and an
application stands among the services as `application.<pseudonym>`. Roles are the member's own business and stand in no
certificate.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Annotated, ClassVar

from consilium.kernel.attestations import CERTIFICATE_BYTES_MAX, KeyPossession
from consilium.kernel.encoding import AtMost, Digest, Identifier, PublicKey, encode
from consilium.kernel.errors import InvalidArgument, NotFound, PermissionDenied
from consilium.kernel.hashing import sha256
from consilium.kernel.membership import APPLICATION_PREFIX
from consilium.kernel.signing import Verifier

ADMINISTRATOR, REGISTRAR = "administrator", "registrar"
"""The two roles with a meaning here: one enrols and governs, the other enrols patients alone."""
SKEW_MS = 600_000
"""How long before its issue a certificate begins, for clocks that are behind (reliability.md section 5)."""
VALIDITY_S_MAX = 30 * 86_400
"""No certificate is valid for longer, in seconds (reliability.md section 7)."""
VALIDITY_S_MIN = 60
"""No certificate is issued for less, in seconds."""
RENEWAL_PARTS = 3
"""A service's certificate is replaced when less than this part of its validity is left: a third."""


class CredentialKind(IntEnum):
    """What the holder of a credential is; the numbers are those of the contract."""

    STAFF = 1
    PATIENT = 2
    APPLICATION = 3
    SERVICE = 4


class CredentialState(IntEnum):
    """Where a credential stands in its life; the numbers are those of the contract."""

    ACTIVE = 1
    EXPIRED = 2
    REVOKED = 3


class RevocationReason(IntEnum):
    """Why a credential ends; the numbers are those of the contract."""

    KEY_COMPROMISE = 1
    ROLE_ENDED = 2
    SUPERSEDED = 3


@dataclass(frozen=True, slots=True)
class CredentialRequest:
    """What somebody asks a credential for. `pseudonym` is "" for a fresh one, `validity_s` 0 for the longest allowed.

    `tls_key` is the public key for connections as a DER SubjectPublicKeyInfo, whose possession was shown.
    """

    DOMAIN: ClassVar[str] = "consilium.credential-request"
    request_id: Identifier
    kind: CredentialKind
    tls_key: Annotated[bytes, AtMost(CERTIFICATE_BYTES_MAX)]
    signing_key: PublicKey | None
    role: Annotated[str, AtMost(64)]
    validity_s: int
    pseudonym: Annotated[str, AtMost(64)]


@dataclass(frozen=True, slots=True)
class CredentialTerms:
    """What is certified: `name` is the last part of the certificate's URI; times in milliseconds since 1970-01-01 UTC."""

    credential_id: Identifier
    kind: CredentialKind
    name: Annotated[str, AtMost(64)]
    role: Annotated[str, AtMost(64)]
    signing_key: PublicKey | None
    not_before_ms: int
    not_after_ms: int


@dataclass(frozen=True, slots=True)
class Revocation:
    """When a credential ended, and why."""

    revoked_ms: int
    reason: RevocationReason


@dataclass(frozen=True, slots=True)
class Credential:
    """Terms under a certificate (DER); `request_digest` is of the request it answers."""

    DOMAIN: ClassVar[str] = "consilium.credential"
    terms: CredentialTerms
    certificate: Annotated[bytes, AtMost(CERTIFICATE_BYTES_MAX)]
    request_digest: Digest
    revocation: Revocation | None

    def state_at(self, now_ms: int) -> CredentialState:
        """Where the credential stands; a revoked one stays revoked."""
        if self.revocation is not None:
            return CredentialState.REVOKED
        return CredentialState.EXPIRED if now_ms > self.terms.not_after_ms else CredentialState.ACTIVE


@dataclass(frozen=True, slots=True)
class Policy:
    """What a member allows: its words for roles, and the longest validity of each kind in seconds."""

    member_id: str
    roles: tuple[str, ...]
    validity_s_max: Mapping[CredentialKind, int]


@dataclass(frozen=True, slots=True)
class Occasion:
    """What a credential is issued with: a random id, a random pseudonym in case none is continued, and the times.

    Now, and the end of the authority that issues, which no certificate outlives; in milliseconds since 1970-01-01 UTC.
    """

    credential_id: bytes
    pseudonym: str
    now_ms: int
    authority_ends_ms: int


def verify_possession(
    member_id: str, signing_key: bytes, certification_request: bytes, signature: bytes, chain_id: bytes, verifier: Verifier
) -> None:
    """Raise BadSignature unless whoever asks holds the signing key too, and asks this member with it."""
    statement = KeyPossession(member_id, signing_key, sha256(certification_request))
    verifier.verify(signing_key, encode(statement, chain_id), signature)


def judge_enrolment(holder: Credential | None, kind: CredentialKind) -> None:
    """Raise PermissionDenied (WRONG_ROLE) unless a caller with this credential may issue or revoke that kind."""
    role = "" if holder is None else holder.terms.role
    if role == ADMINISTRATOR or (role == REGISTRAR and kind is CredentialKind.PATIENT):
        return
    raise PermissionDenied(
        "WRONG_ROLE", f"Only an administrator may do this for kind {kind.name}, or a registrar for PATIENT."
    )


def judge_governance(holder: Credential | None) -> None:
    """Raise PermissionDenied (WRONG_ROLE) unless the caller's credential is an administrator's."""
    if holder is None or holder.terms.role != ADMINISTRATOR:
        raise PermissionDenied("WRONG_ROLE", "Only an administrator of this member may do this.")


def issue_credential(
    request: CredentialRequest, policy: Policy, predecessor: Credential | None, occasion: Occasion
) -> CredentialTerms:
    """The terms of a new credential; `predecessor` is the latest one under the pseudonym asked for.

    Raises InvalidArgument: BAD_KIND, BAD_ROLE, BAD_SIGNING_KEY or BAD_VALIDITY; NotFound: UNKNOWN_PSEUDONYM.
    """
    _check_request(request, policy)
    longest = min(policy.validity_s_max[request.kind], VALIDITY_S_MAX)
    validity_s = request.validity_s or longest
    if not VALIDITY_S_MIN <= validity_s <= longest:
        allowed = f"{VALIDITY_S_MIN} to {longest}"
        raise InvalidArgument("BAD_VALIDITY", f"The member's policy allows {request.kind.name} {allowed} seconds.")
    name = _name(request, predecessor, occasion)
    return _terms(request.kind, name, request.role, request.signing_key, validity_s, occasion)


def service_terms(service: str, validity_s: int, occasion: Occasion) -> CredentialTerms:
    """The terms for one of the member's own services."""
    return _terms(CredentialKind.SERVICE, service, "", None, min(validity_s, VALIDITY_S_MAX), occasion)


def revoke_credential(credential: Credential, reason: RevocationReason, now_ms: int) -> Credential:
    """The credential, ended; one that has ended stays as it is."""
    if credential.revocation is not None:
        return credential
    return replace(credential, revocation=Revocation(now_ms, reason))


def needs_renewal(not_before_ms: int, not_after_ms: int, now_ms: int) -> bool:
    """Whether less than a third of a certificate's validity is left."""
    return (not_after_ms - now_ms) * RENEWAL_PARTS < not_after_ms - not_before_ms


def _terms(
    kind: CredentialKind, name: str, role: str, signing_key: bytes | None, validity_s: int, occasion: Occasion
) -> CredentialTerms:
    begins_ms = occasion.now_ms - SKEW_MS
    ends_ms = min(occasion.now_ms + validity_s * 1_000, occasion.authority_ends_ms)
    return CredentialTerms(occasion.credential_id, kind, name, role, signing_key, begins_ms, ends_ms)


def _check_request(request: CredentialRequest, policy: Policy) -> None:
    kind = request.kind
    if kind not in policy.validity_s_max:
        raise InvalidArgument("BAD_KIND", f"Credentials of kind {kind.name} are not issued on request.")
    if (request.signing_key is None) != (kind is CredentialKind.APPLICATION):
        raise InvalidArgument("BAD_SIGNING_KEY", "A person has a signing key with proof of possession, an application none.")
    roles = ("",) if kind is CredentialKind.PATIENT else (ADMINISTRATOR, REGISTRAR, *policy.roles)
    if request.role not in roles:
        words = ", ".join(roles) if len(roles) > 1 else "none"
        raise InvalidArgument("BAD_ROLE", f"The roles of a holder of kind {kind.name} are: {words}.")


def _name(request: CredentialRequest, predecessor: Credential | None, occasion: Occasion) -> str:
    """The pseudonym continued, or the one drawn; an application's behind its prefix."""
    prefix = APPLICATION_PREFIX if request.kind is CredentialKind.APPLICATION else ""
    if not request.pseudonym:
        return prefix + occasion.pseudonym
    if predecessor is None or predecessor.terms.kind is not request.kind:
        raise NotFound("UNKNOWN_PSEUDONYM", f"No credential of kind {request.kind.name} has that pseudonym here.")
    return predecessor.terms.name
