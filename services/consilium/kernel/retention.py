"""Erasing a record: what its owner orders, and what the members that kept it certify (rule S8; promise 6).

Destroying the shred secret ends the object for everybody; deleting ciphertext frees the disk. A certificate says which of
the two happened where, and where a copy could not be reached: such a copy is opaque bytes from then on.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from consilium.kernel.consent import owner_commitment
from consilium.kernel.encoding import AtMost, Digest, Identifier, MemberId, Signature, encode
from consilium.kernel.errors import Conflict, PermissionDenied
from consilium.kernel.signing import Signer, Verifier
from consilium.kernel.transactions import OwnershipProof, RecordBody, UmbralPublicKey
from consilium.kernel.umbral import verify_ownership

ERASURE_BYTES_MAX = 4_096
"""The most bytes an order or a certificate has."""


@dataclass(frozen=True, slots=True)
class ErasureOrder:
    """The owner's word to the record's home: erase this record. It opens the salt, so it is for the home alone."""

    DOMAIN: ClassVar[str] = "consilium.erasure-order"
    record_id: Identifier
    delegating_pk: UmbralPublicKey
    salt: Digest


@dataclass(frozen=True, slots=True)
class SignedErasureOrder:
    """The order under the delegating key itself; again is no fault, for nothing is erased twice."""

    DOMAIN: ClassVar[str] = "consilium.signed-erasure-order"
    order: ErasureOrder
    ownership: OwnershipProof


@dataclass(frozen=True, slots=True)
class ErasureStatement:
    """A member's word: here the object is gone. `copies_left` are the members whose copies are still to be deleted.

    `erased_height` is the ledger's, 0 for an object that no record names.
    """

    DOMAIN: ClassVar[str] = "consilium.erasure-statement"
    member_id: MemberId
    record_id: Identifier
    ciphertext_root: Digest
    erased_height: int
    shred_secret_destroyed: bool
    copies_deleted: Annotated[tuple[MemberId, ...], AtMost(16)]
    copies_left: Annotated[tuple[MemberId, ...], AtMost(16)]


@dataclass(frozen=True, slots=True)
class ErasureCertificate:
    """The statement under the member key."""

    DOMAIN: ClassVar[str] = "consilium.erasure-certificate"
    statement: ErasureStatement
    signature: Signature


def verify_order(signed: SignedErasureOrder, record: RecordBody, chain_id: bytes) -> None:
    """Raise PermissionDenied (NOT_THE_OWNER, OTHER_RECORD) or BadSignature unless the record's owner orders its erasure."""
    order = signed.order
    if order.record_id != record.record_id:
        raise PermissionDenied("OTHER_RECORD", "The order is to erase another record.", "S8")
    if owner_commitment(order.salt, order.delegating_pk) != record.owner_commitment:
        raise PermissionDenied("NOT_THE_OWNER", "The order is not of the key that the record was written under.", "S8")
    verify_ownership(order.delegating_pk, encode(order, chain_id), signed.ownership)


def certify_erasure(statement: ErasureStatement, signer: Signer, chain_id: bytes) -> ErasureCertificate:
    """Sign with the member key what was erased."""
    return ErasureCertificate(statement, signer.sign(encode(statement, chain_id)))


def verify_erasure(
    certificate: ErasureCertificate, member_id: str, record_id: bytes, member_key: bytes, chain_id: bytes, verifier: Verifier
) -> None:
    """Raise unless this member signed (BadSignature) that this record's object is gone there (Conflict OTHER_RECORD)."""
    said = certificate.statement
    if (said.member_id, said.record_id) != (member_id, record_id):
        raise Conflict("OTHER_RECORD", f"{member_id} has certified the erasure of another record.", "S8")
    verifier.verify(member_key, encode(said, chain_id), certificate.signature)
