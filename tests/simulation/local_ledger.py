"""One member's ledger in the simulation: the production chain and block sync over a disk that forgets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from consilium.kernel.chain import Header
from consilium.kernel.encoding import decode, encode
from consilium.ledger.core.chain import Chain
from consilium.ledger.core.sync import BlockSync, SentBlock

if TYPE_CHECKING:
    import random

    from consilium.kernel.certificates import Committee, Result, ResultCertificate
    from consilium.kernel.chain import CertifiedBlock
    from consilium.ledger.core.acceptance import VerifiedBlock
    from consilium.ledger.core.execution import BlockOutcome
    from tests.simulation.disk import BlockStore
    from tests.simulation.world import World

REPLAY_PERMILLE = 100
"""How often a restart builds the chain anew from the disk though the one in memory would do: that one is the same (S8)."""


class LocalLedger:
    """Chain, block store and sync machine of one endpoint, from start to crash."""

    def __init__(self, world: World, store: BlockStore) -> None:
        self._world = world
        self.store = store
        self.chain = Chain(world.genesis, world.verifier)
        self._kept: Chain | None = self.chain
        self.sync = BlockSync(self.chain.tip, world.chain_id, world.verifier)

    def start(self, chance: random.Random) -> None:
        """Come up with what the disk holds."""
        kept = self._kept
        if kept is None or kept.height != len(self.store) or chance.randrange(1_000) < REPLAY_PERMILLE:
            kept = replay(self._world, self.store)
        self.chain, self._kept = kept, None
        self.sync = BlockSync(self.chain.tip, self._world.chain_id, self._world.verifier)

    def crash(self, chance: random.Random, *, power: bool = True) -> None:
        """Stop; with the power, what was not synced may be lost."""
        gone = self.store.crash(chance) if power else 0
        self._kept = self.chain if not gone else None

    def wipe(self) -> None:
        """All blocks are gone; the next start begins at genesis."""
        self.store.wipe()
        self.forget()

    def forget(self) -> None:
        """Have the next start read the disk."""
        self._kept = None

    def append(self, verified: VerifiedBlock) -> BlockOutcome:
        """Execute a block and write it; it is durable after `store.sync`."""
        self.store.append(verified.opened.block)
        return self.chain.append_verified(verified)

    def certify(self, certificate: ResultCertificate) -> bool:
        """Take a result certificate in; whether it is news."""
        if self.chain.result_certificate(certificate.result.height) is not None:
            return False
        newer = certificate.result.height > self.chain.certified_height
        self.chain.add_result_certificate(certificate)
        self.store.keep(certificate)
        return newer

    def blocks_from(self, height: int, count: int) -> tuple[SentBlock, ...]:
        """What a peer asked for, as far as it is here."""
        last = min(self.chain.height, height + count - 1)
        return tuple(self._sent(each) for each in range(height, last + 1))

    def _sent(self, height: int) -> SentBlock:
        chain_id, certificate = self._world.chain_id, self.chain.result_certificate(height)
        proof = None if certificate is None else encode(certificate, chain_id)
        return SentBlock(encode(self.chain.block(height), chain_id), proof)

    @property
    def last_result(self) -> Result | None:
        """What executing the tip gave."""
        return self.chain.outcome(self.chain.height).result if self.chain.height else None

    @property
    def last_block(self) -> CertifiedBlock | None:
        """The block at the tip."""
        return self.chain.block(self.chain.height) if self.chain.height else None

    def recent_headers(self) -> tuple[Header, ...]:
        """The headers of the last two windows of blocks."""
        span = 2 * self._world.genesis.parameters.window_blocks
        first = max(1, self.chain.height - span + 1)
        blocks = (self.chain.block(height) for height in range(first, self.chain.height + 1))
        return tuple(decode(Header, block.header, self._world.chain_id) for block in blocks)

    @property
    def newest_certificate(self) -> ResultCertificate | None:
        """The certificate of the highest certified height."""
        height = self.chain.certified_height
        return self.chain.result_certificate(height) if height else None

    @property
    def term_end(self) -> Result | None:
        """The last result of the term, once it is executed and while its epoch lasts."""
        outlook = self.chain.tip.outlook
        ended = outlook.epoch_start <= outlook.term_end <= self.chain.height
        return self.chain.outcome(outlook.term_end).result if ended else None

    @property
    def previous_committee(self) -> Committee | None:
        """The delegates of the epoch before this one."""
        epoch = self.chain.tip.outlook.epoch
        return self.chain.committee_of(epoch - 1) if epoch else None


def replay(world: World, store: BlockStore) -> Chain:
    """The chain that the blocks on this disk make, from genesis on."""
    chain = Chain(world.genesis, world.verifier)
    blocks, certificates = store.read(world.chain_id)
    waiting = {each.result.height: each for each in certificates}
    for height, block in enumerate(blocks, start=1):
        chain.append_block(block)
        if height in waiting:
            chain.add_result_certificate(waiting[height])
    return chain
