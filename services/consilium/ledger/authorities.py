"""The members' certificate authorities, handed from ledger to ledger (design section 8; ADR 22).

What counts is the member key that this ledger names, whoever brings a binding; so authorities go from any ledger to any
other, and one that was made anew reaches all members without anybody's hand. What the own identity service knows is put
here whole, and kept in memory alone: it comes again after a start. What other ledgers tell is kept for each member up to a
bound, so nobody but that member can push anything of it out.
"""

from collections.abc import Iterable, Sequence

from consilium.kernel.attestations import BoundAuthority
from consilium.kernel.encoding import decode
from consilium.kernel.errors import ConsiliumError, ResourceExhausted
from consilium.kernel.hashing import sha256
from consilium.kernel.signing import Verifier
from consilium.kernel.state_values import MemberState, MemberStatus
from consilium.ledger.core.chain import Chain
from consilium.runtime.authorities import AUTHORITY_BYTES_MAX, verify_bound
from consilium.runtime.clock import wall_ms

MEMBER_MAX = 8
"""The most bindings kept of one member as other ledgers tell them: two generations under two keys, twice over."""
PUT_MAX = 512
"""The most that the own identity service may put at a time."""
ANSWER_MAX = 256
"""The most in one answer."""


class Authorities:
    """What this ledger tells of authorities, judged by its own chain."""

    def __init__(self, chain: Chain, alliance: str, verifier: Verifier) -> None:
        self._chain, self._alliance, self._verifier = chain, alliance, verifier
        self._put: dict[bytes, BoundAuthority] = {}
        self._heard: dict[bytes, BoundAuthority] = {}
        self._encoded: dict[bytes, bytes] = {}
        self._stands: dict[bytes, bytes] = {}
        """The member key that was found behind a binding, so that it is verified once."""

    def put(self, authorities: Sequence[bytes]) -> None:
        """Take what the own identity service knows, in the place of what it put before.

        Raises Malformed; ResourceExhausted: TOO_MANY_AUTHORITIES.
        """
        if len(authorities) > PUT_MAX:
            raise ResourceExhausted("TOO_MANY_AUTHORITIES", f"At most {PUT_MAX} authorities are put at a time.")
        self._put = dict(self._read(each) for each in authorities)
        self._forget()

    def hear(self, authorities: Iterable[bytes]) -> int:
        """Take what another ledger tells, as far as a member here stands behind it; how many were new. Raises Malformed."""
        new = 0
        for digest, bound in [self._read(each) for each in authorities]:
            if digest not in self._heard and digest not in self._put and self._is_good(digest, bound):
                self._heard[digest] = bound
                self._bound(bound.binding.member_id)
                new += digest in self._heard
        self._forget()
        return new

    def known(self) -> list[bytes]:
        """The hashes of all that are told now."""
        return [digest for digest, _ in self._good()]

    def told(self, known: Iterable[bytes]) -> list[bytes]:
        """Those that stand now and are not known to the caller, as many as one answer holds."""
        has = set(known)
        return [self._encoded[digest] for digest, _ in self._good() if digest not in has][:ANSWER_MAX]

    def _read(self, data: bytes) -> tuple[bytes, BoundAuthority]:
        digest, bound = sha256(data), decode(BoundAuthority, data, self._chain.chain_id, AUTHORITY_BYTES_MAX)
        self._encoded[digest] = data
        return digest, bound

    def _good(self) -> list[tuple[bytes, BoundAuthority]]:
        both = self._put | self._heard
        return [(digest, both[digest]) for digest in sorted(both) if self._is_good(digest, both[digest])]

    def _is_good(self, digest: bytes, bound: BoundAuthority) -> bool:
        """Whether a member key on the ledger stands behind a binding now; one of the next key counts already (G3)."""
        keys, now_ms = keys_of(self._chain.member(bound.binding.member_id)), wall_ms()
        if self._stands.get(digest) in keys:
            return now_ms <= bound.binding.not_after_ms
        for key in keys:
            try:
                verify_bound(bound, key, self._alliance, self._chain.chain_id, now_ms, self._verifier)
            except ConsiliumError:
                continue
            self._stands[digest] = key
            return True
        return False

    def _bound(self, member_id: str) -> None:
        """Where there are too many of one member, let go of what counts no more, or else of what ends first, the oldest.

        So what a stolen key signed holds no place once that key was replaced.
        """
        own = {digest: each for digest, each in self._heard.items() if each.binding.member_id == member_id}
        if len(own) > MEMBER_MAX:
            del self._heard[min(own, key=lambda each: (self._is_good(each, own[each]), own[each].binding.not_after_ms))]

    def _forget(self) -> None:
        """Keep nothing beside what is held."""
        held = self._put.keys() | self._heard.keys()
        self._encoded = {digest: data for digest, data in self._encoded.items() if digest in held}
        self._stands = {digest: key for digest, key in self._stands.items() if digest in held}


def keys_of(member: MemberState | None) -> list[bytes]:
    """The member keys that may stand behind an authority."""
    if member is None or member.status is MemberStatus.EXPELLED:
        return []
    return [member.profile.member_key, *([] if member.next_keys is None else [member.next_keys.member_key])]
