"""How often others may call: no member, and no patient, keeps a server busy with calls that it is admitted to (C1).

`runtime.shares` bounds what is open at the same time; here is what begins in a second. What is refused at admission is not
paced. Another member's people are one caller together, each of its five services is one, and so is each patient of this
member: whoever floods is refused, and nobody beside it. So what people of a member do never costs its replica the link that
carries its votes, a call that lasts. Who works for this member is not counted. Pure: whoever asks brings the time.
"""

from consilium.kernel.errors import ResourceExhausted
from consilium.kernel.membership import SERVICES
from consilium.runtime.names import PeerIdentity, Role
from consilium.runtime.shares import whose

SECOND_NS = 1_000_000_000
BURST_S = 5
"""So many seconds of calls may come at once, after as long a pause."""
CALLERS_MIN = 1_024
"""With so many callers known, those are forgotten that have paused long enough."""


class TooFast(ResourceExhausted):
    """Refused for its rate, TOO_FAST; in `retry_ns` nanoseconds the same call would be taken."""

    def __init__(self, per_s: int, retry_ns: int) -> None:
        """Say the limit and how long to wait."""
        told = f"calls_per_s allows {per_s} a second here; call again in {retry_ns / SECOND_NS:.3f} s"
        super().__init__("TOO_FAST", f"The caller's calls come too fast: {told}.", "C1")
        self.retry_ns = retry_ns


class Rates:
    """`per_s` calls a second for each caller, as a bucket of tokens: kept is when it would be full again."""

    def __init__(self, home: str, per_s: int) -> None:
        self._home, self._per_s = home, per_s
        self._full_at_ns: dict[str, int] = {}
        self._callers_max = CALLERS_MIN

    def take(self, caller: PeerIdentity, now_ns: int) -> None:
        """Count a call that begins now, on a clock that only goes forward. Raises TooFast."""
        name = self._name(caller)
        if not name:
            return
        full_at_ns = max(self._full_at_ns.get(name, now_ns), now_ns) + SECOND_NS // self._per_s
        late_ns = full_at_ns - now_ns - BURST_S * SECOND_NS
        if late_ns > 0:
            raise TooFast(self._per_s, late_ns)
        self._full_at_ns[name] = full_at_ns
        self._forget(now_ns)

    def _name(self, caller: PeerIdentity) -> str:
        """Whose bucket a call is out of; "" for those who work for this member."""
        name = whose(self._home, caller)
        is_service = caller.role is Role.SERVICE and caller.name in SERVICES
        return f"{name}/{caller.name}" if name and is_service else name

    def _forget(self, now_ns: int) -> None:
        """Drop the buckets that are full, once they are many."""
        if len(self._full_at_ns) > self._callers_max:
            self._full_at_ns = {name: at_ns for name, at_ns in self._full_at_ns.items() if at_ns > now_ns}
            self._callers_max = max(CALLERS_MIN, 2 * len(self._full_at_ns))
