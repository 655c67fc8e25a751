"""What the alliance decides together: proposals and ballots, tallied at the end of every block (rule G1).

More than two thirds of the members active then have to say yes; nobody admits, grades or suspends alone. A proposal is
decided in the very block that makes it so, by a ballot or by a change of members, and done in that block: what one does to
the members may decide another. Whether a thing can be done is asked when it is proposed, and again when it is adopted
(`acts`).
"""

from dataclasses import replace

from consilium.kernel.codes import Code
from consilium.kernel.opening import OpenedTransaction
from consilium.kernel.state_values import Ballot, ProposalState, ProposalStatus
from consilium.kernel.transactions import BallotBody, ProposalBody
from consilium.ledger.core.acts import judge_act, perform_act
from consilium.ledger.core.block_scope import BlockScope
from consilium.ledger.core.state import LedgerState


def apply_proposal(state: LedgerState, transaction: OpenedTransaction, body: ProposalBody, scope: BlockScope) -> Code:
    """Open an active member's proposal, with its author's yes (G1)."""
    author = state.member_of_key(transaction.payload.author)
    if author is None:
        return Code.NOT_A_MEMBER
    name, numbers = author.profile.member_id, state.parameters
    if len(state.proposals.of(name)) >= numbers.proposals_max:
        return Code.TOO_MANY_PROPOSALS
    if not scope.height < body.decide_by <= scope.height + numbers.proposal_blocks_max:
        return Code.BAD_DEADLINE
    code = judge_act(state, body, body.decide_by)
    if code is Code.APPLIED:
        ballots, is_open = (Ballot(name, yes=True),), ProposalStatus.OPEN
        state.put_proposal(transaction.leaf, ProposalState(name, body, scope.height, ballots, is_open, None, None))
    return code


def apply_ballot(state: LedgerState, transaction: OpenedTransaction, body: BallotBody, _: BlockScope) -> Code:
    """Take a member's word on an open proposal; the first one stands (G1)."""
    author, proposal = state.member_of_key(transaction.payload.author), state.proposals.get(body.proposal_id)
    if author is None:
        return Code.NOT_A_MEMBER
    if proposal is None:
        return Code.PROPOSAL_UNKNOWN
    if proposal.status is not ProposalStatus.OPEN:
        return Code.PROPOSAL_CLOSED
    name = author.profile.member_id
    if proposal.said(name) is not None:
        return Code.BALLOT_REPEATED
    state.put_proposal(body.proposal_id, replace(proposal, ballots=(*proposal.ballots, Ballot(name, body.yes))))
    return Code.APPLIED


def settle_proposals(state: LedgerState, height: int) -> None:
    """At the end of a block: decide what can be decided, end what is due, let go of what ended long ago (G1)."""
    for proposal_id in state.proposals.leaving_at(height):
        state.drop_proposal(proposal_id)
    waiting = state.proposals.take_due(height)
    while waiting:
        registry = state.registry
        for proposal_id in waiting:
            _settle(state, proposal_id, height)
            if state.registry is not registry:  # the members are others now: every open proposal is counted anew
                break
        waiting = state.proposals.open_ids() if state.registry is not registry else []


def _settle(state: LedgerState, proposal_id: bytes, height: int) -> None:
    """Close a proposal if it is decided, and do it if it is adopted."""
    proposal = state.proposals.get(proposal_id)
    assert proposal is not None, "an open proposal is in the map"
    status = _decided(state, proposal, height)
    if status is ProposalStatus.OPEN:
        return
    outcome = perform_act(state, proposal.body, height) if status is ProposalStatus.ADOPTED else None
    status = ProposalStatus.VOID if outcome not in (None, Code.APPLIED) else status
    state.put_proposal(proposal_id, replace(proposal, status=status, closed_height=height, outcome=outcome))
    state.proposals.keep_until(proposal_id, height + state.parameters.expiry_blocks_max)


def _decided(state: LedgerState, proposal: ProposalState, height: int) -> ProposalStatus:
    """How the ballots of the members active now stand."""
    active = {each.profile.member_id: None for each in state.active_members()}
    said = [each.yes for each in proposal.ballots if each.member_id in active]
    if 3 * said.count(True) > 2 * len(active):
        return ProposalStatus.ADOPTED
    if 3 * (len(active) - said.count(False)) <= 2 * len(active):
        return ProposalStatus.REFUSED
    return ProposalStatus.EXPIRED if height >= proposal.body.decide_by else ProposalStatus.OPEN
