"""Grants and revocations: what a patient permits, and takes back (rules S3, S4, S6).

Only who can sign with the delegating key grants its records. A revocation that names a successor closes the key: every grant
under it ends at that height, and its other recipients go on under the successor in the same transaction, or nothing happens.
Consent never grows back: a revoked grant stays revoked, a closed key stays closed.
"""

from collections.abc import Sequence
from dataclasses import replace

from consilium.kernel.codes import Code
from consilium.kernel.encoding import encode
from consilium.kernel.errors import BadSignature
from consilium.kernel.opening import OpenedTransaction
from consilium.kernel.state_values import GrantState
from consilium.kernel.transactions import GrantBody, GrantTerms, OwnershipStatement, RevokeBody
from consilium.kernel.umbral import verify_ownership
from consilium.ledger.core.block_scope import BlockScope
from consilium.ledger.core.holders import judge_holders
from consilium.ledger.core.state import LedgerState

GRANTS_PER_KEY_MAX = 256
"""The most grants under one delegating key, which bounds what closing it changes."""


def apply_grant(state: LedgerState, transaction: OpenedTransaction, body: GrantBody, scope: BlockScope) -> Code:
    """Put a grant in force, if its author proves to own the delegating key and its terms hold (S3, S4)."""
    author = transaction.payload.author
    code = _judge_grant(state, author, body, scope)
    if code is Code.APPLIED:
        state.put_grant(_granted(author, body.terms, scope))
    return code


def apply_revoke(state: LedgerState, transaction: OpenedTransaction, body: RevokeBody, scope: BlockScope) -> Code:
    """End a grant; with a successor, close its key and put the regrants in force, all or nothing (S6)."""
    author = transaction.payload.author
    code = _judge_revoke(state, author, body)
    if code is not Code.APPLIED:
        return code
    if not _are_regrants_good(state, author, body, scope):
        return Code.BAD_REGRANT
    _revoke(state, (body.grant_id,), scope.height)
    if body.successor_pk is not None:
        _close(state, body.grant_id, body.successor_pk, scope.height)
    for regrant in body.regrants:
        state.put_grant(_granted(author, regrant.terms, scope))
    return Code.APPLIED


def _judge_grant(state: LedgerState, author: bytes, body: GrantBody, scope: BlockScope) -> Code:
    """APPLIED, or the first reason against; the costly proof is looked at last."""
    terms = body.terms
    if state.grant(terms.grant_id) is not None:
        return Code.GRANT_EXISTS
    if state.successor_of(terms.delegating_pk) is not None:
        return Code.KEY_CLOSED
    if len(state.grants_of_key(terms.delegating_pk)) >= GRANTS_PER_KEY_MAX:
        return Code.KEY_FULL
    recipient = state.member(terms.recipient_member)
    if recipient is None or not recipient.is_active:
        return Code.RECIPIENT_UNKNOWN
    if not terms.not_before_ms < terms.not_after_ms or terms.not_after_ms <= scope.time_ms:
        return Code.BAD_PERIOD
    code = judge_holders(state, terms, scope.height)
    return code if code is not Code.APPLIED else _judge_ownership(state, author, body)


def _judge_ownership(state: LedgerState, author: bytes, body: GrantBody) -> Code:
    """The proof binds author, terms and chain: nobody grants another's records, here or elsewhere (S3)."""
    statement = encode(OwnershipStatement(author, body.terms), state.chain_id)
    try:
        verify_ownership(body.terms.delegating_pk, statement, body.ownership)
    except BadSignature:
        return Code.NOT_THE_OWNER
    return Code.APPLIED


def _judge_revoke(state: LedgerState, author: bytes, body: RevokeBody) -> Code:
    """APPLIED, or the first reason against. A grant that is revoked already may still have its key closed."""
    grant = state.grant(body.grant_id)
    if grant is None:
        return Code.GRANT_UNKNOWN
    if grant.author != author:
        return Code.NOT_THE_GRANTOR
    if body.successor_pk is None:
        return Code.APPLIED if grant.revoked_height is None else Code.ALREADY_REVOKED
    if state.successor_of(grant.terms.delegating_pk) is not None:
        return Code.KEY_CLOSED
    if body.successor_pk == grant.terms.delegating_pk or state.successor_of(body.successor_pk) is not None:
        return Code.BAD_SUCCESSOR
    return Code.APPLIED


def _are_regrants_good(state: LedgerState, author: bytes, body: RevokeBody, scope: BlockScope) -> bool:
    """Whether every regrant is a good grant under the successor key, and no id stands twice."""
    names = [each.terms.grant_id for each in body.regrants]
    room = GRANTS_PER_KEY_MAX - len(state.grants_of_key(body.successor_pk or b""))
    return (
        len(set(names)) == len(names) <= room
        and all(each.terms.delegating_pk == body.successor_pk for each in body.regrants)
        and all(_judge_grant(state, author, each, scope) is Code.APPLIED for each in body.regrants)
    )


def _close(state: LedgerState, grant_id: bytes, successor_pk: bytes, height: int) -> None:
    """Close the grant's key: all grants under it end now, so that a holder need look at its own grant alone (S5)."""
    grant = state.grant(grant_id)
    assert grant is not None
    _revoke(state, state.grants_of_key(grant.terms.delegating_pk), height)
    state.close_key(grant.terms.delegating_pk, successor_pk)


def _revoke(state: LedgerState, grant_ids: Sequence[bytes], height: int) -> None:
    """Mark grants as revoked at this height; those revoked earlier keep their height."""
    for grant_id in grant_ids:
        grant = state.grant(grant_id)
        assert grant is not None
        if grant.revoked_height is None:
            state.put_grant(replace(grant, revoked_height=height))


def _granted(author: bytes, terms: GrantTerms, scope: BlockScope) -> GrantState:
    return GrantState(terms, author, scope.height, None, (), None)
