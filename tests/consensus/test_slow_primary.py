"""A primary that stays just below the time-out is replaced, and a slow network is nobody's fault (rule C2; R3, R5)."""

import pytest

from consilium.consensus.core.events import Timer
from consilium.consensus.core.messages import Complaint, Message, Prepare, PrePrepare
from consilium.consensus.core.pace import BLOCKS, SLACK, Pace
from tests.consensus.cluster import PARAMETERS, Cluster, make_record

PRIMARY, BACKUP, SECOND, THIRD = (f"member-{index}" for index in range(4))
TIMEOUT_MS = PARAMETERS.view_timeout_ms


def slowly(cluster: Cluster, number: int, lost: type[Message] | tuple[()] = ()) -> None:
    """Have a record ordered whose proposal comes late: kept back, and then said again at a beat. `lost` never arrives."""
    cluster.arrives = lambda _sender, _to, message: not isinstance(message, (PrePrepare, lost))
    cluster.submit(THIRD, make_record(THIRD, number))
    cluster.let_pass(5 * TIMEOUT_MS // 8)
    cluster.arrives = lambda _sender, _to, message: not isinstance(message, lost)
    cluster.let_pass(TIMEOUT_MS // 4)


def begun() -> Cluster:
    """A committee whose epoch has its first block: that one speaks against no primary (C2)."""
    cluster = Cluster()
    cluster.order(1, THIRD, first=99)
    return cluster


def views(cluster: Cluster) -> list[int]:
    """The members' views."""
    return [seat.state.view for seat in cluster.seats.values()]


def test_a_primary_that_stays_below_the_time_out_is_replaced() -> None:
    """R3: late with every proposal, never late enough to be suspected; after as many blocks as are compared it is left."""
    cluster = begun()
    for number in range(1, BLOCKS):
        slowly(cluster, number)
        assert views(cluster) == [0, 0, 0, 0], "no view is left by the time-out"
    slowly(cluster, BLOCKS)
    assert views(cluster) == [1, 1, 1, 1]
    since = cluster.now_ms
    cluster.order(BLOCKS, THIRD, first=100)
    assert cluster.now_ms - since < TIMEOUT_MS, "and its successor is as fast as one can be"
    assert views(cluster) == [1, 1, 1, 1]


def test_the_first_block_of_an_epoch_speaks_against_no_primary() -> None:
    """C2: whoever has no vote in an epoch learns last that it ended, and may be the first primary of the next."""
    cluster = Cluster()
    for number in range(1, BLOCKS + 1):
        slowly(cluster, number)
    assert views(cluster) == [0, 0, 0, 0], "one block less than are compared"


def test_slow_links_are_nobodys_fault() -> None:
    """R5: where votes take as long as proposals, no view is left for it, however long both take."""
    cluster = Cluster()
    for number in range(1, 3 * BLOCKS):
        cluster.arrives = lambda _sender, _to, message: not isinstance(message, PrePrepare | Prepare)
        cluster.submit(THIRD, make_record(THIRD, number))
        cluster.let_pass(TIMEOUT_MS // 8)
        cluster.arrives = lambda _sender, _to, message: not isinstance(message, Prepare)
        cluster.ring(PRIMARY, Timer.RESEND)
        cluster.let_pass(TIMEOUT_MS // 8)
        cluster.arrives = lambda _sender, _to, _message: True
        cluster.let_pass(TIMEOUT_MS // 4)
    assert min(cluster.heights) >= 3 * BLOCKS - 1
    assert views(cluster) == [0, 0, 0, 0]
    assert not any(isinstance(message, Complaint) for _, message in cluster.spoken)


def test_an_idle_chain_and_a_busy_one_blame_nobody() -> None:
    """C2, L7: heartbeats are not waited for, and what waits for a block under way waits for no primary."""
    cluster = Cluster()
    cluster.let_pass(3 * BLOCKS * PARAMETERS.heartbeat_ms)
    cluster.order(3 * BLOCKS, THIRD)
    assert cluster.seats[BACKUP].height > 4 * BLOCKS
    assert views(cluster) == [0, 0, 0, 0]
    assert not any(isinstance(message, Complaint) for _, message in cluster.spoken)


@pytest.mark.parametrize(("complainers", "echoes", "view"), [(1, False, 0), (2, True, 1)])
def test_f_complaints_move_nobody_and_f_plus_1_move_all(complainers: int, view: int, *, echoes: bool) -> None:
    """C2: the faulty alone make nobody speak; with an honest delegate among them all follow, so nobody leaves alone."""
    cluster = Cluster()
    for name in (SECOND, THIRD)[:complainers]:
        for to in cluster.names:
            if to != name:
                cluster.deliver_message(name, to, Complaint(0, 0))
    assert bool(cluster.seats[BACKUP].said(Complaint)) is echoes
    assert views(cluster) == 4 * [view]


def test_complaints_of_another_view_or_epoch_do_not_count() -> None:
    """C2: nor do those of a member without a vote, and a stale one is refused."""
    cluster = Cluster(5, voters=4)
    for name, complaint in ((SECOND, Complaint(0, 3)), (THIRD, Complaint(2, 0)), ("member-4", Complaint(0, 0))):
        cluster.deliver_message(name, BACKUP, complaint)
    assert cluster.seats[BACKUP].state.pace.complaints_of(0) == 0
    cluster.ring_all(Timer.PROGRESS, [SECOND, THIRD])
    cluster.deliver_message(SECOND, BACKUP, Complaint(0, 0))
    assert cluster.seats[BACKUP].refusal == "STALE_VIEW"


def test_it_happens_2f_plus_1_times_an_epoch_at_most() -> None:
    """R5: if one primary after the other seems slow it is the network; each delegate complains in f+1 views, and no more."""
    cluster = Cluster()
    for view in range(7):
        for name in (SECOND, THIRD, BACKUP, PRIMARY):
            for to in cluster.names:
                if to != name and cluster.seats[to].state.view == view:
                    cluster.deliver_message(name, to, Complaint(0, view))
    assert views(cluster) == [3, 3, 3, 3]


def test_a_complaint_is_said_again_while_the_view_stands() -> None:
    """C2: it may have been lost."""
    cluster = begun()
    for number in range(1, BLOCKS + 1):
        slowly(cluster, number, lost=Complaint)
    assert views(cluster) == [0, 0, 0, 0]
    cluster.arrives = lambda _sender, _to, _message: True
    cluster.ring_all(Timer.RESEND)
    assert views(cluster) == [1, 1, 1, 1]


def test_the_pace_is_compared_over_so_many_blocks() -> None:
    """C2: not before they are there, not for one loss, and in the next view everything begins anew."""
    pace = Pace()
    for _ in range(BLOCKS - 1):
        pace.note(10_000, 10)
        assert not pace.is_slow(0)
    pace.note(10_000, 10)
    assert pace.is_slow(TIMEOUT_MS)
    pace.begin_view()
    assert not pace.is_slow(0)
    for number in range(BLOCKS):
        pace.note(10 * SLACK + (TIMEOUT_MS // 4 if number == 5 else 0), 10)
    assert not pace.is_slow(TIMEOUT_MS // 4)
    assert pace.is_slow(TIMEOUT_MS // 4 - 1)
