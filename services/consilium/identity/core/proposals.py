"""Governance transactions that gather the signatures of more than two thirds of the active members (rules L2, C6).

A proposal is opened at one member; the others' signatures are brought there. They are over the payload's bytes, so anyone
may carry them. When enough active members have signed, it is closed: its transaction, and with that its hash, is fixed,
and it may be submitted again and again with the same outcome (L6). The ledger judges the signatures once more, by the
members active at execution.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Annotated, ClassVar

from consilium.kernel.chain import TRANSACTION_BYTES_MAX
from consilium.kernel.codes import Code, is_refusal
from consilium.kernel.encoding import AtMost, decode, encode
from consilium.kernel.errors import FailedPrecondition, InvalidArgument, PermissionDenied
from consilium.kernel.hashing import sha256
from consilium.kernel.merkle import leaf_hash
from consilium.kernel.opening import OpenedTransaction, open_transaction, verify_endorsements
from consilium.kernel.signing import Verifier
from consilium.kernel.state_values import MemberState
from consilium.kernel.transactions import (
    ENDORSEMENTS_MAX,
    PAYLOAD_BYTES_MAX,
    Endorsement,
    GradeBody,
    MemberBody,
    Payload,
    Transaction,
)


class ProposalState(IntEnum):
    """Where a proposal stands in its life; the numbers are those of the contract."""

    OPEN = 1
    SUBMITTED = 2
    ACCEPTED = 3
    REJECTED = 4
    EXPIRED = 5


@dataclass(frozen=True, slots=True)
class Proposal:
    """A payload with the signatures gathered, the author's first.

    `transaction` is what is submitted, None while signatures are missing; `code` how it ended, None until it is final.
    """

    DOMAIN: ClassVar[str] = "consilium.proposal"
    payload: Annotated[bytes, AtMost(PAYLOAD_BYTES_MAX)]
    endorsements: Annotated[tuple[Endorsement, ...], AtMost(ENDORSEMENTS_MAX)]
    expiry_height: int
    transaction: Annotated[bytes, AtMost(TRANSACTION_BYTES_MAX)] | None
    code: Code | None

    @property
    def proposal_hash(self) -> bytes:
        """The proposal's id: the hash of what is signed."""
        return sha256(self.payload)

    @property
    def transaction_hash(self) -> bytes | None:
        """The name to ask the ledger for, once the transaction is fixed."""
        return None if self.transaction is None else leaf_hash(self.transaction)

    def state_at(self, height: int) -> ProposalState:
        """Where the proposal stands when the ledger has executed `height`."""
        if self.code is not None and self.code is not Code.EXPIRED:
            return ProposalState.REJECTED if is_refusal(self.code) else ProposalState.ACCEPTED
        if self.code is Code.EXPIRED or height >= self.expiry_height:
            return ProposalState.EXPIRED
        return ProposalState.OPEN if self.transaction is None else ProposalState.SUBMITTED


@dataclass(frozen=True, slots=True)
class Assembly:
    """Who may sign, on which chain, at which height; `expiry_blocks_max` is the genesis parameter (L6)."""

    chain_id: bytes
    active: tuple[MemberState, ...]
    height: int
    expiry_blocks_max: int

    @property
    def needed(self) -> int:
        """The least number that is more than two thirds of the active members."""
        return 2 * len(self.active) // 3 + 1

    def signed(self, endorsements: Sequence[Endorsement]) -> int:
        """How many active members are among the signers."""
        keys = [each.profile.member_key for each in self.active]
        return sum(each.public_key in keys for each in endorsements)

    def judge_signer(self, public_key: bytes) -> None:
        """Raise PermissionDenied (NOT_A_MEMBER) unless it is the member key of an active member."""
        if all(each.profile.member_key != public_key for each in self.active):
            raise PermissionDenied("NOT_A_MEMBER", "The signature is not of an active member's member key.", "L2")


def propose_member(transaction: bytes, assembly: Assembly, verifier: Verifier) -> Proposal:
    """Open a proposal to admit, suspend, reinstate or expel a member; raises as `_open`."""
    return _open(transaction, MemberBody, assembly, verifier)


def propose_grade(transaction: bytes, assembly: Assembly, verifier: Verifier) -> Proposal:
    """Open a proposal to set a member's grade; raises as `_open`."""
    return _open(transaction, GradeBody, assembly, verifier)


def sign_proposal(proposal: Proposal, endorsement: Endorsement, assembly: Assembly, verifier: Verifier) -> Proposal:
    """Add a signature, and close the proposal with the last one needed; the same again changes nothing.

    Raises PermissionDenied: NOT_A_MEMBER; BadSignature; FailedPrecondition (PROPOSAL_CLOSED) for a new signature when it no
    longer gathers any.
    """
    assembly.judge_signer(endorsement.public_key)
    verifier.verify(endorsement.public_key, proposal.payload, endorsement.signature)
    if any(each.public_key == endorsement.public_key for each in proposal.endorsements):
        return proposal
    if proposal.state_at(assembly.height) is not ProposalState.OPEN:
        raise FailedPrecondition("PROPOSAL_CLOSED", "The proposal gathers no more signatures.", "L2")
    return _closed(replace(proposal, endorsements=(*proposal.endorsements, endorsement)), assembly)


def settle(proposal: Proposal, code: Code) -> Proposal:
    """The proposal with the code its transaction ended with."""
    return replace(proposal, code=code)


def carried(proposal: Proposal, chain_id: bytes) -> bytes:
    """The transaction with the signatures gathered so far."""
    return proposal.transaction or encode(Transaction(proposal.payload, proposal.endorsements), chain_id)


def payload_of(proposal: Proposal, chain_id: bytes) -> Payload:
    """What the proposal asks for."""
    return decode(Payload, proposal.payload, chain_id, PAYLOAD_BYTES_MAX)


def _open(transaction: bytes, body: type[MemberBody | GradeBody], assembly: Assembly, verifier: Verifier) -> Proposal:
    """Open a proposal.

    Raises Malformed for bytes that are no transaction of this chain, InvalidArgument (WRONG_KIND, EXPIRES_TOO_LATE),
    FailedPrecondition (EXPIRED), PermissionDenied (NOT_A_MEMBER) or BadSignature for a signature that does not count.
    """
    opened = open_transaction(transaction, assembly.chain_id)
    if type(opened.payload.body) is not body:
        raise InvalidArgument("WRONG_KIND", f"The transaction is no {body.__name__}.")
    _check_expiry(opened, assembly)
    for each in opened.endorsements:
        assembly.judge_signer(each.public_key)
    verify_endorsements(opened, verifier)
    proposal = Proposal(opened.payload_bytes, opened.endorsements, opened.payload.expiry_height, None, None)
    return _closed(proposal, assembly)


def _check_expiry(opened: OpenedTransaction, assembly: Assembly) -> None:
    expiry = opened.payload.expiry_height
    if expiry <= assembly.height:
        raise FailedPrecondition("EXPIRED", f"The transaction expired at height {expiry}.", "L6")
    if expiry > assembly.height + assembly.expiry_blocks_max:
        limit = assembly.expiry_blocks_max
        raise InvalidArgument("EXPIRES_TOO_LATE", f"The expiry height lies more than {limit} blocks ahead.", "L6")


def _closed(proposal: Proposal, assembly: Assembly) -> Proposal:
    """The proposal with its transaction fixed if enough have signed."""
    if assembly.signed(proposal.endorsements) < assembly.needed:
        return proposal
    return replace(proposal, transaction=carried(proposal, assembly.chain_id))
