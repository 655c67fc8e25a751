"""The TLS files of the member's services, kept current; each service reads its own folder and takes up changes by itself.

`tls.key` and `tls.crt` are replaced when a third of the certificate's time is left, or when the authority that issued it is
none of the member's any more (it was stolen, and taken away), `authorities.pem` when the trusted authorities change,
`revoked` when a credential is revoked. All are 0600 and replaced as a whole; a reader that meets a new
key with an old certificate keeps what it has until both are there (`runtime.tls`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from consilium.identity.authority import to_pem
from consilium.identity.core.credentials import needs_renewal
from consilium.identity.enrolment import Enrolment
from consilium.identity.files import write_changed
from consilium.identity.trust import with_own
from consilium.kernel.membership import revocation_list
from consilium.runtime.authorities import is_issued_by
from consilium.runtime.revocations import REVOKED
from consilium.runtime.tls import AUTHORITIES, CERTIFICATE, KEY
from consilium.runtime.whole_files import write_atomically


@dataclass(frozen=True, slots=True)
class TlsFolders:
    """One folder a service below `root`; `validity_s` is that of the certificates."""

    root: Path
    services: tuple[str, ...]
    validity_s: int

    def publish_trust(self, authorities: bytes) -> None:
        """Write which authorities the services trust."""
        for service in self.services:
            write_changed(self._folder(service) / AUTHORITIES, authorities)

    def publish_own(self, uri: str, own: Sequence[bytes]) -> None:
        """Write the own authorities (DER), named by this URI, beside those of others that the services trust already."""
        for service in self.services:
            path = self._folder(service) / AUTHORITIES
            write_changed(path, with_own(path.read_bytes() if path.exists() else b"", uri, own))

    def publish_revoked(self, revoked: bytes) -> None:
        """Write which serial numbers the services refuse."""
        for service in self.services:
            write_changed(self._folder(service) / REVOKED, revoked)

    def renew(self, enrolment: Enrolment, now_ms: int) -> None:
        """Replace the certificates that are missing, revoked, or near their end."""
        for service in self.services:
            folder = self._folder(service)
            if is_due(folder / CERTIFICATE, enrolment, now_ms) or not (folder / KEY).exists():
                credential, secret = enrolment.issue_service(service, self.validity_s)
                write_atomically(folder / KEY, secret)
                write_atomically(folder / CERTIFICATE, to_pem(credential.certificate))

    def stale(self, enrolment: Enrolment, now_ms: int) -> tuple[str, ...]:
        """The services whose certificate ought to have been replaced and was not."""
        return tuple(each for each in self.services if is_due(self.root / each / CERTIFICATE, enrolment, now_ms))

    def _folder(self, service: str) -> Path:
        folder = self.root / service
        for each in (self.root, folder):  # `parents` would give the root the mode of the umask
            each.mkdir(mode=0o700, exist_ok=True)
        return folder


def revocations(enrolment: Enrolment) -> bytes:
    """The file of revoked serial numbers."""
    return revocation_list(enrolment.revoked)


def is_due(path: Path, enrolment: Enrolment, now_ms: int) -> bool:
    """Whether a certificate is missing, unreadable, revoked, near its end, or of an authority that is not there any more."""
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        return True
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    near = needs_renewal(int(begins.timestamp()) * 1_000, int(ends.timestamp()) * 1_000, now_ms)
    is_ours = any(is_issued_by(certificate, each.certificate) for each in enrolment.generations.valid(now_ms))
    return near or not is_ours or certificate.serial_number in enrolment.revoked
