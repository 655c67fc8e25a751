"""Where carried bytes become values, once, for consensus and ledger alike (rules L1, L2, L3, C4).

A transaction travels in one of two forms, told apart by the first byte of its CBOR: a bare payload, which the batch's
member vouches for with the batch signature (records only), or a payload under its author's signature.
`open_*` refuse with `Malformed` whatever is not in form; they look at no state and check no signature. `verify_*` check
every signature that stands inside. Whether an author *may* do a thing is judged at execution, by the ledger's state.

The batch's digest does not cover the batch's signature, so two copies of one batch may differ there. That is why a bad
signature makes the *copy* unusable, and is never the outcome of a transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from consilium.kernel.certificates import HEADER_BYTES_MAX
from consilium.kernel.chain import TRANSACTION_BYTES_MAX, Batch, BatchStatement, CertifiedBlock, Header
from consilium.kernel.encoding import decode, encode
from consilium.kernel.errors import BadSignature, Malformed
from consilium.kernel.hashing import sha256
from consilium.kernel.merkle import leaf_hash, merkle_root
from consilium.kernel.signing import Verifier
from consilium.kernel.transactions import (
    PAYLOAD_BYTES_MAX,
    HandoverBody,
    Payload,
    RecordBody,
    Transaction,
)

OPENED_BATCHES_KEPT = 16
"""How many batches stay open: one comes as an offer, and a small one again inside a proposal. Each takes some 2 KiB a
transaction, so a few full ones are many MiB."""
_BARE_PAYLOAD = b"\x86"
"""A CBOR array of six: domain, chain id and a payload's four fields."""


class OpenedTransaction(NamedTuple):
    """A transaction taken apart. Without a signature it is the batch's member that vouches for it (L2).

    `leaf` is the leaf hash of the bytes as carried: the transaction's name everywhere. A tuple, not a dataclass: one is made
    for every transaction of every block.
    """

    leaf: bytes
    payload: Payload
    payload_bytes: bytes
    signature: bytes | None


@dataclass(frozen=True, slots=True)
class OpenedBatch:
    """A batch taken apart, with the bytes it came in.

    `voucher` is the one author of its bare payloads, or None where every payload is signed.
    """

    data: bytes
    batch: Batch
    statement: bytes
    digest: bytes
    root: bytes
    leaves: tuple[bytes, ...]
    transactions: tuple[OpenedTransaction, ...]
    voucher: bytes | None
    has_handover: bool

    def closed(self) -> "OpenedBatch":
        """The same without its transactions, for whoever only hands its bytes out: a fraction of the memory."""
        batch = Batch(self.batch.member_id, (), self.batch.signature)
        rest = self.digest, self.root, self.leaves, (), self.voucher, self.has_handover
        return OpenedBatch(self.data, batch, self.statement, *rest)


@dataclass(frozen=True, slots=True)
class OpenedBlock:
    """A block whose batches are the very ones its header orders."""

    block: CertifiedBlock
    header: Header
    block_hash: bytes
    batches: tuple[OpenedBatch, ...]

    @property
    def leaves(self) -> tuple[bytes, ...]:
        """The leaf hashes of all its transactions, in order."""
        return tuple([leaf for batch in self.batches for leaf in batch.leaves])


def open_transaction(data: bytes, chain_id: bytes) -> OpenedTransaction:
    """Take one carried transaction apart.

    Raises Malformed: what `decode` raises; UNSIGNED_KIND for a bare payload of another kind than a record (L2).
    """
    if data[:1] == _BARE_PAYLOAD:
        payload = decode(Payload, data, chain_id, PAYLOAD_BYTES_MAX)
        if type(payload.body) is not RecordBody:
            raise Malformed("UNSIGNED_KIND", "Only records may be vouched for by their batch.", "L2")
        return OpenedTransaction(leaf_hash(data), payload, data, None)
    transaction = decode(Transaction, data, chain_id, TRANSACTION_BYTES_MAX)
    payload = decode(Payload, transaction.payload, chain_id, PAYLOAD_BYTES_MAX)
    return OpenedTransaction(leaf_hash(data), payload, transaction.payload, transaction.signature)


@lru_cache(maxsize=OPENED_BATCHES_KEPT)
def open_batch(data: bytes, chain_id: bytes) -> OpenedBatch:
    """Take an encoded batch and all its transactions apart.

    Raises Malformed: as `open_transaction`; EMPTY_BATCH; MIXED_VOUCHERS unless one author made all bare payloads.
    """
    batch = decode(Batch, data, chain_id)
    if not batch.transactions:
        raise Malformed("EMPTY_BATCH", "A batch holds at least one transaction.", "C4")
    transactions = tuple([open_transaction(each, chain_id) for each in batch.transactions])
    leaves = tuple([each.leaf for each in transactions])
    root = merkle_root(leaves)
    statement = encode(BatchStatement(batch.member_id, len(leaves), root), chain_id)
    voucher = _voucher(transactions)
    has_handover = any(type(each.payload.body) is HandoverBody for each in transactions if each.signature is not None)
    return OpenedBatch(data, batch, statement, sha256(statement), root, leaves, transactions, voucher, has_handover)


def open_block(block: CertifiedBlock, chain_id: bytes) -> OpenedBlock:
    """Take a block apart and match it with its header.

    Raises Malformed: as `open_batch`; OTHER_BATCHES or OTHER_ROOT unless the header orders exactly these batches.
    """
    header = decode(Header, block.header, chain_id, HEADER_BYTES_MAX)
    batches = tuple([open_batch(each, chain_id) for each in block.batches])
    digests = tuple([each.digest for each in batches])
    if digests != header.batch_digests or len(set(digests)) != len(digests):
        raise Malformed("OTHER_BATCHES", "These are not the batches the header orders, each once.", "L3")
    if transaction_root(batches) != header.transaction_root:
        raise Malformed("OTHER_ROOT", "The header's transaction root is not the one of its batches.", "L3")
    return OpenedBlock(block, header, sha256(block.header), batches)


def transaction_root(batches: Sequence[OpenedBatch]) -> bytes:
    """The root a header must carry: over the leaves of its batches, in order (L3)."""
    if len(batches) == 1:
        return batches[0].root
    return merkle_root([leaf for batch in batches for leaf in batch.leaves])


def verify_author(transaction: OpenedTransaction, verifier: Verifier) -> None:
    """Raise BadSignature unless the author signed the payload, or nobody did and the batch vouches for it (L2)."""
    if transaction.signature is not None:
        verifier.verify(transaction.payload.author, transaction.payload_bytes, transaction.signature)


def verify_batch(opened: OpenedBatch, member_key: bytes, verifier: Verifier) -> None:
    """Raise BadSignature unless the member signed the batch, its bare payloads are its own, and all authors signed (L2)."""
    if opened.voucher not in (None, member_key):
        raise BadSignature("FOREIGN_VOUCHER", "A member vouches for its own registrations only.", "L2")
    verifier.verify(member_key, opened.statement, opened.batch.signature)
    for each in opened.transactions:
        verify_author(each, verifier)


def verify_copy(opened: OpenedBatch, verifier: Verifier) -> None:
    """Raise BadSignature unless this copy of an *ordered* batch carries all the signatures its transactions stand on.

    A batch is judged by its member's key when it comes in; here, blocks later, that key may have changed. Its bare payloads
    name the key that vouched for them, so the copy can be judged without looking at any state. Where all payloads are
    signed by their authors, the batch's own signature has done its work.
    """
    if opened.voucher is not None:
        verifier.verify(opened.voucher, opened.statement, opened.batch.signature)
    for each in opened.transactions:
        verify_author(each, verifier)


def _voucher(transactions: Sequence[OpenedTransaction]) -> bytes | None:
    """The one author of the bare payloads."""
    authors = {each.payload.author for each in transactions if each.signature is None}
    if len(authors) > 1:
        raise Malformed("MIXED_VOUCHERS", "One batch signature vouches for one member's registrations only.", "L2")
    return authors.pop() if authors else None
