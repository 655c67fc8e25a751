"""A schedule that locks dBFT with four honest replicas for ever, and only delays us (rule C2; reference election.md 2).

In dBFT a replica that has sent its commit leaves its view no more, and a view change shows no prepared certificates. So with
nobody at fault one replica can be committed in view 0, another in view 1, and the remaining two find no third call to leave
view 1 (neo-modules issue 792, "Liveness lock with four non-faulty nodes"; neo-go issue 2552). The paper's view change shows
what is prepared, so a replica that has committed leaves the view like all others, and its block comes along.
"""

from consilium.consensus.core.events import Timer
from consilium.consensus.core.messages import Commit, Message, Prepare
from consilium.kernel.hashing import sha256
from tests.consensus.cluster import PARAMETERS, Cluster, make_record
from tests.consensus.promises import check_said_once

ZERO, ONE, TWO, THREE = (f"member-{index}" for index in range(4))


def committed_views(cluster: Cluster, name: str) -> list[int]:
    """In which views a replica has sent its commit for block 1."""
    votes = [message.signed.vote for message in cluster.seats[name].said(Commit) if isinstance(message, Commit)]
    return list(dict.fromkeys(vote.view for vote in votes if vote.height == 1))


def one_prepared_alone(cluster: Cluster, lucky: str) -> None:
    """From here on only one replica hears prepares, and nobody hears a commit."""

    def arrives(_sender: str, to: str, message: Message) -> bool:
        return not isinstance(message, Commit) and not (isinstance(message, Prepare) and to != lucky)

    cluster.arrives = arrives


def locked() -> Cluster:
    """Replica 2 is committed in view 0, replica 3 in view 1, and 0 and 1 want to go on to view 2."""
    cluster = Cluster()
    one_prepared_alone(cluster, TWO)
    cluster.submit(ZERO, make_record(ZERO, 1))
    assert [committed_views(cluster, name) for name in cluster.names] == [[], [], [0], []]
    one_prepared_alone(cluster, THREE)
    cluster.stop(TWO)
    cluster.ring_all(Timer.PROGRESS)
    assert [committed_views(cluster, name) for name in cluster.names] == [[], [], [0], [1]]
    cluster.seats[TWO].up = True
    cluster.ring_all(Timer.PROGRESS, [ZERO, ONE])
    return cluster


def test_the_schedule_that_locks_dbft_completes_here() -> None:
    """R1, C2: as soon as links deliver, the four agree, within the time-outs of two views; no block is decided twice."""
    cluster = locked()
    assert cluster.heights == [0, 0, 0, 0]
    cluster.arrives = lambda _sender, _to, _message: True
    cluster.heal(4 * PARAMETERS.view_timeout_ms)
    assert min(cluster.heights) >= 1
    assert len({sha256(seat.blocks[0].header) for seat in cluster.seats.values()}) == 1
    cluster.order(3, THREE, first=10)
    assert len(set(cluster.heights)) == 1
    check_said_once(cluster.spoken)


def test_a_replica_that_has_committed_leaves_its_view_like_all_others() -> None:
    """C2, paper 4.4: its view change shows the certificate it committed on; the block lives on in the next view."""
    cluster = Cluster()
    one_prepared_alone(cluster, TWO)
    cluster.submit(ZERO, make_record(ZERO, 1))
    digest = cluster.seats[TWO].state.log.slots[1].digest
    cluster.arrives = lambda _sender, _to, message: not isinstance(message, Commit)
    cluster.stop(ZERO)
    cluster.ring_all(Timer.PROGRESS)
    assert committed_views(cluster, TWO) == [0, 1]
    assert [cluster.seats[name].state.log.slots[1].digest for name in (ONE, TWO, THREE)] == [digest] * 3
    cluster.arrives = lambda _sender, _to, _message: True
    cluster.heal(4 * PARAMETERS.view_timeout_ms)
    assert [sha256(cluster.seats[name].blocks[0].header) for name in (ONE, TWO, THREE)] == [digest] * 3
