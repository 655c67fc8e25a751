"""The member's own certificate authority: X.509 by `cryptography`, keys in files of mode 0600.

P-256 throughout: gRPC's TLS library refuses Ed25519 certificates of callers. Names are the URIs of `runtime.names`; the
subject is empty and the alternative names critical (SPIFFE X509-SVID, section 2; RFC 5280, 4.1.2.6). The authority is
constrained to DNS names below `<member>.<alliance>` and to no addresses (RFC 5280, 4.2.1.10), so it cannot name another
member's server. URIs are left unconstrained: a constraint would end at the host, which is the alliance, and several TLS
libraries refuse certificates that have one. That a URI names the issuing member is checked by whoever is called
(`runtime.tls.identify`).

An authority is a folder: `ca.key`, `ca.crt`, and `ca.bound`, the member key's binding (`kernel.attestations`).
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from consilium.identity.core.credentials import SKEW_MS, CredentialKind, CredentialTerms
from consilium.kernel.attestations import CERTIFICATE_BYTES_MAX, BoundAuthority, bind_authority
from consilium.kernel.encoding import decode, encode
from consilium.kernel.errors import BadSignature, DataLoss, Malformed
from consilium.runtime.names import Role, authority_uri, peer_uri, server_name
from consilium.runtime.whole_files import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from consilium.kernel.signing import Signer

KEY, CERTIFICATE, BOUND = "ca.key", "ca.crt", "ca.bound"
_ROLES = {CredentialKind.STAFF: Role.STAFF, CredentialKind.PATIENT: Role.PATIENT}
_NOBODY = x509.Name([])


@dataclass(frozen=True, slots=True)
class Authority:
    """A member's authority in one generation; times in milliseconds since 1970-01-01 UTC."""

    alliance: str
    member_id: str
    certificate: x509.Certificate
    bound: BoundAuthority
    _key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        """Its certificate."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        """Its private key, for whoever issues beside identity."""
        return private_pem(self._key)

    @property
    def not_before_ms(self) -> int:
        """When it begins."""
        return _to_ms(self.certificate.not_valid_before_utc)

    @property
    def not_after_ms(self) -> int:
        """When it ends."""
        return _to_ms(self.certificate.not_valid_after_utc)

    def issue(self, terms: CredentialTerms, tls_key: bytes) -> bytes:
        """A certificate (DER) for terms and a public key (DER SubjectPublicKeyInfo)."""
        public = load_der_public_key(tls_key)
        assert isinstance(public, ec.EllipticCurvePublicKey), "keys are checked when they are read"
        builder = (
            x509.CertificateBuilder()
            .subject_name(_NOBODY)
            .issuer_name(self.certificate.subject)
            .public_key(public)
            .serial_number(int.from_bytes(terms.credential_id))
            .not_valid_before(_from_ms(terms.not_before_ms))
            .not_valid_after(_from_ms(terms.not_after_ms))
            .add_extension(x509.SubjectAlternativeName(self._names(terms)), critical=True)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(_extended_usage(terms.kind), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.DER)

    def _names(self, terms: CredentialTerms) -> list[x509.GeneralName]:
        role = _ROLES.get(terms.kind, Role.SERVICE)
        names: list[x509.GeneralName] = [
            x509.UniformResourceIdentifier(peer_uri(self.alliance, self.member_id, role, terms.name))
        ]
        if terms.kind is CredentialKind.SERVICE:
            names.append(x509.DNSName(server_name(self.alliance, self.member_id, terms.name)))
        return names


def create_authority(
    folder: Path, alliance: str, member_id: str, member: Signer, chain_id: bytes, now_ms: int, validity_ms: int
) -> Authority:
    """Make an authority in `folder`, bound to the ledger by the member key. What the folder held is overwritten."""
    key, certificate = draw_authority(alliance, member_id, now_ms, validity_ms)
    return keep_authority(folder, alliance, member_id, (key, certificate), member, chain_id)


def draw_authority(
    alliance: str, member_id: str, now_ms: int, validity_ms: int
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    """A fresh authority's key and certificate. Raises InvalidArgument: BAD_NAME."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key, _self_signed(key, alliance, member_id, now_ms, now_ms + validity_ms)


def read_drawn(
    key: Path, certificate: Path, alliance: str, member_id: str
) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    """An authority that was drawn before there was a chain. Raises DataLoss: BAD_AUTHORITY."""
    try:
        secret, public = (
            load_pem_private_key(key.read_bytes(), None),
            x509.load_pem_x509_certificate(certificate.read_bytes()),
        )
        names = public.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound) as error:
        raise DataLoss("BAD_AUTHORITY", f"The authority in {key.parent} cannot be read; restore it: {error}") from error
    named = names.get_values_for_type(x509.UniformResourceIdentifier) == [authority_uri(alliance, member_id)]
    if not isinstance(secret, ec.EllipticCurvePrivateKey) or public.public_key() != secret.public_key() or not named:
        raise DataLoss(
            "BAD_AUTHORITY", f"{certificate} is not the authority of {member_id} in {alliance} that {key} signs for."
        )
    return secret, public


def keep_authority(
    folder: Path, alliance: str, member_id: str, drawn: tuple[ec.EllipticCurvePrivateKey, x509.Certificate], member: Signer,
    chain_id: bytes,
) -> Authority:  # fmt: skip
    """Put a drawn authority into `folder`, bound to the ledger by the member key. What the folder held is overwritten."""
    key, certificate = drawn
    der = certificate.public_bytes(Encoding.DER)
    bound = bind_authority(member_id, der, _to_ms(certificate.not_valid_after_utc), member, chain_id)
    for each in (folder.parent, folder):  # `parents` would give those above the mode of the umask
        each.mkdir(mode=0o700, exist_ok=True)
    write_atomically(folder / KEY, private_pem(key))
    write_atomically(folder / CERTIFICATE, certificate.public_bytes(Encoding.PEM))
    # Written last: a folder without it is half made, and was never used.
    write_atomically(folder / BOUND, encode(bound, chain_id))
    return Authority(alliance, member_id, certificate, bound, key)


def open_authority(folder: Path, alliance: str, member_id: str, chain_id: bytes) -> Authority:
    """The authority in a folder. Raises DataLoss: BAD_AUTHORITY when its files are missing or do not fit."""
    try:
        key = load_pem_private_key((folder / KEY).read_bytes(), None)
        certificate = x509.load_pem_x509_certificate((folder / CERTIFICATE).read_bytes())
        bound = decode(BoundAuthority, (folder / BOUND).read_bytes(), chain_id)
    except (OSError, ValueError, Malformed) as error:
        raise DataLoss("BAD_AUTHORITY", f"The authority in {folder} cannot be read; restore it: {error}") from error
    fits = bound.certificate == certificate.public_bytes(Encoding.DER) and bound.binding.member_id == member_id
    if not isinstance(key, ec.EllipticCurvePrivateKey) or certificate.public_key() != key.public_key() or not fits:
        raise DataLoss("BAD_AUTHORITY", f"The files of the authority in {folder} do not belong together.")
    return Authority(alliance, member_id, certificate, bound, key)


def read_certification_request(data: bytes) -> bytes:
    """The public key (DER SubjectPublicKeyInfo) of a PKCS #10 request in DER; nothing else of it counts.

    Raises Malformed: BAD_CERTIFICATION_REQUEST; BadSignature: NO_POSSESSION.
    """
    if len(data) > CERTIFICATE_BYTES_MAX:
        raise Malformed("BAD_CERTIFICATION_REQUEST", f"A certification request has at most {CERTIFICATE_BYTES_MAX} bytes.")
    try:
        request = x509.load_der_x509_csr(data)
        public, is_signed = request.public_key(), request.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise Malformed("BAD_CERTIFICATION_REQUEST", "These bytes are no PKCS #10 request in DER.") from error
    if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
        raise Malformed("BAD_CERTIFICATION_REQUEST", "The key for connections is a P-256 key.")
    if not is_signed:
        raise BadSignature("NO_POSSESSION", "The certification request is not signed by its own key.")
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def draw_tls_key() -> tuple[bytes, bytes]:
    """A fresh P-256 key: the secret in PEM, and the public key as a DER SubjectPublicKeyInfo."""
    key = ec.generate_private_key(ec.SECP256R1())
    return private_pem(key), key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A secret key as PKCS #8 in PEM."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def to_pem(certificate: bytes) -> bytes:
    """A certificate from DER to PEM."""
    return x509.load_der_x509_certificate(certificate).public_bytes(Encoding.PEM)


def _self_signed(
    key: ec.EllipticCurvePrivateKey, alliance: str, member_id: str, now_ms: int, ends_ms: int
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"authority of {member_id}")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_from_ms(now_ms - SKEW_MS))
        .not_valid_after(_from_ms(ends_ms))
        .add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(authority_uri(alliance, member_id))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(_constraints(alliance, member_id), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return builder.sign(key, hashes.SHA256())


def _constraints(alliance: str, member_id: str) -> x509.NameConstraints:
    """DNS names of the member, no addresses."""
    return x509.NameConstraints(
        permitted_subtrees=[x509.DNSName(f"{member_id}.{alliance}")],
        excluded_subtrees=[x509.IPAddress(ipaddress.ip_network(each)) for each in ("0.0.0.0/0", "::/0")],
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _extended_usage(kind: CredentialKind) -> x509.ExtendedKeyUsage:
    """Everybody may call; only a service is called."""
    serves = [ExtendedKeyUsageOID.SERVER_AUTH] if kind is CredentialKind.SERVICE else []
    return x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, *serves])


def _from_ms(instant_ms: int) -> dt.datetime:
    """Whole seconds, because certificates have no finer time."""
    return dt.datetime.fromtimestamp(instant_ms // 1_000, dt.UTC)


def _to_ms(instant: dt.datetime) -> int:
    return int(instant.timestamp()) * 1_000
