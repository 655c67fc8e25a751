"""What a replica measures of itself: every block by its stages, every view left by why (rules C2, C3)."""

from __future__ import annotations

from consilium.consensus.core.events import Timer
from consilium.consensus.core.measures import BOUNDS_MS, Durations, Leaving, Stage
from consilium.consensus.core.messages import PrePrepare
from consilium.consensus.core.pace import BLOCKS
from tests.consensus.cluster import PARAMETERS, Cluster, make_record

PRIMARY, BACKUP, SECOND, THIRD = (f"member-{index}" for index in range(4))


def counted(durations: Durations) -> int:
    """How many there were."""
    return dict(durations.at_most())[None]


def left(cluster: Cluster, name: str) -> dict[str, int]:
    """Why a member has left views."""
    return {why: count for why, count in cluster.seats[name].state.measures.views_left.items() if count}


def test_durations_are_sorted_into_bounds() -> None:
    durations = Durations()
    for each in (0, 1, 2, 3, 10_000, 10_001):
        durations.add(each)
    found = dict(durations.at_most())
    assert (found[1], found[2], found[5], found[10_000], found[None]) == (2, 3, 4, 5, 6)
    assert durations.total_ms == 20_007
    assert list(found)[:-1] == list(BOUNDS_MS)


def test_every_block_passes_every_stage_at_every_delegate() -> None:
    """C3: primary and backups alike, each stage once a block."""
    cluster = Cluster()
    cluster.order(5, THIRD)
    for name, seat in cluster.seats.items():
        height, measures = seat.state.tip.height, seat.state.measures
        stages = {stage: counted(durations) for stage, durations in measures.stages.items()}
        assert stages == dict.fromkeys(Stage, height), name
        assert counted(measures.ordering) >= 1


def test_a_dead_primary_is_left_by_time_out_and_by_joining() -> None:
    """C2: two give up first; the third joins f+1 others before its own time is over."""
    cluster = Cluster()
    cluster.stop(PRIMARY)
    cluster.submit(THIRD, make_record(THIRD, 1))
    cluster.let_pass(PARAMETERS.view_timeout_ms // 2)
    for each in (BACKUP, SECOND):
        cluster.seats[each].state.deadline = cluster.now_ms
        cluster.ring(each, Timer.PROGRESS)
    cluster.run()
    assert left(cluster, BACKUP) == left(cluster, SECOND) == {Leaving.TIMEOUT: 1}
    assert left(cluster, THIRD) == {Leaving.JOINED: 1}


def test_a_slow_primary_is_told_from_a_silent_one() -> None:
    """R3: a primary left by complaints counts as slow, and nothing as a time-out."""
    cluster = Cluster()
    cluster.order(1, THIRD, first=99)
    for number in range(1, BLOCKS + 1):
        cluster.arrives = lambda _sender, _to, message: not isinstance(message, PrePrepare)
        cluster.submit(THIRD, make_record(THIRD, number))
        cluster.let_pass(5 * PARAMETERS.view_timeout_ms // 8)
        cluster.arrives = lambda _sender, _to, _message: True
        cluster.let_pass(PARAMETERS.view_timeout_ms // 4)
    why = {each for name in cluster.seats for each in left(cluster, name)}
    assert Leaving.SLOW_PRIMARY in why
    assert Leaving.TIMEOUT not in why


def test_a_delegate_that_was_cut_off_is_shown_the_view() -> None:
    """C2: who has left nothing itself enters the view that the others have reached."""
    cluster = Cluster()
    cluster.order(1, BACKUP)
    cluster.arrives = lambda sender, to, _message: THIRD not in (sender, to)
    cluster.ring_all(Timer.PROGRESS, [PRIMARY, BACKUP, SECOND])
    assert (cluster.seats[SECOND].state.view, left(cluster, THIRD)) == (1, {})
    cluster.arrives = lambda _sender, _to, _message: True
    cluster.order(1, BACKUP, first=2)
    assert (cluster.seats[THIRD].state.view, left(cluster, THIRD)) == (1, {Leaving.SHOWN: 1})
