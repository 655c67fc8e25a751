"""Block sync: how one that lags, or follows without a vote, catches up with its peers (rules C2, L8; habit 1).

A machine without input or output of its own: it is told what peers have and send, and says what to ask for, what to append
and whom to ask no more. It asks one peer at a time, the one that claims most, for a bounded run of blocks; every block is
verified against the tip before it is appended, one after the other, because only executing a block tells who may certify the
next. A peer that sends what cannot be is banned for good; one that merely fails is asked again when it next shows a tip.
Where a peer is slow to answer, another is asked beside it, and whichever answer comes first is used: so one that stands
still holds nobody up, and a slow line is still waited for.

Left out: time. The driver reports a request that is slow, and later one that has failed.
"""

from dataclasses import dataclass

from consilium.kernel.certificates import ResultCertificate, verify_result_certificate
from consilium.kernel.chain import CertifiedBlock
from consilium.kernel.encoding import decode
from consilium.kernel.errors import Conflict, ConsiliumError
from consilium.kernel.signing import Verifier
from consilium.ledger.core.acceptance import Tip, VerifiedBlock, verify_block

REQUEST_BLOCKS_MAX = 64
"""The most blocks asked for at once, which bounds what waits here."""
BLOCK_BYTES_MAX = 64 * 1024 * 1024
"""The most bytes one encoded block may have."""
CERTIFICATE_BYTES_MAX = 16_384
"""The most bytes an encoded result certificate may have: 64 signatures, with room."""


@dataclass(frozen=True, slots=True)
class SentBlock:
    """A block as a peer sent it, encoded, and its result certificate if the peer had one."""

    block: bytes
    certificate: bytes | None


@dataclass(frozen=True, slots=True)
class PeerTip:
    """A peer says how far it is."""

    peer: str
    height: int


@dataclass(frozen=True, slots=True)
class Blocks:
    """A peer answered a request with blocks in order, from the height asked for on; fewer than asked for is fine."""

    peer: str
    blocks: tuple[SentBlock, ...]


@dataclass(frozen=True, slots=True)
class RequestFailed:
    """A peer did not answer in time, or refused."""

    peer: str


@dataclass(frozen=True, slots=True)
class RequestSlow:
    """A peer has not begun to answer; its answer is still waited for, but not by itself."""

    peer: str


@dataclass(frozen=True, slots=True)
class Appended:
    """The tip moved: an `Append` was obeyed, or consensus delivered a block of its own."""

    tip: Tip


Input = PeerTip | Blocks | RequestFailed | RequestSlow | Appended


@dataclass(frozen=True, slots=True)
class RequestBlocks:
    """Please ask this peer for so many blocks from a height on."""

    peer: str
    from_height: int
    count: int


@dataclass(frozen=True, slots=True)
class Append:
    """Please append this block, then its result certificate if there is one, and report the new tip."""

    block: VerifiedBlock
    certificate: ResultCertificate | None


@dataclass(frozen=True, slots=True)
class Ban:
    """Never ask this peer again; `reason` is the refusal of what it sent."""

    peer: str
    reason: str


Effect = RequestBlocks | Append | Ban


@dataclass(slots=True)
class _Waiting:
    """Blocks of one answer that are not appended yet; the first has `height`."""

    peer: str
    height: int
    blocks: list[SentBlock]


class BlockSync:
    """The machine; `step` takes one input and returns what to do, in order."""

    def __init__(self, tip: Tip, chain_id: bytes, verifier: Verifier) -> None:
        self._tip = tip
        self._chain_id = chain_id
        self._verifier = verifier
        self._heights: dict[str, int] = {}
        self._banned: dict[str, str] = {}
        self._asked: dict[str, RequestBlocks] = {}
        self._awaited: str | None = None
        self._waiting: _Waiting | None = None
        self._appending: int | None = None

    @property
    def is_behind(self) -> bool:
        """Whether some peer claims more than the tip here."""
        return any(height > self._tip.height for height in self._heights.values())

    @property
    def has_blocks(self) -> bool:
        """Whether blocks wait to be verified and appended."""
        return self._waiting is not None

    def step(self, event: Input) -> list[Effect]:
        """Take one input in; the effects, in order."""
        match event:
            case PeerTip(peer, height):
                if peer not in self._banned:
                    # What it showed earlier may come later; nothing final goes away again.
                    self._heights[peer] = max(height, self._heights.get(peer, 0))
            case RequestFailed(peer):
                self._forget(peer)
            case RequestSlow(peer):
                if self._awaited == peer:
                    self._awaited = None
            case Appended(tip):
                self._tip = tip
                if self._appending is not None and tip.height >= self._appending:
                    self._appending = None
            case Blocks(peer, blocks):
                return [*self._take(peer, blocks), *self._proceed()]
        return self._proceed()

    def _take(self, peer: str, blocks: tuple[SentBlock, ...]) -> list[Effect]:
        """An answer to what was asked, unless another answer is still being worked through."""
        asked = self._asked.pop(peer, None)
        if asked is None:
            return []
        self._awaited = None
        if len(blocks) > asked.count:
            return [self._ban(peer, f"{len(blocks)} blocks were sent where {asked.count} were asked for.")]
        if not blocks:
            self._forget(peer)
        if self._waiting is None:
            self._waiting = _Waiting(peer, asked.from_height, list(blocks))
        return []

    def _proceed(self) -> list[Effect]:
        """Append the next block that waits here, or ask for more."""
        if self._appending is not None:
            return []
        banned: list[Effect] = []
        sent = self._next_sent()
        if sent is not None:
            peer, block = sent
            try:
                append = self._verified(block)
            except ConsiliumError as refusal:
                banned = [self._ban(peer, str(refusal))]
            else:
                self._appending = self._tip.height + 1
                return [append]
        return [*banned, *self._request()]

    def _next_sent(self) -> tuple[str, SentBlock] | None:
        """The next block of the last answer that lies above the tip, and who sent it."""
        waiting = self._waiting
        while waiting is not None and waiting.blocks:
            block, height = waiting.blocks.pop(0), waiting.height
            waiting.height += 1
            if height > self._tip.height:
                return waiting.peer, block
        self._waiting = None
        return None

    def _verified(self, sent: SentBlock) -> Append:
        """The block and certificate, fit to be appended; raises what they are refused for."""
        block = decode(CertifiedBlock, sent.block, self._chain_id, BLOCK_BYTES_MAX)
        verified = verify_block(block, self._tip, self._chain_id, self._verifier)
        if sent.certificate is None:
            return Append(verified, None)
        certificate = decode(ResultCertificate, sent.certificate, self._chain_id, CERTIFICATE_BYTES_MAX)
        result, opened = certificate.result, verified.opened
        if (result.height, result.block_hash) != (opened.header.height, opened.block_hash):
            raise Conflict("OTHER_RESULT", "The result certificate is for another block.", "L3")
        verify_result_certificate(self._tip.outlook.committee, certificate, self._chain_id, self._verifier)
        return Append(verified, certificate)

    def _request(self) -> list[Effect]:
        """Ask the peer that claims most, ties to the first by name; nobody while an answer is waited for."""
        free = self._heights.keys() - self._asked.keys()
        peer = min(free, key=lambda name: (-self._heights[name], name), default=None)
        if self._awaited is not None or peer is None or self._heights[peer] <= self._tip.height:
            return []
        first = self._tip.height + 1
        asked = RequestBlocks(peer, first, min(REQUEST_BLOCKS_MAX, self._heights[peer] - self._tip.height))
        self._asked[peer], self._awaited = asked, peer
        return [asked]

    def _ban(self, peer: str, reason: str) -> Ban:
        """Trust nothing more from this peer, what still waits here included."""
        self._banned[peer] = reason
        self._waiting = None
        self._forget(peer)
        return Ban(peer, reason)

    def _forget(self, peer: str) -> None:
        """Wait for nothing from this peer until it shows a tip again."""
        self._heights.pop(peer, None)
        self._asked.pop(peer, None)
        if self._awaited == peer:
            self._awaited = None
