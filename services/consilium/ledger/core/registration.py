"""Records: one name for one capsule, registered by the member that holds it (rules S3, L2)."""

from consilium.kernel.codes import Code
from consilium.kernel.opening import OpenedTransaction
from consilium.kernel.transactions import RecordBody
from consilium.ledger.core.block_scope import BlockScope
from consilium.ledger.core.state import LedgerState


def apply_record(state: LedgerState, transaction: OpenedTransaction, body: RecordBody, scope: BlockScope) -> Code:
    """Register a record, if its author is the holder it names and neither its id nor its capsule has been used (S3)."""
    holder = state.member(body.holder)
    if holder is None or not holder.is_active or transaction.payload.author != holder.profile.member_key:
        return Code.AUTHOR_NOT_HOLDER
    records = state.records
    if records.has(body.record_id):
        return Code.RECORD_EXISTS
    if records.has_capsule(body.capsule_digest):
        return Code.CAPSULE_EXISTS
    records.add(body, transaction.leaf, scope.height)
    return Code.APPLIED
