"""How long a replica without its vote log is silent (rule C5)."""

from itertools import permutations

import pytest

from consilium.consensus.core.silence import Silence
from consilium.kernel.certificates import CommitCertificate

QUORUM, WINDOW = 3, 16


def tip(height: int) -> CommitCertificate:
    """A peer's highest committed block; the signatures were checked on the way in."""
    return CommitCertificate(0, 0, height, bytes(32), ())


def silence(answers: list[tuple[str, int]]) -> Silence:
    """A silence with these answers, by peer; 0 for a peer that knows no block."""
    made = Silence(QUORUM, WINDOW)
    for name, height in answers:
        made.answer(name, tip(height) if height else None)
    return made


def test_nothing_is_known_before_2f_plus_1_answers() -> None:
    """C5: among 2f+1 others at least one honest peer had executed what made its last checkpoint stable."""
    assert silence([]).signed_below is None
    assert silence([("a", 9), ("b", 9)]).signed_below is None
    assert silence([("a", 9), ("b", 9), ("c", 9)]).signed_below == 9 + WINDOW


def test_it_can_have_signed_up_to_a_window_above_the_highest_answer() -> None:
    """C5: whatever the order of the answers; it may have signed anything up to a window above what was stable."""
    answers = [("a", 5), ("b", 40), ("c", 7), ("d", 0)]
    assert {silence(list(order)).signed_below for order in permutations(answers)} == {40 + WINDOW}


def test_one_peer_is_one_answer() -> None:
    """C5: the first answer of a peer stands; nobody makes a quorum alone, nor takes an answer back."""
    assert silence([("a", 5), ("a", 6), ("a", 7), ("b", 5)]).signed_below is None
    assert silence([("a", 50), ("a", 1), ("b", 5), ("c", 5)]).signed_below == 50 + WINDOW


def test_before_the_first_block_the_window_counts_from_genesis() -> None:
    """C5: nobody knows a block, yet this replica may have voted on the first ones."""
    assert silence([("a", 0), ("b", 0), ("c", 0)]).signed_below == WINDOW


@pytest.mark.parametrize(("epoch_start", "speaks"), [(40, False), (57, False), (58, True)])
def test_it_ends_with_an_epoch_above_everything_it_could_have_signed(epoch_start: int, *, speaks: bool) -> None:
    """C5: in an older epoch a call for a view that it no longer remembers may still be shown."""
    assert silence([("a", 40), ("b", 7), ("c", 9)]).ends_with(epoch_start) is speaks
    assert not silence([("a", 40), ("b", 7)]).ends_with(1_000), "two answers say nothing"
