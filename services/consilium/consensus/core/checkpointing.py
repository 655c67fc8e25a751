"""After execution: results, stable checkpoints, the ends of terms, and the next epoch (rules L3, C5, C7, C8)."""

from dataclasses import replace

from consilium.consensus.core.attendance import Attendance
from consilium.consensus.core.events import (
    BatchRecord,
    Deliver,
    Executed,
    NewViewRecord,
    Persist,
    PreparedRecord,
    ProposalRecord,
    Record,
    RecoveryRecord,
    StableRecord,
    StopRecord,
    ViewRecord,
)
from consilium.consensus.core.measures import Stage
from consilium.consensus.core.message_log import MessageLog
from consilium.consensus.core.messages import AllianceVote, Checkpoint
from consilium.consensus.core.own_words import report_attendance, show_life, submit_own
from consilium.consensus.core.pace import Pace
from consilium.consensus.core.proposals import Parent
from consilium.consensus.core.screening import screen_result
from consilium.consensus.core.state import State
from consilium.consensus.core.turnover import Turnover
from consilium.consensus.core.view_change import ViewChanges
from consilium.kernel.certificates import AllianceStatement, MemberSignature, Result, ResultCertificate
from consilium.kernel.chain import Header, Outlook
from consilium.kernel.encoding import encode
from consilium.kernel.transactions import HandoverBody


def on_executed(state: State, event: Executed) -> None:
    """The ledger stands one block higher: take note, sign the result, and cross into the next epoch if it begins."""
    result, header = event.result, event.header
    if result.height <= state.tip.height:
        return
    _measure(state, header)
    if header.epoch > state.outlook.epoch:  # block sync has crossed a recovery that nobody told this replica of
        enter_epoch(state, event.outlook)
    state.tip = Parent(result.height, result.block_hash, header.time_ms)
    state.blocks[result.height], state.results[result.height] = state.tip, result
    if event.commit.signatures:
        state.last_commit = event.commit
        waiting = {height: commit for height, commit in state.uncertified.items() if height > state.stable_height}
        state.uncertified = {**waiting, result.height: event.commit}
    if state.pool.has_oldest(header.batch_digests):
        state.caught_up_at = state.now_ms
    state.pool.mark_ordered(header.batch_digests, result.height)
    _note_progress(state, event)
    signs = state.votes and result.height > state.stable_height
    committee = state.committee
    if event.outlook.epoch != state.outlook.epoch:
        enter_epoch(state, event.outlook)
    state.outlook = event.outlook
    if state.is_recovered and result.height == state.outlook.epoch_start:
        _certify_what_was_left(state)
    if signs:
        _sign_result(state, committee.index_of(state.identity.member_id), result)
    _stabilise_own(state, result)
    if state.stable is not None and state.stable.result == result:
        state.effects.append(Deliver(state.stable))
    show_life(state, header)
    if result.height == event.outlook.term_end:
        state.turnover.own = result
        sign_term_end(state)


def _note_progress(state: State, event: Executed) -> None:
    """Wait anew. A block of an earlier view says nothing for this one's primary; a fetched one, that this replica lags.

    With the first block of an epoch the blame begins anew: its primary may have come late out of an epoch without its vote.
    """
    state.progress_at = state.now_ms
    if event.result.height == state.outlook.epoch_start:
        state.view_entered_at = state.now_ms
    if event.result.height > state.delivered:
        state.delivered, state.fetched_at = event.result.height, state.now_ms
    if state.entered and event.commit.view >= state.view:
        state.attempts = 0


def _measure(state: State, header: Header) -> None:
    """How long the block took, and how long its oldest batch had waited."""
    state.measures.pass_stage(state.log.slot(header.height, state.view), Stage.EXECUTE, state.now_ms)
    since = state.pool.waits_since(header.batch_digests)
    if since is not None:
        state.measures.ordering.add(state.now_ms - since)


def _sign_result(state: State, index: int | None, result: Result) -> None:
    """Tell this epoch's delegates, and at its end the next one's as well, what the block gave (L3)."""
    assert index is not None, "only a delegate signs results"
    committee = state.committee if result.epoch == state.outlook.epoch else state.previous_committee
    assert committee is not None, "the epoch that ended had a committee"
    signer = state.signer_in(committee)
    if signer is None:  # its key is not in place any more (G3)
        return
    state.last_checkpoint = Checkpoint(result, signer.sign(encode(result, state.identity.chain_id)))
    state.checkpoints.add(committee, index, state.last_checkpoint)
    send_checkpoint(state)


def _certify_what_was_left(state: State) -> None:
    """The new committee signs, in its own epoch's name, the results that the lost quorum has left uncertified (C10).

    Not before the first block of its epoch is executed: only with that does every ledger know who may.
    """
    for height in sorted(each for each in state.results if state.stable_height < each < state.outlook.epoch_start):
        own = state.results[height] = replace(state.results[height], epoch=state.outlook.epoch)
        if state.votes:
            _sign_result(state, state.index, own)
        _stabilise_own(state, own)


def sign_tip(state: State) -> None:
    """After a restart, say again what the last executed block gave; the words are the same as before."""
    result = state.results.get(state.tip.height)
    if result is None or state.silence is not None or state.has_stopped:
        return
    committee = state.committee if result.epoch == state.outlook.epoch else state.previous_committee
    index = committee.index_of(state.identity.member_id) if committee is not None else None
    if committee is not None and committee.epoch == result.epoch and index is not None:
        _sign_result(state, index, result)


def send_checkpoint(state: State) -> None:
    """Say the last own result to all who need it."""
    checkpoint = state.last_checkpoint
    if checkpoint is None or checkpoint.result.height <= state.stable_height:
        return
    if checkpoint.result.epoch != state.outlook.epoch and state.previous_committee is not None:
        state.broadcast(checkpoint, state.peers(state.committee, state.previous_committee))
    else:
        state.broadcast(checkpoint)


def on_checkpoint(state: State, message: Checkpoint, sender: str) -> None:
    """Count a delegate's result; with a quorum equal to ours the block is final."""
    result = message.result
    committee = state.committee if result.epoch == state.outlook.epoch else state.previous_committee
    if committee is None or committee.epoch != result.epoch:
        return
    screen_result(state, result)
    index = committee.index_of(sender)
    if result.height <= state.stable_height:
        if index is not None and committee is state.committee:
            state.attendance.note_result(index, result)
        return
    if index is not None:
        state.checkpoints.add(committee, index, message)
    own = state.results.get(result.height)
    if own is not None:
        _stabilise_own(state, own)


def _stabilise_own(state: State, own: Result) -> None:
    committee = state.committee if own.epoch == state.outlook.epoch else state.previous_committee
    if committee is None or own.height <= state.stable_height or committee.epoch != own.epoch:
        return
    certificate = state.checkpoints.certificate(committee, own)
    if certificate is not None:
        stabilise(state, certificate)


def on_proof(state: State, certificate: ResultCertificate) -> None:
    """A result certificate from elsewhere counts when this replica's own result is the same."""
    if state.results.get(certificate.result.height) == certificate.result:
        stabilise(state, certificate)


def stabilise(state: State, certificate: ResultCertificate) -> None:
    """Move the low watermark up, and let go of what lies below it (paper, section 4.3)."""
    height = certificate.result.height
    if height <= state.stable_height:
        return
    rewrites = height // _rewrite_every(state) > state.stable_height // _rewrite_every(state)
    adopt(state, certificate)
    report_attendance(state)
    state.effects.append(Deliver(certificate))
    state.pool.prune(height - 2 * state.parameters.window_blocks)
    state.results = {each: result for each, result in state.results.items() if each > height}
    keep = {height, state.outlook.epoch_start - 1}
    if state.is_recovered and height >= state.outlook.epoch_start:
        state.recovery = None
    state.blocks = {each: block for each, block in state.blocks.items() if each > height or each in keep}
    if rewrites:
        state.effects.append(Persist(_what_remains(state), replace=True))


def adopt(state: State, certificate: ResultCertificate) -> None:
    """Vote on nothing at or below a stable checkpoint any more, even while this ledger has still to catch up with it."""
    height = certificate.result.height
    if height > state.stable_height:
        heights = range(state.low + 1, height + 1)
        state.attendance.harvest(state.log, state.checkpoints, state.outlook, state.blocks, heights)
        state.attendance.forget(height - 2 * state.parameters.window_blocks)
        state.measures.pass_stage(state.log.slot(height, state.view), Stage.CERTIFY, state.now_ms)
        state.stable, state.stable_height = certificate, height
        state.log.truncate(height)
        state.checkpoints.truncate(height)


def _rewrite_every(state: State) -> int:
    return max(1, state.parameters.window_blocks // 2)


def _what_remains(state: State) -> tuple[Record, ...]:
    """All the vote log has to hold: the checkpoint, the view, what is above it, and the batches not yet ordered."""
    epoch = state.outlook.epoch
    records: list[Record] = [StableRecord(state.stable)] if state.stable is not None else []
    if state.stopped_epoch == epoch:
        records.append(StopRecord(epoch))
    if state.recovery is not None:
        records.append(RecoveryRecord(state.recovery))
    if state.entered and state.new_view is not None:
        records.append(NewViewRecord(state.new_view))
    else:
        records.append(ViewRecord(epoch, state.view, state.entered))
    records.extend(
        ProposalRecord(epoch, slot.view, slot.header_bytes, slot.primary_signature)
        for slot in state.log.slots.values()
        if slot.accepted
    )
    records.extend(PreparedRecord(epoch, height, proof) for height, proof in sorted(state.log.prepared.items()))
    needed = {digest: None for slot in state.log.slots.values() for digest in slot.header.batch_digests}
    entries = [*state.pool.waiting(), *filter(None, map(state.pool.get, needed))]
    batches = {entry.opened.digest: entry.opened.data for entry in entries}
    records.extend(BatchRecord(data) for data in batches.values())
    return (*records, *(state.ahead if state.silence is not None else ()))


def enter_epoch(state: State, outlook: Outlook) -> None:
    """The next committee takes over: views begin again at 0, heights go on (C7, C8).

    Batches are judged by the electorate of their epoch, so those of members that left it, or changed their key, are dropped:
    one of them would make a whole proposal unacceptable.
    """
    before = {each.member_id: each.member_key for each in state.outlook.electorate.electors}
    after = {each.member_id: each.member_key for each in outlook.electorate.electors}
    state.pool.keep_only({name: key for name, key in after.items() if before.get(name) == key})
    state.previous_committee, state.outlook = state.committee, outlook
    state.take_seat()
    if state.silence is not None and state.silence.ends_with(outlook.epoch_start):
        state.silence = None
    state.log, state.calls = MessageLog(outlook.committee), ViewChanges(outlook.committee)
    state.turnover, state.attendance, state.pace = Turnover(outlook.electorate), Attendance(), Pace()
    state.pool.set_bounds(outlook.parameters)
    state.view, state.entered, state.new_view = 0, True, None
    state.attempts, state.calls_complete_at = 0, None
    state.view_entered_at, state.heartbeat_due, state.handover_offered = state.now_ms, False, False
    state.pool.forget_answers()
    state.effects.append(Persist(_what_remains(state), replace=True))


def sign_term_end(state: State) -> None:
    """As an elector, sign the term's last result and tell the sitting delegates (C7); not once stopped (C10)."""
    identity, own = state.identity, state.turnover.own
    electors = [each.member_id for each in state.outlook.electorate.electors]
    if own is None or state.has_stopped or identity.member_id not in electors:
        return
    statement = encode(AllianceStatement(own), identity.chain_id)
    vote = AllianceVote(own, MemberSignature(identity.member_id, state.member_signer.sign(statement)))
    state.turnover.add(vote)
    state.broadcast(vote)


def on_alliance_vote(state: State, message: AllianceVote) -> None:
    """Keep an elector's signature on the end of this term."""
    if message.result.epoch == state.outlook.epoch and message.result.height == state.outlook.term_end:
        state.turnover.add(message)


def hand_over(state: State) -> None:
    """Once more than two thirds have signed, have the handover ordered; the primary does so at once (C7)."""
    certificate = None if state.handover_offered or not state.votes else state.turnover.certificate()
    if certificate is not None:
        state.handover_offered = True
        submit_own(state, HandoverBody(certificate))
