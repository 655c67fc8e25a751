"""What a search prints: every sum, the weakest seed, the faults that never happened, and the marks that were missed."""

from __future__ import annotations

import platform
from collections import Counter

from tests.simulation.coverage import MARKS
from tests.simulation.run import Report
from tests.simulation.summary import FAULTS, Summary


def summed(*reports: Report) -> Summary:
    summary = Summary()
    for each in reports:
        summary.add(each)
    return summary


def report(seed: int, blocks: int, members: int = 5, delegates: int = 4, **more: object) -> Report:
    made = Report(seed, members, delegates, blocks=blocks, simulated_ms=10_000)
    for name, value in more.items():
        setattr(made, name, value)
    return made


def test_the_weakest_seed_is_named_beside_the_sum() -> None:
    """Rates are over the seconds it took."""
    lines = summed(report(1, 120), report(2, 100), report(3, 140, failure="S1")).lines(2)
    assert lines[0] == "3 seeds, 1 failed; 1.5 seeds a second"
    assert "360 blocks, 180 a second, at least 100 in every seed" in lines
    assert "30 simulated seconds in 2: 15 : 1" in lines


def test_each_size_of_alliance_is_counted() -> None:
    small, large = report(1, 100, processor_s=0.2), report(3, 100, 8, 7, processor_s=1.0)
    lines = summed(small, report(2, 100, processor_s=0.4), large).lines(1)
    costs = "n = 4 of 5: 2 of 300 ms of processor time, n = 7 of 8: 1 of 1000 ms of processor time"
    assert f"alliances: {costs}" in lines


def test_two_searches_are_compared_by_one_digest() -> None:
    """Another seed, another trace or another order is another digest; how long it took is not."""
    first, second = report(1, 100, trace="aa", processor_s=0.2), report(2, 100, trace="bb")
    again = report(1, 100, trace="aa", processor_s=0.4)
    line = digest_line(first, second)
    assert line.startswith(f"Python {platform.python_version()}; digest of all traces ")
    assert line == digest_line(again, second)
    others = [(second, first), (first,), (first, report(2, 100, trace="bc")), (first, report(3, 100, trace="bb"))]
    assert len({line, *(digest_line(*each) for each in others)}) == 5


def digest_line(*reports: Report) -> str:
    [line] = [line for line in summed(*reports).lines(1) if "digest" in line]
    return line


def test_a_fault_is_counted_and_one_that_never_happened_is_named() -> None:
    """A promise counts for little where nothing threatened it."""
    every = Counter(dict.fromkeys(FAULTS, 2))
    lines = summed(report(1, 100, hits=every), report(2, 100, hits=every - Counter(twin=1))).lines(1)
    assert any("twin 3 in 2 seeds" in line for line in lines)
    assert f"at least {len(FAULTS)} kinds in every seed" in "".join(lines)
    assert "never happened: twin" in summed(report(1, 100, hits=every - Counter(twin=2))).lines(1)


def test_a_mark_that_a_long_search_misses_is_a_failure_of_the_search() -> None:
    """A thousand seeds must have been everywhere; fewer need not."""
    most = Counter(dict.fromkeys(MARKS[1:], 1))
    few, many = summed(report(1, 100, marks=most)), summed(*[report(1, 100, marks=most)] * 1_000)
    assert few.blind_spots() == []
    assert many.blind_spots() == [MARKS[0]]
    assert f"NOT REACHED in 1000 seeds: {MARKS[0]}" in many.lines(1)
    assert f"    0.0 %  {MARKS[0]}" in few.lines(1)
