"""Real certificates for tests: members' authorities, and what they issue, in the files that a service reads."""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from consilium.runtime.names import Role, authority_uri, peer_uri, server_name

ALLIANCE = "alliance"
DAY = dt.timedelta(days=1)


@dataclass(frozen=True)
class Issued:
    """A certificate with its key, as PEM."""

    certificate: bytes
    key: bytes
    serial: int

    def write(self, directory: Path, *authorities: Authority) -> Path:
        """The directory a service or client reads."""
        directory.mkdir(exist_ok=True)
        (directory / "tls.key").write_bytes(self.key)
        (directory / "tls.crt").write_bytes(self.certificate)
        (directory / "authorities.pem").write_bytes(b"".join(each.pem for each in authorities))
        return directory


@dataclass
class Authority:
    """A member's authority."""

    member_id: str
    alliance: str = ALLIANCE
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    ends_in: dt.timedelta = DAY
    certificate: x509.Certificate = field(init=False)

    def __post_init__(self) -> None:
        names = [x509.UniformResourceIdentifier(authority_uri(self.alliance, self.member_id))]
        builder = _builder(f"authority of {self.member_id}", self.key, names, self.ends_in)
        builder = builder.issuer_name(_name(f"authority of {self.member_id}"))
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False)
        self.certificate = builder.sign(self.key, hashes.SHA256())

    @property
    def pem(self) -> bytes:
        """Its certificate."""
        return self.certificate.public_bytes(Encoding.PEM)

    def service(self, name: str = "ledger", *, ends_in: dt.timedelta = DAY, member_id: str = "") -> Issued:
        """A certificate for a service, of this member unless the authority oversteps and names another."""
        member_id = member_id or self.member_id
        return self.issue(
            [
                x509.UniformResourceIdentifier(peer_uri(self.alliance, member_id, Role.SERVICE, name)),
                x509.DNSName(server_name(self.alliance, member_id, name)),
                x509.IPAddress(ipaddress.IPv4Address("127.0.0.1")),
                x509.IPAddress(ipaddress.IPv6Address("::1")),
            ],
            ends_in,
        )

    def person(self, role: Role, name: str) -> Issued:
        """A certificate for a patient or a member of the staff."""
        return self.issue([x509.UniformResourceIdentifier(peer_uri(self.alliance, self.member_id, role, name))], DAY)

    def issue(self, names: Sequence[x509.GeneralName], ends_in: dt.timedelta) -> Issued:
        """A certificate for any names."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _builder("bearer", key, names, ends_in).issuer_name(self.certificate.subject)
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        signed = certificate.add_extension(authority, critical=False).sign(self.key, hashes.SHA256())
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return Issued(signed.public_bytes(Encoding.PEM), pem, signed.serial_number)


def _builder(
    subject: str, key: ec.EllipticCurvePrivateKey, names: Sequence[x509.GeneralName], ends_in: dt.timedelta
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 2 * DAY)
        .not_valid_after(now + ends_in)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
