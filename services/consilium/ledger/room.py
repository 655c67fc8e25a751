"""How many calls may stay open without working: waits and streams hold what the server can take, at no cost to the caller.

The server takes so many calls at once and refuses the next, whoever makes it, the own consensus with its block included. So
each kind of open call has a share of them for the own services and a smaller one for everybody else; of that, one member's
people have a part, an application or a person working here half, and any other caller a few.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator

from consilium.kernel.membership import SERVICES
from consilium.runtime.names import PeerIdentity, Role

OWN_SHARE, SHARE = 4, 8
"""The own services, and all others, may keep one in so many of a server's calls open, of each kind."""
MEMBER_SHARE = 4
"""The people and services of one other member may keep one in so many of those."""
CALLER_MAX = 16
"""What one caller may keep open, unless it works for this member: there one application speaks for many people."""
_OWN, _OTHERS = ("", "own"), ("", "others")


class Room:
    """Places for one kind of open call."""

    def __init__(self, home: str, calls_max: int) -> None:
        self._home = home
        self._own_most, self._most = max(1, calls_max // OWN_SHARE), max(1, calls_max // SHARE)
        self._taken: Counter[tuple[str, ...]] = Counter()

    @contextlib.contextmanager
    def place(self, caller: PeerIdentity) -> Iterator[bool]:
        """Whether there is a place for this caller; it is held until the end."""
        bounds = self._bounds(caller)
        free = all(self._taken[name] < most for name, most in bounds.items())
        taken = bounds if free else {}
        self._taken.update(taken.keys())
        try:
            yield free
        finally:
            self._taken.subtract(taken.keys())
            self._taken = +self._taken

    def _bounds(self, caller: PeerIdentity) -> dict[tuple[str, ...], int]:
        """Every count that the caller adds to, and the most it may be."""
        own = caller.member_id == self._home
        if own and caller.role is Role.SERVICE and caller.name in SERVICES:
            return {_OWN: self._own_most}
        works_here = own and caller.role is not Role.PATIENT
        most = max(1, self._most // 2) if works_here else CALLER_MAX
        bounds: dict[tuple[str, ...], int] = {_OTHERS: self._most, (caller.member_id, caller.role, caller.name): most}
        return bounds if own else bounds | {(caller.member_id,): max(1, self._most // MEMBER_SHARE)}
