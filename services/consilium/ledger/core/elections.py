"""Reveals, the draw and the handover: how one committee follows another (rules C6, C7)."""

from dataclasses import replace

from consilium.kernel.certificates import Delegate, Elector, Electorate, verify_alliance_certificate
from consilium.kernel.codes import Code
from consilium.kernel.election import Candidate
from consilium.kernel.errors import BadSignature, DataLoss
from consilium.kernel.hashing import sha256
from consilium.kernel.opening import OpenedTransaction
from consilium.kernel.recovery import RecoveryStatement
from consilium.kernel.transactions import BallotBody, EvidenceBody, HandoverBody, ProposalBody, RevealBody
from consilium.ledger.core.acts import begin_epoch
from consilium.ledger.core.block_scope import BlockScope
from consilium.ledger.core.conduct import judge_term, note_alive, votes_by_candidate
from consilium.ledger.core.governance import settle_proposals
from consilium.ledger.core.state import LedgerState
from consilium.ledger.core.terms import draw_recovery, drawn, mixed, next_epoch, recovered_epoch

ALWAYS_ALLOWED = (ProposalBody, BallotBody, EvidenceBody, HandoverBody)
"""What a committee may still order once its extended terms are used up: governance, and what ends its epoch (C7)."""


def apply_reveal(state: LedgerState, transaction: OpenedTransaction, body: RevealBody, _: BlockScope) -> Code:
    """Take a delegate's next preimage into the mix: once an epoch, and before the draw (C6)."""
    terms = state.terms
    member = state.member_of_key(transaction.payload.author)
    if member is None or terms.committee.index_of(member.profile.member_id) is None:
        return Code.NOT_A_DELEGATE
    if body.epoch != terms.epoch:
        return Code.WRONG_EPOCH
    if member.profile.member_id in terms.revealed:
        return Code.REVEAL_REPEATED
    if terms.next_committee is not None:
        return Code.REVEAL_LATE
    if sha256(body.preimage) != member.reveal_anchor:
        return Code.REVEAL_FOREIGN
    state.put_member(replace(member, reveal_anchor=body.preimage))
    state.terms = mixed(terms, member.profile.member_id, body.preimage)
    note_alive(state, member.profile.member_id)
    return Code.APPLIED


def apply_handover(state: LedgerState, _: OpenedTransaction, body: HandoverBody, scope: BlockScope) -> Code:
    """End the epoch with this block, if the alliance signed the very result this ledger has for the term's end (C7)."""
    terms = state.terms
    if terms.term_result is None or terms.next_committee is None or terms.handed_over:
        return Code.HANDOVER_NOT_DUE
    if body.certificate.result != terms.term_result:
        return Code.HANDOVER_OTHER_RESULT
    try:
        verify_alliance_certificate(terms.electorate, body.certificate, state.chain_id, scope.verifier)
    except BadSignature:
        return Code.HANDOVER_SHORT
    state.terms = replace(terms, handed_over=True)
    for each in body.certificate.signatures:
        note_alive(state, each.member_id)
    return Code.APPLIED


def is_exhausted(state: LedgerState, height: int) -> bool:
    """Whether the sitting committee has served all the terms it may; then only `ALWAYS_ALLOWED` takes effect (C7)."""
    parameters = state.parameters
    last = state.outlook.term_end + parameters.terms_extended_max * parameters.term_blocks
    return height > last


def close_block(state: LedgerState, height: int) -> None:
    """After a block: settle proposals (G1), draw at the election height; after a handover judge the term, open the next."""
    settle_proposals(state, height)
    terms = state.terms
    if height == state.outlook.election_height:
        left = replace(terms, candidates=_still_active(state))
        state.terms = drawn(left, state.parameters, state.chain_id, _sitting(state))
    if terms.handed_over:
        judge_term(state)
        begin_epoch(state, height)
        state.open_epoch(next_epoch(terms, height + 1, _candidates(state, height), _electorate(state)))


def cross_recovery(state: LedgerState, statement: RecoveryStatement) -> None:
    """Open the epoch that a recovery opens, before its first block is executed (C10).

    Raises DataLoss (DIVERGED) for a committee that this ledger would not have drawn: more than two thirds of the members
    have signed what cannot be, and nothing may stand on it here.
    """
    terms = state.terms
    expected = draw_recovery(terms, state.first_candidates, state.parameters, state.chain_id, statement.lost)
    if expected != (statement.next_committee, statement.mix):
        raise DataLoss("DIVERGED", "The recovery names another committee than the draw gives without the lost ones.", "C10")
    state.open_epoch(recovered_epoch(terms, statement, _candidates(state, statement.last_height)))


def _still_active(state: LedgerState) -> tuple[Candidate, ...]:
    """The term's candidates less those dismissed since: nobody is drawn who is refused everywhere (G2)."""
    active = {each.profile.member_id: None for each in state.active_members()}
    return tuple([each for each in state.terms.candidates if each.member_id in active])


def _sitting(state: LedgerState) -> list[Delegate]:
    """The sitting delegates, should they serve on: under the newest keys, or adopted ones would wait for ever (G3)."""
    seated = [(each, state.member(each.member_id)) for each in state.terms.committee.delegates]
    return [
        each if member is None else Delegate(each.member_id, (member.next_keys or member.profile).consensus_key)
        for each, member in seated
    ]


def _candidates(state: LedgerState, height: int) -> list[Candidate]:
    """The active members as the draw sees them; never one whose key equivocated (C8)."""
    votes = votes_by_candidate(state, height)
    return [
        Candidate(
            each.profile.member_id,
            each.profile.owner_group,
            each.grade_at(height),
            (each.next_keys or each.profile).consensus_key,
            each.score,
            votes.get(each.profile.member_id, 0),
            each.conduct.jailed_until,
            each.conduct.terms_running,
            each.conduct.silent,
        )
        for each in state.active_members()
        if not each.tombstoned
    ]


def _electorate(state: LedgerState) -> Electorate:
    """The members active as the next epoch begins."""
    electors = [Elector(each.profile.member_id, each.profile.member_key) for each in state.active_members()]
    return Electorate(state.terms.epoch + 1, tuple(electors))
