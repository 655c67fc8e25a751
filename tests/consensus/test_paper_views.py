"""The PBFT paper, step by step: view changes and liveness (Castro and Liskov, OSDI 1999, 4.4 and 4.5.2; rules C2, L3)."""

from dataclasses import replace

import pytest

from consilium.consensus.core.events import SetTimer, Timer, ViewRecord
from consilium.consensus.core.messages import (
    Commit,
    NewView,
    Prepare,
    PrePrepare,
    SignedViewChange,
)
from consilium.kernel.certificates import Phase, Vote
from consilium.kernel.hashing import sha256
from tests.consensus.by_hand import (
    ANY_SIGNATURE,
    GENESIS,
    certify,
    make_call,
    make_header_bytes,
    make_new_view,
    make_pre_prepare,
    make_result,
    prepared,
    sign_new_view,
    sign_vote,
)
from tests.consensus.cluster import GENESIS_MS, PARAMETERS, Cluster, Seat, isolated, make_record

PRIMARY, BACKUP, SECOND, THIRD = (f"member-{index}" for index in range(4))


# --- 4.4 view changes ---


def timed_out(cluster: Cluster) -> None:
    """Let the time-out of every backup pass."""
    cluster.ring_all(Timer.PROGRESS, [BACKUP, SECOND, THIRD])


def calls_of(seat: Seat) -> list[SignedViewChange]:
    """The view changes a replica sent, once each."""
    return list(dict.fromkeys(each for each in seat.said(SignedViewChange) if isinstance(each, SignedViewChange)))


def views_of(seat: Seat) -> list[NewView]:
    """The new views a replica sent, once each."""
    return list(dict.fromkeys(each for each in seat.said(NewView) if isinstance(each, NewView)))


def prepared_but_not_committed() -> Cluster:
    """Block 1 is stable; block 2 is prepared at every backup, and no commit for it has arrived; the primary is gone."""
    cluster = Cluster()
    cluster.order(1)
    cluster.arrives = lambda _sender, _to, message: not isinstance(message, Commit)
    cluster.order(1, first=2)
    cluster.arrives = lambda _sender, _to, _message: True
    cluster.stop(PRIMARY)
    return cluster


def test_view_change_carries_the_stable_checkpoint_and_all_prepared_above() -> None:
    """4.4: VIEW-CHANGE holds n, C (2f+1 checkpoints) and P (the pre-prepare and 2f prepares for each prepared above n)."""
    cluster = prepared_but_not_committed()
    timed_out(cluster)
    call = calls_of(cluster.seats[SECOND])[0]
    change = call.view_change
    assert change.view == 1
    assert change.stable is not None
    assert (change.stable.result.height, len(change.stable.signatures)) == (1, 3)
    assert len(change.prepared) == 1
    proof = change.prepared[0]
    assert (proof.view, len(proof.signatures)) == (0, 2)
    assert sha256(proof.header) == cluster.seats[PRIMARY].state.log.slots[2].digest


def test_new_primary_proposes_again_what_may_be_committed() -> None:
    """4.4, L3: NEW-VIEW holds V (2f+1 view changes) and O (a pre-prepare in v+1 for what P shows, its digest unchanged)."""
    cluster = prepared_but_not_committed()
    digest = cluster.seats[BACKUP].state.log.slots[2].digest
    timed_out(cluster)
    message = views_of(cluster.seats[BACKUP])[0]
    assert (message.view, len(message.view_changes)) == (1, 3)
    assert [each.vote for each in message.proposals] == [Vote(Phase.PRE_PREPARE, 0, 1, 2, digest)]
    for name in (BACKUP, SECOND, THIRD):
        assert (cluster.seats[name].height, cluster.seats[name].blocks[1].commit.digest) == (2, digest)
        assert cluster.seats[name].blocks[1].commit.view == 1


def test_new_view_without_anything_prepared_proposes_nothing_again() -> None:
    """4.4, ADR 7: O is empty when nothing above the checkpoint is prepared; no null requests."""
    cluster = Cluster()
    cluster.order(2)
    cluster.stop(PRIMARY)
    cluster.let_pass(PARAMETERS.heartbeat_ms + PARAMETERS.view_timeout_ms)
    assert views_of(cluster.seats[BACKUP])[0].proposals == ()
    cluster.submit(SECOND, make_record(SECOND, 9))
    assert cluster.heights[1:] == [3, 3, 3]
    assert cluster.seats[SECOND].blocks[2].commit.view == 1


def test_new_primary_orders_what_was_never_prepared() -> None:
    """4.4: requests that were not prepared are ordered anew; here the batch of a proposal that reached nobody else."""
    cluster = Cluster()
    cluster.arrives = lambda _sender, _to, message: not isinstance(message, PrePrepare)
    cluster.order(1)
    cluster.arrives = lambda _sender, _to, _message: True
    cluster.stop(PRIMARY)
    timed_out(cluster)
    assert cluster.heights[1:] == [1, 1, 1]


def awaiting_view_1() -> Cluster:
    """Backups 2 and 3 have left view 0 after 2f+1 calls, and the new primary's announcement is made by hand."""
    cluster = isolated()
    committee = cluster.outlook.committee
    for name in (SECOND, THIRD):
        for index in (0, 1, 2, 3):
            if committee.delegates[index].member_id != name:
                cluster.deliver_message(committee.delegates[index].member_id, name, make_call(committee, index, 1))
    assert not cluster.seats[SECOND].state.entered
    return cluster


def enters(cluster: Cluster, message: NewView, sender: str = BACKUP) -> bool:
    """Whether a waiting backup works in the view after this announcement."""
    cluster.deliver_message(sender, SECOND, message)
    return cluster.seats[SECOND].state.entered


def test_backup_enters_a_view_whose_announcement_follows_from_its_calls() -> None:
    """4.4: the backup checks signature, V, and O "by performing a computation similar to the one used by the primary"."""
    cluster = awaiting_view_1()
    committee, header = cluster.outlook.committee, make_header_bytes(cluster.outlook, GENESIS)
    calls = [make_call(committee, 0, 1), make_call(committee, 1, 1, proofs=[prepared(committee, 0, 1, header)])]
    message = make_new_view(cluster.outlook, 1, [*calls, make_call(committee, 3, 1)])
    assert enters(cluster, message)
    assert cluster.seats[SECOND].slots(Prepare) == [(1, 1, sha256(header))]


def test_backup_refuses_proposals_that_do_not_follow() -> None:
    """4.4: O must be the one that V calls for: none left out, none made up, none of another digest, height or view."""
    cluster = awaiting_view_1()
    committee, header = cluster.outlook.committee, make_header_bytes(cluster.outlook, GENESIS)
    proof = prepared(committee, 0, 1, header)
    calls = [make_call(committee, 0, 1), make_call(committee, 1, 1, proofs=[proof]), make_call(committee, 3, 1)]
    right = sign_vote(BACKUP, Phase.PRE_PREPARE, 1, 1, sha256(header))
    made_up = sign_vote(BACKUP, Phase.PRE_PREPARE, 1, 2, sha256(b"made up"))
    for wrong in (
        [],
        [right, made_up],
        [sign_vote(BACKUP, Phase.PRE_PREPARE, 1, 1, sha256(b"another"))],
        [sign_vote(BACKUP, Phase.PRE_PREPARE, 1, 2, sha256(header))],
        [sign_vote(BACKUP, Phase.PRE_PREPARE, 5, 1, sha256(header))],
        [sign_vote(BACKUP, Phase.PREPARE, 1, 1, sha256(header))],
        [sign_vote(THIRD, Phase.PRE_PREPARE, 1, 1, sha256(header))],
    ):
        assert not enters(cluster, sign_new_view(BACKUP, 0, 1, calls, wrong))
    assert enters(cluster, sign_new_view(BACKUP, 0, 1, calls, [right]))


def test_backup_refuses_calls_that_are_no_quorum_for_the_view() -> None:
    """4.4: V holds 2f+1 valid view changes of different replicas for this very view."""
    cluster = awaiting_view_1()
    committee = cluster.outlook.committee
    good = [make_call(committee, index, 1) for index in (0, 1, 3)]
    for wrong in (
        good[:2],
        [good[0], good[1], good[1]],
        [good[0], good[1], make_call(committee, 3, 2)],
        [good[0], good[1], replace(good[2], signature=ANY_SIGNATURE)],
        [good[0], good[1], replace(good[2], index=2)],
    ):
        assert not enters(cluster, sign_new_view(BACKUP, 0, 1, wrong, []))
    assert enters(cluster, sign_new_view(BACKUP, 0, 1, good, []))


def test_only_the_views_primary_opens_it() -> None:
    """4.4: NEW-VIEW is signed by its primary. Else anybody could open each view with a quorum of calls of its own choice."""
    cluster = awaiting_view_1()
    calls = [make_call(cluster.outlook.committee, index, 1) for index in (0, 1, 3)]
    assert not enters(cluster, sign_new_view(THIRD, 0, 1, calls, []), sender=THIRD)
    assert not enters(cluster, replace(make_new_view(cluster.outlook, 1, calls), signature=ANY_SIGNATURE))
    assert enters(cluster, make_new_view(cluster.outlook, 1, calls), sender=THIRD), "who hands it on does not matter"


def test_backup_between_views_votes_on_nothing() -> None:
    """4.4: a replica that calls for a view "stops accepting messages" other than checkpoint, view-change and new-view."""
    cluster = awaiting_view_1()
    for view in (0, 1):
        proposal = make_pre_prepare(cluster.outlook, GENESIS, view=view)
        cluster.deliver_message(cluster.outlook.committee.primary(view), SECOND, proposal)
    assert cluster.seats[SECOND].slots(Prepare) == []


def test_view_change_proofs_are_checked() -> None:
    """4.4: a call whose C or P does not hold is refused, and so is all that carries it."""
    cluster = isolated()
    committee, header = cluster.outlook.committee, make_header_bytes(cluster.outlook, GENESIS)
    proof, stable = prepared(committee, 0, 1, header), certify(committee, make_result(1, sha256(header)))
    for call in (
        make_call(committee, 0, 1, proofs=[replace(proof, signatures=proof.signatures[:1])]),
        make_call(committee, 0, 1, proofs=[replace(proof, primary_signature=ANY_SIGNATURE)]),
        make_call(committee, 0, 1, proofs=[proof, proof]),
        make_call(committee, 0, 1, stable=stable, proofs=[proof]),
        make_call(committee, 0, 1, stable=replace(stable, signatures=stable.signatures[:2])),
        make_call(committee, 0, 1, proofs=[prepared(committee, 1, 1, header)]),
    ):
        cluster.deliver_message(PRIMARY, BACKUP, call)
    assert len(cluster.refusals) == 6
    assert cluster.seats[BACKUP].state.calls.quorum_for(1) is None


# --- 4.5.2 liveness ---


def test_time_out_doubles_up_to_a_cap() -> None:
    """R5, 4.5.2, first rule: wait T, then 2T, 4T ... for the new view; C2: capped, so that it comes back within bounds."""
    parameters = replace(PARAMETERS, view_timeout_ms=1_000, view_timeout_max_ms=6_000)
    cluster = Cluster(7, parameters=parameters)
    cluster.arrives = lambda _sender, _to, message: isinstance(message, SignedViewChange)
    waits = []
    for _ in range(6):
        cluster.ring_all(Timer.PROGRESS)
        waits.append(cluster.seats[PRIMARY].alarms[Timer.PROGRESS] - cluster.now_ms)
    assert waits == [2_000, 4_000, 6_000, 6_000, 6_000, 6_000]


def test_time_out_is_short_again_after_a_block() -> None:
    """4.5.2, C2: what doubled is forgotten as soon as the view makes a block."""
    cluster = Cluster()
    cluster.stop(PRIMARY)
    cluster.submit(BACKUP, make_record(BACKUP, 1))
    timed_out(cluster)
    assert cluster.heights[1:] == [1, 1, 1]
    assert cluster.seats[BACKUP].state.timeout_ms() == PARAMETERS.view_timeout_ms


@pytest.mark.parametrize(("views", "joined"), [((5,), 0), ((0, 0), 0), ((5, 3), 3), ((3, 5), 3), ((5, 1), 1), ((2, 9), 2)])
def test_f_plus_1_calls_for_later_views_are_joined_at_the_smallest(views: tuple[int, ...], joined: int) -> None:
    """R5, 4.5.2, second rule: f+1 calls for views above mine: call for the smallest, even if my timer has not expired."""
    cluster = isolated()
    for index, view in enumerate(views, start=2):
        name = f"member-{index}"
        cluster.deliver_message(name, BACKUP, make_call(cluster.outlook.committee, index, view))
    assert cluster.seats[BACKUP].state.view == joined
    assert [each.view_change.view for each in calls_of(cluster.seats[BACKUP])] == ([joined] if joined else [])


def test_waiting_for_a_view_begins_with_2f_plus_1_calls() -> None:
    """4.5.2, first rule: the timer for the new view starts only when 2f+1 have called, so nobody runs ahead alone."""
    cluster = isolated()
    cluster.seats[BACKUP].alarms[Timer.PROGRESS] = cluster.now_ms + 100_000
    cluster.ring(BACKUP, Timer.PROGRESS)
    backup = cluster.seats[BACKUP]
    assert (backup.state.view, backup.state.deadline) == (1, None)
    cluster.deliver_message(SECOND, BACKUP, make_call(cluster.outlook.committee, 2, 1))
    assert backup.state.deadline is None
    cluster.let_pass(600_000)
    assert backup.state.view == 1, "alone it goes no further, however long it takes"
    # Backup 1 is the primary of view 1 and would announce it; the third call goes to one that is not.
    other = cluster.seats[SECOND]
    for index in (1, 3):
        cluster.deliver_message(f"member-{index}", SECOND, make_call(cluster.outlook.committee, index, 1))
    assert (other.state.view, other.state.entered) == (1, False)
    assert other.state.deadline == cluster.now_ms + other.state.timeout_ms()


def test_timer_runs_only_while_something_waits() -> None:
    """4.4, L7: a backup's timer runs while a request waits; an idle one waits for a heartbeat on top."""
    cluster = Cluster()
    cluster.order(1)
    backup = cluster.seats[BACKUP]
    assert backup.state.deadline == cluster.now_ms + PARAMETERS.heartbeat_ms + PARAMETERS.view_timeout_ms
    cluster.stop(PRIMARY)
    cluster.now_ms += 700
    cluster.submit(BACKUP, make_record(BACKUP, 2))
    assert backup.state.deadline == backup.alarms[Timer.PROGRESS]
    assert backup.alarms[Timer.PROGRESS] == cluster.now_ms + PARAMETERS.view_timeout_ms


def test_an_alarm_that_rings_early_is_set_again() -> None:
    """C2: clocks are slewed; an alarm that rings before its time by the wall clock must not be the last one."""
    cluster = Cluster()
    cluster.stop(PRIMARY)
    backup = cluster.seats[BACKUP]
    due = backup.alarms[Timer.PROGRESS]
    cluster.now_ms = due - 3
    backup.alarms[Timer.PROGRESS] = cluster.now_ms
    backup.effects.clear()
    cluster.ring(BACKUP, Timer.PROGRESS)
    assert backup.state.view == 0
    assert SetTimer(Timer.PROGRESS, 3) in backup.effects


def test_a_clock_that_is_set_back_gives_nobody_more_time() -> None:
    """C2: what has been waited has been waited; the view of a dead primary is left within the time-out all the same."""
    cluster = Cluster()
    cluster.stop(PRIMARY)
    backup = cluster.seats[BACKUP]
    due = backup.alarms[Timer.PROGRESS]
    cluster.now_ms -= 600_000
    cluster.ring(BACKUP, Timer.RESEND)
    assert backup.alarms[Timer.PROGRESS] - cluster.now_ms <= due - GENESIS_MS


def test_delegates_scattered_over_three_views_come_together() -> None:
    """4.5.2: with only 2f+1 up and each in a view of its own, those behind wait until 2f+1 have left, then move on."""
    cluster = Cluster()
    cluster.order(1)
    cluster.stop(PRIMARY)
    for name, view in ((BACKUP, 1), (SECOND, 2), (THIRD, 3)):
        cluster.restart(name, records=[ViewRecord(0, view, entered=False)])
    assert [cluster.seats[name].state.view for name in (BACKUP, SECOND, THIRD)] == [1, 2, 3]
    cluster.submit(BACKUP, make_record(BACKUP, 2))
    cluster.heal(60_000)
    assert min(cluster.heights[1:]) >= 2
