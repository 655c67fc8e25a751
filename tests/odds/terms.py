"""Short terms of real consensus and ledger processes, with faults put in for a term at a time (rule C9).

One alliance serves for all terms of a row. A term begins with everybody well and level. Who is unreachable is stopped with
SIGSTOP, who is malicious lies (`two_faced`); then a client hands one transaction to f+1 delegates. The alliance has
*agreed* when the client has verified a proof of it under a result certificate, from whichever ledger, in the time that
f+1 views may take, and some. Then all are well again, and the transaction must become final everywhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import statistics
import sys
import time
from collections import deque
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from consilium.api.chain.v1.chain_pb2 import Transaction
from consilium.api.consensus.v1.consensus_pb2 import SubmitTransactionRequest
from consilium.api.consensus.v1.consensus_pb2_grpc import ConsensusServiceStub
from consilium.api.ledger.v1.ledger_pb2 import GetTransactionProofRequest
from consilium.api.ledger.v1.ledger_pb2_grpc import LedgerServiceStub
from consilium.kernel.authoring import sign_payload
from consilium.kernel.encoding import decode
from consilium.kernel.errors import ConsiliumError
from consilium.kernel.light_client import TransactionProof, TrustedHistory
from consilium.kernel.merkle import leaf_hash
from consilium.kernel.parameters import Parameters
from consilium.kernel.signing import Ed25519Signer, Ed25519Verifier
from consilium.kernel.transactions import Payload, Purpose, RequestBody
from consilium.runtime.channels import Limits, typed
from consilium.sandbox.audit import audit
from consilium.sandbox.founders import founders_of
from consilium.sandbox.local import SandboxAlliance, opened
from consilium.sandbox.processes import SandboxService
from tests.odds import two_faced

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence

    from consilium.api.consensus.v1.consensus_pb2_grpc import ConsensusServiceAsyncStub
    from consilium.api.ledger.v1.ledger_pb2_grpc import LedgerServiceAsyncStub
    from tests.odds.faults import Term

VIEW_TIMEOUT_MS, VIEW_TIMEOUT_MAX_MS = 400, 6_400
SPARE_S = 1.5
SPARE_ROUNDS = 30
"""How much longer than f+1 views the client waits, and how many times what a transaction took of late when all were well:
the machine may do other things too."""
REMEMBERED = 9
HEALING_S = 60.0
"""How long everybody may take to be level again."""
PARAMETERS = Parameters(
    term_blocks=1_000_000,
    expiry_blocks_max=1_000_000,
    heartbeat_ms=5_000,
    view_timeout_ms=VIEW_TIMEOUT_MS,
    view_timeout_max_ms=VIEW_TIMEOUT_MAX_MS,
)
"""One committee sits throughout, and gives a primary up soon."""

SETTINGS = {"ledger": {"patience_ms": 200}}
"""Who was stopped fetches what it missed soon, so that the next term can begin."""


class NotHealedError(Exception):
    """With everybody well again a transaction did not become final everywhere."""


@dataclass(slots=True, kw_only=True)
class TwoFacedConsensus(SandboxService):
    """A consensus service that lies while the file `lies` is there."""

    lies: Path

    def command(self) -> list[str]:
        return [sys.executable, "-P", str(Path(two_faced.__file__)), str(os.getpid()), str(self.lies)]


@dataclass(frozen=True, slots=True)
class Tally:
    """What the terms of a row came to."""

    faults_max: int
    outcomes: list[tuple[Term, bool]] = field(default_factory=list)
    """Each term, and whether the alliance agreed in it."""

    @property
    def failed(self) -> int:
        """Terms without agreement."""
        return sum(not agreed for _, agreed in self.outcomes)

    @property
    def unsafe(self) -> int:
        """Terms with more than f malicious delegates, in which PBFT promises nothing."""
        return sum(len(term.malicious) > self.faults_max for term, _ in self.outcomes)

    @property
    def without_quorum(self) -> int:
        """Terms that agreed though fewer than a quorum were good and reachable: this must never be."""
        return sum(agreed and len(term.bad) > self.faults_max for term, agreed in self.outcomes)

    @property
    def in_spite(self) -> int:
        """Terms that did not agree in time though a quorum was good and reachable."""
        return sum(not agreed and len(term.bad) <= self.faults_max for term, agreed in self.outcomes)


def bound_s(faults_max: int, lately_s: Sequence[float]) -> float:
    """How long agreement may take: f bad primaries one after the other, then a good one, and what is spare (C2)."""
    views = [min(VIEW_TIMEOUT_MS << tried, VIEW_TIMEOUT_MAX_MS) for tried in range(faults_max + 1)]
    return sum(views) / 1_000 + max(SPARE_S, SPARE_ROUNDS * statistics.median(lately_s))


def run_terms(
    folder: Path, size: int, terms: Iterable[Term], tell: Callable[[str], None], with_quorum_s: float = 0.0
) -> Tally:
    """Live through the terms, then replay every member's chain and hold them against each other.

    A term that has a quorum may take `with_quorum_s` where that is longer: for who asks whether it agrees, not how soon.
    Raises NotHealedError; Conflict TWO_CHAINS when two members hold different blocks at a height, and as `audit`.
    """
    tally = Tally((size - 1) // 3)
    with opened(folder / "alliance", founders_of(size), PARAMETERS, SETTINGS) as alliance:
        lies = folder / "lies"
        make_two_faced(alliance, lies)
        asyncio.run(_live(Field(alliance, lies), terms, tally, tell, with_quorum_s))
    for line in audit(folder / "alliance"):
        tell(line)
    return tally


def make_two_faced(alliance: SandboxAlliance, lies: Path) -> None:
    """Have every member's consensus service, not started yet, lie while a file of its name is in this new folder."""
    lies.mkdir()
    for name, member in alliance.members.items():
        consensus = TwoFacedConsensus(alliance.layout, name, "consensus", lies=lies / name)
        alliance.members[name] = replace(member, services={**member.services, "consensus": consensus})


async def _live(
    played: Field, terms: Iterable[Term], tally: Tally, tell: Callable[[str], None], with_quorum_s: float
) -> None:
    for name in ("ledger", "consensus"):
        await played.alliance.start(None, name)
    async with connected(played.alliance) as client:
        lately_s = deque([await client.round_s() for _ in range(3)], REMEMBERED)
        for number, term in enumerate(terms, 1):
            has_quorum = len(term.bad) <= tally.faults_max
            limit_s = max(bound_s(tally.faults_max, lately_s), with_quorum_s if has_quorum else 0.0)
            agreed = await live_one(played, client, term, limit_s)
            tally.outcomes.append((term, agreed))
            if agreed is not has_quorum:
                tell(f"term {number}: agreed {agreed}, malicious {sorted(term.malicious)}, bad {sorted(term.bad)}")
            lately_s.append(await client.round_s())
        await played.alliance.stop()


async def live_one(played: Field, client: Client, term: Term, limit_s: float) -> bool:
    """One term; whether the alliance agreed in it. Raises NotHealedError."""
    transaction = client.fresh()
    with played.faults(term):
        agreed = await client.perform(transaction, term.asked, limit_s)
    # Where nobody took it in, or who did was cut off, it is handed in again.
    await client.until_everywhere(transaction, () if agreed else tuple(client.consensus))
    return agreed


@dataclass(frozen=True, slots=True)
class Field:
    """The alliance, and the folder whose files make its members lie."""

    alliance: SandboxAlliance
    lies: Path

    @contextlib.contextmanager
    def faults(self, term: Term) -> Iterator[None]:
        """Put a term's faults in, and lift them."""
        try:
            for name in sorted(term.malicious):
                (self.lies / name).touch()
            for name in sorted(term.unreachable):
                self.alliance.pause(name, "consensus")
            yield
        finally:
            for each in self.lies.iterdir():
                each.unlink()
            self.alliance.resume(None, "consensus")


# --- the client ---


@dataclass(frozen=True, slots=True)
class Client:
    """One client, with a way to every member; it believes proofs only."""

    history: TrustedHistory
    consensus: dict[str, ConsensusServiceAsyncStub]
    ledgers: dict[str, LedgerServiceAsyncStub]
    signer: Ed25519Signer
    verifier: Ed25519Verifier = field(default_factory=Ed25519Verifier)

    def fresh(self) -> bytes:
        """A signed request for a record that is not there: the ledger refuses it, and that is a result like any other."""
        body = RequestBody(bytes(16), bytes(16), bytes(32), Purpose.TREATMENT, bytes(32))
        payload = Payload(self.signer.public_key, secrets.token_bytes(16), PARAMETERS.expiry_blocks_max, body)
        return sign_payload(payload, self.signer, self.history.chain_id)

    async def perform(self, transaction: bytes, asked: tuple[str, ...], limit_s: float) -> bool:
        """Hand a transaction to these delegates, and tell whether a ledger has proven it in time."""
        handing = [asyncio.create_task(self._submit(each, transaction, limit_s)) for each in asked]
        proving = [asyncio.create_task(self._proven(each, transaction, limit_s)) for each in self.ledgers]
        try:
            for each in asyncio.as_completed(proving):
                if await each:
                    return True
            return False
        finally:
            for task in (*handing, *proving):
                task.cancel()
            await asyncio.wait([*handing, *proving])

    async def round_s(self) -> float:
        """How long a transaction takes to be final everywhere while all are well. Raises NotHealedError."""
        started_s = time.monotonic()
        await self.until_everywhere(self.fresh(), tuple(self.consensus)[:2])
        return time.monotonic() - started_s

    async def until_everywhere(self, transaction: bytes, asked: tuple[str, ...]) -> None:
        """Hand it to these and wait until every member's ledger proves it. Raises NotHealedError."""
        handing = [self._submit(each, transaction, HEALING_S) for each in asked]
        proving = [self._proven(each, transaction, HEALING_S) for each in self.ledgers]
        found, _ = await asyncio.gather(asyncio.gather(*proving), asyncio.gather(*handing))
        if not all(found):
            raise NotHealedError(f"Not everybody had the transaction in {HEALING_S:.0f} seconds: {found}.")

    async def _submit(self, name: str, transaction: bytes, limit_s: float) -> None:
        request = SubmitTransactionRequest(transaction=Transaction(encoded=transaction))
        with contextlib.suppress(ConsiliumError), typed():
            await self.consensus[name].SubmitTransaction(request, timeout=limit_s)

    async def _proven(self, name: str, transaction: bytes, limit_s: float) -> bool:
        """Whether a ledger proves it in so many seconds."""
        leaf = leaf_hash(transaction)
        request = GetTransactionProofRequest(transaction_hash=leaf, wait_ms=round(limit_s * 1_000))
        try:
            with typed():
                answer = await self.ledgers[name].GetTransactionProof(request, timeout=limit_s + 5)
        except ConsiliumError:
            return False
        proof = decode(TransactionProof, answer.proof.encoded, self.history.chain_id)
        return self.history.verify_transaction(proof, self.verifier).transaction_hash == leaf


@asynccontextmanager
async def connected(alliance: SandboxAlliance) -> AsyncIterator[Client]:
    """A client of all members, one channel to a service."""
    async with AsyncExitStack() as stack:
        consensus, ledgers = {}, {}
        for name, member in alliance.members.items():
            consensus[name] = ConsensusServiceStub(await stack.enter_async_context(member.channel("consensus")))
            ledgers[name] = LedgerServiceStub(
                await stack.enter_async_context(member.channel("ledger", Limits(unary_s=None)))
            )
        yield Client(TrustedHistory(alliance.genesis), consensus, ledgers, Ed25519Signer.from_seed(secrets.token_bytes(32)))
