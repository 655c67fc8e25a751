"""How a replica stands, told to people: what it does, whom it waits for, and a stall in one sentence."""

from consilium.api.consensus.v1 import consensus_pb2 as pb
from consilium.consensus.core.state import State
from consilium.consensus.seat import Seat
from consilium.consensus.streams import Links
from consilium.kernel.certificates import Phase


def replica_state(seat: Seat, links: Links, wall_ms: int) -> pb.GetReplicaStateResponse:
    """The replica as it stands; `wall_ms` on the clock of the driver."""
    state = seat.replica.state
    now_ms = own_ms(state, wall_ms)
    missing = missing_votes(state)
    since = state.pool.eligible_since()
    return pb.GetReplicaStateResponse(
        state=doing(state),
        epoch=state.outlook.epoch,
        view=state.view,
        primary_member_id=state.committee.primary(state.view),
        executed_height=state.tip.height,
        certified_height=state.stable_height,
        low_watermark=state.low,
        high_watermark=state.high,
        waiting_transactions=waiting(state),
        oldest_waiting_ms=0 if since is None else max(0, now_ms - since),
        peers=[_peer(state, links, seat_number, missing) for seat_number in _others(state)],
        stall_diagnosis=diagnosis(state, links, missing, now_ms),
        disowned_by_member_ids=links.disowned_by,
        silent_up_to_height=None if state.silence is None else state.silence.signed_below,
    )


def doing(state: State) -> "pb.ReplicaState.ValueType":
    """What the replica is doing."""
    if state.has_stopped or state.silence is not None:
        return pb.REPLICA_STATE_STOPPED if state.has_stopped else pb.REPLICA_STATE_SILENT
    if state.index is None:
        return pb.REPLICA_STATE_FOLLOWING
    if state.stable_height > state.tip.height:
        return pb.REPLICA_STATE_CATCHING_UP
    if not state.entered:
        return pb.REPLICA_STATE_CHANGING_VIEW
    if state.tip.height >= state.outlook.term_end:
        return pb.REPLICA_STATE_HANDING_OVER
    return pb.REPLICA_STATE_ORDERING


def waiting(state: State) -> int:
    """How many transactions wait to be ordered."""
    return len(state.pending) + sum(len(each.opened.transactions) for each in state.pool.waiting())


def missing_votes(state: State) -> list[int]:
    """The seats whose vote is missing for the lowest block under way: the commit where it is prepared, else the prepare."""
    height = state.tip.height + 1
    slot = state.log.slot(height, state.view)
    if slot is None:
        return []
    phase = Phase.COMMIT if slot.prepared is not None else Phase.PREPARE
    primary = slot.view % len(state.committee.delegates)
    return [
        seat
        for seat in _others(state)
        if not (phase is Phase.PREPARE and seat == primary)
        and ((vote := state.log.vote_of(seat, height, phase)) is None or vote.vote.view < state.view)
    ]


def own_ms(state: State, wall_ms: int) -> int:
    """The replica's own time, which only goes forward: what it waits by (C2)."""
    return state.now_ms + max(0, wall_ms - state.wall_ms)


def stalled_ms(state: State, now_ms: int) -> int:
    """For how long no block has come though one should, 0 while blocks go on or nothing waits; on the replica's own time."""
    waited_ms = now_ms - max(state.progress_at, state.view_entered_at)
    is_due = bool(waiting(state) or missing_votes(state)) or not state.entered
    return waited_ms if is_due and waited_ms >= state.parameters.view_timeout_ms else 0


def diagnosis(state: State, links: Links, missing: list[int], now_ms: int) -> str:
    """Whom a stall is about, or that this replica has stopped (C10); empty while blocks go on, or nothing waits."""
    if state.has_stopped:
        return f"Stopped for good in epoch {state.outlook.epoch}; a recovery opens the next: `consilium recovery status`."
    waited_ms = stalled_ms(state, now_ms)
    if not waited_ms:
        return ""
    names = {seat: state.committee.delegates[seat].member_id for seat in _others(state)}
    unreached = [name for name in names.values() if not links.is_connected(name)]
    parts = [f"Height {state.tip.height + 1} has waited {waited_ms / 1_000:.0f} s in view {state.view}"]
    if missing:
        parts.append(f"no vote has come from {', '.join(names[seat] for seat in missing)}")
    elif state.entered:
        parts.append(f"the primary {state.committee.primary(state.view)} has proposed nothing")
    else:
        parts.append("the next view has not begun")
    if unreached:
        parts.append(f"no stream is open to {', '.join(unreached)}")
    return f"{'; '.join(parts)}."


def _others(state: State) -> list[int]:
    return [seat for seat in range(len(state.committee.delegates)) if seat != state.index]


def _peer(state: State, links: Links, seat: int, missing: list[int]) -> pb.PeerState:
    name = state.committee.delegates[seat].member_id
    height = state.tip.height + 1
    votes = [state.log.vote_of(seat, height, phase) for phase in (Phase.PREPARE, Phase.COMMIT)]
    return pb.PeerState(
        seat=seat,
        member_id=name,
        connected=links.is_connected(name),
        missing=seat in missing,
        silent_ms=links.silent_ms(name),
        view=max((each.vote.view for each in votes if each is not None), default=0),
        incarnation=links.incarnation_of(name),
    )
