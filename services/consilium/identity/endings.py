"""When credentials end that somebody has to have renewed, as figures that name nobody.

Of a holder only the newest credential counts: an older one was renewed. One that was revoked or has ended counts no more,
for there is nothing left to renew. What is told is the first end of each kind, so that metrics have one series a kind.
"""

from collections.abc import Iterable
from threading import Lock
from typing import NamedTuple

from consilium.identity.core.credentials import SKEW_MS, VALIDITY_S_MAX, Credential, CredentialKind


class _Newest(NamedTuple):
    credential_id: bytes
    kind: CredentialKind
    ends_ms: int


class Endings:
    """The newest credential of each holder; metrics are read in another thread than credentials are issued in."""

    def __init__(self) -> None:
        self._lock, self._newest = Lock(), dict[str, _Newest]()

    def issued(self, credential: Credential) -> None:
        """Count a credential in place of the holder's last."""
        terms = credential.terms
        with self._lock:
            self._newest[terms.name] = _Newest(terms.credential_id, terms.kind, terms.not_after_ms)

    def revoked(self, credential: Credential) -> None:
        """Count a credential no more."""
        name, credential_id = credential.terms.name, credential.terms.credential_id
        with self._lock:
            if name in self._newest and self._newest[name].credential_id == credential_id:
                del self._newest[name]

    def first(self, now_ms: int) -> dict[CredentialKind, int]:
        """When the first credential of each kind ends, in milliseconds since 1970-01-01 UTC; of the kinds that have one."""
        with self._lock:
            self._newest = {name: each for name, each in self._newest.items() if each.ends_ms >= now_ms}
            counted = list(self._newest.values())
        found = {kind: [each.ends_ms for each in counted if each.kind is kind] for kind in CredentialKind}
        return {kind: min(ends) for kind, ends in found.items() if ends}


def counting(newest_first: Iterable[Credential], now_ms: int) -> list[Credential]:
    """The newest credential of each holder, of those that can still count; reads no further than it has to.

    Credentials are kept in the order they were issued in, so behind one that is older than any lasts none counts.
    """
    found: dict[str, Credential] = {}
    for each in newest_first:
        if each.terms.not_before_ms + SKEW_MS + VALIDITY_S_MAX * 1_000 < now_ms:
            break
        found.setdefault(each.terms.name, each)
    return [each for each in found.values() if each.revocation is None]
