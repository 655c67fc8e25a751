"""Which authorities a member trusts: those that the ledger's member keys stand behind (design section 8).

Bound authorities lie as files, `<anything>.authority`, in one folder: the founders' from the founding on, others as the
ledgers bring them (ADR 22), or by hand. Anyone may put a file there. Each is judged by the member key that the ledger names,
at every look anew, so an authority ends with its binding, with a changed member key, and with an expelled member.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from consilium.kernel.attestations import BoundAuthority
from consilium.kernel.encoding import decode
from consilium.kernel.errors import ConsiliumError
from consilium.kernel.signing import Verifier
from consilium.runtime.authorities import AUTHORITY_BYTES_MAX, uris_of, verify_bound
from consilium.runtime.logs import Log

SUFFIX = ".authority"
FILES_MAX = 4_096
"""The most files that are looked at in the folder."""
_log = Log("consilium.identity.trust")


class TrustedAuthorities:
    """The authorities of the members, judged by their keys."""

    def __init__(self, alliance: str, chain_id: bytes, verifier: Verifier) -> None:
        self.alliance, self._chain_id, self._verifier = alliance, chain_id, verifier
        self._said: dict[str, str] = {}

    def read(self, folder: Path) -> list[BoundAuthority]:
        """What lies in the folder in form, in the order of the files' names; the rest is passed over and logged once."""
        return list(self.read_files(folder).values())

    def read_files(self, folder: Path) -> dict[Path, BoundAuthority]:
        """The same by file."""
        found = {}
        for path in sorted(folder.glob(f"*{SUFFIX}"))[:FILES_MAX]:
            try:
                found[path] = decode(BoundAuthority, path.read_bytes(), self._chain_id, AUTHORITY_BYTES_MAX)
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
                verify_bound(each, member_keys[member_id], self.alliance, self._chain_id, now_ms, self._verifier)
            except ConsiliumError as error:
                self._say(f"{member_id} {each.binding.certificate_digest.hex()}", error.reason)
            else:
                found.setdefault(member_id, []).append(each)
        return found

    def _say(self, what: str, reason: str) -> None:
        """One line for each thing and reason, and not at every look."""
        if self._said.get(what) != reason:
            self._said[what] = reason
            _log.write(logging.WARNING, "authority_passed_over", reason=reason)


def bundle(trusted: Mapping[str, list[BoundAuthority]]) -> bytes:
    """The certificates as PEM, in the order of the members' ids."""
    ders = [each.certificate for member_id in sorted(trusted) for each in trusted[member_id]]
    return b"".join(x509.load_der_x509_certificate(each).public_bytes(Encoding.PEM) for each in ders)


def with_own(held: bytes, uri: str, own: Sequence[bytes]) -> bytes:
    """A bundle (PEM) with the own authorities (DER), which this URI names, as they are now, and the others as they were.

    What is no bundle is left for whoever reads it to refuse.
    """
    try:
        before = x509.load_pem_x509_certificates(held) if held else []
    except ValueError:
        return held
    ours = [each for each in before if uri in uris_of(each)]
    if {each.public_bytes(Encoding.DER) for each in ours} == set(own):
        return held
    now = [*(each for each in before if each not in ours), *map(x509.load_der_x509_certificate, own)]
    return b"".join(each.public_bytes(Encoding.PEM) for each in now)
