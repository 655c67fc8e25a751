"""What a member certifies when it has erased an object (promise 6). Pure.

Destroying the shred secret ends the object for everybody; deleting ciphertext frees the disk. The certificate says which of
the two happened where, and where a copy could not be reached: such a copy is opaque bytes from then on.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from consilium.kernel.encoding import AtMost, Digest, Identifier, MemberId, Signature, encode
from consilium.kernel.signing import Signer


@dataclass(frozen=True, slots=True)
class ErasureStatement:
    """A member's word: here the object is gone. `copies_left` are the members whose copies are still to be deleted."""

    DOMAIN: ClassVar[str] = "consilium.erasure-statement"
    member_id: MemberId
    record_id: Identifier
    ciphertext_root: Digest
    shred_secret_destroyed: bool
    copies_deleted: Annotated[tuple[MemberId, ...], AtMost(16)]
    copies_left: Annotated[tuple[MemberId, ...], AtMost(16)]


@dataclass(frozen=True, slots=True)
class ErasureCertificate:
    """The statement under the member key."""

    DOMAIN: ClassVar[str] = "consilium.erasure-certificate"
    statement: ErasureStatement
    signature: Signature


def certify_erasure(statement: ErasureStatement, signer: Signer, chain_id: bytes) -> ErasureCertificate:
    """Sign with the member key what was erased."""
    return ErasureCertificate(statement, signer.sign(encode(statement, chain_id)))
