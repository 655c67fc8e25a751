"""How fast the alliance orders: clients at every member, and a reader at the next one that counts what is final there.

A transaction counts when its block comes certified from the ledger of *another* member than the one that took it in, its
result certificate with it. What is submitted is made and signed before the clock starts. The clients run in this process,
on the same cores as the services; their time is told apart and is in no figure "of the services".
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from bench.rig.running import ORDERING, Running, Used, own_cpu_us
from consilium.api.chain.v1.chain_pb2 import Transaction
from consilium.api.consensus.v1.consensus_pb2 import SubmitRegistrationsRequest, SubmitTransactionRequest
from consilium.api.consensus.v1.consensus_pb2_grpc import ConsensusServiceStub
from consilium.api.ledger.v1.ledger_pb2 import GetTipRequest, StreamBlocksRequest
from consilium.api.ledger.v1.ledger_pb2_grpc import LedgerServiceStub
from consilium.kernel.authoring import sign_payload
from consilium.kernel.chain import Batch, CertifiedBlock
from consilium.kernel.encoding import decode, encode
from consilium.kernel.hashing import sha256
from consilium.kernel.merkle import leaf_hash
from consilium.kernel.transactions import Body, Payload, RecordBody
from consilium.ledger.core.sync import BLOCK_BYTES_MAX
from consilium.runtime.channels import Limits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from consilium.api.consensus.v1.consensus_pb2_grpc import ConsensusServiceAsyncStub
    from consilium.api.ledger.v1.ledger_pb2_grpc import LedgerServiceAsyncStub
    from consilium.kernel.signing import Signer

GROUP = 250
"""How many registrations a client hands over in one call."""
GROUPS_WAITING = 4
"""How many groups of a member may wait to be final."""
CALLS_WAITING = 64
"""How many single transactions of a member may."""
EXPIRY_BLOCKS = 9_000
"""How far ahead everything here expires: beyond the run."""
WAIT_S = 60

Item = TypeVar("Item")


class Rate(NamedTuple):
    """What one round of load came to; the services' CPU is for each transaction."""

    per_second: float
    services_us: float
    client_us: float
    latency_ms: float
    used: Used


@dataclass
class Reader:
    """Notes when each transaction comes certified from a member's ledger."""

    chain_id: bytes
    final_at: dict[bytes, float] = field(default_factory=dict)
    height: int = 0
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def follow(self, stub: LedgerServiceAsyncStub, first: int) -> None:
        """Read certified blocks from this height on until cancelled."""
        async for each in stub.StreamBlocks(StreamBlocksRequest(first_height=first)):
            now = time.perf_counter()
            block = decode(CertifiedBlock, each.certified_block.encoded, self.chain_id, BLOCK_BYTES_MAX)
            for data in block.batches:
                for transaction in decode(Batch, data, self.chain_id).transactions:
                    self.final_at[leaf_hash(transaction)] = now
            async with self._changed:
                self._changed.notify_all()

    async def until_final(self, leaves: Sequence[bytes]) -> float:
        """Wait until all of these are final; when the last of them was."""
        async with asyncio.timeout(WAIT_S), self._changed:
            await self._changed.wait_for(lambda: all(each in self.final_at for each in reversed(leaves)))
        return max(self.final_at[each] for each in leaves)


@dataclass(frozen=True, slots=True)
class Client:
    """One member's clients, and the reader at the member after it."""

    member_id: str
    signer: Signer
    consensus: ConsensusServiceAsyncStub
    elsewhere: Reader

    async def register(self, registrations: Sequence[bytes]) -> float:
        """Hand registrations over in one call; the seconds until all are final elsewhere."""
        started = time.perf_counter()
        request = SubmitRegistrationsRequest(registrations=[Transaction(encoded=each) for each in registrations])
        await self.consensus.SubmitRegistrations(request, timeout=WAIT_S)
        return await self.elsewhere.until_final([leaf_hash(each) for each in registrations]) - started

    async def submit(self, transaction: bytes) -> float:
        """Hand one signed transaction over; the seconds until it is final elsewhere."""
        started = time.perf_counter()
        request = SubmitTransactionRequest(transaction=Transaction(encoded=transaction))
        await self.consensus.SubmitTransaction(request, timeout=WAIT_S)
        return await self.elsewhere.until_final([leaf_hash(transaction)]) - started


@dataclass
class Load:
    """The load on a running alliance: clients at all its members."""

    running: Running
    clients: list[Client]
    _made: int = 0

    @property
    def chain_id(self) -> bytes:
        """The chain all this goes to."""
        return self.running.alliance.genesis.chain_id

    def registrations(self, client: Client, count: int) -> list[bytes]:
        """Fresh records of a member, about 256 bytes each, for its batch to vouch for."""
        made = []
        for _ in range(count):
            name = self._fresh()
            body = RecordBody(name[:16], client.member_id, name, name, sha256(name), 3)
            made.append(encode(self._payload(client.signer, body), self.chain_id))
        return made

    def signed(self, signer: Signer, body: Body) -> bytes:
        """A fresh transaction under its author's own signature."""
        return sign_payload(self._payload(signer, body), signer, self.chain_id)

    def _payload(self, signer: Signer, body: Body) -> Payload:
        return Payload(signer.public_key, self._fresh()[16:], EXPIRY_BLOCKS, body)

    def _fresh(self) -> bytes:
        self._made += 1
        return sha256(b"bench" + self._made.to_bytes(8, "big"))

    # --- light load ---

    async def submit_to_final_ms(self, samples: int) -> list[float]:
        """One registration at a time, at each member in turn: milliseconds from the call to its certified block."""
        times = []
        for turn in range(samples):
            client = self.clients[turn % len(self.clients)]
            times.append(1_000 * await client.register(self.registrations(client, 1)))
        return times

    # --- full load ---

    async def register(self, count: int) -> Rate:
        """All members register at once, in groups."""
        share = max(1, count // (GROUP * len(self.clients)))
        prepared = [[self.registrations(each, GROUP) for _ in range(share)] for each in self.clients]

        async def work() -> list[float]:
            pairs = zip(self.clients, prepared, strict=True)
            waits = await asyncio.gather(*(at_most(GROUPS_WAITING, each.register, groups) for each, groups in pairs))
            return [each for several in waits for each in several]

        return await self._measured(share * GROUP * len(self.clients), work)

    async def submit(self, transactions: Sequence[bytes]) -> Rate:
        """Signed transactions, each a call of its own, at all members at once."""
        count = len(self.clients)

        async def work() -> list[float]:
            shares = [(each, transactions[place::count]) for place, each in enumerate(self.clients)]
            waits = await asyncio.gather(*(at_most(CALLS_WAITING, each.submit, share) for each, share in shares))
            return [each for several in waits for each in several]

        return await self._measured(len(transactions), work)

    async def _measured(self, count: int, work: Callable[[], Awaitable[list[float]]]) -> Rate:
        """What one piece of work came to."""
        before = await self.running.used()
        own_before, started = own_cpu_us(), time.perf_counter()
        waits = await work()
        took_s, own = time.perf_counter() - started, own_cpu_us() - own_before
        services = self.running.cpu_us(*ORDERING) - before.cpu_us
        used = (await self.running.used()).since(before)
        return Rate(count / took_s, services / count, own / count, 1_000 * statistics.median(waits), used)


@contextlib.asynccontextmanager
async def load_on(running: Running) -> AsyncIterator[Load]:
    """Clients and readers at every member, stopped at the end."""
    limits = Limits(stream_s=None, message_bytes_max=2 * BLOCK_BYTES_MAX)
    readers = [Reader(running.alliance.genesis.chain_id) for _ in running.members]
    async with contextlib.AsyncExitStack() as stack:
        clients, following = [], []
        for place, member in enumerate(running.members):
            channel = await stack.enter_async_context(member.channel("consensus"))
            reader = readers[(place + 1) % len(readers)]
            clients.append(Client(member.member_id, member.keys.member, ConsensusServiceStub(channel), reader))
            ledger = await stack.enter_async_context(member.channel("ledger", limits))
            stub = LedgerServiceStub(ledger)
            # Asked before anything is handed in: what is final before a reader knows where to begin, it would never note.
            first = (await stub.GetTip(GetTipRequest())).executed_height + 1
            following.append(asyncio.create_task(readers[place].follow(stub, first)))
        try:
            yield Load(running, clients)
        finally:
            for each in following:
                each.cancel()
            await asyncio.wait(following)


async def at_most(limit: int, work: Callable[[Item], Awaitable[float]], items: Sequence[Item]) -> list[float]:
    """Work on all items, so many at once, in order."""
    waiting, done = iter(items), list[float]()

    async def worker() -> None:
        for item in waiting:
            done.append(await work(item))

    await asyncio.gather(*(worker() for _ in range(limit)))
    return done
