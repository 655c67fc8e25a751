"""Looks for one order of all calls, each between its start and its end, that explains every answer (Wing and Gong 1993).

Each grant is a small machine of its own: absent, active, revoked. Grants and revocations move it, requests read it; all
three go through the order of the ledger, so whoever called them, at whichever members, their answers must fit one order
that respects real time. A call whose end was not heard of may have taken effect at any time after its start, or never.
States that were reached before are not searched again (Lowe 2017). It sees calls and answers only, and asks no chain.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from consilium.kernel.codes import Code
from tests.simulation.observed import Violation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

UNHEARD = math.inf
"""When a call ended whose end was not heard of."""


class Act(Enum):
    """What a call does to a grant."""

    GRANT = "grant"
    REVOKE = "revoke"
    ASK = "ask"


class Standing(Enum):
    """How a grant stands."""

    ABSENT = "absent"
    ACTIVE = "active"
    REVOKED = "revoked"


class Call(NamedTuple):
    """One call of a client; `code` is the ledger's answer, None where it was not heard of."""

    client: str
    act: Act
    started_s: float
    ended_s: float
    code: Code | None

    def __str__(self) -> str:
        """For the story."""
        answer = "never heard of" if self.code is None else f"to {self.ended_s:.3f}: {self.code.name}"
        return f"{self.client} {self.act.value} {self.started_s:.3f} {answer}"


AFTER: Mapping[tuple[Standing, Act], tuple[Standing, Code]] = {
    (Standing.ABSENT, Act.GRANT): (Standing.ACTIVE, Code.APPLIED),
    (Standing.ACTIVE, Act.GRANT): (Standing.ACTIVE, Code.GRANT_EXISTS),
    (Standing.REVOKED, Act.GRANT): (Standing.REVOKED, Code.GRANT_EXISTS),
    (Standing.ABSENT, Act.REVOKE): (Standing.ABSENT, Code.GRANT_UNKNOWN),
    (Standing.ACTIVE, Act.REVOKE): (Standing.REVOKED, Code.APPLIED),
    (Standing.REVOKED, Act.REVOKE): (Standing.REVOKED, Code.ALREADY_REVOKED),
    (Standing.ABSENT, Act.ASK): (Standing.ABSENT, Code.GRANT_UNKNOWN),
    (Standing.ACTIVE, Act.ASK): (Standing.ACTIVE, Code.GRANTED),
    (Standing.REVOKED, Act.ASK): (Standing.REVOKED, Code.GRANT_REVOKED),
}
"""What an act makes of a grant, and what it answers."""
WITHOUT_EFFECT = (Code.EXPIRED,)
"""Answers that say that nothing was done: such a call is in no order (L6)."""


def check_linearizable(histories: Mapping[bytes, Sequence[Call]]) -> int:
    """Judge the calls about each grant; how many calls that were. Raises Violation with a grant's calls in order of time."""
    for grant_id, calls in histories.items():
        if order_of(calls) is None:
            story = "; ".join(map(str, sorted(calls, key=lambda each: each.started_s)))
            raise Violation("linearizability", f"No order explains the answers about grant {grant_id.hex()}: {story}.")
    return sum(map(len, histories.values()))


def order_of(calls: Iterable[Call]) -> list[Call] | None:
    """An order of the calls on one grant that explains every answer, or None; calls not heard of may be left out."""
    given = sorted((each for each in calls if each.code not in WITHOUT_EFFECT), key=lambda each: each.started_s)
    heard = {place for place, each in enumerate(given) if each.code is not None}
    seen: set[tuple[frozenset[int], Standing]] = set()
    paths: list[tuple[frozenset[int], Standing, list[Call]]] = [(frozenset(), Standing.ABSENT, [])]
    while paths:
        done, standing, order = paths.pop()
        if heard <= done:
            return order
        if (done, standing) in seen:
            continue
        seen.add((done, standing))
        for place in _next(given, done):
            after = _step(standing, given[place])
            if after is not None:
                paths.append((done | {place}, after, [*order, given[place]]))
    return None


def _next(given: Sequence[Call], done: frozenset[int]) -> list[int]:
    """The calls that may come next: those that began before every other call that is left had ended."""
    left = [place for place in range(len(given)) if place not in done]
    first_end_s = min(given[place].ended_s for place in left)
    return [place for place in left if given[place].started_s <= first_end_s]


def _step(standing: Standing, call: Call) -> Standing | None:
    """How the grant stands after a call; None where the call's answer does not fit."""
    after, code = AFTER[standing, call.act]
    return after if call.code in (None, code) else None
