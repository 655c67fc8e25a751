"""The arithmetic of chances, against all outcomes spelled out, fractions, and the tables of election.md section 4."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consilium.client.planning.chances import (
    above,
    convolve,
    count_row,
    exact_interval,
    hypergeometric_above,
    never,
    sampled_rows,
    within_views,
)
from tests.client.planning.pools import every_outcome

probabilities = st.floats(0, 1, allow_subnormal=False)


@given(st.lists(probabilities, max_size=8))
def test_count_row_is_all_outcomes(chances: list[float]) -> None:
    assert count_row(chances) == pytest.approx(every_outcome(chances), abs=1e-12)


@given(st.lists(probabilities, max_size=7), st.integers(0, 8))
def test_sampled_rows_are_means_over_all_choices(chances: list[float], most: int) -> None:
    for j, row in enumerate(sampled_rows(chances, most)):
        choices = [every_outcome(chosen) for chosen in combinations(chances, j)]
        means = [sum(values) / len(choices) for values in zip(*choices, strict=True)]
        assert row == pytest.approx(means, abs=1e-12)
    assert len(sampled_rows(chances, most)) == min(most, len(chances)) + 1


def test_rare_chances_keep_their_figures() -> None:
    """Of 40 events of chance 1e-3, twenty: compared with whole fractions."""
    exact = sum(comb(40, k) * Fraction(1, 1000) ** k * Fraction(999, 1000) ** (40 - k) for k in range(20, 41))
    assert above(count_row([0.001] * 40), 19) == pytest.approx(float(exact), rel=1e-12)
    assert float(exact) < 1e-48


def test_convolve_adds_counts() -> None:
    assert convolve([0.5, 0.5], [0.25, 0.0, 0.75]) == [0.125, 0.125, 0.375, 0.375]


@pytest.mark.parametrize(
    ("size", "coalition", "chance"),
    [(7, 5, 2e-3), (7, 20, 0.14), (13, 10, 3e-3), (13, 15, 2.4e-2), (19, 20, 5e-2), (31, 15, 3e-4), (61, 30, 0.16)],
)
def test_coalitions_anywhere(size: int, coalition: int, chance: float) -> None:
    """election.md table 4.3: hypergeometric, of a hundred."""
    assert hypergeometric_above(100, coalition, size, (size - 1) // 3) == pytest.approx(chance, rel=0.2)


def test_coalition_below_a_third_of_everybody_holds_nothing() -> None:
    assert hypergeometric_above(100, 33, 100, 33) == 0
    assert hypergeometric_above(100, 34, 100, 33) == 1


def test_views() -> None:
    """election.md section 4.2 (h): 13 delegates, two of them bad; formula 5."""
    bad = [0.0, 0.0, 1.0]
    assert [round(within_views(bad, 13, 9, views), 3) for views in (1, 2, 3)] == [0.846, 0.987, 1.0]
    assert within_views([0.0] * 5 + [1.0], 13, 9, 3) == 0


def test_never_in_a_year() -> None:
    """election.md section 4.2 (f)."""
    assert never(2.4e-5, 365) == pytest.approx(0.9912, abs=1e-4)
    assert never(0, 365) == 1
    assert never(1, 365) == 0


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    [
        (0, 10, 0.0, 0.3085),
        (10, 10, 0.6915, 1.0),
        (1, 10, 0.0025, 0.4450),
        (5, 10, 0.1871, 0.8129),
        (2, 1000, 0.0002, 0.0072),
    ],
)
def test_exact_interval(hits: int, trials: int, low: float, high: float) -> None:
    """Clopper and Pearson's, 95 %, as in printed tables."""
    assert exact_interval(hits, trials, 0.95) == pytest.approx((low, high), abs=6e-5)


def test_exact_interval_has_its_coverage() -> None:
    """Of all counts out of 30, those whose interval misses the truth have at most 5 % together."""
    for truth in (0.02, 0.3, 0.5, 0.81):
        row = count_row([truth] * 30)
        missed = sum(row[hits] for hits in range(31) if not _inside(truth, exact_interval(hits, 30, 0.95)))
        assert missed <= 0.05


def _inside(value: float, interval: tuple[float, float]) -> bool:
    return interval[0] <= value <= interval[1]
