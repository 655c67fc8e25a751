"""What the ledger hands to those who check it: each proof stands under one result certificate (rules L3, L4, L5)."""

from consilium.kernel.certificates import AllianceCertificate, ResultCertificate
from consilium.kernel.chain import Batch
from consilium.kernel.codes import Code, outcome_leaves
from consilium.kernel.encoding import decode
from consilium.kernel.errors import FailedPrecondition
from consilium.kernel.light_client import EpochHop, StateProof, TransactionProof
from consilium.kernel.merkle import MerkleLog, prove_inclusion
from consilium.kernel.opening import open_block
from consilium.kernel.state_values import electorate_entry
from consilium.kernel.transactions import HandoverBody
from consilium.ledger.core.archive import Archive, Link


def certificate_of(link: Link) -> ResultCertificate:
    """The certificate of a height.

    Raises FailedPrecondition: NOT_FINAL while the quorum's results are not here.
    """
    if link.certificate is None:
        raise FailedPrecondition("NOT_FINAL", f"Height {link.header.height} is not certified here yet.", "L3")
    return link.certificate


def transaction_proof(archive: Archive, log: MerkleLog, transaction_hash: bytes, chain_id: bytes) -> TransactionProof:
    """That the transaction was ordered, and how it ended (L4).

    Raises NotFound for an unknown transaction, FailedPrecondition (NOT_FINAL) for one that is not certified yet.
    """
    height, place = archive.place_of(transaction_hash)
    link = archive.link(height)
    certificate, codes = certificate_of(link), link.outcome.codes
    outcomes = outcome_leaves([log.leaf_at(link.log_start + i) for i in range(len(codes))], codes)
    return TransactionProof(
        carried_transaction(link, place, chain_id),
        codes[place],
        log.inclusion_proof(link.log_start + place, link.outcome.result.log_size),
        prove_inclusion(outcomes, place),
        certificate,
    )


def state_proof(link: Link, key: bytes) -> StateProof:
    """What the authenticated map holds under `key` at this height (L4).

    Raises FailedPrecondition: NOT_FINAL, or STATE_GONE for a height whose map is kept no longer.
    """
    certificate = certificate_of(link)
    if link.state is None:
        raise FailedPrecondition("STATE_GONE", f"The state of height {link.header.height} is kept no longer.", "L4")
    return StateProof(link.state.root, link.tables_root, key, link.state.get(key), link.state.prove(key), certificate)


def epoch_hop(term_end: Link, boundary: Link, chain_id: bytes) -> EpochHop:
    """What proves the step over an epoch's last block, `boundary` (L5, C7).

    Raises FailedPrecondition: NOT_FINAL while the boundary is not certified.
    """
    following = boundary.outcome.outlook
    electorate = state_proof(boundary, electorate_entry(following.epoch))
    return EpochHop(_alliance(boundary, chain_id), term_end.block.header, following.committee, electorate)


def carried_transaction(link: Link, place: int, chain_id: bytes) -> bytes:
    """The bytes of the transaction at a place of a block, as carried (L1)."""
    for data in link.block.batches:
        transactions = decode(Batch, data, chain_id).transactions
        if place < len(transactions):
            return transactions[place]
        place -= len(transactions)
    raise AssertionError("a place beyond the block's transactions")


def _alliance(boundary: Link, chain_id: bytes) -> AllianceCertificate:
    """The certificate of the handover that took effect in this block."""
    batches = open_block(boundary.block, chain_id).batches
    bodies = [each.payload.body for batch in batches for each in batch.transactions]
    for body, code in zip(bodies, boundary.outcome.codes, strict=True):
        if isinstance(body, HandoverBody) and code is Code.APPLIED:
            return body.certificate
    raise AssertionError("an epoch ends with a handover")
