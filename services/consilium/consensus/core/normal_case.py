"""The three phases in the normal case: pre-prepare, prepare, commit (paper, section 4.2; rules C1, C3, C4, L3).

2n(n-1) messages order a block: n-1 pre-prepares, (n-1)(n-1) prepares, n(n-1) commits (C8). Up to the pipeline's depth of
blocks are on their way at once, but a prepare for h+1 leaves only after h is prepared, so no prepared child loses its
parent (C3).
"""

from collections.abc import Collection, Sequence

from consilium.consensus.core.batching import take
from consilium.consensus.core.events import Deliver, PreparedRecord, ProposalRecord, SetTimer, Timer
from consilium.consensus.core.measures import Stage
from consilium.consensus.core.message_log import Slot
from consilium.consensus.core.messages import Commit, FetchBatches, Prepare, PrePrepare
from consilium.consensus.core.own_words import accuse
from consilium.consensus.core.pool import BLOCK_BYTES_MAX, Entry
from consilium.consensus.core.proposals import Parent, judge_header, judge_time, make_header
from consilium.consensus.core.state import State
from consilium.kernel.certificates import CommitCertificate, Phase
from consilium.kernel.chain import CertifiedBlock, Header
from consilium.kernel.encoding import decode, encode
from consilium.kernel.errors import FailedPrecondition, InvalidArgument
from consilium.kernel.hashing import sha256
from consilium.kernel.opening import OpenedBatch, transaction_root
from consilium.kernel.transactions import PROVEN_HEADER_BYTES_MAX, EvidenceBody, InvalidProposal

PROVABLE = ("WRONG_EPOCH", "WRONG_COMMITTEE", "WRONG_ELECTION", "WRONG_MIX", "BAD_BITMAP")
"""What is wrong with a header whatever its parent and batches are, so that the ledger can judge it alone (C6)."""
FULL_BLOCK_SHARE = 8
"""A block is full with this part of the largest batch: worth its messages while others are still on their way."""


def on_pre_prepare(state: State, message: PrePrepare, batches: Sequence[OpenedBatch]) -> None:
    """Keep a first proposal of this view within the watermarks; whether to accept it is asked in `advance`.

    Of the batches that came along only those it names are taken in: anybody may pass a proposal on, with anything beside it.
    """
    vote = message.signed.vote
    header = decode(Header, message.header, state.identity.chain_id)
    if vote.digest != sha256(message.header) or header.height != vote.height:
        raise InvalidArgument("WRONG_DIGEST", "The proposal's header is not the one its vote names.", "L3")
    if vote.epoch == state.outlook.epoch and vote.view < state.view:
        raise FailedPrecondition("STALE_VIEW", f"View {vote.view} is over; this replica stands in {state.view}.", "C2")
    current = state.entered and vote.view == state.view and vote.epoch == state.outlook.epoch
    if not current or not state.low < vote.height <= state.high or state.log.slot(vote.height, vote.view):
        return
    judge_time(header, state.wall_ms, state.parameters.clock_skew_max_ms)
    if vote.height > state.tip.height:
        _take_along(state, message, header, batches)
    slot = Slot(vote.view, header, message.header, vote.digest, message.signed.signature, proposed_again=False)
    slot.heard_at = slot.stepped_at = state.now_ms
    state.log.slots[vote.height] = slot


def _take_along(state: State, message: PrePrepare, header: Header, batches: Sequence[OpenedBatch]) -> None:
    """Take in the batches a proposal names; of an executed block, which a laggard still votes on, none is needed."""
    for opened in batches:
        if opened.digest in header.batch_digests:
            take(state, opened, limited=False)
    for certificate in message.stored:
        state.pool.make_ready(certificate, state.now_ms)
    _refuse_unstored(state, header, {each.digest for each in message.stored})


def _refuse_unstored(state: State, header: Header, stored: Collection[bytes]) -> None:
    """A large batch may be named only with proof that 2f+1 delegates hold it (C4)."""
    for digest in header.batch_digests:
        entry = state.pool.get(digest)
        if digest not in stored and (entry is None or not state.pool.is_small(entry.opened)):
            raise InvalidArgument("NOT_STORED", "The proposal names a large batch without 2f+1 answers.", "C4")


def advance(state: State) -> None:
    """Do for every slot what has become possible, lowest height first; then propose, if this is the primary."""
    if not state.votes or not state.entered:
        return
    prepared_below, is_primary = True, state.is_primary
    log, view, executed = state.log, state.view, state.tip.height
    for height in range(state.low + 1, log.top(view) + 1):
        slot, is_executed = log.slot(height, view), height <= executed
        if is_executed and (slot is None or height not in state.blocks):
            continue
        if slot is None or not state.outlook.knows(height):  # a newer build has left it in the vote log
            break
        if slot.prepared is not None and slot.commit is not None and height <= state.delivered:
            prepared_below = True
            continue
        if not (slot.accepted or _accept(state, slot)):
            break
        _advance_slot(state, slot, is_primary=is_primary, prepared_below=prepared_below)
        prepared_below = slot.prepared is not None or slot.commit is not None or is_executed
    if is_primary:
        _propose(state)


def _accept(state: State, slot: Slot) -> bool:
    """Whether this backup stands behind the proposal; if so the log says it before anybody hears it (C5)."""
    header, height = slot.header, slot.header.height
    executed = height <= state.tip.height
    fits = state.blocks[height].hash == slot.digest if executed else _fits(state, slot)
    if fits:
        state.persist(ProposalRecord(header.epoch, slot.view, slot.header_bytes, slot.primary_signature))
        slot.accepted = True
    return fits


def _fits(state: State, slot: Slot) -> bool:
    """Whether the proposal can follow what this replica knows now; a false one is dropped, an early one waits."""
    parent = state.block_at(slot.header.height - 1)
    if parent is None or state.barred(slot.header.height):
        return False
    batches = _batches(state, slot)
    if batches is None:
        return False
    try:
        judge_header(state.outlook, parent, slot.header, state.identity.chain_id)
        _judge_batches(state, slot, batches)
    except InvalidArgument as refusal:
        state.refusals.append((state.committee.primary(slot.view), refusal))
        _accuse_of(state, slot, refusal.reason)
        del state.log.slots[slot.header.height]
        return False
    slot.has_handover = any(entry.opened.has_handover for entry in batches)
    return True


def _accuse_of(state: State, slot: Slot, reason: str) -> None:
    """Bring a header that contradicts the chain on its face to the ledger, with its primary's signature (C6)."""
    index, header = slot.view % len(state.committee.delegates), slot.header
    proposal = state.log.vote_of(index, header.height, Phase.PRE_PREPARE)
    carried = len(slot.header_bytes) <= PROVEN_HEADER_BYTES_MAX
    if reason in PROVABLE and proposal is not None and proposal.vote.digest == slot.digest and carried:
        member_id = state.committee.delegates[index].member_id
        accuse(state, member_id, EvidenceBody(InvalidProposal(member_id, proposal, slot.header_bytes)))


def _batches(state: State, slot: Slot) -> list[Entry] | None:
    """All the batches the header names, or None while one is missing."""
    entries = [state.pool.get(digest) for digest in slot.header.batch_digests]
    held = [entry for entry in entries if entry is not None]
    return held if len(held) == len(entries) else None


def missing_batches(state: State) -> FetchBatches | None:
    """What this replica still needs for the proposals it knows."""
    wanted = [
        digest
        for height in sorted(state.log.slots)
        if height > state.tip.height
        for digest in state.log.slots[height].header.batch_digests
        if state.pool.get(digest) is None
    ]
    return FetchBatches(tuple(wanted[:8])) if wanted else None


def _judge_batches(state: State, slot: Slot, entries: Sequence[Entry]) -> None:
    """Raise InvalidArgument when a batch is ordered already, the root is not over these, or they are too large together.

    What is proposed again was judged by 2f+1 delegates; it stands even where this replica remembers more than they did. A
    batch ordered twice takes no effect twice (L6).
    """
    in_flight = _in_flight(state, slot.header.height)
    for digest in slot.header.batch_digests:
        if not slot.proposed_again and (state.pool.ordered_at(digest) is not None or digest in in_flight):
            raise InvalidArgument("BATCH_TWICE", "The proposal names a batch that is ordered already.", "L6")
    if slot.header.transaction_root != transaction_root([entry.opened for entry in entries]):
        raise InvalidArgument("WRONG_ROOT", "The transaction root is not over the batches named.", "L3")
    if sum(len(entry.opened.data) for entry in entries) > BLOCK_BYTES_MAX:
        raise InvalidArgument("BLOCK_TOO_LARGE", f"The batches named are over {BLOCK_BYTES_MAX} bytes together.", "C4")


def _in_flight(state: State, below: int) -> dict[bytes, int]:
    """The batches named by proposals of this view that are not executed yet."""
    return {
        digest: height
        for height, slot in state.log.slots.items()
        if state.tip.height < height < below and slot.view == state.view
        for digest in slot.header.batch_digests
    }


def _advance_slot(state: State, slot: Slot, *, is_primary: bool, prepared_below: bool) -> None:
    """Prepare, commit and deliver one accepted slot as far as it goes."""
    height = slot.header.height
    if not is_primary and not slot.prepare_sent and prepared_below:
        state.broadcast(Prepare(state.sign_vote(Phase.PREPARE, height, slot.digest)))
        slot.prepare_sent = True
    if slot.prepared is None and prepared_below and (slot.prepare_sent or is_primary):
        _commit_if_prepared(state, slot)
    if slot.commit is None:
        slot.commit = state.log.commit_certificate(slot)
    if slot.commit is not None and height == state.delivered + 1:
        _deliver(state, slot)


def _commit_if_prepared(state: State, slot: Slot) -> None:
    """Once prepared: the log first, then the commit (paper, section 4.2; C5)."""
    certificate = state.log.prepared_certificate(slot)
    if certificate is None:
        return
    slot.prepared = state.log.prepared[slot.header.height] = certificate
    state.measures.pass_stage(slot, Stage.PREPARE, state.now_ms)
    state.persist(PreparedRecord(slot.header.epoch, slot.header.height, certificate))
    state.broadcast(Commit(state.sign_vote(Phase.COMMIT, slot.header.height, slot.digest)))


def on_decided(state: State, commit: CommitCertificate) -> None:
    """Deliver the next block under a quorum's commits, whatever view this replica has left for another (C7).

    They are final in every view. What it has accepted itself is at hand, so the header and the batches are.
    """
    outlook, height = state.outlook, commit.height
    slot = state.log.slots.get(height)
    is_next = commit.epoch == outlook.epoch and height == state.delivered + 1 and outlook.knows(height)
    if slot is None or not is_next or not slot.accepted or slot.digest != commit.digest or _batches(state, slot) is None:
        return
    slot.commit = commit
    _deliver(state, slot)


def _deliver(state: State, slot: Slot) -> None:
    """Hand the committed block to the ledger; blocks leave in height order."""
    entries = _batches(state, slot)
    assert entries is not None, "an accepted slot's batches are held until they are ordered"
    assert slot.commit is not None, "only a committed slot is delivered"
    state.delivered, state.last_commit = slot.header.height, slot.commit
    state.measures.pass_stage(slot, Stage.COMMIT, state.now_ms)
    data = tuple(entry.opened.data for entry in entries)
    state.effects.append(Deliver(CertifiedBlock(slot.header_bytes, data, slot.commit, state.opening(slot.header.height))))


def _propose(state: State) -> None:
    """As primary, propose what waits: batches at once, an empty block only when the heartbeat is due (L7)."""
    while True:
        height = max(state.log.top(state.view), state.tip.height, state.low) + 1
        parent = state.block_at(height - 1)
        if parent is None or not _may_propose(state, height):
            return
        entries = state.pool.choose(_in_flight(state, height))
        if not (state.heartbeat_due or _is_worth_a_block(state, height, entries)):
            return
        state.heartbeat_due = False
        _pre_prepare(state, parent, entries)


def _is_worth_a_block(state: State, height: int, entries: Sequence[Entry]) -> bool:
    """Whether to propose these now: while blocks are on their way, what is small waits and leaves together.

    A block costs its 2n(n-1) messages and its syncs whatever it holds. The next execution asks again, so nothing lies longer
    than the blocks before it take; a full block follows at once, up to the pipeline's depth (C3).
    """
    if height == state.tip.height + 1:
        return bool(entries)
    full = state.parameters.batch_bytes_max // FULL_BLOCK_SHARE
    return sum(len(each.opened.data) for each in entries) >= full


def _may_propose(state: State, height: int) -> bool:
    """Within the watermarks and the pipeline, past no barrier, and on a certified end of the last epoch (C3, C7, C10)."""
    depth = state.parameters.pipeline_blocks
    founded = state.stable_height >= state.outlook.epoch_start - 1 or state.is_recovered
    return founded and height <= min(state.high, state.tip.height + depth) and not state.barred(height)


def _pre_prepare(state: State, parent: Parent, entries: Sequence[Entry]) -> None:
    """Sign and send one proposal, durable first."""
    identity, opened = state.identity, [entry.opened for entry in entries]
    commits = _parent_commits(state, parent.height)
    header = make_header(state.outlook, parent, opened, state.wall_ms, commits, identity.chain_id)
    header_bytes = encode(header, identity.chain_id)
    digest = sha256(header_bytes)
    signed = state.sign_vote(Phase.PRE_PREPARE, header.height, digest)
    slot = Slot(state.view, header, header_bytes, digest, signed.signature, proposed_again=False, accepted=True)
    slot.has_handover = any(batch.has_handover for batch in opened)
    slot.heard_at = slot.stepped_at = state.now_ms
    state.log.slots[header.height] = slot
    state.persist(ProposalRecord(header.epoch, state.view, header_bytes, signed.signature))
    state.broadcast(pre_prepare_of(state, slot))


def pre_prepare_of(state: State, slot: Slot) -> PrePrepare:
    """The proposal of a slot as it is sent, and sent again: small batches inline, proof of the others."""
    held = [entry for entry in map(state.pool.get, slot.header.batch_digests) if entry is not None]
    inline = tuple(entry.opened.data for entry in held if entry.certificate is None and state.pool.is_small(entry.opened))
    stored = tuple(entry.certificate for entry in held if entry.certificate is not None)
    vote = state.log.vote_of(slot.view % len(state.committee.delegates), slot.header.height, Phase.PRE_PREPARE)
    assert vote is not None, "a primary keeps its own pre-prepares"
    return PrePrepare(vote, slot.header_bytes, inline, stored)


def _parent_commits(state: State, height: int) -> int:
    """Whose commits for the parent are at hand, bit i for delegate i; 0 when the parent is still on its way (L3)."""
    slot, last = state.log.slots.get(height), state.last_commit
    if slot is not None and slot.commit is not None:
        return sum(1 << each.index for each in slot.commit.signatures)
    if last is not None and (last.epoch, last.height) == (state.outlook.epoch, height):
        return sum(1 << each.index for each in last.signatures)
    return 0


def arm_heartbeat(state: State) -> None:
    """An idle primary proposes an empty block at the next beat (L7)."""
    if state.is_primary:
        state.effects.append(SetTimer(Timer.HEARTBEAT, state.parameters.heartbeat_ms))
