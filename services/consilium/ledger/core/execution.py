"""Executing a block: one code for every transaction, and the result its delegates sign (rules L3, L4, L6, L8).

Deterministic, integers only, one pass in the order of the block. A transaction is first judged by its form: expiry,
request id, voucher, term. What is refused there leaves its request id free, so that a resend may still succeed. What is
judged on its merits uses its request id up, whether applied or refused: nobody asks twice with one request (L6).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from consilium.kernel.certificates import Result
from consilium.kernel.chain import Header, Outlook
from consilium.kernel.codes import Code, outcome_leaves
from consilium.kernel.merkle import MerkleLog, merkle_root
from consilium.kernel.opening import OpenedBatch, OpenedBlock, OpenedTransaction
from consilium.kernel.signing import Verifier
from consilium.kernel.state_values import state_root
from consilium.kernel.transactions import (
    AttendanceBody,
    BallotBody,
    ErasureBody,
    EvidenceBody,
    GrantBody,
    HandoverBody,
    LeftViewBody,
    ProposalBody,
    ReceiptBody,
    RecordBody,
    RequestBody,
    RevealBody,
    RevokeBody,
    VoteBody,
)
from consilium.ledger.core.acts import reach_upgrade
from consilium.ledger.core.block_scope import BlockScope
from consilium.ledger.core.conduct import apply_attendance, apply_left_view, apply_vote, note_alive
from consilium.ledger.core.consent import apply_grant, apply_revoke
from consilium.ledger.core.disclosure import apply_receipt, apply_request
from consilium.ledger.core.elections import (
    ALWAYS_ALLOWED,
    apply_handover,
    apply_reveal,
    close_block,
    is_exhausted,
)
from consilium.ledger.core.governance import apply_ballot, apply_proposal
from consilium.ledger.core.offences import apply_evidence
from consilium.ledger.core.registration import apply_record
from consilium.ledger.core.retention import apply_erasure
from consilium.ledger.core.state import LedgerState

# Each judge takes the state, the transaction, its body (of the class it stands under) and the block's scope.
_Judge = Callable[[LedgerState, OpenedTransaction, Any, BlockScope], Code]
_JUDGES: dict[type, _Judge] = {
    ProposalBody: apply_proposal,
    BallotBody: apply_ballot,
    RevealBody: apply_reveal,
    RecordBody: apply_record,
    GrantBody: apply_grant,
    RevokeBody: apply_revoke,
    RequestBody: apply_request,
    ReceiptBody: apply_receipt,
    HandoverBody: apply_handover,
    EvidenceBody: apply_evidence,
    ErasureBody: apply_erasure,
    VoteBody: apply_vote,
    AttendanceBody: apply_attendance,
    LeftViewBody: apply_left_view,
}

NOT_JUDGED = (Code.EXPIRED, Code.EXPIRES_TOO_LATE, Code.DUPLICATE, Code.FOREIGN_VOUCHER, Code.TERM_EXHAUSTED)
"""The codes of a transaction that was not judged on its merits, and used up no request id (L6)."""


@dataclass(frozen=True, slots=True)
class BlockOutcome:
    """What a block did: the result to sign, a code for every transaction in order, and who orders what follows."""

    result: Result
    codes: tuple[Code, ...]
    outlook: Outlook


def execute_block(state: LedgerState, log: MerkleLog, opened: OpenedBlock, verifier: Verifier) -> BlockOutcome:
    """Execute a committed block whose header and signatures have been verified; changes `state` and `log`."""
    header = opened.header
    scope = BlockScope(header.height, header.time_ms, verifier)
    state.request_ids.drop_expired(header.height)
    reach_upgrade(state, header.height)
    exhausted = is_exhausted(state, header.height)
    leaves = opened.leaves
    codes: list[Code] = []
    for batch in opened.batches:
        codes += _execute_batch(state, batch, scope, exhausted=exhausted)
    log.extend(leaves)
    close_block(state, header.height)
    tables_root = state.seal()
    result = Result(
        header.epoch,
        header.height,
        opened.block_hash,
        log.size,
        log.root(),
        state_root(state.map.root, tables_root),
        merkle_root(outcome_leaves(leaves, codes)),
    )
    _note_term_end(state, header, result)
    return BlockOutcome(result, tuple(codes), state.outlook)


def _execute_batch(state: LedgerState, batch: OpenedBatch, scope: BlockScope, *, exhausted: bool) -> list[Code]:
    """The codes of one batch, in order. This loop is the hot path: it runs once for every transaction of the chain."""
    vouched, ids, height = _is_vouched(state, batch), state.request_ids, scope.height
    expiry_max = height + state.parameters.expiry_blocks_max
    codes = []
    for transaction in batch.transactions:
        payload = transaction.payload
        body, expiry, name = payload.body, payload.expiry_height, payload.author + payload.request_id
        if expiry < height:
            code = Code.EXPIRED
        elif expiry > expiry_max:
            code = Code.EXPIRES_TOO_LATE
        elif name in ids.used:
            code = Code.DUPLICATE
        elif transaction.signature is None and not vouched:
            code = Code.FOREIGN_VOUCHER
        elif exhausted and not isinstance(body, ALWAYS_ALLOWED):
            code = Code.TERM_EXHAUSTED
        else:
            ids.use(name, expiry)
            code = _JUDGES[type(body)](state, transaction, body, scope)
        codes.append(code)
    return codes


def _is_vouched(state: LedgerState, batch: OpenedBatch) -> bool:
    """Whether the batch's bare payloads stand under the present key of the active member that formed it (L2).

    If so it is a sign of that member's life (C6).
    """
    member = state.member(batch.batch.member_id)
    if member is None or not member.is_active or member.profile.member_key != batch.voucher:
        return False
    note_alive(state, member.profile.member_id)
    return True


def _note_term_end(state: LedgerState, header: Header, result: Result) -> None:
    """Keep the term's last result, which the handover must carry; it counts in the state from the next block on (C7)."""
    terms = state.terms
    if header.epoch == terms.epoch and header.height == state.outlook.term_end:
        state.terms = replace(terms, term_result=result)
