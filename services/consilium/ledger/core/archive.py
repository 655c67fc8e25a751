"""What a member keeps of every executed block, and where each transaction stands (rules L3, L4).

The state maps of recent heights are kept too, sharing all they have in common, so that a proof can be made at the newest
certified height while later blocks are executed already.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from consilium.kernel.certificates import ResultCertificate
from consilium.kernel.chain import CertifiedBlock, Header
from consilium.kernel.errors import NotFound
from consilium.kernel.opening import OpenedBatch
from consilium.kernel.state_map import StateMap
from consilium.kernel.transactions import Body, GrantBody, ReceiptBody, RecordBody, RequestBody, RevokeBody
from consilium.ledger.core.execution import NOT_JUDGED, BlockOutcome

STATES_KEPT = 128
"""How many heights back a state proof can be made: no less than the widest window between the watermarks."""


@dataclass(slots=True)
class Link:
    """One executed block. `certificate` comes later; `state` goes when the height is old (`Archive.let_go`)."""

    block: CertifiedBlock
    header: Header
    outcome: BlockOutcome
    state: StateMap | None
    tables_root: bytes
    certificate: ResultCertificate | None = None

    @property
    def log_start(self) -> int:
        """The index in the log of the block's first transaction."""
        return self.outcome.result.log_size - len(self.outcome.codes)

    @property
    def ends_epoch(self) -> bool:
        """Whether the next height belongs to another epoch (C7)."""
        return self.outcome.outlook.epoch != self.header.epoch


class Archive:
    """All links from height 1 on."""

    __slots__ = ("_about", "_indexes", "_links", "_starts")

    def __init__(self) -> None:
        self._links: list[Link] = []
        self._starts: list[int] = []
        self._indexes: dict[bytes, int] = {}
        self._about: dict[bytes, dict[bytes, None]] = {}

    @property
    def height(self) -> int:
        """The height of the last link, 0 for none."""
        return len(self._links)

    def add(self, link: Link, batches: Sequence[OpenedBatch]) -> None:
        """Put the next link in, with its transactions, and forget the state of the one that is now too old."""
        self._links.append(link)
        self._starts.append(link.log_start)
        height, codes = self.height, link.outcome.codes
        transactions = [each for batch in batches for each in batch.transactions]
        for index, transaction in enumerate(transactions, link.log_start):
            leaf, body = transaction.leaf, transaction.payload.body
            if leaf not in self._indexes or codes[index - link.log_start] not in NOT_JUDGED:
                # The same bytes may be ordered twice; the place that counts is where they were judged on their merits (L6).
                self._indexes[leaf] = index
                if type(body) is not RecordBody:
                    self._note_grants(leaf, body)
        if height > STATES_KEPT:
            self.let_go(height - STATES_KEPT)

    def let_go(self, height: int) -> None:
        """Forget the state of a height that is too old, unless an epoch ends there and its hop is still to be made (L5)."""
        link = self.link(height)
        hop_to_come = link.ends_epoch and link.certificate is None
        if height <= self.height - STATES_KEPT and not hop_to_come:
            link.state = None

    def link(self, height: int) -> Link:
        """The block at a height.

        Raises NotFound: NO_SUCH_HEIGHT.
        """
        if not 1 <= height <= self.height:
            raise NotFound("NO_SUCH_HEIGHT", f"There is no block {height} here; the last is {self.height}.")
        return self._links[height - 1]

    def place_of(self, transaction_hash: bytes) -> tuple[int, int]:
        """The height of a transaction and its place in the block, from 0.

        Raises NotFound: NO_SUCH_TRANSACTION.
        """
        index = self._indexes.get(transaction_hash)
        if index is None:
            raise NotFound("NO_SUCH_TRANSACTION", "No block here holds this transaction.")
        # The last block that begins at or below the index; empty blocks before it begin there too.
        height = bisect_right(self._starts, index)
        return height, index - self._starts[height - 1]

    def about(self, grant_id: bytes) -> tuple[bytes, ...]:
        """The hashes of all transactions that name a grant, in the order of the ledger."""
        return tuple(self._about.get(grant_id, ()))

    def _note_grants(self, leaf: bytes, body: Body) -> None:
        """List the transaction under every grant it names."""
        named: list[bytes] = []
        if isinstance(body, GrantBody):
            named = [body.terms.grant_id]
        elif isinstance(body, RevokeBody):
            named = [body.grant_id, *(each.terms.grant_id for each in body.regrants)]
        elif isinstance(body, RequestBody | ReceiptBody):
            named = [body.grant_id]
        for grant_id in named:
            self._about.setdefault(grant_id, {})[leaf] = None
