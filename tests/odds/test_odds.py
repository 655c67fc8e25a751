"""`make consensus-odds` in short; by itself it lives through 800 terms."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from consilium.client.planning.forecast import Forecast
from consilium.client.planning.rehearsal import Measured
from consilium.consensus.core.messages import BatchOffer, Commit, Prepare
from consilium.kernel.certificates import Phase, SignedVote, Vote
from consilium.kernel.encoding import encode
from consilium.kernel.signing import Ed25519Signer, Ed25519Verifier
from tests.odds.faults import ROUGH, Term, draw_terms, scenario_of
from tests.odds.rows import ROWS, Row, extrapolated, table
from tests.odds.terms import HEALING_S, Tally, run_terms
from tests.odds.two_faced import lie

if TYPE_CHECKING:
    from pathlib import Path

NOBODY: frozenset[str] = frozenset()
CHAIN_ID = bytes(32)
FOUR = Forecast(scenario_of(4, ROUGH), 4)
SIMULATED = Measured(133, 1_000, FOUR.p_no_quorum)


@pytest.mark.slow
def test_terms_of_processes_go_as_their_faults_foretell(tmp_path: Path) -> None:
    """C1, C2: with f bad delegates of either kind the alliance agrees, with one more it does not, and then it goes on."""
    terms = [
        Term(NOBODY, NOBODY, ("1A", "2A")),
        Term(frozenset({"1A"}), NOBODY, ("1A", "2A")),
        Term(frozenset({"2A"}), frozenset({"3A"}), ("1A", "2A")),
        Term(NOBODY, frozenset({"3B"}), ("3A", "3B")),
        Term(NOBODY, frozenset({"1A", "2A"}), ("1A", "2A")),
        Term(NOBODY, NOBODY, ("3A", "3B")),
    ]
    said: list[str] = []
    tally = run_terms(tmp_path, 4, terms, said.append, HEALING_S)
    assert [agreed for _, agreed in tally.outcomes] == [True, True, False, True, False, True]
    assert said[-1].startswith("all 4 members hold one chain")


def tally_of(terms: int, failed: int) -> Tally:
    """So many terms, so many of which had no quorum and no agreement."""
    good, bad = Term(NOBODY, NOBODY, ()), Term(NOBODY, frozenset({"1A", "2A"}), ())
    return Tally(1, [(bad, False)] * failed + [(good, True)] * (terms - failed))


def test_rates_that_fit_the_calculation() -> None:
    row = Row(FOUR, SIMULATED, tally_of(400, 53))
    assert row.agrees
    assert row.measured.interval[0] < FOUR.p_no_quorum < row.measured.interval[1]
    assert table([row]).row_count == 1


def test_a_simulation_that_does_not_fit_it() -> None:
    assert not Row(FOUR, replace(SIMULATED, hits=90), tally_of(400, 53)).agrees


@pytest.mark.parametrize("failed", [30, 80])
def test_rates_that_do_not_fit_it(failed: int) -> None:
    """C9: outside at 99 %."""
    assert not Row(FOUR, SIMULATED, tally_of(400, failed)).agrees


def test_one_agreement_without_a_quorum_is_one_too_many() -> None:
    tally = tally_of(400, 53)
    tally.outcomes[0] = (Term(NOBODY, frozenset({"1A", "2A"}), ()), True)
    assert Row(FOUR, SIMULATED, tally).measured.agrees
    assert not Row(FOUR, SIMULATED, tally).agrees


def test_a_term_that_was_not_in_time_counts_as_one_without_agreement() -> None:
    tally = tally_of(400, 53)
    tally.outcomes[-1] = (Term(NOBODY, NOBODY, ()), False)
    row = Row(FOUR, SIMULATED, tally)
    assert (row.measured.hits, tally.in_spite, row.agrees) == (54, 1, True)


def test_rows_are_where_four_hundred_terms_can_tell() -> None:
    for size, rates in ROWS:
        assert 0.8 < 1 - Forecast(scenario_of(size, rates), size).p_no_quorum < 0.95
    assert extrapolated().startswith("Extrapolation, calculated only: n = 10")


def test_a_seed_gives_the_same_terms_again() -> None:
    scenario = scenario_of(7, ROUGH)
    terms = list(draw_terms(scenario, 50, seed=3))
    assert terms == list(draw_terms(scenario, 50, seed=3)) != list(draw_terms(scenario, 50, seed=4))
    assert {len(each.asked) for each in terms} == {3}


@pytest.mark.parametrize("kind", [Prepare, Commit])
def test_a_liar_signs_another_thing_for_everybody(kind: type[Prepare | Commit]) -> None:
    signer = Ed25519Signer.from_seed(bytes(32))
    vote = Vote(Phase.PREPARE, 0, 0, 1, bytes(32))
    message = kind(SignedVote(vote, signer.sign(encode(vote, CHAIN_ID))))
    told = [lie(message, to, signer, CHAIN_ID) for to in ("1A", "2A")]
    assert told[0] != told[1]
    for each in told:
        assert isinstance(each, kind)
        assert each.signed.vote.digest != vote.digest
        Ed25519Verifier().verify(signer.public_key, encode(each.signed.vote, CHAIN_ID), each.signed.signature)
    assert lie(BatchOffer(b""), "1A", signer, CHAIN_ID) is None
