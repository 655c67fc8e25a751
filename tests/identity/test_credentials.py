"""Who gets which credential, for how long, and how it ends."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from consilium.identity.core.credentials import (
    SKEW_MS,
    VALIDITY_S_MAX,
    Credential,
    CredentialKind,
    CredentialRequest,
    CredentialState,
    CredentialTerms,
    Occasion,
    Policy,
    RevocationReason,
    issue_credential,
    judge_enrolment,
    judge_governance,
    needs_renewal,
    revoke_credential,
    service_terms,
    verify_possession,
)
from consilium.kernel.attestations import KeyPossession
from consilium.kernel.encoding import encode
from consilium.kernel.errors import BadSignature, InvalidArgument, NotFound, PermissionDenied
from consilium.kernel.hashing import ZERO_DIGEST, sha256
from consilium.kernel.signing import Ed25519Signer, Ed25519Verifier

NOW_MS = 1_800_000_000_000
DAY_S = 86_400
KEY = Ed25519Signer.from_seed(b"k" * 32)
CHAIN_ID = sha256(b"chain")
POLICY = Policy(
    "anshan",
    ("physician",),
    {CredentialKind.STAFF: 7 * DAY_S, CredentialKind.PATIENT: 90 * DAY_S, CredentialKind.APPLICATION: DAY_S},
)
OCCASION = Occasion(b"i" * 16, "ab" * 16, NOW_MS, NOW_MS + 365 * DAY_S * 1_000)
REQUEST = CredentialRequest(b"r" * 16, CredentialKind.STAFF, b"spki", KEY.public_key, "physician", DAY_S, "")


def issued(request: CredentialRequest, predecessor: Credential | None = None, **occasion: Any) -> CredentialTerms:
    """The terms for a request."""
    return issue_credential(request, POLICY, predecessor, replace(OCCASION, **occasion))


def credential(**changed: Any) -> Credential:
    """A credential with these terms."""
    return Credential(replace(issued(REQUEST), **changed), b"certificate", ZERO_DIGEST, None)


def test_issue_credential() -> None:
    terms = issued(REQUEST)
    assert (terms.name, terms.role, terms.signing_key) == ("ab" * 16, "physician", KEY.public_key)
    assert (terms.not_before_ms, terms.not_after_ms) == (NOW_MS - SKEW_MS, NOW_MS + DAY_S * 1_000)


def test_an_application_is_named_as_one_and_signs_nothing() -> None:
    request = replace(REQUEST, kind=CredentialKind.APPLICATION, signing_key=None)
    assert issued(request).name == f"application.{'ab' * 16}"
    with pytest.raises(InvalidArgument, match="BAD_SIGNING_KEY"):
        issued(replace(request, signing_key=KEY.public_key))


def test_no_certificate_outlives_policy_house_or_authority() -> None:
    longest = replace(REQUEST, kind=CredentialKind.PATIENT, role="", validity_s=0)
    assert issued(longest).not_after_ms == NOW_MS + VALIDITY_S_MAX * 1_000
    assert issued(longest, authority_ends_ms=NOW_MS + 5_000).not_after_ms == NOW_MS + 5_000
    with pytest.raises(InvalidArgument, match="BAD_VALIDITY"):
        issued(replace(REQUEST, validity_s=7 * DAY_S + 1))
    assert service_terms("ledger", 90 * DAY_S, OCCASION).not_after_ms == NOW_MS + VALIDITY_S_MAX * 1_000


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"kind": CredentialKind.SERVICE, "role": ""}, "BAD_KIND"),
        ({"role": "captain"}, "BAD_ROLE"),
        ({"role": ""}, "BAD_ROLE"),
        ({"kind": CredentialKind.PATIENT}, "BAD_ROLE"),
        ({"signing_key": None}, "BAD_SIGNING_KEY"),
        ({"validity_s": 59}, "BAD_VALIDITY"),
    ],
)
def test_what_is_never_issued(changed: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidArgument, match=reason):
        issued(replace(REQUEST, **changed))


def test_a_pseudonym_is_continued_by_its_own_kind_alone() -> None:
    following = replace(REQUEST, pseudonym="known")
    assert issued(following, credential(name="known")).name == "known"
    for predecessor in (None, credential(name="known", kind=CredentialKind.SERVICE)):
        with pytest.raises(NotFound, match="UNKNOWN_PSEUDONYM"):
            issued(following, predecessor)


def test_roles_that_enrol_and_govern() -> None:
    administrator, registrar, doctor = credential(role="administrator"), credential(role="registrar"), credential()
    judge_enrolment(administrator, CredentialKind.STAFF)
    judge_enrolment(registrar, CredentialKind.PATIENT)
    judge_governance(administrator)
    for holder in (registrar, doctor, None):
        with pytest.raises(PermissionDenied, match="WRONG_ROLE"):
            judge_enrolment(holder, CredentialKind.STAFF)
        with pytest.raises(PermissionDenied, match="WRONG_ROLE"):
            judge_governance(holder)


def test_possession_is_of_this_key_for_this_request_at_this_member() -> None:
    signature = KEY.sign(encode(KeyPossession("anshan", KEY.public_key, sha256(b"csr")), CHAIN_ID))
    verify_possession("anshan", KEY.public_key, b"csr", signature, CHAIN_ID, Ed25519Verifier())
    for member_id, csr in (("benxi", b"csr"), ("anshan", b"another")):
        with pytest.raises(BadSignature):
            verify_possession(member_id, KEY.public_key, csr, signature, CHAIN_ID, Ed25519Verifier())


def test_a_revoked_credential_stays_so() -> None:
    active = credential()
    ended = revoke_credential(active, RevocationReason.KEY_COMPROMISE, NOW_MS)
    assert revoke_credential(ended, RevocationReason.ROLE_ENDED, NOW_MS + 1) == ended
    ends_ms = active.terms.not_after_ms
    assert active.state_at(ends_ms) is CredentialState.ACTIVE
    assert active.state_at(ends_ms + 1) is CredentialState.EXPIRED
    assert ended.state_at(ends_ms + 1) is CredentialState.REVOKED


def test_renewal_is_due_in_the_last_third() -> None:
    assert not needs_renewal(0, 30, 20)
    assert needs_renewal(0, 30, 21)
