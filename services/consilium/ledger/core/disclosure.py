"""Requests, their verdicts, and the holders' receipts (rules S3, S5, S6; promise 2).

A verdict is final with the block it stands in: it judges the consent of that height, at the block's certified time (L7).
Every granted request becomes an audit entry before any fragment can leave a holder.
"""

from dataclasses import replace

from consilium.kernel.codes import Code
from consilium.kernel.consent import owner_commitment
from consilium.kernel.opening import OpenedTransaction
from consilium.kernel.state_values import GrantState, is_erased
from consilium.kernel.transactions import ReceiptBody, ReceiptKind, RequestBody
from consilium.ledger.core.block_scope import BlockScope
from consilium.ledger.core.state import LedgerState
from consilium.ledger.core.tables import Disclosure


def apply_request(state: LedgerState, transaction: OpenedTransaction, body: RequestBody, scope: BlockScope) -> Code:
    """The verdict on a request: GRANTED, or the first reason against; deny wins (S3)."""
    code = _judge_request(state, transaction.payload.author, body, scope)
    if code is Code.GRANTED:
        state.disclosures.add(Disclosure(transaction.leaf, body.grant_id, body.record_id, scope.height))
    return code


def apply_receipt(state: LedgerState, transaction: OpenedTransaction, body: ReceiptBody, scope: BlockScope) -> Code:
    """Take down a holder's own word on a release (S5) or on a deletion (S6)."""
    grant = state.grant(body.grant_id)
    if grant is None:
        return Code.GRANT_UNKNOWN
    holder = state.member(body.holder)
    named = body.holder in grant.terms.holders
    if not named or holder is None or holder.profile.member_key != transaction.payload.author:
        return Code.NOT_A_HOLDER
    if body.receipt is ReceiptKind.DELETION:
        return _note_deletion(state, grant, body, scope)
    return _note_release(state, transaction.leaf, body, scope)


def _judge_request(state: LedgerState, author: bytes, body: RequestBody, scope: BlockScope) -> Code:
    record, grant = state.records.get(body.record_id), state.grant(body.grant_id)
    if record is None:
        return Code.RECORD_UNKNOWN
    if grant is None:
        return Code.GRANT_UNKNOWN
    terms = grant.terms
    against = (
        (owner_commitment(body.salt, terms.delegating_pk) != record.body.owner_commitment, Code.FOREIGN_SALT),
        (author != terms.recipient_key, Code.NOT_THE_RECIPIENT),
        (body.purpose is not terms.purpose, Code.OTHER_PURPOSE),
        (not terms.not_before_ms <= scope.time_ms < terms.not_after_ms, Code.OUTSIDE_PERIOD),
        # Closing a key revokes every grant under it, so this covers closed keys too (S6).
        (grant.revoked_height is not None, Code.GRANT_REVOKED),
        (is_erased(state.retention(body.record_id)), Code.RECORD_ERASED),
    )
    return next((code for holds, code in against if holds), Code.GRANTED)


def _note_deletion(state: LedgerState, grant: GrantState, body: ReceiptBody, scope: BlockScope) -> Code:
    """Count a holder's deletion; when fewer than the threshold can be left, the grant is dead (S6)."""
    if grant.revoked_height is None:
        return Code.NOT_REVOKED
    if body.holder in grant.deleted_by:
        return Code.RECEIPT_REPEATED
    deleted_by = (*grant.deleted_by, body.holder)
    dies = grant.dead_height is None and len(deleted_by) > len(grant.terms.holders) - grant.terms.threshold
    dead_height = scope.height if dies else grant.dead_height
    state.put_grant(replace(grant, deleted_by=deleted_by, dead_height=dead_height))
    return Code.APPLIED


def _note_release(state: LedgerState, receipt_hash: bytes, body: ReceiptBody, scope: BlockScope) -> Code:
    """Hang a holder's release on the granted request it answers (S5)."""
    disclosure = state.disclosures.get(body.request_hash)
    if disclosure is None or disclosure.grant_id != body.grant_id:
        return Code.REQUEST_UNKNOWN
    if body.holder in disclosure.released_by:
        return Code.RECEIPT_REPEATED
    if not disclosure.height <= body.released_height <= scope.height:
        return Code.BAD_HEIGHT
    state.disclosures.add_receipt(body.request_hash, body.holder, receipt_hash)
    return Code.APPLIED
