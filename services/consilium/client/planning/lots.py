"""The law of the draw: how likely each committee is, exactly, in the terms of the production rule (C6; `kernel.election`).

Within a stratum each seat goes to a member that waits and may be seated, with a chance proportional to its weight. So all
that matters is how many of each *cell* are seated, a cell being the members of one stratum of the same weight and, where
their owner group has more members than its cap, the same owner: a multivariate Wallenius law, worked out seat by seat. Who
sits out of a cell is an even draw, so the members of a cell may have different chances to fail. Owners above their cap tie
the strata together; who may be seated then says `kernel.apportionment.Room`, the same that production asks.

Where owners make too many cases (`LOOKS_MAX`), the law is taken from committees drawn by the same rule, and says so.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from random import Random

from consilium.client.planning.chances import Row, convolve, count_row, sampled_rows
from consilium.client.planning.scenario import PlannedMember, Scenario
from consilium.kernel.apportionment import STRATA, Apportionment, Room
from consilium.kernel.election import weights

LOOKS_MAX = 60_000
"""How often it is looked who may be seated next before committees are drawn instead; a second or two of work."""
COMMITTEES_DRAWN = 2_000
"""How many are drawn then. Faults are still exact in each, so a mean is off by a per cent or two."""

Taken = tuple[int, ...]
"""How many are seated of each cell, or of each owner group above its cap."""


@dataclass(frozen=True, slots=True)
class Cell:
    """Members between whom the draw makes no difference; `owner` where their owner group has more members than its cap."""

    weight: int
    owner: str | None
    members: tuple[PlannedMember, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """One way a stratum's seats may fall: its chance, the seats of each cell, and of each owner group from now on."""

    chance: float
    taken: Taken
    owners_after: Taken


class Lots:
    """The law of one committee: `row` says how many of its delegates are marked, given each member's chance to be."""

    def __init__(self, scenario: Scenario, plan: Apportionment) -> None:
        """Work the law out; the seats of `plan` can be filled under its owner cap."""
        self.seats = plan.seats
        self._scenario = scenario
        owners = Counter(member.owner for member in scenario.members)
        self._bound = sorted(owner for owner, count in owners.items() if count > plan.owner_cap)
        self._cells = [self._cells_of(stratum) for stratum in range(STRATA)]
        self._cap = plan.owner_cap
        self._drawn: list[list[PlannedMember]] = []
        self._looks = 0
        try:
            self._cases = self._all_cases()
        except _TooManyCases:
            self._drawn = [self._draw(Random(number)) for number in range(COMMITTEES_DRAWN)]  # noqa: S311  replayed

    @property
    def is_exact(self) -> bool:
        """Whether every case was told apart."""
        return not self._drawn

    def row(self, marks: Mapping[str, float]) -> Row:
        """How many delegates are marked; `marks` gives each member's chance by id, and who is not in it has none."""
        if self._drawn:
            return self._drawn_row(marks)
        rows: dict[Taken, Row] = {(0,) * len(self._bound): [1.0]}
        for stratum, cases in enumerate(self._cases):
            marked = [
                sampled_rows([marks.get(member.member_id, 0.0) for member in cell.members], self.seats[stratum])
                for cell in self._cells[stratum]
            ]
            rows = _after_stratum(rows, cases, marked)
        return _sum(list(rows.values()))

    def seated(self) -> dict[str, float]:
        """How likely each member is a delegate."""
        if self._drawn:
            counts = Counter(member.member_id for committee in self._drawn for member in committee)
            return {member.member_id: counts[member.member_id] / len(self._drawn) for member in self._scenario.members}
        reached: dict[Taken, float] = {(0,) * len(self._bound): 1.0}
        chances: dict[str, float] = {}
        for cells, cases in zip(self._cells, self._cases, strict=True):
            expected = [0.0] * len(cells)
            after: dict[Taken, float] = defaultdict(float)
            for before, chance in reached.items():
                for case in cases[before]:
                    after[case.owners_after] += chance * case.chance
                    for i, count in enumerate(case.taken):
                        expected[i] += chance * case.chance * count
            reached = after
            for cell, mean in zip(cells, expected, strict=True):
                chances |= {member.member_id: mean / len(cell.members) for member in cell.members}
        return chances

    def _cells_of(self, stratum: int) -> list[Cell]:
        pool = self._scenario.in_stratum(stratum)
        members: dict[tuple[int, str], list[PlannedMember]] = defaultdict(list)
        for member, weight in zip(pool, weights([each.candidate for each in pool]), strict=True):
            members[weight, member.owner if member.owner in self._bound else ""].append(member)
        return [Cell(weight, owner or None, tuple(each)) for (weight, owner), each in sorted(members.items())]

    # --- all cases ---

    def _all_cases(self) -> list[dict[Taken, list[Case]]]:
        """For each stratum: the cases that may follow on each way the owners stand before it."""
        reached: dict[Taken, Room] = {(0,) * len(self._bound): Room(self._pools(), self._cap)}
        found = []
        for stratum in range(STRATA):
            cases: dict[Taken, list[Case]] = {}
            after: dict[Taken, Room] = {}
            for before, room in reached.items():
                cases[before] = []
                for taken, (chance, left) in self._fillings(stratum, room).items():
                    owners = self._owners_after(before, stratum, taken)
                    cases[before].append(Case(chance, taken, owners))
                    after[owners] = left
            found.append(cases)
            reached = after
        return found

    def _fillings(self, stratum: int, room: Room) -> dict[Taken, tuple[float, Room]]:
        """Every way to fill a stratum's seats, with its chance and the room it leaves."""
        cells = self._cells[stratum]
        reached = {(0,) * len(cells): (1.0, room)}
        for seat in range(self.seats[stratum]):
            after: dict[Taken, tuple[float, Room]] = {}
            seats_left = [0] * stratum + [self.seats[stratum] - seat - 1, *self.seats[stratum + 1 :]]
            for taken, (chance, standing) in reached.items():
                rooms = self._rooms_after(stratum, taken, standing, seats_left)
                lots = {i: cells[i].weight * (len(cells[i].members) - taken[i]) for i in rooms}
                for i, lot in lots.items():
                    case = tuple(count + (place == i) for place, count in enumerate(taken))
                    so_far = after[case][0] if case in after else 0.0
                    after[case] = (so_far + chance * lot / sum(lots.values()), rooms[i])
            reached = after
        return reached

    def _rooms_after(self, stratum: int, taken: Taken, room: Room, seats_left: Sequence[int]) -> dict[int, Room]:
        """The cells that may have the next seat, each with the room that is left then."""
        if not self._bound:
            return {i: room for i, cell in enumerate(self._cells[stratum]) if taken[i] < len(cell.members)}
        self._looks += len(self._cells[stratum])
        if self._looks > LOOKS_MAX:
            raise _TooManyCases
        rooms = {}
        for i, cell in enumerate(self._cells[stratum]):
            left = copy(room)
            owner = cell.owner or _free(stratum, i, taken[i])
            if taken[i] < len(cell.members) and left.take(stratum, owner, seats_left):
                rooms[i] = left
        return rooms

    def _pools(self) -> list[Counter[str]]:
        """The members of each owner group in each stratum; one within its cap counts as many of one member."""
        return [
            Counter(
                cell.owner or _free(stratum, i, number)
                for i, cell in enumerate(cells)
                for number in range(len(cell.members))
            )
            for stratum, cells in enumerate(self._cells)
        ]

    def _owners_after(self, before: Taken, stratum: int, taken: Taken) -> Taken:
        """The seats of each owner that still matter: those of owners with members in the strata to come."""
        later = {cell.owner for cells in self._cells[stratum + 1 :] for cell in cells}
        counts = Counter(dict(zip(self._bound, before, strict=True)))
        for cell, count in zip(self._cells[stratum], taken, strict=True):
            if cell.owner is not None:
                counts[cell.owner] += count
        return tuple(counts[owner] if owner in later else 0 for owner in self._bound)

    # --- drawn committees ---

    def _draw(self, random: Random) -> list[PlannedMember]:
        """One committee: lots as exponential times, the first to come first (the same law as drawing by weight)."""
        room, left = Room(self._pools(), self._cap), list(self.seats)
        committee = []
        for stratum, cells in enumerate(self._cells):
            lots = [
                (random.expovariate(cell.weight), cell.owner or _free(stratum, i, number), member)
                for i, cell in enumerate(cells)
                for number, member in enumerate(cell.members)
            ]
            for _, owner, member in sorted(lots, key=lambda lot: lot[0]):
                after = [seats - (place == stratum) for place, seats in enumerate(left)]
                if left[stratum] and room.take(stratum, owner, after):
                    left = after
                    committee.append(member)
        return committee

    def _drawn_row(self, marks: Mapping[str, float]) -> Row:
        rows = [count_row([marks.get(member.member_id, 0.0) for member in each]) for each in self._drawn]
        return [value / len(rows) for value in _sum(rows)]


class _TooManyCases(Exception):
    """More than `LOOKS_MAX` would have to be looked at."""


def _free(stratum: int, cell: int, number: int) -> str:
    """What stands for the owner of a member that no owner cap can keep out; no owner is called so."""
    return f"\0{stratum}.{cell}.{number}"


def _after_stratum(
    rows: Mapping[Taken, Row], cases: Mapping[Taken, Sequence[Case]], marked: Sequence[Sequence[Row]]
) -> dict[Taken, Row]:
    """The rows so far, with one stratum's delegates counted in."""
    after: dict[Taken, list[Row]] = defaultdict(list)
    for before, row in rows.items():
        here: dict[Taken, list[Row]] = defaultdict(list)
        for case in cases[before]:
            one: Row = [case.chance]
            for cell_rows, count in zip(marked, case.taken, strict=True):
                one = convolve(one, cell_rows[count])
            here[case.owners_after].append(one)
        for owners, ones in here.items():
            after[owners].append(convolve(row, _sum(ones)))
    return {owners: _sum(each) for owners, each in after.items()}


def _sum(rows: Sequence[Row]) -> Row:
    """Rows of one length, added."""
    return [sum(values) for values in zip(*rows, strict=True)]
