"""The arithmetic of chances: sums of independent faults, draws without replacement, exact intervals (election.md section 4).

A row is a list whose k-th entry is the chance of exactly k. Rows are only ever added and multiplied, and what is rare is
summed from its own entries, never as one less the rest: so a chance of 1e-48 is as exact as one of .5. Pure.
"""

from collections.abc import Callable, Sequence
from math import comb, exp, fsum, lgamma, log, log1p

Row = list[float]

_HALVINGS = 100
"""Enough for a float to be bisected to its last bit."""


def convolve(left: Sequence[float], right: Sequence[float]) -> Row:
    """The row of the sum of two independent counts."""
    row = [0.0] * (len(left) + len(right) - 1)
    for i, a in enumerate(left):
        if a:
            for j, b in enumerate(right):
                row[i + j] += a * b
    return row


def count_row(chances: Sequence[float]) -> Row:
    """How many of independent events happen: the Poisson-binomial law, by convolution (formulas 1 and 4)."""
    row = [1.0]
    for chance in chances:
        row = convolve(row, (1 - chance, chance))
    return row


def sampled_rows(chances: Sequence[float], most: int) -> list[Row]:
    """For j = 0 to `most`: how many events happen among j of these, every choice of j equally likely.

    Entry j is the mean of `count_row` over all choices, made as elementary symmetric polynomials are; where all chances
    are equal it is the binomial law.
    """
    sums: list[Row] = [[1.0]] + [[0.0] * (j + 1) for j in range(1, most + 1)]
    for seen, chance in enumerate(chances, start=1):
        for j in range(min(seen, most), 0, -1):
            for k, value in enumerate(sums[j - 1]):
                if value:
                    sums[j][k] += value * (1 - chance)
                    sums[j][k + 1] += value * chance
    return [[value / comb(len(chances), j) for value in row] for j, row in enumerate(sums[: len(chances) + 1])]


def above(row: Sequence[float], most: int) -> float:
    """The chance of more than `most`."""
    return min(1.0, fsum(row[most + 1 :]))


def hypergeometric_above(members: int, marked: int, drawn: int, most: int) -> float:
    """The chance that more than `most` of `drawn` members are marked, all draws equally likely (formula 2)."""
    ways = sum(comb(marked, k) * comb(members - marked, drawn - k) for k in range(most + 1, min(marked, drawn) + 1))
    return ways / comb(members, drawn)


def within_views(bad: Sequence[float], size: int, quorum: int, views: int) -> float:
    """The chance that one of the first `views` primaries is good and a quorum commits (formula 5)."""
    live = range(min(size - quorum, len(bad) - 1) + 1)
    return fsum(bad[b] * (1 - comb(b, views) / comb(size, views)) for b in live)


def never(chance: float, times: int) -> float:
    """The chance that something does not happen in so many terms (formula 7)."""
    return exp(times * log1p(-chance)) if chance < 1 else 0.0


def exact_interval(hits: int, trials: int, confidence: float) -> tuple[float, float]:
    """The chances that `hits` out of `trials` do not contradict, by Clopper and Pearson (1934)."""
    tail = (1 - confidence) / 2
    low = 0.0 if hits == 0 else _crossing(lambda p: 1 - _at_most(hits - 1, trials, p) >= tail)
    high = 1.0 if hits == trials else _crossing(lambda p: _at_most(hits, trials, p) <= tail)
    return low, high


def _crossing(is_beyond: Callable[[float], bool]) -> float:
    """Where, from 0 to 1, it becomes true."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if is_beyond(middle) else (middle, high)
    return (low + high) / 2


def _at_most(hits: int, trials: int, chance: float) -> float:
    """The chance of that many hits or fewer: the lower tail of the binomial law."""
    inside, outside, whole = log(chance), log1p(-chance), lgamma(trials + 1)
    return fsum(
        exp(whole - lgamma(k + 1) - lgamma(trials - k + 1) + k * inside + (trials - k) * outside) for k in range(hits + 1)
    )
