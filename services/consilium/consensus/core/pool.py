"""Batches on their way to being ordered (rules C2, C4).

A batch is *eligible* once it may be named in a proposal: a small one at once, since it travels inline; a large one when 2f+1
delegates have answered "stored". Every replica remembers since when a batch is eligible, so that a primary that leaves one
lying is replaced. What is left from another primary's time *ages* only from when this one was told of it: after a stall it
may be more than one time-out brings across. Ordered batches are kept until a stable checkpoint and a margin lie above them.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from consilium.consensus.core.messages import StoredCertificate
from consilium.kernel.certificates import QuorumSignature
from consilium.kernel.chain import BATCHES_MAX
from consilium.kernel.errors import ResourceExhausted
from consilium.kernel.opening import OpenedBatch
from consilium.kernel.parameters import Parameters

INLINE_BYTES_TOTAL_MAX = 1_048_576
"""The most bytes of batches a proposal carries inline."""
BLOCK_BYTES_MAX = 32 * 1024 * 1024
"""The most bytes of batches a block may order, so that one that missed it can be handed the whole block (L8)."""


@dataclass(slots=True)
class Entry:
    """One batch: since when (milliseconds) it may be ordered, when it was last spoken of, and what was stored of it.

    `ages_since`: since when the present primary lets it lie, None before it may be ordered or this primary was told of it.
    `ingress`: this replica brings it to the others, as its member or for a member without a vote. `relays` counts how often
    it was passed on in the view `relayed_in`, `is_told` whether to all delegates.
    """

    opened: OpenedBatch
    ingress: bool
    eligible_since: int | None
    said_at: int
    ages_since: int | None = None
    relayed_in: int = -1
    relays: int = 0
    is_told: bool = False
    answers: dict[int, QuorumSignature] = field(default_factory=dict)
    certificate: StoredCertificate | None = None


class Pool:
    """The batches this replica holds, in the order they came."""

    def __init__(self, parameters: Parameters) -> None:
        self.set_bounds(parameters)
        self._entries: dict[bytes, Entry] = {}
        self._waiting: dict[bytes, Entry] = {}
        self._ordered: dict[bytes, int] = {}
        self._load: dict[str, int] = {}
        # Answers of `eligible_since` and `ages_since`, which are asked for at most inputs; stale once what waits changes.
        self._oldest: int | None = None
        self._aged: int | None = None
        self._is_stale = False

    def set_bounds(self, parameters: Parameters) -> None:
        """Go by the numbers of another epoch; what waits already stays."""
        self._inline_max = parameters.inline_bytes_max
        self._quota = parameters.ingress_batches_max
        self._apart_ms = parameters.view_timeout_ms // 4

    def add(self, opened: OpenedBatch, now_ms: int, *, ingress: bool, limited: bool = True) -> bool:
        """Take a batch in; False when it was known or ordered already. Raises ResourceExhausted over the quota (C4)."""
        if opened.digest in self._entries or opened.digest in self._ordered:
            return False
        member = opened.batch.member_id
        if limited:
            self.check_room(opened)
        self._load[member] = self._load.get(member, 0) + 1
        eligible_since = now_ms if self.is_small(opened) else None
        entry = Entry(opened, ingress, eligible_since, now_ms, eligible_since)
        self._entries[opened.digest] = self._waiting[opened.digest] = entry
        self._is_stale = True
        return True

    def check_room(self, opened: OpenedBatch) -> None:
        """Raise ResourceExhausted (INGRESS_QUOTA) where the batch's member has too many waiting already (C4)."""
        member = opened.batch.member_id
        if not self.has_room(member):
            raise ResourceExhausted("INGRESS_QUOTA", f"{member} has {self._quota} batches waiting already.", "C4")

    def bring(self, digest: bytes) -> None:
        """This replica is the ingress of a batch from now on."""
        entry = self._waiting.get(digest)
        if entry is not None:
            entry.ingress = True

    def has_room(self, member_id: str) -> bool:
        """Whether this member may have one more batch waiting (C4)."""
        return self._load.get(member_id, 0) < self._quota

    def is_loaded(self, member_id: str) -> bool:
        """Whether a batch of this member waits."""
        return self._load.get(member_id, 0) > 0

    def is_small(self, opened: OpenedBatch) -> bool:
        """Whether the batch travels inside the proposal."""
        return len(opened.data) <= self._inline_max

    def get(self, digest: bytes) -> Entry | None:
        """The batch with this digest, waiting or ordered."""
        return self._entries.get(digest)

    def ordered_at(self, digest: bytes) -> int | None:
        """The height that ordered this batch, as far back as batches are kept."""
        return self._ordered.get(digest)

    def answer(self, digest: bytes, stored: QuorumSignature, quorum: int) -> StoredCertificate | None:
        """Count a "stored"; the certificate, the moment it is complete."""
        entry = self._waiting.get(digest)
        if entry is None or entry.certificate is not None:
            return None
        entry.answers[stored.index] = stored
        if len(entry.answers) < quorum:
            return None
        return StoredCertificate(digest, tuple(entry.answers[index] for index in sorted(entry.answers)))

    def make_ready(self, certificate: StoredCertificate, now_ms: int) -> None:
        """A batch may be ordered from now on."""
        entry = self._waiting.get(certificate.digest)
        if entry is not None and entry.certificate is None:
            entry.certificate = certificate
            if entry.eligible_since is None:
                entry.eligible_since = entry.ages_since = now_ms
            self._is_stale = True

    def choose(self, excluded: dict[bytes, int]) -> list[Entry]:
        """What to propose next, oldest first, none that a block in flight names already."""
        chosen: list[Entry] = []
        inline_bytes = block_bytes = 0
        for digest, entry in self._waiting.items():
            if entry.eligible_since is None or digest in excluded:
                continue
            block_bytes += len(entry.opened.data)
            inline_bytes += len(entry.opened.data) if entry.certificate is None else 0
            is_full = inline_bytes > INLINE_BYTES_TOTAL_MAX or block_bytes > BLOCK_BYTES_MAX
            if len(chosen) == BATCHES_MAX or (chosen and is_full):
                break
            chosen.append(entry)
            if entry.opened.has_handover:
                break
        return chosen

    def waiting(self) -> Iterable[Entry]:
        """The batches not yet ordered, oldest first."""
        return self._waiting.values()

    def eligible_since(self) -> int | None:
        """Since when the longest-waiting eligible batch waits, in milliseconds (C2)."""
        self._look()
        return self._oldest

    def ages_since(self) -> int | None:
        """Since when the present primary has let the batch lie that it has known of for longest, in milliseconds (C2)."""
        self._look()
        return self._aged

    def _look(self) -> None:
        if self._is_stale:
            waiting = self._waiting.values()
            self._oldest = min((each.eligible_since for each in waiting if each.eligible_since is not None), default=None)
            self._aged = min((each.ages_since for each in waiting if each.ages_since is not None), default=None)
            self._is_stale = False

    def begin_view(self) -> None:
        """Another primary: it may not know of what waits, until it is told."""
        self._is_stale = True
        for entry in self._waiting.values():
            entry.ages_since = None

    def told_primary(self, entry: Entry, now_ms: int) -> None:
        """The present primary was told of a batch that may be ordered."""
        if entry.ages_since is None and entry.eligible_since is not None:
            entry.ages_since, self._is_stale = now_ms, True

    def waits_since(self, digests: Sequence[bytes], came_from_ms: int = 0) -> int | None:
        """Since when the first of these waits that may be ordered and came at a time or later, in milliseconds."""
        entries = [self._waiting[each].eligible_since for each in digests if each in self._waiting]
        return min((each for each in entries if each is not None and each >= came_from_ms), default=None)

    def has_oldest(self, digests: Sequence[bytes]) -> bool:
        """Whether one of these has waited for longest, give or take what a lost message costs."""
        oldest, first = self.eligible_since(), self.waits_since(digests)
        return first is not None and oldest is not None and first - oldest <= self._apart_ms

    def mark_ordered(self, digests: Sequence[bytes], height: int) -> None:
        """These batches stand in the executed block at this height; from here on only their bytes are asked for."""
        self._is_stale = True
        for digest in digests:
            self._ordered[digest] = height
            entry = self._waiting.pop(digest, None)
            if entry is not None:
                self._load[entry.opened.batch.member_id] -= 1
                entry.opened = entry.opened.closed()

    def keep_only(self, members: Collection[str]) -> None:
        """Let go of what waits from others than these members: no delegate takes their batches any more (L2)."""
        self._is_stale = True
        for digest, entry in list(self._waiting.items()):
            if entry.opened.batch.member_id not in members:
                del self._waiting[digest], self._entries[digest]
                self._load[entry.opened.batch.member_id] -= 1

    def forget_answers(self) -> None:
        """A new epoch: "stored" answers and certificates of the old committee count no longer (C4)."""
        self._is_stale = True
        for entry in self._waiting.values():
            entry.answers, entry.certificate, entry.relayed_in, entry.ages_since = {}, None, -1, None
            if not self.is_small(entry.opened):
                entry.eligible_since = None
            elif entry.eligible_since is None:  # it is small by the bound that is new
                entry.eligible_since = entry.said_at

    def prune(self, height: int) -> None:
        """Let go of batches ordered at or below this height."""
        gone = [digest for digest, ordered in self._ordered.items() if ordered <= height]
        for digest in gone:
            del self._ordered[digest]
            self._entries.pop(digest, None)
