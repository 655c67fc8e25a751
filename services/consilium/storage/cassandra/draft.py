"""What this process knows of an object that is being put into Cassandra: which chunks are on their way, which arrived (S2).

Writes are not waited for one by one: several are under way, and `settle` learns how they went. What is known here is for
`complete`, which reads back, and for who resumes a put; the database alone says what is there.
"""

from collections import deque
from dataclasses import dataclass
from threading import RLock

from consilium.kernel.merkle import leaf_hash
from consilium.storage.cassandra.session import Pending

_NOTHING = leaf_hash(b"")
"""Stands for a chunk that has not arrived: none is empty."""


@dataclass(frozen=True, slots=True)
class Write:
    """A chunk on its way: its index and leaf hash, and the SHA-256 to find it by when it has arrived."""

    place: tuple[int, bytes]
    sha256: bytes
    pending: Pending


class Draft:
    """What is known of an unfinished object: the hashes put at each index, the last one last.

    Those whose outcome is unknown are among them, for they are strays too where the object has others. `arrived` has those
    that a quorum acknowledged, by index and hash: the SHA-256 of the chunk, None where another process put it.
    """

    def __init__(self) -> None:
        self.lock = RLock()
        self.closed = False
        self.is_loaded = False
        self.buckets = 0
        self.chunks: dict[int, list[bytes]] = {}
        self.arrived: dict[tuple[int, bytes], bytes | None] = {}
        self.under_way: deque[Write] = deque()

    def put(self, index: int, digest: bytes) -> None:
        """Note a chunk."""
        known = self.chunks.setdefault(index, [])
        if digest in known:
            known.remove(digest)
        known.append(digest)

    def settle(self, under_way_max: int) -> None:
        """Learn how the writes went, of all but so many; raises as `Pending.rows`, after which the chunk is put again.

        Each holds its chunk, and one that hangs stands before others that were answered: so their number is bounded.
        """
        while self.under_way and (len(self.under_way) > under_way_max or self.under_way[0].pending.is_answered):
            write = self.under_way.popleft()
            write.pending.rows()
            self.arrived[write.place] = write.sha256

    def staged(self, index: int) -> bytes:
        """The hash last put there, if it has arrived; else that of nothing."""
        known = self.chunks.get(index)
        return known[-1] if known and (index, known[-1]) in self.arrived else _NOTHING
