"""An election recomputed from the text of rule C6 alone: it shares no code and no method with the product.

Where the product compares quotients by cross-multiplying, this sorts a table of fractions; where the product
counts the fifteen sets of strata, this seats people one by one and moves them about (augmenting paths).
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from fractions import Fraction
from hashlib import sha256
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

GRADES = ("U", "1C", "1B", "1A", "2C", "2B", "2A", "3C", "3B", "3A", "3S")
"""The grades from low to high, as in a scenario file."""
STRATA = (1, 2, 3, 4)

Seats = dict[int, int]
"""Seats by stratum."""


class Person(NamedTuple):
    """An active member; `jailed_until` is the first epoch it may serve in again, `running` its terms without a break."""

    name: str
    owner: str
    grade: str
    score: int = 700
    votes: int = 0
    jailed_until: int = 0
    running: int = 0
    silent: bool = False

    @property
    def stratum(self) -> int:
        """The stratum by the letters of the grade."""
        if self.grade in ("3S", "3A"):
            return 1
        return {"3": 2, "2": 3}.get(self.grade[0], 4)


class Outcome(NamedTuple):
    """Who serves, in the order of primaries; seats by stratum; caps that gave way: (cap, rule, granted)."""

    order: list[str]
    seats: list[int]
    relaxed: list[tuple[str, int, int]]


def can_be_filled(seats: Mapping[int, int], people: Sequence[Person], cap: int, taken: Mapping[str, int]) -> bool:
    """Seats people one by one, moving those already seated where it helps (Kuhn's augmenting paths)."""
    there = Counter((person.stratum, person.owner) for person in people)
    seated: Counter[tuple[int, str]] = Counter()
    load = Counter(taken)

    def seat(stratum: int, tried: list[str]) -> bool:
        for owner in sorted({owner for at, owner in there if at == stratum}):
            if owner in tried or seated[stratum, owner] == there[stratum, owner]:
                continue
            tried.append(owner)
            if load[owner] < cap:
                load[owner] += 1
                seated[stratum, owner] += 1
                return True
            for other in STRATA:
                if other != stratum and seated[other, owner] and seat(other, tried):
                    seated[other, owner] -= 1
                    seated[stratum, owner] += 1
                    return True
        return False

    return all(seat(stratum, []) for stratum in STRATA for _ in range(seats[stratum]))


def caps(n: int) -> tuple[int, int]:
    """What one stratum and one owner group may hold, by the rule."""
    f = (n - 1) // 3
    return (f if n < 16 else f - 1), max(1, f // 2)


def award(n: int, people: Sequence[Person], shares: Sequence[int], owner_cap: int) -> Seats | None:
    """Walks the table of quotients once for each stratum cap from the rule's upwards."""
    table = sorted((0 if k == 0 else 1, -Fraction(shares[s - 1], 2 * k + 1), s, k) for s in STRATA for k in range(n))
    seats = dict.fromkeys(STRATA, 0)
    for cap in range(caps(n)[0], n + 1):
        for _, _, s, k in table:
            more = {**seats, s: k + 1}
            if seats[s] == k < cap and sum(seats.values()) < n and can_be_filled(more, people, owner_cap, {}):
                seats = more
    return seats if sum(seats.values()) == n else None


def apportion(n: int, people: Sequence[Person], shares: Sequence[int]) -> tuple[Seats, int]:
    """The seats by stratum, and the first owner cap that gives all of them."""
    for owner_cap in range(caps(n)[1], n + 1):
        seats = award(n, people, shares, owner_cap)
        if seats is not None:
            return seats, owner_cap
    raise AssertionError


def weigh(people: Sequence[Person]) -> list[int]:
    """Weights inside one stratum, with exact fractions until the two roundings the rule names."""
    votes = sum(person.votes for person in people)
    weights = []
    for person in people:
        bonus = min(1000, int(1000 * person.votes / Fraction(votes, len(people)))) if votes else 0
        grade = max(1, GRADES.index(person.grade))
        weights.append(int(grade * person.score * Fraction(1000 + bonus, 1000)))
    return weights


def lot(seed: bytes, number: int, k: int) -> int:
    """SHA-256(seed | number | k) as a number."""
    return int(sha256(seed + number.to_bytes(1, "big") + k.to_bytes(4, "big")).hexdigest(), 16)


def draw(seed: bytes, people: Sequence[Person], seats: Seats, owner_cap: int) -> list[Person]:
    """Draws lots in each stratum until its seats are taken; whom a lot passed over is out."""
    waiting = sorted(people)
    chosen: list[Person] = []
    left = dict(seats)
    for s in STRATA:
        k = 0
        while left[s]:
            here = [person for person in waiting if person.stratum == s]
            # Those with three terms behind them are asked when nobody else is left.
            here = [person for person in here if person.running < 3] or here
            # Votes count against the mean of the whole stratum, also of those already drawn.
            whole = sorted(person for person in people if person.stratum == s)
            weight_of = dict(zip(whole, weigh(whole), strict=True))
            ends = list(accumulate(weight_of[person] for person in here))
            person = here[bisect_right(ends, lot(seed, s, k) % ends[-1])]
            k += 1
            waiting.remove(person)
            taken = Counter(each.owner for each in [*chosen, person])
            rest = {**left, s: left[s] - 1}
            if taken[person.owner] <= owner_cap and can_be_filled(rest, waiting, owner_cap, taken):
                chosen.append(person)
                left = rest
    return chosen


def make_seed(chain_id: bytes, epoch: int, mix: bytes) -> bytes:
    """The domain and the three parts, each behind its length in four bytes."""
    parts = (b"consilium.election", chain_id, epoch.to_bytes(8, "big"), mix)
    return sha256(b"".join(len(part).to_bytes(4, "big") + part for part in parts)).digest()


def recompute(
    members: Sequence[Person], target: int, shares: Sequence[int], chain_id: bytes, epoch: int, mix: bytes
) -> Outcome | None:
    """The committee of an epoch, or None where there is none."""
    people = [each for each in members if each.score >= 200 and epoch >= each.jailed_until and not each.silent]
    sizes = [n for n in range(4, min(len(people), target) + 1) if n % 3 == 1]
    if not sizes:
        return None
    n = sizes[-1]
    seats, owner_cap = apportion(n, people, shares)
    seed = make_seed(chain_id, epoch, mix)
    order = sorted(person.name for person in draw(seed, people, seats, owner_cap))
    for i in reversed(range(1, n)):
        j = lot(seed, 0, i) % (i + 1)
        order[i], order[j] = order[j], order[i]
    used = (("stratum", caps(n)[0], max(seats.values())), ("owner group", caps(n)[1], owner_cap))
    return Outcome(order, [seats[s] for s in STRATA], [each for each in used if each[2] > each[1]])
