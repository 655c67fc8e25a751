"""How long a replica without its vote log, or with one that is ahead of its ledger, is silent (rule C5)."""

from dataclasses import replace
from itertools import permutations

import pytest

from consilium.consensus.core.events import PreparedRecord
from consilium.consensus.core.messages import Commit, Prepare, PrePrepare, SignedViewChange
from consilium.consensus.core.silence import Silence
from consilium.kernel.certificates import CommitCertificate
from tests.consensus.cluster import CHAIN_ID, PARAMETERS, Cluster, Seat
from tests.consensus.promises import check_said_once
from tests.consensus.toy_ledger import ToyLedger

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


def restart_without_ledger(cluster: Cluster, name: str, kept: int) -> Seat:
    """Start a replica anew beside a ledger that has only so many of its blocks left; the vote log is whole."""
    seat, left = cluster.seats[name], ToyLedger(CHAIN_ID, cluster.outlook)
    for block in seat.blocks[:kept]:
        left.execute(block)
    seat.ledger = left
    return cluster.restart(name)


def test_a_vote_log_ahead_of_a_ledger_that_lost_its_blocks_keeps_the_replica_silent() -> None:
    """C5: what the log holds of the later epoch is of no use in this one, and would be gone when that begins again."""
    name = "member-1"
    cluster = Cluster(parameters=replace(PARAMETERS, window_blocks=4, term_blocks=10))
    cluster.order(10)
    cluster.heal(3_000)
    cluster.order(3, first=20)
    assert cluster.seats[name].state.outlook.epoch == 1
    said = [each for each in cluster.seats[name].log if isinstance(each, PreparedRecord) and each.epoch == 1]
    assert said != []
    start, kept = len(cluster.spoken), 5
    for _ in range(2):  # it keeps to that over another start
        seat = restart_without_ledger(cluster, name, kept)
        assert (seat.state.outlook.epoch, seat.silent) == (0, True)
        kept += 3
        while seat.height < kept:
            cluster.execute(seat, cluster.seats["member-0"].blocks[seat.height])
    cluster.heal(3_000)
    assert (seat.state.outlook.epoch, seat.silent) == (1, True)
    assert [each for each in said if each not in seat.log] == []
    cluster.order(10, first=30)
    cluster.heal(5_000)
    votes = [each for who, each in cluster.spoken[start:] if who == name]
    assert not any(isinstance(each, Prepare | Commit | PrePrepare | SignedViewChange) for each in votes)
    assert (seat.state.outlook.epoch, seat.silent) == (2, False)
    cluster.order(1, first=60)
    cluster.heal(9_000)
    assert seat.said(Prepare) != []
    check_said_once(cluster.spoken)
