"""Erasures and legal holds: what a record's home does to its keeping (rule S8; promise 6).

The home alone acts, under its member key: it alone can destroy what makes the object readable, and it answers for the paper
that the digest names. A record under a hold is not erased; an erased one stays so, and no request for it is granted.
"""

from consilium.kernel.codes import Code
from consilium.kernel.opening import OpenedTransaction
from consilium.kernel.state_values import RetentionState, is_erased
from consilium.kernel.transactions import ErasureBody, RetentionAct
from consilium.ledger.core.block_scope import BlockScope
from consilium.ledger.core.state import LedgerState


def apply_erasure(state: LedgerState, transaction: OpenedTransaction, body: ErasureBody, scope: BlockScope) -> Code:
    """Erase a record, or place or lift a hold on it, if its home says so and no hold or erasure stands against it (S8).

    A suspended member may still do so: what it owes its patients does not rest.
    """
    record = state.records.get(body.record_id)
    if record is None:
        return Code.RECORD_UNKNOWN
    home = state.member(record.body.holder)
    if home is None or home.profile.member_key != transaction.payload.author:
        return Code.AUTHOR_NOT_HOLDER
    code = _judge(state.retention(body.record_id), body.act)
    if code is Code.APPLIED:
        _act(state, body, scope.height)
    return code


def _judge(kept: RetentionState | None, act: RetentionAct) -> Code:
    """APPLIED, or what stands against it."""
    if is_erased(kept):
        return Code.RECORD_ERASED
    if act is RetentionAct.LIFT:
        return Code.RECORD_NOT_HELD if kept is None else Code.APPLIED
    return Code.APPLIED if kept is None else Code.RECORD_HELD


def _act(state: LedgerState, body: ErasureBody, height: int) -> None:
    match body.act:
        case RetentionAct.ERASE:
            state.put_retention(body.record_id, RetentionState(None, height))
        case RetentionAct.HOLD:
            state.put_retention(body.record_id, RetentionState(height, None))
        case RetentionAct.LIFT:
            state.lift_hold(body.record_id)
