"""The chain as the story sees it: every block that becomes final at one member, in order, and who may sign it (L3, L5, C7).

It comes through the ledger's contract and is for telling the story by: who leads, how far the chain is, when it grows. What
the story claims is checked against proofs, never against this.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from consilium.api.ledger.v1 import ledger_pb2
from consilium.api.ledger.v1.ledger_pb2_grpc import LedgerServiceStub
from consilium.client.alliance import MemberGateway
from consilium.kernel.certificates import Committee
from consilium.kernel.chain import CertifiedBlock, Genesis, Header
from consilium.kernel.encoding import decode
from consilium.kernel.errors import FailedPrecondition, NotFound
from consilium.kernel.light_client import Hop, TrustedHistory
from consilium.kernel.opening import open_block
from consilium.kernel.signing import Ed25519Verifier
from consilium.ledger.core.sync import BLOCK_BYTES_MAX
from consilium.runtime.channels import Channel, typed

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class SeenBlock:
    """A final block: its header, in which view it was ordered, and how many transactions stand in it."""

    header: Header
    view: int
    transactions: int


class ChainWatch:
    """Follows one member's ledger; `gateway` is where it learns the committees, each proven by the one before."""

    def __init__(self, genesis: Genesis, gateway: MemberGateway) -> None:
        self.blocks: list[SeenBlock] = []
        self.history = TrustedHistory(genesis)
        self.hops: list[Hop] = []
        self._gateway, self._chain_id = gateway, genesis.chain_id
        self._changed = asyncio.Condition()

    async def follow(self, channel: Channel) -> None:
        """Take in blocks from the first on, until cancelled. Raises what the ledger's stream ends with."""
        request = ledger_pb2.StreamBlocksRequest(first_height=1)
        with typed():
            async for sent in LedgerServiceStub(channel).StreamBlocks(request):
                await self._see(decode(CertifiedBlock, sent.certified_block.encoded, self._chain_id, BLOCK_BYTES_MAX))

    async def _see(self, block: CertifiedBlock) -> None:
        opened = open_block(block, self._chain_id)
        count = sum(len(each.transactions) for each in opened.batches)
        async with self._changed:
            self.blocks.append(SeenBlock(opened.header, block.commit.view, count))
            self._changed.notify_all()

    # --- where the chain is ---

    @property
    def height(self) -> int:
        """The last final height."""
        return len(self.blocks)

    @property
    def epoch(self) -> int:
        """The epoch of the last final block."""
        return self.blocks[-1].header.epoch if self.blocks else 0

    @property
    def epoch_start(self) -> int:
        """The first height of that epoch."""
        return next((each.header.height for each in self.blocks if each.header.epoch == self.epoch), 1)

    def block(self, height: int) -> SeenBlock:
        """The block of a height that is final."""
        return self.blocks[height - 1]

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for something to become true, looking at every block."""
        async with self._changed:
            await self._changed.wait_for(holds)

    async def until_final(self, height: int) -> None:
        """Wait for a height to be final."""
        await self.until(lambda: self.height >= height)

    # --- who sits ---

    async def committee(self) -> Committee:
        """The sitting committee, reached from the genesis file by one proven hop after the other."""
        while self.history.epoch < self.epoch:
            hop = await self.settled(lambda: self._gateway.epoch_hop(self.history.epoch))
            self.history.hop(hop, Ed25519Verifier())
            self.hops.append(hop)
        return self.history.committee_of(self.epoch)

    async def settled(self, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """An answer about one height, asked for again at every block until the ledger has that height's own certificate.

        The certificate of a height may come after that of a later one, which makes both final.
        """
        while True:
            try:
                return await ask()
            except (NotFound, FailedPrecondition):
                await self.until_final(self.height + 1)
