"""A replica as its vote log left it (rule C5): the same view, the same proposals accepted, the same certificates to show."""

from consilium.consensus.core.events import (
    BatchRecord,
    NewViewRecord,
    PreparedRecord,
    ProposalRecord,
    Record,
    RecoveryRecord,
    StableRecord,
    StopRecord,
    ViewRecord,
)
from consilium.consensus.core.identity import Identity, Recovered, Tip
from consilium.consensus.core.message_log import MessageLog, Slot
from consilium.consensus.core.messages import NewView
from consilium.consensus.core.pool import Pool
from consilium.consensus.core.proposals import Parent
from consilium.consensus.core.silence import Silence
from consilium.consensus.core.state import State
from consilium.consensus.core.turnover import Turnover
from consilium.consensus.core.view_change import ViewChanges, plan_new_view
from consilium.consensus.core.view_changing import work_in
from consilium.kernel.certificates import Phase, SignedVote, Vote
from consilium.kernel.chain import Header, Outlook
from consilium.kernel.chain import recovered as after_recovery
from consilium.kernel.encoding import decode
from consilium.kernel.hashing import sha256
from consilium.kernel.opening import open_batch


def recover(identity: Identity, outlook: Outlook, tip: Tip, recovered: Recovered) -> State:
    """The state to start with: the ledger's tip, and what the vote log fixes above it."""
    state = _at_tip(identity, outlook, tip)
    for record in recovered.records:
        if isinstance(record, RecoveryRecord):
            _take_recovery(state, record)
    state.ahead = tuple(each for each in recovered.records if _epoch_of(each) > state.outlook.epoch)
    if recovered.lost or state.ahead:
        state.silence = Silence(outlook.committee.quorum, outlook.parameters.window_blocks)
    for record in recovered.records:
        _apply_standing(state, record)
    for header in tip.recent:
        state.pool.mark_ordered(header.batch_digests, header.height)
    for record in recovered.records:
        _apply_slot(state, record)
    return state


def waiting_since(recovered: Recovered) -> int | None:
    """The height above which batches in the vote log may have been ordered; None where it holds no batch.

    With each checkpoint it names, the log is written anew with the batches that waited then, so none was ordered below; but
    for one adopted ahead of the own ledger, whose batches may be offered again and are refused as duplicates (L6).
    """
    if not any(isinstance(each, BatchRecord) for each in recovered.records):
        return None
    stable = [each.certificate.result.height for each in recovered.records if isinstance(each, StableRecord)]
    return max(stable, default=0)


def _at_tip(identity: Identity, outlook: Outlook, tip: Tip) -> State:
    parent = Parent(0, identity.chain_id, tip.genesis_ms)
    if tip.header is not None and tip.result is not None:
        parent = Parent(tip.header.height, tip.result.block_hash, tip.header.time_ms)
    state = State(
        identity,
        outlook,
        parent,
        MessageLog(outlook.committee),
        Pool(outlook.parameters),
        ViewChanges(outlook.committee),
        Turnover(outlook.electorate),
    )
    state.blocks[parent.height], state.delivered = parent, parent.height
    if tip.result is not None:
        state.results[parent.height] = tip.result
    if tip.certificate is not None:
        state.stable, state.stable_height = tip.certificate, tip.certificate.result.height
    state.last_commit, state.previous_committee = tip.commit, tip.previous_committee
    if tip.commit is not None:
        state.uncertified[tip.commit.height] = tip.commit
    state.turnover.own = tip.term_end
    return state


def _take_recovery(state: State, record: RecoveryRecord) -> None:
    """Cross again into the epoch that a recovery opened here before; the ledger crosses with the first block of it (C10)."""
    statement = record.certificate.statement
    if statement.epoch not in (state.outlook.epoch, state.outlook.epoch - 1):
        return
    state.recovery = record.certificate
    if statement.epoch == state.outlook.epoch and statement.ends_with(state.tip.height, state.tip.hash):
        state.previous_committee, state.outlook = state.committee, after_recovery(state.outlook, statement)
        state.log, state.calls = MessageLog(state.committee), ViewChanges(state.committee)
        state.turnover = Turnover(state.outlook.electorate)
        state.take_seat()


def _epoch_of(record: Record) -> int:
    """The epoch in which a record fixes what this replica says; -1 for what fixes nothing."""
    match record:
        case ProposalRecord(epoch=epoch) | PreparedRecord(epoch=epoch) | ViewRecord(epoch=epoch) | StopRecord(epoch=epoch):
            return epoch
        case NewViewRecord(new_view=new_view):
            return new_view.epoch
        case _:
            return -1


def _apply_standing(state: State, record: Record) -> None:
    """The checkpoint, the view and the batches, before the slots that rest on them."""
    match record:
        case StableRecord(certificate=certificate) if certificate.result.height > state.stable_height:
            state.stable, state.stable_height = certificate, certificate.result.height
        case StopRecord(epoch=epoch):
            state.stopped_epoch = epoch
        case ViewRecord(epoch=epoch, view=view, entered=entered) if epoch == state.outlook.epoch:
            state.view, state.entered, state.new_view = view, entered, None
        case NewViewRecord(new_view=new_view) if new_view.epoch == state.outlook.epoch:
            _enter_again(state, new_view)
        case BatchRecord(batch=data):
            opened = open_batch(data, state.identity.chain_id)
            if any(each.member_id == opened.batch.member_id for each in state.outlook.electorate.electors):
                is_own = opened.batch.member_id == state.identity.member_id
                state.pool.add(opened, 0, ingress=is_own, limited=False)
        case _:
            pass


def _enter_again(state: State, new_view: NewView) -> None:
    """The view as it was entered, with the stable checkpoint it rests on."""
    plan = plan_new_view(new_view.view_changes, state.outlook.epoch_start, state.identity.chain_id)
    if plan.stable is not None and plan.stable.result.height > state.stable_height:
        state.stable, state.stable_height = plan.stable, plan.stable.result.height
    work_in(state, new_view, plan)


def _apply_slot(state: State, record: Record) -> None:
    """The proposals of the current view, and every prepared certificate above the checkpoint.

    Between views those of lower ones too, the later over the earlier: a proof that one is decided may come still (C7).
    """
    match record:
        case ProposalRecord(epoch=epoch, view=view) if epoch == state.outlook.epoch:
            if view == state.view or not state.entered:
                _restore_slot(state, record)
        case PreparedRecord(epoch=epoch, height=height, certificate=certificate) if epoch == state.outlook.epoch:
            known = state.log.prepared.get(height)
            if height > state.low and (known is None or known.view < certificate.view):
                state.log.prepared[height] = certificate
        case _:
            pass


def _restore_slot(state: State, record: ProposalRecord) -> None:
    """A proposal accepted before: its prepare will be the same again, whatever else is proposed for the slot."""
    header = decode(Header, record.header, state.identity.chain_id)
    if header.height <= state.low:
        return
    digest, primary = sha256(record.header), record.view % len(state.committee.delegates)
    known = state.log.slot(header.height, record.view)
    slot = Slot(
        view=record.view,
        header=header,
        header_bytes=record.header,
        digest=digest,
        primary_signature=record.primary_signature,
        proposed_again=known is not None and known.proposed_again,
        accepted=True,
    )
    held = [state.pool.get(each) for each in header.batch_digests]
    slot.has_handover = any(entry is not None and entry.opened.has_handover for entry in held)
    vote = Vote(Phase.PRE_PREPARE, record.epoch, record.view, header.height, digest)
    state.log.record(primary, SignedVote(vote, record.primary_signature))
    state.log.slots[header.height] = slot
