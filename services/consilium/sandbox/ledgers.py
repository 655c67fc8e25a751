"""One member's ledger, run: the chain in memory, blocks on disk, block sync with the neighbours (rules L3, L8).

All changes go through one lock and a thread, so that executing a block never holds up the links. A block is
durable before anybody is told of it. A member says how far it is certified whenever that changes; who is
behind asks for blocks.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from consilium.kernel.certificates import ResultCertificate
from consilium.kernel.chain import CertifiedBlock, Genesis, Header
from consilium.kernel.encoding import decode, encode
from consilium.kernel.errors import ConsiliumError, NotFound
from consilium.kernel.signing import Verifier
from consilium.ledger.core.chain import Chain
from consilium.ledger.core.execution import BlockOutcome
from consilium.ledger.core.sync import (
    REQUEST_BLOCKS_MAX,
    Append,
    Appended,
    Ban,
    Blocks,
    BlockSync,
    PeerTip,
    RequestBlocks,
    RequestFailed,
    SentBlock,
)
from consilium.ledger.core.sync import Effect as SyncEffect
from consilium.ledger.core.sync import Input as SyncInput
from consilium.ledger.store import BlockStore
from consilium.runtime.threads import run_to_end

LAG_BLOCKS = 2
"""How far a delegate must be behind before it asks for blocks: the next one usually comes by consensus."""
AGE_UNKNOWN_S = 1_000_000
"""The age of the newest certificate while none has come since the start."""

Answer = TypeVar("Answer")


class Neighbours(Protocol):
    """The other members' ledgers."""

    def announce(self, member_id: str, height: int) -> None:
        """Tell them how far this member is certified; may be lost."""

    async def fetch(self, member_id: str, wanted: RequestBlocks) -> tuple[SentBlock, ...]:
        """Ask one of them for blocks; raises FailedPrecondition when it cannot be reached."""


class Listener(Protocol):
    """A part of the same member that follows the chain. Both calls come on the event loop, in order."""

    def executed(self, block: CertifiedBlock, header: Header, outcome: BlockOutcome) -> None:
        """A block was executed and is durable."""

    def certified(self, certificate: ResultCertificate) -> None:
        """A height became final."""


class RunningLedger:
    """A chain that grows, and everybody who waits for it."""

    def __init__(
        self, member_id: str, genesis: Genesis, store: BlockStore, neighbours: Neighbours, verifier: Verifier
    ) -> None:
        """Replay what the store holds; raises what `Chain.append_block` raises when it is not our chain."""
        self.member_id = member_id
        self.chain = Chain(genesis, verifier)
        self.banned: dict[str, str] = {}
        """Members whose blocks are asked for no more, and why."""
        self._store = store
        self._neighbours = neighbours
        self._lock = asyncio.Lock()
        self._changed = asyncio.Condition()
        self._listeners: list[Listener] = []
        self._inputs: asyncio.Queue[SyncInput] = asyncio.Queue()
        self._certified_at = float("-inf")
        replay(store, self.chain)
        self._sync = BlockSync(self.chain.tip, self.chain.chain_id, verifier)

    def follow(self, listener: Listener) -> None:
        """Tell this part of the member of everything that happens from now on."""
        self._listeners.append(listener)

    @property
    def certificate_age_ms(self) -> int:
        """How long ago the newest certificate came, on the monotonic clock (S5); very long after a restart."""
        return int(min(time.monotonic() - self._certified_at, AGE_UNKNOWN_S) * 1_000)

    async def run(self) -> None:
        """Serve block sync until cancelled; raises what the store raised."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                event = await self._inputs.get()
                for effect in await asyncio.to_thread(self._sync.step, event):
                    await self._obey(effect, tasks)

    async def deliver(self, item: CertifiedBlock | ResultCertificate) -> None:
        """Take what consensus decided: the next block, or the certificate of an executed one; durable on return."""
        if isinstance(item, ResultCertificate):
            await self._certify(item)
        else:
            await self._append(item, lambda: self.chain.append_block(item))

    async def read(self, question: Callable[[Chain], Answer]) -> Answer:
        """Ask the chain something while it stands still."""
        async with self._lock:
            return question(self.chain)

    async def until(self, holds: Callable[[Chain], bool]) -> None:
        """Wait for something to become true of the chain, looking at every block and every certificate."""
        async with self._changed:
            await self._changed.wait_for(lambda: holds(self.chain))

    async def until_certified(self, height: int) -> None:
        """Wait for a height to be final here."""
        await self.until(lambda chain: chain.certified_height >= height)

    # --- block sync ---

    def heard(self, peer: str, height: int) -> None:
        """A neighbour announced its certified height."""
        is_delegate = self.chain.tip.outlook.committee.index_of(self.member_id) is not None
        if height >= self.chain.height + (LAG_BLOCKS if is_delegate else 1):
            self._inputs.put_nowait(PeerTip(peer, height))

    async def blocks(self, wanted: RequestBlocks) -> tuple[SentBlock, ...]:
        """Certified blocks for a neighbour, from a height on, fewer than asked for where the chain ends."""
        async with self._lock:
            last = min(wanted.from_height + min(wanted.count, REQUEST_BLOCKS_MAX) - 1, self.chain.certified_height)
            return tuple(self._sent(height) for height in range(wanted.from_height, last + 1))

    def _sent(self, height: int) -> SentBlock:
        certificate = self.chain.result_certificate(height)
        return SentBlock(
            encode(self.chain.block(height), self.chain.chain_id),
            None if certificate is None else encode(certificate, self.chain.chain_id),
        )

    async def _obey(self, effect: SyncEffect, tasks: asyncio.TaskGroup) -> None:
        match effect:
            case RequestBlocks():
                tasks.create_task(self._fetch(effect))
            case Append(block, certificate):
                await self._append(block.opened.block, lambda: self.chain.append_verified(block))
                if certificate is not None:
                    await self._certify(certificate)
            case Ban(peer, reason):
                self.banned[peer] = reason

    async def _fetch(self, wanted: RequestBlocks) -> None:
        try:
            sent = await self._neighbours.fetch(self.member_id, wanted)
        except ConsiliumError:
            self._inputs.put_nowait(RequestFailed(wanted.peer))
        else:
            self._inputs.put_nowait(Blocks(wanted.peer, sent))

    # --- growing ---

    async def _append(self, block: CertifiedBlock, execute: Callable[[], BlockOutcome]) -> None:
        """Execute and keep a block, unless consensus or block sync brought the same one before."""
        header = decode(Header, block.header, self.chain.chain_id)
        async with self._lock:
            if header.height > self.chain.height:
                outcome = await run_to_end(self._execute_and_keep, block, execute)
                for listener in self._listeners:
                    listener.executed(block, header, outcome)
        self._inputs.put_nowait(Appended(self.chain.tip))
        await self._notify()

    def _execute_and_keep(self, block: CertifiedBlock, execute: Callable[[], BlockOutcome]) -> BlockOutcome:
        outcome = execute()
        self._store.append_block(outcome.result.height, encode(block, self.chain.chain_id))
        self._store.sync()
        return outcome

    async def _certify(self, certificate: ResultCertificate) -> None:
        async with self._lock:
            if self.chain.result_certificate(certificate.result.height) is not None:
                return
            await run_to_end(self._certify_and_keep, certificate)
        height = self.chain.certified_height
        if certificate.result.height == height:
            self._certified_at = time.monotonic()
        for listener in self._listeners:
            listener.certified(certificate)
        self._neighbours.announce(self.member_id, height)
        await self._notify()

    def _certify_and_keep(self, certificate: ResultCertificate) -> None:
        self.chain.add_result_certificate(certificate)
        self._store.add_certificate(certificate.result.height, encode(certificate, self.chain.chain_id))
        self._store.sync()

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


def replay(store: BlockStore, chain: Chain) -> None:
    """Append every stored block and certificate to a chain that stands at genesis; raises what `Chain` raises."""
    for height in range(1, store.height + 1):
        chain.append_block(decode(CertifiedBlock, store.read_block(height), chain.chain_id))
        try:
            certificate = store.read_certificate(height)
        except NotFound:  # consensus may go on to the next height before this one's results are all in
            continue
        chain.add_result_certificate(decode(ResultCertificate, certificate, chain.chain_id))
