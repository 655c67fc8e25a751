"""Block sync: how one that lags, or follows without a vote, catches up with its peers (rules C2, L8; habit 1).

A machine without input or output of its own: it is told what peers have and send, and says what to ask for, what to append
and whom to ask no more. It asks one peer at a time, the one that claims most, for a bounded run of blocks; every block is
verified against the tip before it is appended, one after the other, because only executing a block tells who may certify the
next. A peer that sends what cannot be is banned for good; one that merely fails is asked again when it next shows a tip.
Where a peer is slow to answer, another is asked beside it, and whichever answer comes first is used: so one that stands
still holds nobody up, and a slow line is still waited for; until it answers in time it is asked after the others. So is one
that leaves out a certificate which it should have, as long as there are others; if nobody has it, the block does without.

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
CERTIFIED_BELOW = 64
"""So many blocks below the final height that it claims, a peer has had the time to get certificates that it had missed."""
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
    """A peer has not begun to answer, or stopped in between; it is still waited for, but not by itself."""

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
        self._slow: dict[str, RequestBlocks] = {}
        self._bare: dict[str, int] = {}
        self._awaited: str | None = None
        self._waiting: _Waiting | None = None
        self._appending: int | None = None

    @property
    def is_behind(self) -> bool:
        """Whether some peer claims more than the tip here."""
        return bool(self._ahead())

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
                if peer in self._asked:
                    self._slow[peer] = self._asked[peer]
                    self._wait_no_more(peer)
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
        self._wait_no_more(peer)
        if self._slow.get(peer) is not asked:
            self._slow.pop(peer, None)
        if len(blocks) > asked.count:
            return [self._ban(peer, f"{len(blocks)} blocks were sent where {asked.count} were asked for.")]
        if not blocks:
            self._forget(peer)
        if self._waiting is None:
            self._waiting = _Waiting(peer, asked.from_height, list(blocks))
        return []

    def _proceed(self) -> list[Effect]:
        """Append the next block that waits here, or ask for more; nothing where this build does not know the rules (G5)."""
        if self._appending is not None or self._stops:
            return []
        banned: list[Effect] = []
        sent = self._next_sent()
        if sent is not None:
            peer, block = sent
            if block.certificate is None and self._should_be_certified(peer):
                return self._pass_over(peer)
            try:
                append = self._verified(block)
            except ConsiliumError as refusal:
                banned = [self._ban(peer, str(refusal))]
            else:
                self._appending = self._tip.height + 1
                return [append]
        return [*banned, *self._request()]

    @property
    def _stops(self) -> bool:
        return not self._tip.outlook.knows(self._tip.height + 1)

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
        if result.epoch > opened.header.epoch:
            # The committee that follows a recovery has certified it; who that is, a later block tells (C10).
            return Append(verified, None)
        verify_result_certificate(verified.committee, certificate, self._chain_id, self._verifier)
        return Append(verified, certificate)

    def _request(self) -> list[Effect]:
        """Ask the peer that claims most, slow ones last, ties to the first by name; nobody while an answer is waited for."""
        free = [name for name in self._ahead() if name not in self._asked]
        if self._awaited is not None or not free:
            return []
        peer = min(free, key=self._rank)
        first = self._tip.height + 1
        asked = RequestBlocks(peer, first, min(REQUEST_BLOCKS_MAX, self._heights[peer] - self._tip.height))
        self._asked[peer], self._awaited = asked, peer
        return [asked]

    def _ahead(self) -> list[str]:
        """The peers that claim more than the tip."""
        return [name for name, height in self._heights.items() if height > self._tip.height]

    def _rank(self, name: str) -> tuple[bool, bool, int, str]:
        """Who is asked first."""
        return self._is_bare(name), name in self._slow, -self._heights[name], name

    def _is_bare(self, name: str) -> bool:
        """Whether a peer has left out a certificate just now: it is asked last, and what it sends is taken as it is."""
        return self._bare.get(name, 0) > self._tip.height

    def _should_be_certified(self, peer: str) -> bool:
        """Whether a peer may not leave out the next block's certificate, and there is another to ask for it."""
        is_old = self._heights.get(peer, 0) > self._tip.height + CERTIFIED_BELOW
        others = [name for name in self._ahead() if name != peer and not self._is_bare(name)]
        return is_old and not self._is_bare(peer) and bool(others)

    def _pass_over(self, peer: str) -> list[Effect]:
        """Have the next blocks from others, once in a run: without certificates proofs wait, without blocks everything."""
        self._bare[peer] = self._tip.height + REQUEST_BLOCKS_MAX
        self._waiting = None
        return self._request()

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
        self._wait_no_more(peer)

    def _wait_no_more(self, peer: str) -> None:
        """Let another be asked, if this is the one that is waited for."""
        if self._awaited == peer:
            self._awaited = None
