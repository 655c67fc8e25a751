"""Leaving a view and entering the next (paper, sections 4.4 and 4.5; rules C2, C5, C8).

A replica that calls for a view takes no part in lower ones. It moves on to yet another view only after 2f+1 have called for
this one and nothing came of it, so a replica that is merely cut off does not run ahead of the others (paper, 4.5.2).
"""

from consilium.consensus.core.checkpointing import adopt, on_proof
from consilium.consensus.core.events import NewViewRecord, ViewRecord
from consilium.consensus.core.measures import Leaving
from consilium.consensus.core.message_log import Slot
from consilium.consensus.core.messages import (
    FetchNewView,
    NewView,
    NewViewStatement,
    SignedViewChange,
    StatusReply,
    StatusRequest,
)
from consilium.consensus.core.normal_case import arm_heartbeat
from consilium.consensus.core.state import State
from consilium.consensus.core.view_change import NewViewPlan, Reproposal, plan_new_view
from consilium.kernel.certificates import Departure, Phase, SignedVote, ViewChange, call_of
from consilium.kernel.encoding import encode
from consilium.kernel.errors import FailedPrecondition, InvalidArgument
from consilium.kernel.hashing import sha256
from consilium.kernel.transactions import LeftViewBody

PATIENCE = 4
"""For how many time-outs a batch may lie at most, behind older ones or known to one who lags, before its view is left."""


def call_for_view(state: State, view: int, why: Leaving) -> None:
    """Leave all views below `view`: durable first, then said to everybody."""
    state.measures.views_left[why] += 1
    state.attempts += 1
    state.view, state.entered, state.new_view = view, False, None
    state.calls_complete_at = None
    state.heartbeat_due = False
    state.persist(ViewRecord(state.outlook.epoch, view, entered=False))
    call = own_call(state)
    state.broadcast(call)
    state.calls.add(call)
    consider_calls(state)


def on_time_out(state: State) -> None:
    """Call for the next view; but whoever is behind asks what is decided, and waits as long once more to catch up.

    The blocks that it lacks were made, so it cannot tell whether the primary is at fault. Its call and that of one faulty
    delegate would be f+1, and take everybody out of the view of a good primary.
    """
    if state.entered and _lags(state):
        state.view_entered_at = state.now_ms
        state.broadcast(StatusRequest(state.outlook.epoch))
    else:
        call_for_view(state, state.view + 1, Leaving.TIMEOUT)


def _lags(state: State) -> bool:
    """Whether this replica is behind, or was until it fetched a block just now; but no batch may lie for it for ever.

    Else a primary that censors one could keep first some and then others a little behind, and nobody would call.
    """
    timeout, ages_since, fetched_at = state.timeout_ms(), state.pool.ages_since(), state.fetched_at
    if ages_since is not None and state.now_ms - ages_since > PATIENCE * timeout:
        return False
    return state.is_behind or (fetched_at is not None and state.now_ms - fetched_at < timeout)


def own_call(state: State) -> SignedViewChange:
    """This replica's view change: its stable checkpoint and what it has prepared above."""
    identity, index = state.identity, state.index
    assert index is not None, "only a delegate calls for a view"
    stable = state.stable if state.stable_height >= state.outlook.epoch_start else None
    floor = stable.result.height if stable else state.outlook.epoch_start - 1
    prepared = tuple(proof for height, proof in sorted(state.log.prepared.items()) if height > floor)
    change = ViewChange(state.outlook.epoch, state.view, stable, prepared)
    return SignedViewChange(change, index, state.consensus_signer.sign(call_of(change, identity.chain_id)))


def on_call(state: State, message: SignedViewChange, sender: str) -> None:
    """Keep a call; join it when f+1 have left this view; help one that has not seen the new view, once a beat.

    Raises FailedPrecondition: STALE_VIEW.
    """
    view = message.view_change.view
    if message.view_change.epoch == state.outlook.epoch - 1:
        _show_the_end(state, sender)
    if message.view_change.epoch != state.outlook.epoch or not state.votes:
        return
    if view <= state.view and state.entered:
        if state.new_view is not None and sender not in state.helped:
            state.helped[sender] = state.view
            state.send(sender, state.new_view)
        raise FailedPrecondition("STALE_VIEW", f"View {view} is not above {state.view}, where this replica works.", "C2")
    state.calls.add(message)
    join = state.calls.view_to_join(state.view)
    if join is not None:
        call_for_view(state, join, Leaving.JOINED)
    else:
        consider_calls(state)


def on_status_request(state: State, sender: str, epoch: int) -> None:
    """Say what is decided: the highest block, with its proof, and to one in the ended epoch what that one ended with."""
    state.send(sender, StatusReply(state.outlook.epoch, state.last_commit))
    if epoch == state.outlook.epoch - 1:
        _show_the_end(state, sender)


def _show_the_end(state: State, sender: str) -> None:
    """Prove the ended epoch's last blocks to one that was left behind there (C7).

    Nobody follows it into another view of that epoch, and without its results the next may not begin.
    """
    if state.stable_height >= state.outlook.epoch_start - 1:
        return
    for commit in list(state.uncertified.values()):
        if commit.epoch < state.outlook.epoch:
            state.send(sender, StatusReply(commit.epoch, commit))


def consider_calls(state: State) -> None:
    """With 2f+1 calls for the awaited view its primary announces it, and the others start waiting for that.

    Waiting begins when 2f+1 have called for this view *or a later one*: those ahead never come back for this one, so without
    the wait delegates scattered over three views by crashes would stay apart for good.
    """
    if state.entered:
        return
    if state.calls_complete_at is None and state.calls.has_left_below(state.view):
        state.calls_complete_at = state.now_ms
    calls = state.calls.quorum_for(state.view)
    if calls is not None and state.committee.primary(state.view) == state.identity.member_id:
        plan = _plan(state, calls)
        message = _announce(state, calls, tuple(_propose_again(state, each) for each in plan.reproposals))
        _enter(state, message, plan)
        state.broadcast(message)
        departures = tuple([_departure(state, each) for each in calls])
        state.attendance.left_views.append(LeftViewBody(state.outlook.epoch, state.view, departures))


def _departure(state: State, call: SignedViewChange) -> Departure:
    """A call as the ledger takes it for proof that a view was left (C6)."""
    return Departure(call.index, sha256(encode(call.view_change, state.identity.chain_id)), call.signature)


def _announce(state: State, calls: tuple[SignedViewChange, ...], proposals: tuple[SignedVote, ...]) -> NewView:
    """The new view under its primary's signature; no other delegate can open the view with other calls (paper, 4.4)."""
    identity, epoch = state.identity, state.outlook.epoch
    statement = NewViewStatement(epoch, state.view, calls, proposals)
    signature = state.consensus_signer.sign(encode(statement, identity.chain_id))
    return NewView(epoch, state.view, calls, proposals, signature)


def _propose_again(state: State, again: Reproposal) -> SignedVote:
    """The new primary's pre-prepare for a header that must be proposed again, unchanged (L3)."""
    return state.sign_vote(Phase.PRE_PREPARE, again.header.height, again.digest)


def _plan(state: State, calls: tuple[SignedViewChange, ...]) -> NewViewPlan:
    return plan_new_view(calls, state.outlook.epoch_start, state.identity.chain_id)


def on_new_view(state: State, message: NewView) -> None:
    """Enter a view whose proposals are exactly those its view changes call for.

    Raises FailedPrecondition: STALE_VIEW; InvalidArgument when they are not, or contradict a block executed here.
    """
    if message.epoch != state.outlook.epoch or not state.votes:
        return
    if message.view < state.view or (message.view == state.view and state.entered):
        raise FailedPrecondition("STALE_VIEW", f"View {message.view} is entered or over here.", "C2")
    plan = _plan(state, message.view_changes)
    expected = [(each.header.height, each.digest) for each in plan.reproposals]
    if [(each.vote.height, each.vote.digest) for each in message.proposals] != expected:
        raise InvalidArgument("BAD_NEW_VIEW", "The new view's proposals do not follow from its view changes.", "C2")
    for height, digest in expected:
        known = state.blocks.get(height)
        if known is not None and known.hash != digest:
            raise InvalidArgument("BAD_NEW_VIEW", f"The new view contradicts the executed block {height}.", "C2")
    state.measures.views_left[Leaving.SHOWN] += message.view > state.view
    _enter(state, message, plan)


def _enter(state: State, message: NewView, plan: NewViewPlan) -> None:
    """Begin a view: durable first, its proof as a whole, so that no crash parts the view from what it proposes again."""
    if plan.stable is not None:
        on_proof(state, plan.stable)
        adopt(state, plan.stable)
    state.calls_complete_at, state.heartbeat_due = None, False
    state.view_entered_at = state.progress_at = state.now_ms
    state.persist(NewViewRecord(message))
    work_in(state, message, plan)
    if state.is_primary:
        arm_heartbeat(state)


def work_in(state: State, message: NewView, plan: NewViewPlan) -> None:
    """Take this view for the current one: its slots are as the plan says, all else of lower views is forgotten."""
    primary = message.view % len(state.committee.delegates)
    state.view, state.entered, state.new_view = message.view, True, message
    state.log.slots = {}
    state.pace.begin_view()
    state.pool.begin_view()
    for again, signed in zip(plan.reproposals, message.proposals, strict=True):
        if again.header.height <= state.low:
            continue
        state.log.record(primary, signed)
        slot = Slot(message.view, again.header, again.header_bytes, again.digest, signed.signature, proposed_again=True)
        state.log.slots[again.header.height] = slot


def on_higher_view(state: State, sender: str, view: int) -> None:
    """A proposal of a view above ours: ask its primary for the proof, once a beat."""
    if view > state.view and not state.asked_new_view:
        state.asked_new_view = True
        state.send(sender, FetchNewView(state.outlook.epoch))


def on_fetch_new_view(state: State, sender: str, message: FetchNewView) -> None:
    """Hand out the proof of the view this replica works in."""
    if message.epoch == state.outlook.epoch and state.entered and state.new_view is not None:
        state.send(sender, state.new_view)
