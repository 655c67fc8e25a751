"""What the ledger hands to those who check it: each proof stands under one result certificate (rules L3, L4, L5)."""

from collections.abc import Iterator, Sequence
from itertools import islice

from consilium.kernel.certificates import AllianceCertificate, ResultCertificate
from consilium.kernel.chain import Batch
from consilium.kernel.codes import Code, outcome_leaves
from consilium.kernel.encoding import decode
from consilium.kernel.errors import FailedPrecondition
from consilium.kernel.light_client import EpochHop, StateProof, TransactionProof
from consilium.kernel.merkle import MerkleLog
from consilium.kernel.opening import open_block
from consilium.kernel.state_values import electorate_entry
from consilium.kernel.transactions import HandoverBody
from consilium.ledger.core.archive import Link


def certificate_of(link: Link) -> ResultCertificate:
    """The certificate of a height.

    Raises FailedPrecondition: NOT_FINAL while the quorum's results are not here.
    """
    if link.certificate is None:
        raise FailedPrecondition("NOT_FINAL", f"Height {link.header.height} is not certified here yet.", "L3")
    return link.certificate


def transaction_proofs(link: Link, log: MerkleLog, places: Sequence[int], chain_id: bytes) -> list[TransactionProof]:
    """That the transactions at these places of a block were ordered, and how they ended (L4).

    The block's outcomes are hashed once for all of them. Raises FailedPrecondition: NOT_FINAL while it is not certified.
    """
    certificate, codes, start = certificate_of(link), link.outcome.codes, link.log_start
    outcomes = MerkleLog(outcome_leaves([log.leaf_at(start + place) for place in range(len(codes))], codes))
    carried = list(islice(_carried_transactions(link, chain_id), max(places, default=-1) + 1))
    return [
        TransactionProof(
            carried[place],
            codes[place],
            log.inclusion_proof(start + place, link.outcome.result.log_size),
            outcomes.inclusion_proof(place, len(codes)),
            certificate,
        )
        for place in places
    ]


def state_proof(link: Link, key: bytes) -> StateProof:
    """What the authenticated map holds under `key` at this height (L4).

    Raises FailedPrecondition: NOT_FINAL, or STATE_GONE for a height whose map is kept no longer.
    """
    certificate = certificate_of(link)
    if link.state is None:
        raise FailedPrecondition("STATE_GONE", f"The state of height {link.header.height} is kept no longer.", "L4")
    state, tables_root = link.state
    return StateProof(state.root, tables_root, key, state.get(key), state.prove(key), certificate)


def epoch_hop(term_end: Link, boundary: Link, chain_id: bytes) -> EpochHop:
    """What proves the step over an epoch's last block, `boundary` (L5, C7).

    Raises FailedPrecondition: NOT_FINAL while the boundary is not certified.
    """
    following = boundary.outcome.outlook
    electorate = state_proof(boundary, electorate_entry(following.epoch))
    return EpochHop(_alliance(boundary, chain_id), term_end.block.header, following.committee, electorate)


def _carried_transactions(link: Link, chain_id: bytes) -> Iterator[bytes]:
    """The bytes of a block's transactions, as carried (L1)."""
    for data in link.block.batches:
        yield from decode(Batch, data, chain_id).transactions


def _alliance(boundary: Link, chain_id: bytes) -> AllianceCertificate:
    """The certificate of the handover that took effect in this block."""
    batches = open_block(boundary.block, chain_id).batches
    bodies = [each.payload.body for batch in batches for each in batch.transactions]
    for body, code in zip(bodies, boundary.outcome.codes, strict=True):
        if isinstance(body, HandoverBody) and code is Code.APPLIED:
            return body.certificate
    raise AssertionError("an epoch ends with a handover")
