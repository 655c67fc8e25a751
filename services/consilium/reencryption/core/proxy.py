"""A holder's three acts: take a key fragment in, transform a capsule, give the fragment up (rules S3 to S6).

Each is judged by the ledger: the grant names the holder and commits to its fragment, a `ReleasePermit` stands before every
transformation, a revocation before every deletion. Left out: where fragments are kept, and sending receipts.
"""

from consilium.kernel.consent import Release, ReleaseStatement, fragment_digest
from consilium.kernel.encoding import encode
from consilium.kernel.errors import Conflict, FailedPrecondition, PermissionDenied
from consilium.kernel.hashing import ZERO_DIGEST
from consilium.kernel.signing import Signer
from consilium.kernel.state_values import GrantState
from consilium.kernel.transactions import GrantTerms, ReceiptBody, ReceiptKind
from consilium.kernel.umbral import Sealed, VerifiedKeyFrag, reencrypt, verify_cfrag, verify_kfrag
from consilium.reencryption.core.release import ReleasePermit


def grant_access(holder: str, kfrag: bytes, grant: GrantState) -> VerifiedKeyFrag:
    """The key fragment an owner handed to this holder, once it is the one the grant commits to (S3, S4).

    Raises PermissionDenied NOT_A_HOLDER, FailedPrecondition REVOKED, Conflict OTHER_FRAGMENT, and as `verify_kfrag`.
    """
    if grant.revoked_height is not None:
        raise FailedPrecondition("REVOKED", f"The grant was revoked at height {grant.revoked_height}.", "S6")
    terms = grant.terms
    verified = verify_kfrag(kfrag, terms.verifying_pk, terms.delegating_pk, terms.receiving_pk)
    _check_place(holder, verified, terms)
    return verified


def reencrypt_capsule(
    permit: ReleasePermit, kfrag: VerifiedKeyFrag, capsule: bytes, signer: Signer, chain_id: bytes
) -> Release:
    """Transform the permitted capsule, check the work, and sign what is released (S5). `signer` holds the member key.

    Raises PermissionDenied WRONG_CAPSULE for another capsule than the permit's, Conflict OTHER_FRAGMENT for another
    grant's key fragment.
    """
    sealed = Sealed(capsule, ciphertext=b"")  # what the capsule protects never comes here
    if sealed.digest != permit.capsule_digest:
        raise PermissionDenied("WRONG_CAPSULE", "The permit is for another capsule.", "S5")
    terms = permit.terms
    _check_place(permit.holder, kfrag, terms)
    cfrag = reencrypt(sealed, kfrag).to_bytes()
    verify_cfrag(cfrag, sealed, terms.verifying_pk, terms.delegating_pk, terms.receiving_pk)
    statement = _statement(permit, cfrag)
    return Release(cfrag, statement, signer.sign(encode(statement, chain_id)))


def release_receipt(statement: ReleaseStatement) -> ReceiptBody:
    """What the holder puts on the ledger about a release; the patient's report is made of these (S5, promise 8)."""
    return ReceiptBody(
        ReceiptKind.RELEASE, statement.holder, statement.grant_id, statement.request_hash, statement.released_height
    )


def revoke_access(holder: str, grant: GrantState, height: int) -> ReceiptBody:
    """What the holder puts on the ledger once it has deleted its key fragment; `height` is its own (S6).

    Raises PermissionDenied NOT_A_HOLDER and FailedPrecondition NOT_REVOKED. Delete first, then sign.
    """
    if holder not in grant.terms.holders:
        raise PermissionDenied("NOT_A_HOLDER", f"{holder} holds no key fragment of this grant.", "S6")
    if grant.revoked_height is None:
        raise FailedPrecondition("NOT_REVOKED", "The grant stands; its key fragments are still needed.", "S6")
    return ReceiptBody(ReceiptKind.DELETION, holder, grant.terms.grant_id, ZERO_DIGEST, height)


def _statement(permit: ReleasePermit, cfrag: bytes) -> ReleaseStatement:
    return ReleaseStatement(
        permit.holder,
        permit.terms.grant_id,
        permit.request_hash,
        permit.capsule_digest,
        fragment_digest(cfrag),
        permit.request_height,
        permit.released_height,
    )


def _check_place(holder: str, kfrag: VerifiedKeyFrag, terms: GrantTerms) -> None:
    """The fragment is the one the grant commits to at this holder's place; nobody works with another's."""
    if holder not in terms.holders:
        raise PermissionDenied("NOT_A_HOLDER", f"{holder} holds no key fragment of this grant.", "S4")
    if kfrag.commitment != terms.kfrag_commitments[terms.holders.index(holder)]:
        raise Conflict("OTHER_FRAGMENT", f"The grant commits to another key fragment for {holder}.", "S3")
