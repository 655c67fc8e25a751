"""What a member keeps of every executed block, and where each transaction stands (rules L3, L4).

The state maps of the newest heights are kept, sharing all they have in common, so that a proof can be made at the newest
certified height while later blocks are executed already; and the newest blocks, as far as they are not large. Of an older
height only what cannot be read again is kept: where it ends in the log, two roots, a byte for each transaction. Its block
and certificate are read from where the shell stores them. Whoever hands in no store keeps all blocks.
"""

from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from consilium.kernel.certificates import WINDOW_MAX, Result, ResultCertificate
from consilium.kernel.chain import CertifiedBlock, Header, Outlook
from consilium.kernel.codes import Code
from consilium.kernel.encoding import decode
from consilium.kernel.errors import DataLoss, NotFound
from consilium.kernel.hashing import DIGEST_BYTES, sha256
from consilium.kernel.merkle import MerkleLog
from consilium.kernel.opening import OpenedBatch
from consilium.kernel.state_map import StateMap
from consilium.kernel.transactions import Body, GrantBody, ReceiptBody, RecordBody, RequestBody, RevokeBody
from consilium.ledger.core.compact_index import CompactIndex
from consilium.ledger.core.execution import NOT_JUDGED, BlockOutcome
from consilium.ledger.core.sync import BLOCK_BYTES_MAX

BLOCKS_KEPT = WINDOW_MAX + 1
"""How many heights are kept whole, and how far back a state can be proven: while nothing is certified the newest certified
height may lie a whole window below the last one."""
BATCHES_KEPT_BYTES = 8 * 1024 * 1024
"""How many bytes of batches are kept: where blocks are full, fewer of them."""


class StoredBlocks(Protocol):
    """Where executed blocks and their certificates can be read again, by height."""

    def read_block(self, height: int) -> bytes:
        """The encoded block. Raises NotFound; DataLoss for one that was damaged."""

    def read_certificate(self, height: int) -> bytes:
        """The encoded result certificate. Raises NotFound (NO_CERTIFICATE); DataLoss for one that was damaged."""


def stored_block(stored: StoredBlocks, height: int, chain_id: bytes) -> CertifiedBlock:
    """The block at a height. Raises as `StoredBlocks.read_block`, Malformed for what is none."""
    return decode(CertifiedBlock, stored.read_block(height), chain_id, BLOCK_BYTES_MAX)


def stored_certificate(stored: StoredBlocks, height: int, chain_id: bytes) -> ResultCertificate | None:
    """The certificate of a height; None where consensus has gone on before this one's results were all in.

    Raises DataLoss: JOURNAL_DAMAGED for the certificate of another height.
    """
    try:
        certificate = decode(ResultCertificate, stored.read_certificate(height), chain_id)
    except NotFound:
        return None
    if certificate.result.height != height:
        raise DataLoss("JOURNAL_DAMAGED", f"The certificate kept for height {height} is another height's.", "L3")
    return certificate


class SealedState(NamedTuple):
    """The state after a block, for proofs."""

    map: StateMap
    tables_root: bytes


@dataclass(slots=True)
class Link:
    """One executed block. `certificate` comes later; `state` is None for a height that is old.

    Inside the archive `block` may be without its batches, and is then not `whole`.
    """

    block: CertifiedBlock
    header: Header
    outcome: BlockOutcome
    state: SealedState | None
    certificate: ResultCertificate | None = None
    whole: bool = True

    @property
    def log_start(self) -> int:
        """The index in the log of the block's first transaction."""
        return self.outcome.result.log_size - len(self.outcome.codes)

    @property
    def ends_epoch(self) -> bool:
        """Whether the next height belongs to another epoch (C7)."""
        return self.outcome.outlook.epoch != self.header.epoch


class Archive:
    """All blocks from height 1 on."""

    __slots__ = (
        "_about",
        "_chain_id",
        "_codes",
        "_ends",
        "_held_bytes",
        "_indexes",
        "_links",
        "_log",
        "_outlooks",
        "_roots",
        "_stored",
        "_turns",
        "_whole_from",
    )

    def __init__(self, log: MerkleLog, chain_id: bytes, stored: StoredBlocks | None) -> None:
        """`log` is the chain's own, and has a block's transactions before the block is added."""
        self._log, self._chain_id, self._stored = log, chain_id, stored
        self._links: dict[int, Link] = {}
        self._whole_from, self._held_bytes = 1, 0
        # By height: the log's size after it, and the roots of state and outcomes. By index in the log: codes.
        self._ends = array("Q")
        self._roots, self._codes = bytearray(), bytearray()
        # Outlooks change a few times in an epoch: the heights at which they did, and to what.
        self._turns = array("Q")
        self._outlooks: list[Outlook] = []
        self._indexes = CompactIndex(log.leaf_at)
        self._about: dict[bytes, array[int]] = {}

    @property
    def height(self) -> int:
        """The height of the last block, 0 for none."""
        return len(self._ends)

    def add(self, link: Link, batches: Sequence[OpenedBatch]) -> None:
        """Put the next block in, with its transactions, and let go of the one that is now too old."""
        self._links[self.height + 1] = link
        self._held_bytes += _bytes(link.block)
        self._note_outcome(link.outcome)
        codes = link.outcome.codes
        transactions = [each for batch in batches for each in batch.transactions]
        for index, transaction in enumerate(transactions, link.log_start):
            leaf, body = transaction.leaf, transaction.payload.body
            # The same bytes may be ordered twice; the place that counts is where they were judged on their merits (L6).
            if codes[index - link.log_start] in NOT_JUDGED and self._indexes.get(leaf) is not None:
                continue
            self._indexes.put(leaf, index)
            if type(body) is not RecordBody:
                self._note_grants(index, body)
        if self._stored is not None:
            self._shed_batches()
        self._let_go(self.height - BLOCKS_KEPT)

    def certify(self, certificate: ResultCertificate) -> None:
        """Take in the certificate of a height that is here, which is verified."""
        link = self._links.get(certificate.result.height)
        if link is not None:
            link.certificate = certificate
            self._let_go(certificate.result.height)

    def _note_outcome(self, outcome: BlockOutcome) -> None:
        """Keep what cannot be read again."""
        result = outcome.result
        if not self._outlooks or outcome.outlook != self._outlooks[-1]:
            self._turns.append(result.height)
            self._outlooks.append(outcome.outlook)
        self._roots += result.state_root + result.results_root
        self._codes += bytes(outcome.codes)
        # Last, for the height goes by it.
        self._ends.append(result.log_size)

    def _shed_batches(self) -> None:
        """Let the batches of the oldest blocks go; another object takes a link's place, for somebody may be reading."""
        oldest = self.height - BLOCKS_KEPT
        while self._whole_from < self.height and (self._held_bytes > BATCHES_KEPT_BYTES or self._whole_from <= oldest):
            link = self._links[self._whole_from]
            self._held_bytes -= _bytes(link.block)
            self._links[self._whole_from] = replace(link, block=replace(link.block, batches=()), whole=False)
            self._whole_from += 1

    def _let_go(self, height: int) -> None:
        """Forget a block that is too old, unless an epoch ends there and its hop is still to be made (L5)."""
        link = self._links.get(height)
        if link is None or height > self.height - BLOCKS_KEPT or (link.ends_epoch and link.certificate is None):
            return
        if self._stored is None:
            link.state = None
        else:
            del self._links[height]

    def is_recent(self, height: int) -> bool:
        """Whether a block is kept whole; an older one is read anew. Raises NotFound: NO_SUCH_HEIGHT."""
        self._check(height)
        link = self._links.get(height)
        return link is not None and link.whole

    def link(self, height: int) -> Link:
        """The block at a height.

        Raises NotFound: NO_SUCH_HEIGHT; DataLoss for an old one that cannot be read any more.
        """
        self._check(height)
        link = self._links.get(height)
        if link is None:
            return self._read(height)
        return link if link.whole else replace(self._read(height), state=link.state, certificate=link.certificate)

    def header(self, height: int) -> bytes:
        """A block's header as it was ordered, without its batches; raises as `link`."""
        self._check(height)
        link = self._links.get(height)
        return self._read(height).block.header if link is None else link.block.header

    def outcome(self, height: int) -> BlockOutcome:
        """What executing a height gave; raises as `link`."""
        self._check(height)
        link = self._links.get(height)
        return self._read(height).outcome if link is None else link.outcome

    def certificate(self, height: int) -> ResultCertificate | None:
        """The certificate of a height, or None while it is not here; raises as `link`."""
        self._check(height)
        link = self._links.get(height)
        return self._read_certificate(height) if link is None else link.certificate

    def log_size(self, height: int) -> int:
        """How many transactions there are up to a height. Raises NotFound: NO_SUCH_HEIGHT."""
        self._check(height)
        return self._ends[height - 1]

    def codes(self, height: int) -> tuple[Code, ...]:
        """How a block's transactions ended, in order. Raises NotFound: NO_SUCH_HEIGHT."""
        return tuple(map(Code, self._codes[self._start(height) : self.log_size(height)]))

    def place_of(self, transaction_hash: bytes) -> tuple[int, int]:
        """The height of a transaction and its place in the block, from 0.

        Raises NotFound: NO_SUCH_TRANSACTION.
        """
        index = self._indexes.get(transaction_hash)
        if index is None:
            raise NotFound("NO_SUCH_TRANSACTION", "No block here holds this transaction.")
        # The first block that ends above the index.
        height = bisect_right(self._ends, index) + 1
        return height, index - self._start(height)

    def about(self, grant_id: bytes) -> tuple[bytes, ...]:
        """The hashes of all transactions that name a grant, in the order of the ledger."""
        return tuple(dict.fromkeys(map(self._log.leaf_at, self._about.get(grant_id, ()))))

    def _check(self, height: int) -> None:
        if not 1 <= height <= self.height:
            raise NotFound("NO_SUCH_HEIGHT", f"There is no block {height} here; the last is {self.height}.")

    def _start(self, height: int) -> int:
        return self._ends[height - 2] if height > 1 else 0

    def _read(self, height: int) -> Link:
        """An old block again; that it is the same one is what the store vouches for."""
        assert self._stored is not None, "without a store every block is kept"
        block = stored_block(self._stored, height, self._chain_id)
        header, size = decode(Header, block.header, self._chain_id), self.log_size(height)
        at = (height - 1) * 2 * DIGEST_BYTES
        roots = bytes(self._roots[at : at + DIGEST_BYTES]), bytes(self._roots[at + DIGEST_BYTES : at + 2 * DIGEST_BYTES])
        result = Result(header.epoch, height, sha256(block.header), size, self._log.root_at(size), *roots)
        outlook = self._outlooks[bisect_right(self._turns, height) - 1]
        outcome = BlockOutcome(result, self.codes(height), outlook)
        return Link(block, header, outcome, None, self._read_certificate(height))

    def _read_certificate(self, height: int) -> ResultCertificate | None:
        assert self._stored is not None, "without a store every block is kept"
        return stored_certificate(self._stored, height, self._chain_id)

    def _note_grants(self, index: int, body: Body) -> None:
        """List the transaction under every grant it names."""
        named: list[bytes] = []
        if isinstance(body, GrantBody):
            named = [body.terms.grant_id]
        elif isinstance(body, RevokeBody):
            named = [body.grant_id, *(each.terms.grant_id for each in body.regrants)]
        elif isinstance(body, RequestBody | ReceiptBody):
            named = [body.grant_id]
        for grant_id in named:
            self._about.setdefault(grant_id, array("Q")).append(index)


def _bytes(block: CertifiedBlock) -> int:
    return sum(map(len, block.batches))
