"""How long revocations take: from the revoking block to the deletion of the last fragments, by block times (rule S6).

A revoked grant is dead once too few fragments are left to release anything, and done with once every holder has signed for
its deletion. Both are measured in the times that blocks carry, so that every member gets the same seconds. What lies in the
store at the start is followed, not measured again: a counter tells what happened since the start.
"""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import accumulate

from consilium.kernel.chain import Header
from consilium.kernel.opening import OpenedBlock
from consilium.kernel.state_values import GrantState
from consilium.kernel.transactions import ReceiptBody, ReceiptKind, RevokeBody
from consilium.ledger.core.chain import Chain

BOUNDS_S = (0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3_600, 21_600, 86_400)
"""What the seconds are sorted into: at most so many."""
DEAD, LAST_DELETED = "dead", "last_deleted"


@dataclass(slots=True)
class Seconds:
    """How many spans were how long."""

    total_s: float = 0.0
    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))

    def add(self, span_s: float) -> None:
        """One more."""
        self.total_s += span_s
        self.counts[bisect_left(BOUNDS_S, span_s)] += 1

    def buckets(self) -> list[tuple[str, int]]:
        """As Prometheus wants them."""
        bounds = [*map(str, BOUNDS_S), "+Inf"]
        return list(zip(bounds, accumulate(self.counts), strict=True))


class Revoking:
    """The revocations under way, and how long those took that came to their end since the start."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self.open: dict[bytes, int] = {}
        """Grants that are revoked and not deleted by all holders, with the revoking block's time in milliseconds."""
        self.took: Mapping[str, Seconds] = {DEAD: Seconds(), LAST_DELETED: Seconds()}

    def note(self, opened: OpenedBlock, *, is_replay: bool) -> None:
        """Look at an executed block; a grant with several receipts in it is looked at once."""
        deleted: dict[bytes, None] = {}
        for batch in opened.batches:
            for transaction in batch.transactions:
                body = transaction.payload.body
                if isinstance(body, RevokeBody):
                    self._revoked(body.grant_id, opened.header)
                elif isinstance(body, ReceiptBody) and body.receipt is ReceiptKind.DELETION:
                    deleted[body.grant_id] = None
        for each in deleted:
            self._deleted(each, opened.header, is_replay=is_replay)

    def _revoked(self, grant_id: bytes, header: Header) -> None:
        """A revocation closes the other grants of its key as well where it names a successor."""
        for each in self._chain.grants_beside(grant_id):
            if each.revoked_height == header.height and not is_deleted(each):
                self.open[each.terms.grant_id] = header.time_ms

    def _deleted(self, grant_id: bytes, header: Header, *, is_replay: bool) -> None:
        state, since_ms = self._chain.grant(grant_id), self.open.get(grant_id)
        if state is None or since_ms is None:
            return
        is_over = is_deleted(state)
        if is_over:
            del self.open[grant_id]
        if is_replay:
            return
        span_s = max(0, header.time_ms - since_ms) / 1_000
        if state.dead_height == header.height:
            self.took[DEAD].add(span_s)
        if is_over:
            self.took[LAST_DELETED].add(span_s)


def is_deleted(state: GrantState) -> bool:
    """Whether every holder has signed for the deletion of its fragment."""
    return len(state.deleted_by) == len(state.terms.holders)
