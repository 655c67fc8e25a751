"""From transactions to batches that may be ordered (rule C4).

A small batch is offered to every delegate and travels inline with the proposal. A large one travels once: its ingress
delegate streams it to the others, each makes it durable and answers "stored", and 2f+1 answers make it ready. A member
without a vote offers its batches to f+1 delegates, of which one is honest; each of these becomes the ingress.
"""

from consilium.consensus.core.events import BatchRecord, CancelTimer, Received, SetTimer, Timer
from consilium.consensus.core.forming import form_batch
from consilium.consensus.core.messages import (
    BatchOffer,
    BatchReady,
    FetchBatches,
    Stored,
    StoredStatement,
)
from consilium.consensus.core.pool import Entry
from consilium.consensus.core.state import State
from consilium.kernel.certificates import QuorumSignature
from consilium.kernel.chain import BATCH_TRANSACTIONS_MAX
from consilium.kernel.encoding import encode
from consilium.kernel.errors import ResourceExhausted
from consilium.kernel.opening import OpenedBatch, open_batch

BUSY_WAITS = 8
"""How many times as long transactions gather while an own batch is being ordered: a batch costs messages and syncs."""
TO_ALL_EVERY = 2
"""Every which time an ingress passes a batch on to all delegates instead of to the primary."""
QUEUED_BATCHES_MAX = 4
"""How many batches' worth of transactions may wait for a place in this member's quota."""


def submit(state: State, transactions: tuple[bytes, ...]) -> None:
    """Take transactions in from outside; raises ResourceExhausted while too many of this member's wait already."""
    if state.pending_bytes > QUEUED_BATCHES_MAX * state.parameters.batch_bytes_max:
        raise ResourceExhausted("QUEUE_FULL", "Too many transactions wait to be ordered; send them again later.", "C4")
    queue(state, transactions)
    if state.pending and _is_idle(state):
        state.effects.append(CancelTimer(Timer.BATCH))
        cut_batch(state)


def queue(state: State, transactions: tuple[bytes, ...]) -> None:
    """Queue transactions for this member's next batches; a full one leaves at once, the rest after the wait."""
    parameters = state.parameters
    state.gathered += 1
    for transaction in transactions:
        if not state.pending:
            state.effects.append(SetTimer(Timer.BATCH, _wait_ms(state)))
        state.pending.append(transaction)
        state.pending_bytes += len(transaction)
        is_full = len(state.pending) >= BATCH_TRANSACTIONS_MAX or state.pending_bytes >= parameters.batch_bytes_max
        if is_full and _may_cut(state):
            _cut_one(state)


def _may_cut(state: State) -> bool:
    """Whether this member has room for one more batch (C4), and is an elector: nobody takes in another's (L2)."""
    electors = state.outlook.electorate.electors
    name = state.identity.member_id
    return state.pool.has_room(name) and any(each.member_id == name for each in electors)


def _is_idle(state: State) -> bool:
    """Whether to wait for others is of no use: nothing is under way, and waiting brought none the last time."""
    is_busy = state.pool.is_loaded(state.identity.member_id) or state.log.top(state.view) > state.tip.height
    return not is_busy and not state.gathers


def _wait_ms(state: State) -> int:
    """How long the first of a batch waits for others: longer while an own batch is not ordered yet, for many come then."""
    is_busy = state.pool.is_loaded(state.identity.member_id)
    return state.parameters.batch_wait_ms * (BUSY_WAITS if is_busy else 1)


def cut_when_ordered(state: State) -> None:
    """What has gathered while the last batches were being ordered leaves as soon as they are."""
    if state.pending and not state.pool.is_loaded(state.identity.member_id):
        cut_batch(state)


def cut_batch(state: State) -> None:
    """Sign what is queued as batches and offer them; the rest stays queued, over this member's quota or until it may."""
    state.gathers, state.gathered = state.gathered > 1, 0
    while state.pending and _may_cut(state):
        _cut_one(state)
    if state.pending:
        state.effects.append(SetTimer(Timer.BATCH, state.parameters.view_timeout_ms // 4))


def _cut_one(state: State) -> None:
    """The oldest queued transactions, as many as one batch may hold, under this member's signature."""
    identity, chosen = state.identity, _next_transactions(state)
    state.pending = state.pending[len(chosen) :]
    state.pending_bytes -= sum(map(len, chosen))
    opened = open_batch(form_batch(identity.member_id, state.member_signer, chosen, identity.chain_id), identity.chain_id)
    if state.pool.add(opened, state.now_ms, ingress=True):
        _keep(state, opened)
        offer(state, opened)


def _next_transactions(state: State) -> list[bytes]:
    chosen: list[bytes] = []
    size = 0
    for transaction in state.pending[:BATCH_TRANSACTIONS_MAX]:
        size += len(transaction)
        if chosen and size > state.parameters.batch_bytes_max:
            break
        chosen.append(transaction)
    return chosen


def offer(state: State, opened: OpenedBatch) -> None:
    """Hand a batch to those who must hold it; as its ingress, begin counting the answers with this replica's own."""
    if state.index is None:
        delegates = state.others
        first = opened.digest[0] % len(delegates)
        chosen = (delegates + delegates)[first : first + state.committee.faults_max + 1]
        state.broadcast(BatchOffer(opened.data), chosen)
        return
    state.broadcast(BatchOffer(opened.data))
    if state.votes and not state.pool.is_small(opened):
        _count(state, opened.digest, _stored(state, opened.digest))


def on_offer(state: State, event: Received, opened: OpenedBatch) -> None:
    """Take a batch in and answer its ingress; a batch straight from a member without a vote is passed on (C4)."""
    if state.index is None:
        return
    is_new = take(state, opened, limited=not _is_wanted(state, opened.digest))
    if state.committee.index_of(event.sender) is None:
        state.pool.bring(opened.digest)
        if is_new or _is_unanswered(state, opened.digest):
            offer(state, opened)
    elif state.votes and not state.pool.is_small(opened):
        state.send(event.sender, Stored(opened.digest, _stored(state, opened.digest)))


def is_held(state: State, opened: OpenedBatch) -> bool:
    """Whether this very batch waits here, so that it need not be verified again.

    Raises ResourceExhausted (INGRESS_QUOTA) where it would be refused (C4). May be asked in any thread.
    """
    entry = state.pool.get(opened.digest)
    if entry is None and not _is_wanted(state, opened.digest):
        state.pool.check_room(opened)
    return entry is not None and entry.opened.data == opened.data


def _is_wanted(state: State, digest: bytes) -> bool:
    """Whether a proposal names the batch; 2f+1 hold it then, and this replica must be able to as well."""
    return any(digest in slot.header.batch_digests for slot in list(state.log.slots.values()))


def _is_unanswered(state: State, digest: bytes) -> bool:
    """Whether a large batch waits here whose "stored" answers nobody collects: those of the last epoch count no more."""
    entry = state.pool.get(digest)
    return entry is not None and entry.eligible_since is None and not entry.answers


def take(state: State, opened: OpenedBatch, *, limited: bool) -> bool:
    """Keep a batch, durably; what comes inside a proposal is bounded by it and not by the quota."""
    is_new = state.pool.add(opened, state.now_ms, ingress=False, limited=limited)
    if is_new:
        _keep(state, opened)
    return is_new


def _keep(state: State, opened: OpenedBatch) -> None:
    """Durable before "stored" is said of a large batch; a small one before a proposal that names it is accepted (C4, C5)."""
    state.persist(BatchRecord(opened.data), at_leisure=state.pool.is_small(opened))


def on_stored(state: State, message: Stored) -> None:
    """Count an answer; the last one needed makes the batch ready everywhere."""
    _count(state, message.digest, message.stored)


def on_ready(state: State, sender: str, message: BatchReady) -> None:
    """A batch may be ordered; one this replica lacks is asked for at who says so.

    Whoever passes a batch on holds it. Of those who answered "stored" f may be faulty, and who always asked the same one of
    them might never get it; but every honest one passes it on to the primary, sooner or later.
    """
    digest = message.certificate.digest
    if state.index is None:
        return
    if state.pool.get(digest) is None and state.pool.ordered_at(digest) is None:
        state.send(sender, FetchBatches((digest,)))
    state.pool.make_ready(message.certificate, state.now_ms)


def on_fetch(state: State, event: Received, message: FetchBatches) -> None:
    """Hand out the batches asked for, as far as this replica holds them; nothing above the cap on one answer."""
    for digest in message.digests[:8]:
        entry = state.pool.get(digest)
        if entry is not None:
            state.send(event.sender, BatchOffer(entry.opened.data))


def reoffer(state: State, entry: Entry) -> None:
    """Say again what may have been lost of a batch that waits."""
    entry.said_at = state.now_ms
    is_small, collects = state.pool.is_small(entry.opened), entry.ingress and entry.certificate is None
    if collects and (state.index is None or not is_small):
        offer(state, entry.opened)
    elif is_small or entry.certificate is not None:
        _relay(state, entry)


def _relay(state: State, entry: Entry) -> None:
    """Pass a batch that may be ordered on to the primary, as a backup of the paper does (section 4.1).

    Once in a view it goes to all, half a time-out after it could have been ordered, or while views change: who is about to
    leave the view for its sake, or has left it, must not be alone. The ingress goes on like that, by turns.
    """
    primary = state.committee.primary(state.view)
    if state.index is None or state.is_primary:
        return
    if entry.relayed_in != state.view:
        entry.relayed_in, entry.relays, entry.is_told = state.view, 0, False
    entry.relays += 1
    by_turns = entry.ingress and entry.relays % TO_ALL_EVERY == 0
    to_all = _is_overdue(state, entry) and (by_turns or not entry.is_told)
    if to_all or (state.entered and primary != state.identity.member_id):
        entry.is_told = entry.is_told or to_all
        state.pool.told_primary(entry, state.now_ms)
        message = BatchReady(entry.certificate) if entry.certificate is not None else BatchOffer(entry.opened.data)
        state.broadcast(message, state.others if to_all else (primary,))


def _is_overdue(state: State, entry: Entry) -> bool:
    since = max(entry.eligible_since or 0, state.view_entered_at)
    return not state.entered or state.now_ms - since >= state.parameters.view_timeout_ms // 2


def _stored(state: State, digest: bytes) -> QuorumSignature:
    """This delegate's signed word that the batch lies on its disk."""
    identity, index = state.identity, state.index
    assert index is not None, "only a delegate answers"
    statement = encode(StoredStatement(state.outlook.epoch, digest), identity.chain_id)
    return QuorumSignature(index, state.consensus_signer.sign(statement))


def _count(state: State, digest: bytes, stored: QuorumSignature) -> None:
    certificate = state.pool.answer(digest, stored, state.committee.quorum)
    if certificate is not None:
        state.pool.make_ready(certificate, state.now_ms)
        state.broadcast(BatchReady(certificate))
