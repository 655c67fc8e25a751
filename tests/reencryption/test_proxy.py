"""A holder's acts on the real library: fragments in, capsules transformed, fragments given up (S3 to S6)."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from consilium.kernel.codes import Code
from consilium.kernel.consent import fragment_digest, verify_release
from consilium.kernel.encoding import encode
from consilium.kernel.errors import BadSignature, Conflict, FailedPrecondition, Malformed, PermissionDenied
from consilium.kernel.hashing import ZERO_DIGEST
from consilium.kernel.light_client import VerifiedTransaction
from consilium.kernel.parameters import Parameters
from consilium.kernel.signing import Ed25519Verifier
from consilium.kernel.transactions import Payload, Purpose, ReceiptBody, ReceiptKind, RequestBody
from consilium.kernel.umbral import Sealed, seal, verify_cfrag
from consilium.reencryption.core.proxy import grant_access, reencrypt_capsule, release_receipt, revoke_access
from consilium.reencryption.core.release import LedgerView, ReleasePermit, judge_release
from tests.client.cases import (
    ASKED,
    CHAIN,
    HOLDERS,
    MEMBER_KEYS,
    REQUEST_HASH,
    SIGNERS,
    granted,
    owner,
    released,
    state_of,
)

GRANT = granted()
SEALED = seal(owner().delegating_pk, b"k" * 64)


def permit_for(holder: str, sealed: Sealed = SEALED) -> ReleasePermit:
    body = RequestBody(GRANT.terms.grant_id, b"R" * 16, b"s" * 32, Purpose.TREATMENT, b"e" * 32)
    payload = Payload(b"r" * 32, b"i" * 16, 500, body)
    request = VerifiedTransaction(ASKED, REQUEST_HASH, payload.author, payload, Code.GRANTED)
    view = LedgerView(ASKED + 2, ASKED + 2, 10, state_of(GRANT), sealed.digest, None)
    return judge_release(holder, request, sealed.digest, view, Parameters())


def test_holder_takes_the_fragment_the_grant_commits_to() -> None:
    """S3: the commitment at the holder's own place."""
    kfrag = grant_access("cedar", GRANT.kfrags[1], state_of(GRANT))
    assert kfrag.commitment == GRANT.terms.kfrag_commitments[1]


def test_another_holders_fragment_is_refused() -> None:
    """S3, S4: two fragments with one holder would be two steps towards the key."""
    with pytest.raises(Conflict, match="OTHER_FRAGMENT"):
        grant_access("cedar", GRANT.kfrags[0], state_of(GRANT))


def test_fragment_the_ledger_does_not_commit_to_is_refused() -> None:
    """S3: a second set of fragments for the same keys stands on no grant."""
    with pytest.raises(Conflict, match="OTHER_FRAGMENT"):
        grant_access("cedar", granted().kfrags[1], state_of(GRANT))


def test_self_made_fragment_is_refused() -> None:
    """S4: signed by another patient's key."""
    with pytest.raises(BadSignature, match="FOREIGN_KFRAG"):
        grant_access("cedar", granted(owner("cardiology")).kfrags[1], state_of(GRANT))


@pytest.mark.parametrize("data", [b"", b"\0" * 310, b"\1" * 309, bytes(4096)])
def test_bytes_that_are_no_fragment_are_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        grant_access("cedar", data, state_of(GRANT))


def test_fragment_for_a_member_the_grant_does_not_name_is_refused() -> None:
    """S4: only the named holders hold."""
    with pytest.raises(PermissionDenied, match="NOT_A_HOLDER"):
        grant_access("birch", GRANT.kfrags[1], state_of(GRANT))


def test_fragment_of_a_revoked_grant_is_refused() -> None:
    """S6: nothing is taken in once the grant has ended."""
    with pytest.raises(FailedPrecondition, match="REVOKED"):
        grant_access("cedar", GRANT.kfrags[1], state_of(GRANT, revoked_height=11))


def test_release_is_a_good_fragment_under_a_good_signature() -> None:
    """S5: transforms, verifies, signs (capsule, grant, h_a, H)."""
    [release] = released(GRANT, SEALED, "cedar")
    verify_release(release, MEMBER_KEYS["cedar"], CHAIN, Ed25519Verifier())
    terms = GRANT.terms
    verify_cfrag(release.cfrag, SEALED, terms.verifying_pk, terms.delegating_pk, terms.receiving_pk)
    said = release.statement
    assert (said.capsule_digest, said.grant_id) == (SEALED.digest, terms.grant_id)
    assert (said.request_height, said.released_height) == (ASKED, ASKED + 2)
    assert (said.holder, said.request_hash) == ("cedar", REQUEST_HASH)


def test_permit_for_one_capsule_opens_no_other() -> None:
    """S5: the capsule's digest is checked where it is used, not only where it was judged."""
    other = seal(owner().delegating_pk, b"k" * 64)
    kfrag = grant_access("cedar", GRANT.kfrags[1], state_of(GRANT))
    with pytest.raises(PermissionDenied, match="WRONG_CAPSULE"):
        reencrypt_capsule(permit_for("cedar"), kfrag, other.capsule, SIGNERS["cedar"], CHAIN)


def test_permit_of_one_grant_uses_no_other_grants_fragment() -> None:
    """S5: a fragment of an older grant to the same recipient would open it, but stands on another grant."""
    older = granted()
    kfrag = grant_access("cedar", older.kfrags[1], state_of(older))
    with pytest.raises(Conflict, match="OTHER_FRAGMENT"):
        reencrypt_capsule(permit_for("cedar"), kfrag, SEALED.capsule, SIGNERS["cedar"], CHAIN)


def test_one_capsule_has_one_name_whatever_ciphertext_stands_beside_it() -> None:
    """S3: else a recipient could register another's capsule as a record of its own and fake the audit line."""
    assert dataclasses.replace(SEALED, ciphertext=b"another").digest == SEALED.digest
    assert seal(owner().delegating_pk, b"k" * 64).digest != SEALED.digest


@pytest.mark.parametrize(
    "name", ["holder", "grant_id", "request_hash", "capsule_digest", "request_height", "released_height"]
)
def test_signature_covers_every_part_of_the_statement(name: str) -> None:
    """S5: a holder can deny no part of what it signed, and nobody can move it elsewhere."""
    [release] = released(GRANT, SEALED, "cedar")
    value = getattr(release.statement, name)
    other: Any = value + 1 if isinstance(value, int) else value[:-1] + ("x" if isinstance(value, str) else b"x")
    changed = dataclasses.replace(release, statement=dataclasses.replace(release.statement, **{name: other}))
    with pytest.raises(BadSignature):
        verify_release(changed, MEMBER_KEYS["cedar"], CHAIN, Ed25519Verifier())


def test_signature_holds_on_its_own_chain_only() -> None:
    [release] = released(GRANT, SEALED, "cedar")
    with pytest.raises(BadSignature):
        verify_release(release, MEMBER_KEYS["cedar"], ZERO_DIGEST, Ed25519Verifier())


def test_statement_about_another_fragment_is_refused() -> None:
    """S5: the holder signed for one fragment; another beside its signature is somebody else's doing."""
    first, second = released(GRANT, SEALED, "cedar", "damson")
    swapped = dataclasses.replace(first, cfrag=second.cfrag)
    assert swapped.statement.fragment_digest != fragment_digest(swapped.cfrag)
    with pytest.raises(Conflict, match="OTHER_FRAGMENT"):
        verify_release(swapped, MEMBER_KEYS["cedar"], CHAIN, Ed25519Verifier())


def test_release_survives_the_wire() -> None:
    [release] = released(GRANT, SEALED, "cedar")
    assert len(encode(release, CHAIN)) < 1_024


def test_receipt_says_what_was_released() -> None:
    """S5, promise 8: the receipt on the ledger names the request it answers."""
    [release] = released(GRANT, SEALED, "cedar")
    assert release_receipt(release.statement) == ReceiptBody(
        ReceiptKind.RELEASE, "cedar", GRANT.terms.grant_id, REQUEST_HASH, ASKED + 2
    )


def test_deletion_receipt_follows_a_revocation_only() -> None:
    """S6: holders delete and sign receipts once the ledger says so, not before."""
    receipt = revoke_access("damson", state_of(GRANT, revoked_height=120), 121)
    assert receipt == ReceiptBody(ReceiptKind.DELETION, "damson", GRANT.terms.grant_id, ZERO_DIGEST, 121)
    with pytest.raises(FailedPrecondition, match="NOT_REVOKED"):
        revoke_access("damson", state_of(GRANT), 121)
    with pytest.raises(PermissionDenied, match="NOT_A_HOLDER"):
        revoke_access("birch", state_of(GRANT, revoked_height=120), 121)


def test_only_the_release_rule_makes_permits() -> None:
    """S5: `ReleasePermit(` stands in one place of the product."""
    services = Path(__file__).parents[2] / "services" / "consilium"
    makers = [
        path.relative_to(services).as_posix()
        for path in sorted(services.rglob("*.py"))
        if re.search(r"\bReleasePermit\(", path.read_text())
    ]
    assert makers == ["reencryption/core/release.py"]


def test_all_holders_release_different_fragments() -> None:
    releases = released(GRANT, SEALED, *HOLDERS)
    assert len({each.cfrag for each in releases}) == len(HOLDERS)
