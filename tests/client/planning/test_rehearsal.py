"""C9: the production election with injected faults beside the calculation, and that a wrong calculation is caught."""

from __future__ import annotations

from dataclasses import replace

import pytest

from consilium.client.planning.forecast import Forecast
from consilium.client.planning.rehearsal import Measured, rehearse
from consilium.kernel.errors import InvalidArgument
from tests.client.planning.pools import equal, member, scenario_of, tiered

TEN = (2, 1, 3, 4)


def test_c9_calculation_and_election_agree() -> None:
    """The pessimistic case of ten: faults often enough for 400 terms to see them."""
    forecast = Forecast(tiered("pessimistic", TEN), 7)
    rehearsal = rehearse(forecast, 400)
    assert rehearsal.agrees
    assert rehearsal.no_quorum.calculated == forecast.p_no_quorum
    assert 0 < rehearsal.unsafe.hits < rehearsal.no_quorum.hits < 60
    assert rehearse(forecast, 400) == rehearsal


def test_c9_a_wrong_calculation_is_caught() -> None:
    """The law of an alliance whose weak members are strong does not pass for this one's."""
    forecast = Forecast(tiered("pessimistic", TEN), 7)
    forecast.scenario = replace(
        forecast.scenario, members=tuple(replace(each, p_malicious=0.4) for each in forecast.scenario.members)
    )
    rehearsal = rehearse(forecast, 200)
    assert not rehearsal.agrees


def test_c9_the_draw_itself_counts() -> None:
    """One malicious delegate is certain, a second sits as often as weight 3 beats weight 1; an even draw would not do."""
    weak = [member(f"m{k}", "1A", 1.0) for k in range(3)] + [member(f"g{k}", "1C") for k in range(3)]
    forecast = Forecast(scenario_of([*weak, member("a", "3A"), member("b", "3B", 1.0), member("c", "2A")]), 4)
    rehearsal = rehearse(forecast, 300)
    assert forecast.p_unsafe == pytest.approx(0.75)
    assert rehearsal.agrees
    assert not Measured(rehearsal.unsafe.hits, 300, 0.5).agrees


def test_what_is_not_elected_is_not_simulated() -> None:
    for forecast in (Forecast(tiered("base"), 19, (6, 4, 6, 3)), Forecast(equal(9, 0.9), 8)):
        with pytest.raises(InvalidArgument) as caught:
            rehearse(forecast, 5)
        assert caught.value.reason == "NOT_ELECTED"


@pytest.mark.parametrize("terms", [0, -1, 1_000_001])
def test_terms_are_bounded(terms: int) -> None:
    with pytest.raises(InvalidArgument) as caught:
        rehearse(Forecast(equal(4, 0.9), 4), terms)
    assert caught.value.reason == "BAD_TERMS"


def test_faults_of_the_scenarios_are_all_looked_at() -> None:
    """Nobody faulty, nothing seen; everybody, always."""
    none = rehearse(Forecast(equal(4, 1.0), 4), 20)
    every = rehearse(Forecast(equal(4, 0.0), 4), 20)
    assert (none.no_quorum.hits, none.agrees, every.no_quorum.hits, every.agrees) == (0, True, 20, True)
