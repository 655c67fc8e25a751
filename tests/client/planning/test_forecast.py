"""What one committee comes to (C9): the tables of election.md section 4, coalitions counted, and what is warned of."""

from __future__ import annotations

import re
from decimal import ROUND_HALF_UP, Context, Decimal
from itertools import combinations
from pathlib import Path

import pytest

from consilium.client.planning.chances import count_row
from consilium.client.planning.forecast import Forecast, default_size, shown, smallest_meeting
from consilium.client.planning.scenario import read_scenario
from consilium.kernel.errors import FailedPrecondition, InvalidArgument
from tests.client.planning.pools import equal, every_draw, member, mixed, scenario_of, tiered

SCENARIOS = Path(__file__).parents[3] / "scenarios"
PAGE = SCENARIOS.parent / "docs" / "consistency.md"


def as_printed(chance: float, printed: str) -> bool:
    """Whether a chance is the printed one, whose figures were rounded from two."""
    figures = len(printed.partition("e")[0].replace(".", ""))
    two = Context(prec=2, rounding=ROUND_HALF_UP).create_decimal_from_float(chance)
    return Context(prec=figures, rounding=ROUND_HALF_UP).plus(two) == Decimal(printed)


# --- table 4.1 ---


@pytest.mark.parametrize(
    ("size", "faults", "printed"),
    [
        (4, 1, (0.8192, 0.8905, 0.9477, 0.9860, 0.9994)),
        (7, 2, (0.8520, 0.9262, 0.9743, 0.9962, 1.0000)),
        (13, 4, (0.9009, 0.9658, 0.9935, 0.9997, 1.0000)),
        (19, 6, (0.9324, 0.9837, 0.9983, 1.0000, 1.0000)),
        (21, 6, (0.9569, 0.9917, 0.9994, 1.0000, 1.0000)),
        (25, 8, (0.9532, 0.9920, 0.9995, 1.0000, 1.0000)),
        (31, 10, (0.9673, 0.9961, 0.9999, 1.0000, 1.0000)),
        (101, 33, (0.9991, 1.0000, 1.0000, 1.0000, 1.0000)),
    ],
)
def test_equal_delegates(size: int, faults: int, printed: tuple[float, ...]) -> None:
    forecasts = [Forecast(equal(size, good), size) for good in (0.80, 0.85, 0.90, 0.95, 0.99)]
    assert [round(1 - each.p_no_quorum, 4) for each in forecasts] == list(printed)
    assert {each.faults_max for each in forecasts} == {faults}
    assert {each.quorum for each in forecasts} == {(size + faults) // 2 + 1}


@pytest.mark.parametrize(
    ("size", "good_99", "good_9999"),
    [(4, 0.958, 0.996), (7, 0.929, 0.986), (13, 0.889, 0.960), (19, 0.863, 0.937), (21, 0.845, 0.923), (31, 0.831, 0.903)],
)
def test_how_good_equal_delegates_must_be(size: int, good_99: float, good_9999: float) -> None:
    """Printed rounded: one step below the target is missed, one above it is met."""
    for target, good in ((0.99, good_99), (0.9999, good_9999)):
        assert not Forecast(equal(size, good - 0.001), size).meets(target)
        assert Forecast(equal(size, good + 0.001), size).meets(target)


@pytest.mark.parametrize(("good", "size"), [(0.80, 52), (0.85, 25), (0.90, 13), (0.95, 7), (0.97, 4)])
def test_smallest_of_equal_delegates(good: float, size: int) -> None:
    assert smallest_meeting(equal(60, good), 0.99).size == size


# --- table 4.2, the capped rows, and the readings below it ---


@pytest.mark.parametrize(
    ("seats", "optimistic", "base", "pessimistic"),
    [
        ((2, 2, 2, 1), "1e-6 1e-5", "8e-4 2.5e-3", "1e-2 2.6e-2"),
        ((4, 3, 4, 2), "6e-10 2e-8", "2.4e-5 1.7e-4", "1.4e-3 7.4e-3"),
        ((6, 4, 6, 3), "3e-13 4e-11", "8e-7 1.2e-5", "2e-4 2.2e-3"),
        ((6, 5, 8, 6), "8e-16 4e-13", "1e-7 4e-6", "1e-4 1.8e-3"),
        ((6, 5, 41, 48), "7e-48 7e-38", "2e-18 7e-13", "3e-9 6e-5"),
    ],
)
def test_capped_strata(seats: tuple[int, ...], optimistic: str, base: str, pessimistic: str) -> None:
    """Given their seats; the last row is all hundred members in one committee."""
    for name, printed in (("optimistic", optimistic), ("base", base), ("pessimistic", pessimistic)):
        forecast = Forecast(tiered(name), sum(seats), seats)
        unsafe, no_quorum = printed.split()
        assert as_printed(forecast.p_unsafe, unsafe), (name, forecast.p_unsafe)
        assert as_printed(forecast.p_no_quorum, no_quorum), (name, forecast.p_no_quorum)


@pytest.mark.parametrize(("size", "seats"), [(7, (2, 2, 2, 1)), (13, (4, 3, 4, 2)), (19, (5, 5, 5, 4))])
def test_c6_production_seats(size: int, seats: tuple[int, ...]) -> None:
    assert Forecast(tiered("base"), size).seats == seats


@pytest.mark.parametrize(
    ("name", "target", "size"),
    [
        ("optimistic", 0.99, 4),
        ("optimistic", 0.9999, 7),
        ("base", 0.99, 7),
        ("base", 0.999, 10),
        ("pessimistic", 0.99, 13),
    ],
)
def test_smallest_meeting_the_target(name: str, target: float, size: int) -> None:
    """Reading (e)."""
    found = smallest_meeting(tiered(name), target)
    assert (found.size, found.meets(target)) == (size, True)
    assert size == 4 or not Forecast(tiered(name), size - 3).meets(target)


def test_a_stratum_that_could_break_it_is_taken_last() -> None:
    """99.9 % in the pessimistic case: only sizes whose weakest stratum holds more than f get there, and it is said."""
    found = smallest_meeting(tiered("pessimistic"), 0.999)
    assert max(found.seats) > found.faults_max
    assert "could break the committee" in found.warnings()[0]


def test_a_size_that_a_stratum_could_break_is_passed_over() -> None:
    """Six chains hold S1 to S3: with one seat each ten delegates need four of S4, thirteen keep the caps."""
    chains = [
        member(f"{grade}-{chain}", grade, 0.0, 0.085, f"chain-{chain}") for grade in ("3A", "3B", "2A") for chain in range(6)
    ]
    scenario = scenario_of([*chains, *(member(f"small-{k}", "1A", 0.0, 0.085) for k in range(15))])
    ten = Forecast(scenario, 10)
    assert (ten.meets(0.99), max(ten.seats)) == (True, 4)
    assert not Forecast(scenario, 7).meets(0.99)
    found = smallest_meeting(scenario, 0.99)
    assert (found.size, found.apportionment.relaxations) == (13, ())


def test_a_year_of_terms() -> None:
    """Reading (f)."""
    thirteen = Forecast(tiered("base"), 13)
    assert thirteen.never_in_a_year(thirteen.p_unsafe) == pytest.approx(0.9912, abs=1e-4)


@pytest.mark.parametrize(
    ("counts", "size", "base", "pessimistic"),
    [((2, 1, 3, 4), 7, 0.995, 0.955), ((3, 2, 4, 4), 7, 0.997, 0.974), ((3, 2, 4, 4), 13, 0.9993, 0.980)],
)
def test_small_alliances(counts: tuple[int, ...], size: int, base: float, pessimistic: float) -> None:
    """election.md section 5, below point 12 (T11)."""
    for name, printed in (("base", base), ("pessimistic", pessimistic)):
        seats = None if size < sum(counts) else counts
        assert 1 - Forecast(tiered(name, counts), size, seats).p_no_quorum == pytest.approx(printed, abs=6e-4)


def test_four_hospitals_in_a_bad_year_miss_it() -> None:
    """N = 4, one of each stratum: .985 and .931."""
    reached = [1 - Forecast(tiered(name, (1, 1, 1, 1)), 4).p_no_quorum for name in ("base", "pessimistic")]
    assert [round(each, 3) for each in reached] == [0.985, 0.931]


# --- outages and coalitions ---


def test_a_stratum_dark() -> None:
    """election.md section 4.4."""
    thirteen = {each.where: each.p_quorum for each in Forecast(tiered("base"), 13).stratum_outages()}
    assert thirteen == pytest.approx({"S1": 0.55, "S2": 0.90, "S3": 0.66, "S4": 0.995}, abs=5e-3)
    nineteen = Forecast(tiered("base"), 19)
    assert min(each.p_quorum for each in nineteen.stratum_outages()) == pytest.approx(0.76, abs=5e-3)
    assert as_printed(nineteen.p_no_quorum, "2.1e-5")


def test_the_only_region_dark() -> None:
    assert [(each.where, each.p_quorum) for each in Forecast(tiered("base"), 13).region_outages()] == [("here", 0.0)]


@pytest.mark.parametrize("seed", range(6))
def test_fewest_members_that_sit_in_every_draw(seed: int) -> None:
    """Against trying every set of members on every draw; owners of their own, as the count supposes."""
    scenario = mixed(seed, 7, 10_000)
    forecast = Forecast(scenario, 4)
    draws = [{each.member_id for each in committee} for _, committee in every_draw(scenario, forecast.apportionment)]
    names = [each.member_id for each in scenario.members]
    found = next(
        count
        for count in range(1, 8)
        if any(all(len(drawn & set(chosen)) >= 2 for drawn in draws) for chosen in combinations(names, count))
    )
    assert forecast.smallest_to_stop().members_every_term == forecast.smallest_to_fork().members_every_term == found


def test_smallest_coalition_counts_owners() -> None:
    """C6: at n = 13 an owner group holds two seats at most, so three are needed for five."""
    members = [member(f"{grade}{k}", grade, owner=f"chain-{k}") for grade in ("3A", "3B", "2A", "1A") for k in range(7)]
    smallest = Forecast(scenario_of(members), 13).smallest_to_fork()
    assert (smallest.delegates, smallest.owners) == (5, 3)


def test_well_placed_coalition() -> None:
    """Nine members of S1 and S2 hold more than f seats in every draw of thirteen: what a tenth of everybody can do."""
    forecast = Forecast(tiered("base"), 13)
    assert forecast.smallest_to_stop().members_every_term == 9
    assert [each.members for each in forecast.coalitions()] == [10, 15, 20]
    assert forecast.coalitions()[0].p_placed == pytest.approx(1)
    assert forecast.coalitions()[0].p_spread == pytest.approx(0.003, abs=1e-4)


# --- any pool ---


@pytest.mark.parametrize("seed", range(8))
def test_any_pool_against_all_draws(seed: int) -> None:
    scenario = mixed(100 + seed, 5 + seed % 4, (3, 6, 100)[seed % 3])
    forecast = Forecast(scenario, 4)
    unsafe = no_quorum = 0.0
    for chance, committee in every_draw(scenario, forecast.apportionment):
        unsafe += chance * sum(count_row([each.p_malicious for each in committee])[2:])
        no_quorum += chance * sum(count_row([each.p_bad for each in committee])[2:])
    assert (forecast.p_unsafe, forecast.p_no_quorum) == pytest.approx((unsafe, no_quorum))


# --- what is said ---


def test_warnings_name_coalitions_above_the_target() -> None:
    warnings = Forecast(tiered("base"), 13).warnings()
    assert [line[:22] for line in warnings] == ["A coalition of 15 % of", "A coalition of 20 % of", "If the 10 members draw"]
    assert any("10 %" in line for line in Forecast(tiered("base"), 13).warnings(0.999))


def test_warnings_name_what_is_not_met_and_no_size_of_ours() -> None:
    said = Forecast(equal(6, 0.9), 5).warnings()
    assert any("the alliance elects 4" in line for line in said)
    assert any("is not met by 5 delegates" in line for line in said)
    assert any("alone could break" in line for line in said)


def test_warnings_name_given_seats_above_f() -> None:
    said = Forecast(tiered("base"), 13, (6, 5, 2, 0)).warnings()
    assert "One stratum holds 6 seats, more than f = 4: alone it could break them." in said


@pytest.mark.parametrize(
    ("size", "kind", "reason"), [(3, InvalidArgument, "BAD_COMMITTEE"), (101, FailedPrecondition, "TOO_FEW_MEMBERS")]
)
def test_impossible_sizes(size: int, kind: type[InvalidArgument], reason: str) -> None:
    with pytest.raises(kind) as caught:
        Forecast(tiered("base"), size)
    assert caught.value.reason == reason


@pytest.mark.parametrize("seats", [(4, 3, 4), (4, 3, 4, 3), (7, 2, 2, 2), (1, 1, 1, 0)])
def test_impossible_seats(seats: tuple[int, ...]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Forecast(tiered("base"), 13, seats)
    assert caught.value.reason == "BAD_SEATS"


def test_shown() -> None:
    assert [shown(each) for each in (0.0, 1.0, 0.0025, 2.4e-5)] == ["0.0000", "1.0000", "0.0025", "2.4e-05"]


# --- the files that are shipped, and what is written about them ---


def test_written_numbers_are_what_the_command_gives() -> None:
    """The table of docs/consistency.md, row by row."""
    china = read_scenario(SCENARIOS / "china-2019.yaml")
    rows = re.findall(
        r"^\| (\d+) \| ([\d/]+) \| (\d+) \| (\S+) \| (\S+) \| (\S+) \| (S\d) (\S+) \| (.+) \|$",
        PAGE.read_text(),
        re.MULTILINE,
    )
    assert [int(row[0]) for row in rows] == [4, 7, 10, 13, 19, 25]
    for size, seats, messages, unsafe, no_quorum, year, where, dark, anywhere in rows:
        forecast = Forecast(china, int(size))
        outage = min(forecast.stratum_outages(), key=lambda each: each.p_quorum)
        assert ("/".join(map(str, forecast.seats)), forecast.messages_per_block) == (seats, int(messages))
        assert as_printed(forecast.p_unsafe, unsafe)
        assert as_printed(forecast.p_no_quorum, no_quorum)
        assert f"{forecast.never_in_a_year(forecast.p_unsafe):.{len(year) - 1}f}".lstrip("0") == year
        assert (outage.where, f"{outage.p_quorum:.2f}".lstrip("0")) == (where, dark)
        for each, printed in zip(forecast.coalitions(), anywhere.split(" / "), strict=True):
            assert f"{each.p_spread:.{len(printed) - 1}f}".lstrip("0") == printed


def test_shipped_scenarios() -> None:
    """The third is where 99 % is not met, with any committee."""
    china, ten, county = (
        read_scenario(SCENARIOS / f"{name}.yaml") for name in ("china-2019", "ten-hospitals", "county-not-met")
    )
    assert tuple(len(china.in_stratum(stratum)) for stratum in range(4)) == (6, 5, 41, 48)
    assert (default_size(china), default_size(ten)) == (13, 10)
    assert as_printed(Forecast(china, 13).p_no_quorum, "1.7e-4")
    assert smallest_meeting(ten, 0.99).size == 7
    assert smallest_meeting(ten, 0.99).apportionment.relaxations == ()
    assert not smallest_meeting(county, 0.99).meets(0.99)
