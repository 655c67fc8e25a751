"""Which authorities a member trusts: those that the ledger's member keys stand behind (design section 8).

Members exchange bound authorities as files, `<anything>.authority`, in one folder: beside the genesis at the founding, and
by hand or by whatever spreads files afterwards. Anyone may put a file there. Each is judged by the member key that the
ledger names, at every look anew, so an authority ends with its binding, with a changed member key, and with an expelled
member.
"""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from consilium.kernel.attestations import BoundAuthority, verify_authority
from consilium.kernel.encoding import decode
from consilium.kernel.errors import ConsiliumError, InvalidArgument
from consilium.kernel.signing import Verifier
from consilium.runtime.logs import Log
from consilium.runtime.names import authority_uri

SUFFIX = ".authority"
AUTHORITY_BYTES_MAX = 8_192
"""The most bytes a bound authority may have."""
FILES_MAX = 4_096
"""The most files that are looked at in the folder."""
_log = Log("consilium.identity.trust")


class TrustedAuthorities:
    """The authorities of the members, judged by their keys."""

    def __init__(self, alliance: str, chain_id: bytes, verifier: Verifier) -> None:
        self._alliance, self._chain_id, self._verifier = alliance, chain_id, verifier
        self._said: dict[str, str] = {}

    def read(self, folder: Path) -> list[BoundAuthority]:
        """What lies in the folder in form, in the order of the files' names; the rest is passed over and logged once."""
        found = []
        for path in sorted(folder.glob(f"*{SUFFIX}"))[:FILES_MAX]:
            try:
                found.append(decode(BoundAuthority, path.read_bytes(), self._chain_id, AUTHORITY_BYTES_MAX))
            except (OSError, ConsiliumError) as error:
                self._say(path.name, error.reason if isinstance(error, ConsiliumError) else "UNREADABLE")
        return found

    def judge(
        self, bounds: Iterable[BoundAuthority], member_keys: Mapping[str, bytes], now_ms: int
    ) -> dict[str, list[BoundAuthority]]:
        """Those that a member key stands behind, by member; the rest is passed over and logged once."""
        found: dict[str, list[BoundAuthority]] = {}
        for each in bounds:
            member_id = each.binding.member_id
            if member_id not in member_keys or each in found.get(member_id, []):
                continue
            try:
                self.verify(each, member_keys[member_id], now_ms)
            except ConsiliumError as error:
                self._say(f"{member_id} {each.binding.certificate_digest.hex()}", error.reason)
            else:
                found.setdefault(member_id, []).append(each)
        return found

    def verify(self, bound: BoundAuthority, member_key: bytes, now_ms: int) -> None:
        """Raise unless the member stands behind the certificate, and it is an authority's of that member now.

        Raises as `verify_authority`; InvalidArgument: BAD_AUTHORITY.
        """
        verify_authority(bound, member_key, self._chain_id, now_ms, self._verifier)
        try:
            certificate = x509.load_der_x509_certificate(bound.certificate)
            uris = _names(certificate)
            is_authority = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
            fits = isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
        except (ValueError, x509.ExtensionNotFound) as error:
            raise InvalidArgument(
                "BAD_AUTHORITY", "The binding is about bytes that are no authority's certificate."
            ) from error
        named = [authority_uri(self._alliance, bound.binding.member_id)]
        ended = now_ms > int(certificate.not_valid_after_utc.timestamp()) * 1_000
        if uris != named or not is_authority or not fits or ended:
            raise InvalidArgument("BAD_AUTHORITY", f"The certificate is of no authority of {bound.binding.member_id} now.")

    def _say(self, what: str, reason: str) -> None:
        """One line for each thing and reason, and not at every look."""
        if self._said.get(what) != reason:
            self._said[what] = reason
            _log.write(logging.WARNING, "authority_passed_over", reason=reason)


def bundle(trusted: Mapping[str, list[BoundAuthority]]) -> bytes:
    """The certificates as PEM, in the order of the members' ids."""
    ders = [each.certificate for member_id in sorted(trusted) for each in trusted[member_id]]
    return b"".join(x509.load_der_x509_certificate(each).public_bytes(Encoding.PEM) for each in ders)


def _names(certificate: x509.Certificate) -> list[str]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    uris: list[str] = names.get_values_for_type(x509.UniformResourceIdentifier)
    return uris
