"""Leaving the view of a slow primary, together (rule C2; scenario R3).

Whoever leaves a view alone is lost to it, so a backup that finds its primary slow (`pace`) only says so and goes on voting.
With f+1 complaints, one of them an honest delegate's, all complain; with 2f+1 all leave. Each takes part in f+1 views
of an epoch: one of so many primaries is honest, and if all seem slow it is the network. So it happens 2f+1 times at most.
"""

from consilium.consensus.core.events import Executed
from consilium.consensus.core.measures import Leaving
from consilium.consensus.core.messages import Complaint
from consilium.consensus.core.state import State
from consilium.consensus.core.view_changing import call_for_view
from consilium.kernel.errors import FailedPrecondition


def watch_pace(state: State, event: Executed) -> None:
    """Measure a block of this view that was waited for, before the state takes note of it; complain if it is enough."""
    height = event.header.height
    # What came before the view, or the first block of the epoch, its primary may have had still to be told of (C2).
    since = state.pool.waits_since(event.header.batch_digests, state.view_entered_at)
    slot = state.log.slot(height, state.view)
    if slot is None or since is None or not slot.heard_at or not _may_complain(state) or height == state.outlook.epoch_start:
        return
    # The blocks below are executed: since the last of them the primary could have proposed.
    could_propose_at = max(since, state.progress_at)
    state.pace.note(slot.heard_at - could_propose_at, state.now_ms - slot.heard_at)
    if state.pace.is_slow(state.parameters.view_timeout_ms // 2):
        _complain(state)


def on_complaint(state: State, message: Complaint, sender: str) -> None:
    """Count a delegate's complaint. Raises FailedPrecondition: STALE_VIEW."""
    index = state.committee.index_of(sender)
    if index is None or message.epoch != state.outlook.epoch:
        return
    if message.view < state.view:
        raise FailedPrecondition("STALE_VIEW", f"View {message.view} is over; this replica stands in {state.view}.", "C2")
    state.pace.complaints[index] = message.view
    if _may_complain(state):
        _consider(state)


def repeat_complaint(state: State) -> None:
    """Say the own complaint again, as long as the view stands."""
    if state.index is not None and state.pace.complaints.get(state.index) == state.view and _may_complain(state):
        state.broadcast(Complaint(state.outlook.epoch, state.view))


def _may_complain(state: State) -> bool:
    within = state.pace.left <= state.committee.faults_max
    return state.votes and state.entered and not state.is_primary and within


def _complain(state: State) -> None:
    assert state.index is not None, "only a delegate complains"
    if state.pace.complaints.get(state.index) != state.view:
        state.pace.complaints[state.index] = state.view
        state.broadcast(Complaint(state.outlook.epoch, state.view))
        _consider(state)


def _consider(state: State) -> None:
    """Join f+1 others; leave with 2f+1. Who leaves knows that f+1 honest delegates have told everybody."""
    view, committee = state.view, state.committee
    if state.pace.complaints_of(view) > committee.faults_max:
        _complain(state)
    if state.view == view and state.entered and state.pace.complaints_of(view) >= committee.quorum:
        state.pace.left += 1
        call_for_view(state, state.view + 1, Leaving.SLOW_PRIMARY)
