"""Whose calls a server has room for: no other member's callers, and no patient, ever take the places of everybody (C1).

A server takes so many calls at once and refuses the next, whoever makes it. Half of the places are anybody's; above that any
one other member keeps a small share, whatever it holds open, so f members that are hostile leave room for the rest; and the
last quarter is for those who work for this member, its own consensus with a block among them.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from consilium.kernel.errors import ResourceExhausted
from consilium.runtime.names import PeerIdentity, Role


class Shares:
    """So many places; `share_of` them is what one other member, or one patient, is sure of."""

    def __init__(self, home: str, places: int, share_of: int) -> None:
        self._home, self._places = home, places
        self._free, self._others = max(1, places // 2), max(1, places * 3 // 4)
        self._share = max(1, places // share_of)
        self._taken: Counter[str] = Counter()
        self.open = 0
        """How many places are taken."""

    @contextmanager
    def place(self, caller: PeerIdentity) -> Iterator[None]:
        """Hold a place until the end. Raises ResourceExhausted: TOO_MANY_CALLS."""
        name = whose(self._home, caller)
        if not self._has_room(name):
            told = f"{self.open} calls are open here, {self._taken[name]} of them the caller's; end some, or call later."
            raise ResourceExhausted("TOO_MANY_CALLS", told, "C1")
        self._taken[name] += 1
        self.open += 1
        try:
            yield
        finally:
            self.open -= 1
            self._taken[name] -= 1
            if not self._taken[name]:
                del self._taken[name]

    def _has_room(self, name: str) -> bool:
        if not name:
            return self.open < self._places
        return self.open < self._free or (self.open < self._others and self._taken[name] < self._share)


def whose(home: str, caller: PeerIdentity) -> str:
    """Whose share a call at this member is out of; "" for those who work for it."""
    if caller.member_id != home:
        return caller.member_id
    return f"{caller.role}/{caller.name}" if caller.role is Role.PATIENT else ""
