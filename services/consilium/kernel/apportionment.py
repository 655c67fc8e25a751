"""How a committee's seats are shared out among the strata (rule C6; election.md sections 4.3 to 5).

The four strata are S1 (3-special and 3A), S2 (3B and 3C), S3 (level 2) and S4 (level 1 and ungraded); here
their indexes 0 to 3. Seats are awarded one by one by Sainte-Lague on the configured resource shares: the next
seat goes to the stratum with the largest share / (2 * seats + 1), ties to the smaller number; but a stratum
without a seat comes before all others. Two caps hold, and a seat that a cap or a lack of members keeps from a
stratum passes on to the next:

- no stratum holds more than f seats (f - 1 from n = 16), so that no stratum, wholly malicious or dark, can
  break the committee;
- no owner group holds more than max(1, f // 2) seats, in all strata together.

Where the members cannot fill n seats within the caps, n stays and the caps give way: the stratum cap by one
seat at a time, each time only when no seat can be awarded under the last; and only when no stratum cap
whatever fills n, the owner cap by one, and the award starts anew under the stratum cap of the rule. So no cap
is exceeded needlessly, and as n never exceeds the members, it always ends.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

STRATA = 4
"""With n = 3f+1 and three strata one would always hold more than f seats; four can keep a cap of f."""
SLACK_SIZE_MIN = 16
"""The smallest n whose four strata can do with f - 1 seats each: 4 * (f - 1) >= 3f + 1."""

_SETS = tuple(tuple(s for s in range(STRATA) if mask >> s & 1) for mask in range(1, 2**STRATA))
"""Every set of strata but the empty one."""


class Cap(StrEnum):
    """What is capped."""

    STRATUM = "stratum"
    OWNER = "owner group"


@dataclass(frozen=True, slots=True)
class Relaxation:
    """A cap the members could not meet: the seats the rule allows, and the seats granted of `size` (C6)."""

    cap: Cap
    allowed: int
    granted: int
    size: int

    @property
    def sentence(self) -> str:
        """What to tell whoever plans or runs the alliance."""
        faults_max = faults_of(self.size)
        end = (
            f"one alone could break the committee, as f = {faults_max}."
            if self.granted > faults_max
            else f"still no more than f = {faults_max}."
        )
        return (
            f"The members do not fill {self.size} seats within the {self.cap} cap: "
            f"one {self.cap} may hold {self.granted} seats instead of {self.allowed}; {end}"
        )


@dataclass(frozen=True, slots=True)
class Award:
    """One seat: the index of the stratum it went to, of those that could take it, and the stratum cap by then."""

    stratum: int
    contenders: tuple[int, ...]
    cap: int


@dataclass(frozen=True, slots=True)
class Apportionment:
    """Seats per stratum, the owner cap they can be filled under, and the caps that gave way (mostly none).

    `awards` are the seats in the order they were awarded.
    """

    seats: tuple[int, ...]
    owner_cap: int
    relaxations: tuple[Relaxation, ...]
    awards: tuple[Award, ...] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class _Group:
    """An owner group: the seats it may still take, and its members not yet seated, by stratum."""

    spare: int
    members: tuple[int, ...]

    def fills(self) -> list[int]:
        """How many seats of each set of strata this group alone can fill."""
        return [min(self.spare, sum(self.members[s] for s in strata)) for strata in _SETS]

    def without(self, stratum: int) -> "_Group":
        """The group after one of its members took a seat."""
        members = tuple(count - (s == stratum) for s, count in enumerate(self.members))
        return _Group(self.spare - 1, members)


class Room:
    """The seats that members can fill while no owner group holds more than a cap of them.

    Seats can all be filled exactly when no set of strata has more of them than its members can take, each
    owner group counted up to its cap (Hall 1935; Ford and Fulkerson 1956). Four strata have fifteen sets, so
    looking ahead is cheap.
    """

    def __init__(self, pools: Sequence[Mapping[str, int]], owner_cap: int) -> None:
        """Nobody is seated yet; `pools` gives, for each stratum, the members of each owner group."""
        names = dict.fromkeys(name for pool in pools for name in pool)
        self._groups = {name: _Group(owner_cap, tuple(pool.get(name, 0) for pool in pools)) for name in names}
        fills = [group.fills() for group in self._groups.values()]
        self._room = [sum(each[i] for each in fills) for i in range(len(_SETS))]

    def __copy__(self) -> "Room":
        """The same room, in which seats can be taken on their own: for who looks at every way a draw may go."""
        twin = object.__new__(Room)
        twin._groups, twin._room = dict(self._groups), self._room
        return twin

    def fits(self, seats: Sequence[int]) -> bool:
        """Whether this many more seats of each stratum can all be filled."""
        return _fits(seats, self._room)

    def take(self, stratum: int, owner_group: str, seats_left: Sequence[int]) -> bool:
        """Seat one member of that stratum and owner group, unless `seats_left` could then not be filled.

        Returns whether it was seated. A refusal stands: what cannot be filled now cannot be filled later.
        """
        group = self._groups[owner_group]
        smaller = group.without(stratum)
        totals = zip(self._room, group.fills(), smaller.fills(), strict=True)
        room = [total - before + after for total, before, after in totals]
        if group.spare == 0 or not _fits(seats_left, room):
            return False
        self._groups[owner_group] = smaller
        self._room = room
        return True


def _fits(seats: Sequence[int], room: Sequence[int]) -> bool:
    return all(sum(seats[s] for s in strata) <= most for strata, most in zip(_SETS, room, strict=True))


def faults_of(size: int) -> int:
    """How many faulty delegates a committee of `size` tolerates: f = (n - 1) // 3 (C1)."""
    return (size - 1) // 3


def stratum_cap_of(size: int) -> int:
    """The most seats one stratum may hold: f; from n = 16 f - 1, for slack (C6; election.md section 4.4)."""
    return faults_of(size) - (size >= SLACK_SIZE_MIN)


def owner_cap_of(size: int) -> int:
    """The most seats one owner group may hold: max(1, f // 2) (C6)."""
    return max(1, faults_of(size) // 2)


def apportion(pools: Sequence[Mapping[str, int]], shares: Sequence[int], size: int) -> Apportionment:
    """The seats of each stratum for a committee of `size` = 3f+1 (C6).

    `pools` gives, for each stratum, how many eligible members each owner group has in it; `shares` gives the
    strata's resource shares, in any unit. There must be at least `size` members.
    """
    assert len(pools) == len(shares) == STRATA
    assert sum(sum(pool.values()) for pool in pools) >= size
    owner_cap = owner_cap_of(size)
    while (awards := _award(Room(pools, owner_cap), shares, size)) is None:
        owner_cap += 1
    seats = tuple([sum(each.stratum == s for each in awards) for s in range(STRATA)])
    return Apportionment(seats, owner_cap, _relaxations(size, max(seats), owner_cap), awards)


def _award(room: Room, shares: Sequence[int], size: int) -> tuple[Award, ...] | None:
    """All seats, the stratum cap raised where it must be; None if the owner cap leaves some empty even so."""
    seats, awards = [0] * STRATA, list[Award]()
    cap = stratum_cap_of(size)
    while len(awards) < size:
        can_fill = [s for s in range(STRATA) if room.fits([n + (s == i) for i, n in enumerate(seats)])]
        if not can_fill:
            return None
        within = [s for s in can_fill if seats[s] < cap]
        if within:
            awards.append(Award(_next_stratum(within, seats, shares), tuple(within), cap))
            seats[awards[-1].stratum] += 1
        else:
            cap += 1
    return tuple(awards)


def _next_stratum(strata: Sequence[int], seats: Sequence[int], shares: Sequence[int]) -> int:
    """The stratum whose turn it is: those without a seat first, then by quotient, then by number."""
    unseated = [s for s in strata if seats[s] == 0]
    first, *others = unseated or strata
    for s in others:
        if shares[s] * (2 * seats[first] + 1) > shares[first] * (2 * seats[s] + 1):
            first = s
    return first


def _relaxations(size: int, most_seats: int, owner_cap: int) -> tuple[Relaxation, ...]:
    """The caps that gave way, in the order in which the rule lets them."""
    caps = (
        (Cap.STRATUM, stratum_cap_of(size), most_seats),
        (Cap.OWNER, owner_cap_of(size), owner_cap),
    )
    return tuple(Relaxation(cap, allowed, granted, size) for cap, allowed, granted in caps if granted > allowed)
