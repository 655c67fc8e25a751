"""Certificates that end in the middle of a run, judged by every peer's own clock (design section 8; `runtime.interceptors`).

A service looks at its caller's certificate at every message, so whoever holds one that has ended is refused by each peer
whose clock says so, and by no other. In the other direction a connection outlives the certificate of the one that is
called: only those that have to connect anew meanwhile refuse it. A renewed certificate begins ten minutes back, as identity
issues them, so no clock here is too far behind for it. The links inside a member are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable


class Ending(NamedTuple):
    """When a certificate ends, in milliseconds since 1970, and the members that connect to its holder anew."""

    at_ms: int
    anew: frozenset[str]


class Certificates:
    """What each member shows: one that ends, or one that is good for the whole run."""

    def __init__(self) -> None:
        self.endings: dict[str, Ending] = {}
        """Those that end; empty in most moments, so that asking costs nothing then."""

    def let_end(self, member_id: str, ending: Ending) -> None:
        """Have a member go on with a certificate that ends, until it is renewed."""
        self.endings[member_id] = ending

    def renew(self, member_id: str) -> None:
        """Its identity has issued another one, which its services show from now on."""
        self.endings.pop(member_id, None)

    def renew_all(self) -> None:
        """Nobody's certificate ends any more."""
        self.endings.clear()

    def refuses_caller(self, caller: str, wall_ms: Callable[[], int]) -> bool:
        """Whether somebody whose clock is `wall_ms` refuses what this member sends."""
        ending = self.endings.get(caller)
        return ending is not None and wall_ms() > ending.at_ms

    def refuses_called(self, called: str, caller: str, wall_ms: Callable[[], int]) -> bool:
        """Whether a member whose clock is `wall_ms` cannot connect to this one."""
        ending = self.endings.get(called)
        return ending is not None and caller in ending.anew and wall_ms() > ending.at_ms
