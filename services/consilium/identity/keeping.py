"""Keeps the files current that the member's services and the other members read: certificates, trust, revocations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from consilium.identity.enrolment import Enrolment
from consilium.identity.files import write_changed
from consilium.identity.generations import authority_file
from consilium.identity.tls_folders import TlsFolders, revocations
from consilium.identity.trust import FILES_MAX, SUFFIX, TrustedAuthorities, bundle
from consilium.kernel.attestations import BoundAuthority
from consilium.kernel.errors import ResourceExhausted
from consilium.runtime.clock import wall_ms
from consilium.runtime.names import authority_uri

MEMBER_FILES_MAX = 8
"""How many bindings of one other member are kept as files."""


@dataclass(slots=True)
class FileKeeper:
    """Writes files; `authorities` are those of every member that are trusted now, by member."""

    member_id: str
    enrolment: Enrolment
    trust: TrustedAuthorities
    folders: TlsFolders
    exchange: Path
    authority_validity_ms: int
    authorities: dict[str, list[BoundAuthority]] = field(default_factory=dict)

    def held(self) -> list[BoundAuthority]:
        """All that lies in the exchange folder in form, the own ones first. May raise OSError."""
        found = self.trust.read(self.exchange)
        return sorted(found, key=lambda each: each.binding.member_id != self.member_id)

    def take_up(self, bound: BoundAuthority, data: bytes, member_keys: Mapping[str, bytes]) -> None:
        """Put another member's authority, encoded as `data`, beside the others, for `keep` to judge.

        Once too many of one member lie there, one goes: what no member key stands behind, or else ends first, the oldest of
        such. Raises InvalidArgument: BAD_NAME; ResourceExhausted: TOO_MANY_AUTHORITIES. May raise OSError.
        """
        name = bound.binding.member_id
        authority_uri(self.trust.alliance, name)  # it becomes the name of a file
        if name == self.member_id:
            return
        files = {path: each for path, each in self.trust.read_files(self.exchange).items() if each.binding.member_id == name}
        if bound not in files.values():
            files[self._put(bound, data)] = bound
        if len(files) > MEMBER_FILES_MAX:
            good = self.trust.judge(files.values(), member_keys, wall_ms()).get(name, [])
            min(files, key=lambda path: _worth(path, files[path], good)).unlink()

    def _put(self, bound: BoundAuthority, data: bytes) -> Path:
        """Write one more file, as long as all of them are looked at."""
        self.exchange.mkdir(parents=True, exist_ok=True)
        if sum(1 for _ in self.exchange.glob(f"*{SUFFIX}")) >= FILES_MAX:
            told = f"{self.exchange} holds {FILES_MAX} authorities, as many as are looked at; take away those of no member."
            raise ResourceExhausted("TOO_MANY_AUTHORITIES", told)
        path = self.exchange / authority_file(bound, f"-{bound.signature.hex()[:8]}")
        write_changed(path, data, mode=0o644)
        return path

    def keep(self, member_keys: Mapping[str, bytes] | None) -> None:
        """Renew authority and certificates where due; publish revocations, and trust under these member keys.

        None leaves the trust in others as it is; in the own authority it is published all the same: a fresh one, in the
        place of one that was taken away, would reach no service of the member's own. May raise OSError.
        """
        now_ms, generations = wall_ms(), self.enrolment.generations
        generations.renew(now_ms, self.authority_validity_ms)
        generations.announce(self.exchange, now_ms)
        self.folders.renew(self.enrolment, now_ms)
        self.folders.publish_revoked(revocations(self.enrolment))
        # The own authority needs nobody's word: before its admission, and after a start, a member stands on no ledger.
        self.authorities[self.member_id] = [each.bound for each in generations.valid(now_ms)]
        if member_keys is not None:
            found = self.trust.judge(self.trust.read(self.exchange), member_keys, now_ms)
            self.authorities = {self.member_id: self.authorities[self.member_id], **found}
            self.folders.publish_trust(bundle(self.authorities))
        else:
            own = [each.certificate for each in self.authorities[self.member_id]]
            self.folders.publish_own(authority_uri(self.trust.alliance, self.member_id), own)


def _worth(path: Path, bound: BoundAuthority, good: Sequence[BoundAuthority]) -> tuple[bool, int, int]:
    """What has the least of it goes first."""
    return bound in good, bound.binding.not_after_ms, path.stat().st_mtime_ns
