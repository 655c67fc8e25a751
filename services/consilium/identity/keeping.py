"""Keeps the files current that the member's services and the other members read: certificates, trust, revocations."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from consilium.identity.enrolment import Enrolment
from consilium.identity.tls_folders import TlsFolders, revocations
from consilium.identity.trust import TrustedAuthorities, bundle
from consilium.kernel.attestations import BoundAuthority
from consilium.runtime.clock import wall_ms


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

    def keep(self, member_keys: Mapping[str, bytes] | None) -> None:
        """Renew authority and certificates where due; publish revocations, and trust under these member keys.

        None leaves the trust in others as it is. May raise OSError.
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
