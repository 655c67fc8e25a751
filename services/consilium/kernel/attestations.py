"""What members, holders and authorities attest beside the ledger, checked against keys that stand on it (design section 8).

The ledger names each member's member key and no certificate, so that TLS rotation never touches consensus. A member's
certificate authority is therefore bound to the ledger from outside: the member key signs the digest of the authority's
certificate. Nothing else is a reason to trust an authority; who hands the signed binding over does not matter.
"""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from consilium.kernel.encoding import AtMost, Digest, MemberId, PublicKey, Signature, encode
from consilium.kernel.errors import BadSignature, FailedPrecondition
from consilium.kernel.hashing import sha256
from consilium.kernel.signing import Signer, Verifier

CERTIFICATE_BYTES_MAX = 4_096
"""The most bytes a certificate, or a request for one, may have in DER."""
MEDIA_TYPE_MAX = 80
"""The longest media type, in characters."""


@dataclass(frozen=True, slots=True)
class AuthorityBinding:
    """A member's word that a certificate is its authority's, until `not_after_ms` (milliseconds since 1970-01-01 UTC)."""

    DOMAIN: ClassVar[str] = "consilium.authority-binding"
    member_id: MemberId
    certificate_digest: Digest
    not_after_ms: int


@dataclass(frozen=True, slots=True)
class BoundAuthority:
    """An authority's certificate in DER with its binding and the member key's signature over that: what members exchange."""

    DOMAIN: ClassVar[str] = "consilium.bound-authority"
    certificate: Annotated[bytes, AtMost(CERTIFICATE_BYTES_MAX)]
    binding: AuthorityBinding
    signature: Signature


@dataclass(frozen=True, slots=True)
class KeyPossession:
    """What the holder of a signing key signs to be enrolled: which member, which key, for which certification request."""

    DOMAIN: ClassVar[str] = "consilium.key-possession"
    member_id: MemberId
    signing_key: PublicKey
    request_digest: Digest


@dataclass(frozen=True, slots=True)
class EvidenceStatement:
    """What somebody vouches for who attests a document behind a member's figures."""

    DOMAIN: ClassVar[str] = "consilium.evidence-statement"
    member_id: MemberId
    media_type: Annotated[str, AtMost(MEDIA_TYPE_MAX)]
    document_hash: Digest


def bind_authority(member_id: str, certificate: bytes, not_after_ms: int, member: Signer, chain_id: bytes) -> BoundAuthority:
    """Sign an authority's certificate (DER) with the member key."""
    binding = AuthorityBinding(member_id, sha256(certificate), not_after_ms)
    return BoundAuthority(certificate, binding, member.sign(encode(binding, chain_id)))


def verify_authority(bound: BoundAuthority, member_key: bytes, chain_id: bytes, now_ms: int, verifier: Verifier) -> None:
    """Raise unless the member of this key, as the ledger names it, stands behind the certificate now.

    Raises BadSignature: OTHER_CERTIFICATE or BAD_SIGNATURE; FailedPrecondition: BINDING_OVER. What the certificate itself
    says is for the reader of certificates to check.
    """
    if sha256(bound.certificate) != bound.binding.certificate_digest:
        raise BadSignature("OTHER_CERTIFICATE", "The binding is about another certificate.", "L1")
    verifier.verify(member_key, encode(bound.binding, chain_id), bound.signature)
    if now_ms > bound.binding.not_after_ms:
        raise FailedPrecondition("BINDING_OVER", f"The authority of {bound.binding.member_id} is bound no longer.")
