"""The law of the draw: against every way the lots may fall, against the production election, and where it must give up."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from consilium.client.planning import lots as lots_module
from consilium.client.planning.chances import count_row
from consilium.client.planning.forecast import Forecast
from consilium.client.planning.lots import Lots
from consilium.client.planning.scenario import Scenario
from consilium.kernel.apportionment import Apportionment
from consilium.kernel.election import draw_committee
from consilium.kernel.hashing import sha256
from consilium.kernel.parameters import Parameters
from consilium.kernel.transactions import Grade
from tests.client.planning.pools import every_draw, member, mixed, plan_of, scenario_of, tiered


def bad(scenario: Scenario) -> dict[str, float]:
    return {each.member_id: each.p_bad for each in scenario.members}


def assert_is_every_draw(scenario: Scenario, plan: Apportionment) -> None:
    """The row and the seats by member are those of all draws spelled out."""
    size = sum(plan.seats)
    row, seated, whole = [0.0] * (size + 1), Counter[str](), 0.0
    for chance, committee in every_draw(scenario, plan):
        whole += chance
        for k, value in enumerate(count_row([each.p_bad for each in committee])):
            row[k] += chance * value
        for each in committee:
            seated[each.member_id] += chance  # type: ignore[assignment]  # a Counter of floats
    assert whole == pytest.approx(1)
    law = Lots(scenario, plan)
    assert law.is_exact
    assert law.row(bad(scenario)) == pytest.approx(row, rel=1e-9, abs=1e-15)
    assert law.seated() == pytest.approx({each.member_id: seated[each.member_id] for each in scenario.members})


@pytest.mark.parametrize("seed", range(30))
def test_c6_every_draw_of_a_small_alliance(seed: int) -> None:
    """Any grades, chances and owners; with few owners their caps bind, and are relaxed."""
    count = 4 + seed % 5
    scenario = mixed(seed, count, (2, 3, 5, 50)[seed % 4])
    assert_is_every_draw(scenario, plan_of(scenario, 7 if count > 6 and seed % 2 == 0 else 4))


def test_c6_owner_tied_across_strata() -> None:
    """One owner in every stratum: who sits in S1 decides who may in S4."""
    scenario = scenario_of(
        [
            member(f"{grade}-{k}", grade, 0.1 * k, 0.05, "chain" if k == 0 else f"own-{grade}-{k}")
            for grade in ("3A", "3B", "2A", "1A")
            for k in (0, 1)
        ]
    )
    assert_is_every_draw(scenario, plan_of(scenario, 4))


def test_rank_weights_within_a_stratum() -> None:
    """Wallenius for one seat: weights 10 to 9."""
    scenario = scenario_of([member("s", "3S"), member("a", "3A"), member("b", "3B"), member("c", "2A"), member("d", "1A")])
    assert Lots(scenario, plan_of(scenario, 4)).seated() == pytest.approx(
        {"s": 10 / 19, "a": 9 / 19, "b": 1, "c": 1, "d": 1}
    )


def test_c6_production_draws_follow_the_law() -> None:
    """An independent estimate: 600 production elections of twelve with tied owners; four standard errors."""
    scenario = mixed(5, 12, 7)
    law = Lots(scenario, plan_of(scenario, 7))
    assert law.is_exact
    seated = law.seated()
    parameters = Parameters(committee_target=7, seat_shares=scenario.shares)
    candidates = [each.candidate for each in scenario.members]
    counts = Counter[str]()
    for term in range(600):
        election = draw_committee(candidates, parameters, bytes(32), term, sha256(bytes([term % 256])))
        counts.update(each.member_id for each in election.committee.delegates)
    for name, chance in seated.items():
        assert counts[name] / 600 == pytest.approx(chance, abs=4 * (chance * (1 - chance) / 600) ** 0.5 + 1e-9), name


def test_too_many_owners_are_drawn_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The estimate lies beside the exact law of the same alliance."""
    scenario = mixed(11, 14, 6)
    exact = Lots(scenario, plan_of(scenario, 7))
    monkeypatch.setattr(lots_module, "LOOKS_MAX", 1)
    drawn = Lots(scenario, plan_of(scenario, 7))
    assert (exact.is_exact, drawn.is_exact) == (True, False)
    assert drawn.row(bad(scenario)) == pytest.approx(exact.row(bad(scenario)), abs=0.01)
    assert drawn.seated() == pytest.approx(exact.seated(), abs=0.05)


def test_nobody_marked_nobody_counted() -> None:
    scenario = tiered("base", (2, 2, 3, 3))
    assert Lots(scenario, plan_of(scenario, 7)).row({}) == [1.0, 0, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("name", "seven", "thirteen", "nineteen"),
    [
        ("optimistic", (1.2e-5, 9.1e-5), (2.0e-8, 6.1e-7), (3.7e-11, 4.3e-9)),
        ("base", (5.3e-3, 1.8e-2), (4.9e-4, 3.5e-3), (4.8e-5, 7.3e-4)),
        ("pessimistic", (3.9e-2, 1.1e-1), (1.3e-2, 6.5e-2), (4.2e-3, 3.9e-2)),
    ],
)
def test_uniform_lottery(
    name: str, seven: tuple[float, ...], thirteen: tuple[float, ...], nineteen: tuple[float, ...]
) -> None:
    """election.md table 4.2's lotteries: all hundred of one stratum and one weight, with the faults of their own."""
    members = [replace(each, grade=Grade.A2) for each in tiered(name).members]
    for size, printed in ((7, seven), (13, thirteen), (19, nineteen)):
        forecast = Forecast(scenario_of(members), size)
        assert (forecast.p_unsafe, forecast.p_no_quorum) == pytest.approx(printed, rel=0.05)
