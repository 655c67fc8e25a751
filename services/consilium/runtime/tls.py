"""Mutual TLS: who a peer is, which authority may say so, and certificates that change without a restart (design section 8).

Names are in `names.py`. The handshake accepts a certificate of any authority in the bundle; `identify` then demands the very
authority of the member that the certificate names, so no member speaks for another. A client trusts only the authority of
the member it calls, under that service's DNS name. Standing (active member, revoked serial) is the ledger's to judge, on
every call.

The directory holds `tls.crt` (leaf first), `tls.key`, and `authorities.pem` with all members' authorities, two of one member
while it changes its own.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from consilium.kernel.errors import ConsiliumError, InvalidArgument, Unauthenticated
from consilium.runtime.authorities import NO_CERTIFICATE, is_issued_by, uri_of
from consilium.runtime.logs import Log
from consilium.runtime.names import PeerIdentity, member_of_authority, parse_peer_uri

CERTIFICATE, KEY, AUTHORITIES = "tls.crt", "tls.key", "authorities.pem"
SIGNING_KEY = "signing.key"
"""The file of a person's Ed25519 key, 32 bytes, beside the TLS files."""
_log = Log("consilium.runtime.tls")


@dataclass(frozen=True, slots=True)
class TlsMaterial:
    """What the directory held when it was read: key and certificates that fit, and the authorities by member.

    `member_id` is the certificate's member; `not_after`, in seconds since 1970-01-01 UTC, its end.
    """

    alliance: str
    member_id: str
    certificate_chain: bytes
    private_key: bytes
    authorities: Mapping[str, tuple[x509.Certificate, ...]]
    not_after: int

    def roots(self, member_id: str | None = None) -> bytes:
        """The authorities of one member, or of all, as PEM. Raises InvalidArgument: UNKNOWN_MEMBER."""
        if member_id is not None and member_id not in self.authorities:
            raise InvalidArgument("UNKNOWN_MEMBER", f"{AUTHORITIES} names no authority of member {member_id}.")
        chosen = self.authorities.values() if member_id is None else [self.authorities[member_id]]
        return b"".join(each.public_bytes(Encoding.PEM) for several in chosen for each in several)


def read_material(directory: Path, alliance: str) -> TlsMaterial:
    """Read and check the files.

    Raises InvalidArgument: BAD_TLS_FILES when one is missing or no PEM, key and certificate do not fit, or an authority is
    not of this alliance.
    """
    try:
        chain, key = (directory / CERTIFICATE).read_bytes(), (directory / KEY).read_bytes()
        leaf = x509.load_pem_x509_certificates(chain)[0]
        _, member_id, _, _ = parse_peer_uri(uri_of(leaf))
        public = load_pem_private_key(key, None).public_key()
        authorities = _by_member(x509.load_pem_x509_certificates((directory / AUTHORITIES).read_bytes()), alliance)
    except (OSError, *NO_CERTIFICATE, ConsiliumError) as error:
        raise InvalidArgument("BAD_TLS_FILES", f"The TLS files in {directory} cannot be used: {error}") from error
    spki = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if leaf.public_key().public_bytes(*spki) != public.public_bytes(*spki):
        raise InvalidArgument("BAD_TLS_FILES", f"{CERTIFICATE} in {directory} is not the certificate of {KEY}.")
    return TlsMaterial(alliance, member_id, chain, key, authorities, int(leaf.not_valid_after_utc.timestamp()))


def identify(auth_context: Mapping[str, Iterable[bytes]], material: TlsMaterial) -> PeerIdentity:
    """Who a connection's certificate names, vouched for by that member's own authority.

    Raises Unauthenticated: NO_CERTIFICATE, BAD_IDENTITY, FOREIGN_ALLIANCE, UNKNOWN_MEMBER or FOREIGN_AUTHORITY.
    """
    pem = next(iter(auth_context.get("x509_pem_cert", ())), None)
    uri = next(iter(auth_context.get("peer_spiffe_id", ())), None)
    if pem is None:
        raise Unauthenticated("NO_CERTIFICATE", "The caller has shown no certificate.")
    alliance, member_id, role, name = parse_peer_uri((uri or b"").decode("utf-8", "replace"))
    if alliance != material.alliance:
        raise Unauthenticated(
            "FOREIGN_ALLIANCE", f"The caller's certificate is of another alliance than {material.alliance}."
        )
    authorities = material.authorities.get(member_id)
    if authorities is None:
        raise Unauthenticated("UNKNOWN_MEMBER", f"No authority of member {member_id} is known here.")
    serial, not_after = _issued(pem, authorities)
    return PeerIdentity(member_id, role, name, serial, not_after)


@lru_cache(maxsize=4_096)
def _issued(pem: bytes, authorities: tuple[x509.Certificate, ...]) -> tuple[int, int]:
    """Serial number and end of a certificate that one of the authorities issued itself.

    Cached, because the same certificates come back with every call; new authorities are another key of the cache.
    Raises Unauthenticated: FOREIGN_AUTHORITY.
    """
    certificate = x509.load_pem_x509_certificate(pem)
    for authority in authorities:
        if is_issued_by(certificate, authority):
            return certificate.serial_number, int(certificate.not_valid_after_utc.timestamp())
    raise Unauthenticated("FOREIGN_AUTHORITY", "The caller's certificate was issued by another member's authority.")


def _by_member(certificates: list[x509.Certificate], alliance: str) -> dict[str, tuple[x509.Certificate, ...]]:
    """Group the authorities by the member their URI names. Raises InvalidArgument: BAD_NAME."""
    found: dict[str, tuple[x509.Certificate, ...]] = {}
    for each in certificates:
        member_id = member_of_authority(uri_of(each), alliance)
        found[member_id] = (*found.get(member_id, ()), each)
    return found


class Tls:
    """The TLS files of a service, read again whenever they change; half-written ones are passed over until they fit."""

    def __init__(self, directory: Path, alliance: str) -> None:
        """Read the files. Raises InvalidArgument: BAD_TLS_FILES."""
        self.directory = directory
        self._seen = self._fingerprint()
        self.material = self._read = read_material(directory, alliance)
        self._learned: dict[str, tuple[x509.Certificate, ...]] = {}

    def learn(self, authorities: Mapping[str, tuple[x509.Certificate, ...]]) -> None:
        """Trust these members' authorities besides those in the files, for callers that have verified them themselves.

        What was learned of members not named here stays until it ends: one that did not answer for once is not unlearned.
        """
        now = datetime.now(UTC)
        for member_id, several in {**self._learned, **authorities}.items():
            self._learned[member_id] = tuple(each for each in several if each.not_valid_after_utc > now)
            if not self._learned[member_id]:
                del self._learned[member_id]
        self._take_up(self._read)

    def refresh(self) -> bool:
        """Take up changed files; whether there were any that fit."""
        fingerprint = self._fingerprint()
        if fingerprint == self._seen:
            return False
        self._seen = fingerprint
        try:
            material = read_material(self.directory, self.material.alliance)
        except InvalidArgument as error:
            _log.write(logging.WARNING, "tls_files_passed_over", reason=error.reason)
            return False
        self._take_up(material)
        _log.write(logging.INFO, "tls_files_taken_up", expires=self.material.not_after)
        return True

    def _take_up(self, read: TlsMaterial) -> None:
        self._read = read
        self.material = replace(read, authorities={**self._learned, **read.authorities})

    def server_credentials(self) -> grpc.ServerCredentials:
        """Credentials that demand a client certificate and follow the files from handshake to handshake."""
        served = self.material

        def changed() -> grpc.ServerCertificateConfiguration | None:
            """Called by gRPC before each handshake, in a thread of its own; None keeps what is served."""
            nonlocal served
            self.refresh()
            if served is self.material:
                return None
            served = self.material
            return _configuration(served)

        return grpc.dynamic_ssl_server_credentials(
            _configuration(served),
            changed,  # type: ignore[arg-type]  # documented to return None when nothing changed
            require_client_authentication=True,
        )

    def channel_credentials(self, member_id: str) -> grpc.ChannelCredentials:
        """Credentials to call one member, trusting its authority alone. Raises InvalidArgument: UNKNOWN_MEMBER."""
        material = self.material
        return grpc.ssl_channel_credentials(material.roots(member_id), material.private_key, material.certificate_chain)

    def identify(self, auth_context: Mapping[str, Iterable[bytes]]) -> PeerIdentity:
        """Who is calling, by the authorities of now. Raises Unauthenticated."""
        return identify(auth_context, self.material)

    def _fingerprint(self) -> tuple[tuple[int, int, int], ...]:
        """What tells whether a file was written or replaced; all zeros for one that is missing."""
        return tuple(map(_stamp, (self.directory / each for each in (CERTIFICATE, KEY, AUTHORITIES))))


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return 0, 0, 0
    return found.st_ino, found.st_size, found.st_mtime_ns


def _configuration(material: TlsMaterial) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(material.private_key, material.certificate_chain)], material.roots())
