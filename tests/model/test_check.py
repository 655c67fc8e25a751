"""The model's run notices what it must; the search itself is `make model`."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from model.check import CASES, MODEL, Case, configuration, is_as_expected, read

CLEAN = """Model checking completed. No error has been found.
7741 states generated, 3554 distinct states found, 0 states left on queue.
"""
REFUTED = """Error: Invariant Agreement is violated.
State 1: <Initial predicate>
State 2: <Vote line 1, col 1 to line 2, col 2 of module Consensus>
182 states generated, 123 distinct states found, 62 states left on queue.
"""
STOPPED = "Error: TLC threw an unexpected exception.\n2 states generated, 2 distinct states found, 1 states left on queue.\n"
HOLDS = next(each for each in CASES if not each.refutes)
REFUTES = replace(next(each for each in CASES if each.refutes), invariants=("Agreement",))


@pytest.mark.parametrize(
    ("case", "said", "expected"),
    [
        (HOLDS, CLEAN, True),
        (HOLDS, REFUTED, False),
        (HOLDS, STOPPED, False),
        (HOLDS, "", False),
        (REFUTES, REFUTED, True),
        (REFUTES, CLEAN, False),
        (REFUTES, STOPPED, False),
        (replace(REFUTES, invariants=("Lock",)), REFUTED, False),
    ],
)
def test_a_case_that_turns_out_otherwise_is_noticed(case: Case, said: str, expected: bool) -> None:  # noqa: FBT001 (a table)
    assert is_as_expected(case, read(said)) is expected


def test_what_tlc_counts_is_read() -> None:
    outcome = read(REFUTED)
    assert (outcome.generated, outcome.distinct, outcome.steps, outcome.refuted) == (182, 123, 2, "Agreement")


@pytest.mark.parametrize("case", CASES, ids=lambda each: each.title)
def test_every_name_of_a_case_is_defined(case: Case) -> None:
    texts = "".join(path.read_text() for path in sorted(MODEL.glob("*.tla")))
    names = re.findall(r"<- (\w+)|INVARIANT (\w+)|SYMMETRY (\w+)|SPECIFICATION (\w+)", configuration(case))
    assert all(re.search(rf"^{''.join(each)} ==", texts, re.MULTILINE) for each in names)


def test_every_rule_that_the_model_can_break_is_broken_by_a_case() -> None:
    text = (MODEL / "Consensus.tla").read_text()
    lines = [line for line in text.splitlines() if re.search(r"\bBug [=#\\]", line)]
    known = {name for line in lines for name in re.findall(r'"([a-z ]+)"', line.split("Bug", 1)[1])}
    assert {each.broken for each in CASES} == {"none"} | known
