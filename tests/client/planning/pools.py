"""Alliances on paper, and two other ways to know the odds: every outcome spelled out, and luck."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import prod
from random import Random

from consilium.client.planning.scenario import GRADES, PlannedMember, Scenario
from consilium.kernel.apportionment import Apportionment, Room, apportion
from consilium.kernel.election import weights

CHINA = (6, 5, 41, 48)
"""Of a hundred members: election.md section 3."""
SHARES = (39, 13, 36, 12)
FAULTS = {
    "optimistic": ((0.001, 0.002, 0.005, 0.01), (0.001, 0.002, 0.005, 0.01)),
    "base": ((0.01, 0.02, 0.04, 0.08), (0.005, 0.01, 0.02, 0.05)),
    "pessimistic": ((0.03, 0.05, 0.10, 0.15), (0.01, 0.02, 0.05, 0.10)),
}
"""The fault scenarios of election.md section 4: malicious, and unreachable, by stratum."""
GRADE_OF_STRATUM = ("3A", "3B", "2A", "1A")


def member(
    name: str, grade: str, malicious: float = 0.0, unreachable: float = 0.0, owner: str | None = None
) -> PlannedMember:
    return PlannedMember(name, GRADES[grade], 100, 1_000, "here", owner or name, malicious, unreachable)


def scenario_of(members: Sequence[PlannedMember], shares: tuple[int, ...] = SHARES) -> Scenario:
    return Scenario("paper", shares, "", tuple(sorted(members, key=lambda each: each.member_id)))


def tiered(name: str, counts: Sequence[int] = CHINA) -> Scenario:
    """Strata of so many members with the faults of one of the three scenarios, every member its own owner."""
    malicious, unreachable = FAULTS[name]
    return scenario_of(
        [
            member(f"s{stratum}-{number:02}", GRADE_OF_STRATUM[stratum], malicious[stratum], unreachable[stratum])
            for stratum, count in enumerate(counts)
            for number in range(count)
        ]
    )


def equal(count: int, good: float, grade: str = "2A") -> Scenario:
    """So many members, each good with the same probability."""
    return scenario_of([member(f"m{number:03}", grade, 0.0, 1 - good) for number in range(count)])


def mixed(seed: int, count: int, owners: int) -> Scenario:
    """Members of any grades and chances, of so many owners."""
    random = Random(seed)  # noqa: S311  a made-up alliance wants to be repeated
    return scenario_of(
        [
            member(
                f"m{number:03}",
                random.choice(list(GRADES)),
                random.choice((0.0, 0.05, 0.2, 0.5)),
                random.choice((0.0, 0.1, 0.3)),
                f"o{random.randrange(owners)}",
            )
            for number in range(count)
        ]
    )


def plan_of(scenario: Scenario, size: int) -> Apportionment:
    return apportion(owners_of(scenario), scenario.shares, size)


def owners_of(scenario: Scenario) -> list[dict[str, int]]:
    pools: list[dict[str, int]] = [{}, {}, {}, {}]
    for each in scenario.members:
        pools[each.stratum][each.owner] = pools[each.stratum].get(each.owner, 0) + 1
    return pools


def every_draw(scenario: Scenario, plan: Apportionment) -> Iterator[tuple[float, list[PlannedMember]]]:
    """Every committee, once for each way the lots may fall, with the chance of that way: the rule's text, step by step.

    Lots go on falling on members that may not be seated, as in production.
    """
    pools = owners_of(scenario)

    def draws(
        stratum: int, waiting: list[PlannedMember], seated: list[PlannedMember]
    ) -> Iterator[tuple[float, list[PlannedMember]]]:
        missing = plan.seats[stratum] - sum(each.stratum == stratum for each in seated)
        if not missing and stratum == 3:
            yield 1.0, seated
        elif not missing:
            yield from draws(stratum + 1, scenario.in_stratum(stratum + 1), seated)
        else:
            whole = weights([each.candidate for each in waiting])
            for place, each in enumerate(waiting):
                others = waiting[:place] + waiting[place + 1 :]
                after = [*seated, each] if may_sit(seated, each) else seated
                for chance, committee in draws(stratum, others, after):
                    yield whole[place] / sum(whole) * chance, committee

    def may_sit(seated: list[PlannedMember], each: PlannedMember) -> bool:
        room, left = Room(pools, plan.owner_cap), list(plan.seats)
        answer = False
        for one in [*seated, each]:
            left[one.stratum] -= 1
            answer = room.take(one.stratum, one.owner, left)
        return answer

    yield from draws(0, scenario.in_stratum(0), [])


def every_outcome(chances: Sequence[float]) -> list[float]:
    """How many of independent events happen: all 2^n outcomes, one by one."""
    row = [0.0] * (len(chances) + 1)
    for happened in product((True, False), repeat=len(chances)):
        row[sum(happened)] += prod(p if yes else 1 - p for p, yes in zip(chances, happened, strict=True))
    return row
