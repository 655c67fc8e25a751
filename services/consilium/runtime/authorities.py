"""Whether a member stands behind a certificate authority: who may say whom a connection reaches (design section 8).

The ledger names member keys; a member key signs the digest of its authority's certificate (`kernel.attestations`); here the
certificate itself is read as well. So whoever hands a binding over, an identity service or a file, need not be trusted.
"""

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec

from consilium.kernel.attestations import BoundAuthority, verify_authority
from consilium.kernel.errors import InvalidArgument
from consilium.kernel.signing import Verifier
from consilium.runtime.names import authority_uri

AUTHORITY_BYTES_MAX = 8_192
"""The most bytes a bound authority may have."""
NO_CERTIFICATE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What reading a stranger's certificate may raise: most of it is no ValueError, and one missed would end who reads."""


def verify_bound(
    bound: BoundAuthority, member_key: bytes, alliance: str, chain_id: bytes, now_ms: int, verifier: Verifier
) -> x509.Certificate:
    """The certificate, once the member stands behind it, for no longer than it lasts, and it is its authority's now.

    Raises as `verify_authority`; InvalidArgument: BAD_AUTHORITY.
    """
    verify_authority(bound, member_key, chain_id, now_ms, verifier)
    member_id = bound.binding.member_id
    certificate, ends_ms = read_authority(bound.certificate, "the binding", alliance, member_id)
    # Who tells authorities apart by the binding's end, as who keeps a few of many does, tells them by a true one.
    if max(now_ms, bound.binding.not_after_ms) > ends_ms:
        raise InvalidArgument("BAD_AUTHORITY", f"The certificate in the binding is of no authority of {member_id} now.")
    return certificate


def read_authority(der: bytes, where: str, alliance: str, member_id: str) -> tuple[x509.Certificate, int]:
    """A certificate that lies in `where`, if it is that of an authority of a member; and when it ends, in milliseconds.

    Raises InvalidArgument: BAD_AUTHORITY.
    """
    try:
        certificate = x509.load_der_x509_certificate(der)
        uris = uris_of(certificate)
        is_authority = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        fits = is_authority and isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
        ends_ms = int(certificate.not_valid_after_utc.timestamp()) * 1_000
    except NO_CERTIFICATE as error:
        raise InvalidArgument("BAD_AUTHORITY", f"There is no authority's certificate in {where}.", "L5") from error
    if uris != [authority_uri(alliance, member_id)] or not fits:
        raise InvalidArgument("BAD_AUTHORITY", f"The certificate in {where} is of no authority of {member_id}.", "L5")
    return certificate, ends_ms


def uri_of(certificate: x509.Certificate) -> str:
    """The one URI a certificate names its bearer by; "" when there is not exactly one. Raises one of NO_CERTIFICATE."""
    uris = uris_of(certificate)
    return uris[0] if len(uris) == 1 else ""


def uris_of(certificate: x509.Certificate) -> list[str]:
    """All URIs that it names. Raises one of NO_CERTIFICATE."""
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    uris: list[str] = names.get_values_for_type(x509.UniformResourceIdentifier)
    return uris


def is_issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Whether this very authority has signed it."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (*NO_CERTIFICATE, InvalidSignature):
        return False
    return True
