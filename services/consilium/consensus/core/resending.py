"""Saying again what may have been lost, and the alarms (rules C2, L7).

Links may lose messages; nothing is acknowledged. While a replica makes no progress it repeats, at a steady slow beat, what
the others may still need from it. While all goes well it repeats nothing.
"""

from operator import attrgetter

from consilium.consensus.core.batching import reoffer
from consilium.consensus.core.checkpointing import hand_over, send_checkpoint, sign_term_end
from consilium.consensus.core.events import SetTimer, Timer
from consilium.consensus.core.messages import Commit, Prepare, ResultProof, StatusRequest
from consilium.consensus.core.normal_case import missing_batches, pre_prepare_of
from consilium.consensus.core.state import State
from consilium.consensus.core.view_changing import PATIENCE, consider_calls, own_call
from consilium.kernel.certificates import Phase

REPEATED_MAX = 4
"""How many waiting batches, and how many of the lowest unfinished heights, one beat repeats; the others come next."""


def resend(state: State) -> None:
    """Repeat what is unfinished if nothing moved since the last beat; once stopped, the member's own batches alone (C10)."""
    state.effects.append(SetTimer(Timer.RESEND, max(1, state.parameters.view_timeout_ms // 4)))
    if state.silence is not None and state.silence.signed_below is None:
        state.broadcast(StatusRequest(state.outlook.epoch))
    if state.turnover.own is not None:
        sign_term_end(state)
        hand_over(state)
    state.asked_new_view, state.helped = False, {}
    if state.height_at_resend == state.tip.height and not state.has_stopped:
        _repeat(state)
    else:
        _repeat_batches(state, state.parameters.view_timeout_ms // 2)
    state.height_at_resend = state.tip.height


def _repeat_batches(state: State, patience_ms: int) -> None:
    """The batches not spoken of for so long, in turn.

    While blocks are made as well: no primary is to be blamed for what never reached it. A backup of the paper relays a
    request to the primary before it suspects it (section 4.1).
    """
    overdue = [entry for entry in state.pool.waiting() if state.now_ms - entry.said_at >= patience_ms]
    for entry in sorted(overdue, key=attrgetter("said_at"))[:REPEATED_MAX]:
        reoffer(state, entry)


def _repeat(state: State) -> None:
    _repeat_batches(state, 0)
    send_checkpoint(state)
    _repeat_boundary(state)
    if not state.votes:
        return
    if not state.entered:
        _repeat_call(state)
        return
    fetch = missing_batches(state)
    if fetch is not None:
        state.broadcast(fetch)
    unfinished = (each for each in state.log.slots if each > state.tip.height and state.outlook.knows(each))
    for height in sorted(unfinished)[:REPEATED_MAX]:
        _repeat_slot(state, height)


def _repeat_call(state: State) -> None:
    """The own call, counted here too: after a restart only the vote log remembers it."""
    call = own_call(state)
    state.calls.add(call)
    state.broadcast(call)
    consider_calls(state)


def _repeat_boundary(state: State) -> None:
    """The proof of the last epoch's end, without which the new committee may not begin (C7)."""
    if state.stable is not None and state.stable_height == state.tip.height == state.outlook.epoch_start - 1:
        state.broadcast(ResultProof(state.stable))


def _repeat_slot(state: State, height: int) -> None:
    """This replica's own votes on a block of this view that is not executed or not final."""
    slot, index = state.log.slot(height, state.view), state.index
    if slot is None or index is None:
        return
    if state.is_primary and slot.accepted and not slot.proposed_again:
        state.broadcast(pre_prepare_of(state, slot))
    prepare, commit = (state.log.vote_of(index, height, phase) for phase in (Phase.PREPARE, Phase.COMMIT))
    if prepare is not None and prepare.vote.view == state.view:
        state.broadcast(Prepare(prepare))
    if commit is not None and commit.vote.view == state.view:
        state.broadcast(Commit(commit))


def arm_progress(state: State) -> None:
    """Set the alarm by which something must have moved, or this view is left (C2).

    A proposal counts from when it came, a heartbeat from when it is due: they may be further apart than a time-out. The
    longest-waiting batch counts from when it could be ordered, so a primary that orders all but one is replaced too.
    """
    deadline = _deadline(state) if state.votes else None
    if deadline is not None and deadline != state.deadline:
        state.effects.append(SetTimer(Timer.PROGRESS, max(1, deadline - state.now_ms)))
    state.deadline = deadline


def _deadline(state: State) -> int | None:
    timeout = state.timeout_ms()
    if not state.entered:
        return None if state.calls_complete_at is None else state.calls_complete_at + timeout
    moved_at, ages_since = max(state.progress_at, state.view_entered_at), state.pool.ages_since()
    begins_at = moved_at + state.parameters.heartbeat_ms
    for waiting in (state.pool.eligible_since(), _proposed_at(state)):
        if waiting is not None and waiting < begins_at:
            begins_at = waiting
    waits_since = max(moved_at, begins_at)
    if ages_since is None:
        return waits_since + timeout
    told_at = max(ages_since, state.view_entered_at)
    # While blocks order what came before it, it waits its turn; but no batch lies for ever because others are older.
    lies_since = max(told_at, min(state.caught_up_at, ages_since + (PATIENCE - 1) * timeout))
    return min(waits_since, lies_since) + timeout


def _proposed_at(state: State) -> int | None:
    """When the first proposal of this view that is not executed came, in milliseconds, as `Slot` says; None without any."""
    executed, view, first = state.tip.height, state.view, None
    for height, slot in state.log.slots.items():
        if height > executed and slot.view == view and (first is None or slot.heard_at < first):
            first = slot.heard_at
    return first
