"""The rates that are put in, and who fails in which term by them (rule C9).

Every stratum has a rate of its own, as hospitals of different means would. Who fails is drawn by a seed, so it is known
beforehand which terms have a quorum of delegates that are good and reachable; whether the processes agree, they tell.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from consilium.client.planning.scenario import PlannedMember, Scenario
from consilium.kernel.election import stratum_of
from consilium.kernel.parameters import Parameters
from consilium.sandbox.founders import founders_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from consilium.ceremony.keys import Founder


class Rates(NamedTuple):
    """How likely a member is malicious and unreachable in a term, by stratum, S1 first."""

    malicious: tuple[float, ...]
    unreachable: tuple[float, ...]


ROUGH = Rates((0.03, 0.04, 0.06, 0.08), (0.10, 0.11, 0.13, 0.15))
CALM = Rates((0.02, 0.02, 0.04, 0.05), (0.05, 0.06, 0.08, 0.10))


@dataclass(frozen=True, slots=True)
class Term:
    """Who fails in a term, and which delegates the client hands its transaction to."""

    malicious: frozenset[str]
    unreachable: frozenset[str]
    asked: tuple[str, ...]

    @property
    def bad(self) -> frozenset[str]:
        """Those that do not help."""
        return self.malicious | self.unreachable


def scenario_of(size: int, rates: Rates) -> Scenario:
    """The sandbox's members as `consilium plan` reads them: as many as there are seats, so that all of them sit."""
    members = tuple(_planned(each, rates) for each in founders_of(size))
    return Scenario(f"{size} processes", Parameters().seat_shares, "made up", members)


def _planned(founder: Founder, rates: Rates) -> PlannedMember:
    at = stratum_of(founder.grade) - 1
    owner = founder.owner_group
    return PlannedMember(founder.member_id, founder.grade, 0, 0, owner, owner, rates.malicious[at], rates.unreachable[at])


def draw_terms(scenario: Scenario, terms: int, seed: int) -> Iterator[Term]:
    """The terms of a seed. A client does not know who is good, so it hands in to f+1 delegates (C4)."""
    chance = random.Random(f"{seed} {scenario.name}")  # noqa: S311  a schedule, no secret
    names = [each.member_id for each in scenario.members]
    for _ in range(terms):
        malicious = _drawn(chance, names, [each.p_malicious for each in scenario.members])
        unreachable = _drawn(chance, names, [each.p_unreachable for each in scenario.members])
        yield Term(malicious, unreachable, tuple(chance.sample(names, (len(names) - 1) // 3 + 1)))


def _drawn(chance: random.Random, names: Sequence[str], rates: Sequence[float]) -> frozenset[str]:
    return frozenset(name for name, rate in zip(names, rates, strict=True) if chance.random() < rate)
