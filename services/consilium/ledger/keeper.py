"""Keeps one member's chain: appends what consensus or block sync brings, and answers whoever reads (rules L3, L8).

One block grows at a time. Its signatures are verified in a thread while readers go on; then it is made durable and executed
in a thread, while the chain stands still for readers. One sync a block: a result certificate is written at once and made
durable by the next block's sync. Losing the newest one in a power cut loses nothing that was acknowledged, for the block
stands, its delegates sign its result again, and a certificate that is missing is fetched (`peers`).

Growing is done to its end and told to everybody who waits, even if the caller is gone by then: the caller comes again,
those who wait do not. A store that fails, or a quorum that certifies another result than ours, ends the keeper for good: the
process must stop.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

from consilium.kernel.certificates import Result, ResultCertificate
from consilium.kernel.chain import CertifiedBlock, Genesis, Header
from consilium.kernel.codes import Code
from consilium.kernel.encoding import decode, encode
from consilium.kernel.errors import BadSignature, Conflict, DataLoss, FailedPrecondition, NotFound
from consilium.kernel.executions import Execution, Standings
from consilium.kernel.hashing import sha256
from consilium.kernel.parameters import PROTOCOL_VERSION
from consilium.kernel.signing import Verifier
from consilium.kernel.transactions import UpgradeAct
from consilium.ledger.block_index import BlockIndex
from consilium.ledger.core.acceptance import Tip, VerifiedBlock, verify_block
from consilium.ledger.core.chain import Chain
from consilium.ledger.core.replay import Replay
from consilium.ledger.core.sync import SentBlock
from consilium.ledger.revoking import Revoking
from consilium.ledger.settings import Checkpoint
from consilium.ledger.store import BlockStore
from consilium.ledger.waiting import Waiting
from consilium.runtime.clock import wall_ms
from consilium.runtime.logs import Log
from consilium.runtime.threads import run_to_end, to_end

INLINE_BYTES_MAX = 2_048
"""Blocks with no more bytes of batches are verified, and encoded anew, on the event loop: a few signatures."""
AGE_UNKNOWN_S = 1_000_000
"""The age of the newest certificate while none has come since the start."""

_log = Log("consilium.ledger.keeper")
Answer = TypeVar("Answer")


class Keeper:
    """A chain that grows, and everybody who waits for it. For one event loop."""

    def __init__(
        self,
        genesis: Genesis,
        store: BlockStore,
        verifier: Verifier,
        checkpoint: Checkpoint | None = None,
        show: Callable[[int, int], None] = lambda _, __: None,
    ) -> None:
        """Replay what the store holds, and show each height and the last; raises what `Replay` raises for another chain.

        DataLoss: OTHER_CHECKPOINT when it does not pass the checkpoint.
        """
        self.chain = Chain(genesis, verifier, store)
        self.index = BlockIndex()
        self.waiting = Waiting(self.chain)
        self.unproven: dict[int, None] = {}
        """Executed heights without a result certificate here, in order."""
        self.revoking = Revoking(self.chain)
        self.blocks_kept = 0
        """How many blocks were made durable since the start."""
        self.fetched_height = 0
        """The last height whose block came from another member's ledger and not from the own consensus."""
        self.outcomes = Counter[Code]()
        """How the transactions in them ended."""
        self._store, self._verifier, self._checkpoint = store, verifier, checkpoint
        self._growing, self._still = asyncio.Lock(), asyncio.Lock()
        self._changed = asyncio.Event()
        self._broken = asyncio.Event()
        self._failure: Exception | None = None
        self._certified_at = float("-inf")
        self._replay(show)

    def _replay(self, show: Callable[[int, int], None]) -> None:
        replay, last = Replay(self.chain, self._store, self._verifier), self._store.height
        for height in range(1, last + 1):
            self._execute(replay.read(height), is_replay=True)
            for certified in replay.executed(height):
                del self.unproven[certified]
            show(height, last)
        for certified in replay.finish():
            del self.unproven[certified]

    # --- growing ---

    async def execute(self, block: CertifiedBlock) -> Execution:
        """Take a decided block; durable on return. One that is here already is answered again.

        Raises FailedPrecondition (HEIGHT_GAP) beyond the next height, Conflict (OTHER_BLOCK) for another block at a height
        that has one, and what `acceptance.verify_block` raises.
        """
        header = decode(Header, block.header, self.chain.chain_id)
        async with self._growing:
            if header.height > self.chain.height + 1:
                raise FailedPrecondition("HEIGHT_GAP", f"The last block here is {self.chain.height}.", "L8")
            if header.height == self.chain.height + 1:
                await to_end(self._append(await self._verified(block)))
        execution = self.execution(header.height)
        if execution.header != block.header:
            raise Conflict("OTHER_BLOCK", f"Another block stands at height {header.height}.", "L3")
        return execution

    async def _verified(self, block: CertifiedBlock) -> VerifiedBlock:
        """Verified in a thread, unless there is less to verify than the way there costs."""
        if sum(map(len, block.batches)) <= INLINE_BYTES_MAX:
            return self.verify(block)
        return await run_to_end(self.verify, block)

    def verify(self, block: CertifiedBlock) -> VerifiedBlock:
        """The block, fit to follow the present tip; raises what `acceptance.verify_block` raises."""
        return verify_block(block, self.chain.tip, self.chain.chain_id, self._verifier)

    async def append(self, verified: VerifiedBlock) -> Tip:
        """Take a block that block sync has verified, unless it is here already; the tip after it."""
        height = verified.opened.header.height
        async with self._growing:
            if height > self.chain.height:
                self.fetched_height = height
                await to_end(self._append(verified))
        return self.chain.tip

    async def certify(self, certificate: ResultCertificate) -> None:
        """Keep the certificate of an executed block; a second one for the same height changes nothing.

        Raises FailedPrecondition (NOT_EXECUTED), BadSignature, and DataLoss (DIVERGED), which ends the keeper.
        """
        height = certificate.result.height
        async with self._growing:
            if height > self.chain.height or self.chain.result_certificate(height) is None:
                await to_end(self._certify(certificate))

    async def broken(self) -> None:
        """Wait until the keeper cannot go on, and raise why."""
        await self._broken.wait()
        assert self._failure is not None
        raise self._failure

    async def _append(self, verified: VerifiedBlock) -> None:
        before = self.chain.tip.outlook.upgrade
        async with self._still:
            await self._or_break(self._keep_and_execute, verified)
        _tell_upgrade(self.chain.tip, before)
        self.waiting.executed(verified.opened.header.height, verified.opened.leaves)
        self._notify()

    async def _certify(self, certificate: ResultCertificate) -> None:
        async with self._still:
            await self._or_break(self._certify_and_keep, certificate)
        height = certificate.result.height
        if height == self.chain.certified_height:
            self._certified_at = time.monotonic()
        self.waiting.certified(height)
        self._notify()

    def _keep_and_execute(self, verified: VerifiedBlock) -> None:
        """In one go: a block is never stored and not executed."""
        opened = verified.opened
        self._store.append_block(opened.header.height, encode(opened.block, self.chain.chain_id))
        self._store.sync()
        self.blocks_kept += 1
        self._execute(verified)

    def _execute(self, verified: VerifiedBlock, *, is_replay: bool = False) -> None:
        outcome = self.chain.append_verified(verified)
        self.revoking.note(verified.opened, is_replay=is_replay)
        if not is_replay:
            self.outcomes.update(outcome.codes)
        self._pass(outcome.result)
        self.index.add(verified.opened, outcome.codes, outcome.outlook.epoch)
        self.unproven[outcome.result.height] = None

    def _pass(self, result: Result) -> None:
        """Stop at the height that an invitation vouched for, when this is another chain from the same genesis (L5)."""
        wanted = self._checkpoint
        if wanted is None or result.height != wanted.height or sha256(encode(result, self.chain.chain_id)) == wanted.digest:
            return
        raise DataLoss(
            "OTHER_CHECKPOINT",
            f"Height {result.height} is not the one that the invitation vouches for: whoever sent it holds an old "
            "committee's keys. Keep the folder, and ask several members.",
            "L5",
        )

    def _certify_and_keep(self, certificate: ResultCertificate) -> None:
        height = certificate.result.height
        self.chain.add_result_certificate(certificate)
        self._store.add_certificate(height, encode(certificate, self.chain.chain_id))
        self.unproven.pop(height, None)

    async def _or_break(self, work: Callable[[Answer], None], item: Answer) -> None:
        """Do what must not half happen. A peer's fault is raised; after any other failure nobody knows what holds."""
        if self._failure is not None:
            raise self._failure
        try:
            await run_to_end(work, item)
        except Exception as error:
            if not _is_peers_fault(error):
                self._failure = error
                self._broken.set()
            raise

    # --- reading ---

    @property
    def tip_age_ms(self) -> int:
        """How old the newest certificate is (S5): the time since it came, on the monotonic clock; very long after a restart.

        An old one that comes late is no younger for it: its block's time counts too, less what clocks may differ (ADR 11).
        """
        since_came = int(min(time.monotonic() - self._certified_at, AGE_UNKNOWN_S) * 1_000)
        if not self.chain.certified_height:
            return since_came
        header = decode(Header, self.chain.header(self.chain.certified_height), self.chain.chain_id)
        differ_ms = self.chain.tip.outlook.parameters.clock_skew_max_ms
        return max(since_came, wall_ms() - header.time_ms - differ_ms)

    async def read(self, question: Callable[[Chain], Answer]) -> Answer:
        """Ask the chain, in a thread, while it stands still; raises what the question raises."""
        async with self._still:
            return await run_to_end(question, self.chain)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for something to become true, looking at every block and every certificate."""
        while not holds():
            await self._changed.wait()

    async def until_executed(self, height: int) -> None:
        """Wait for a height to be executed and durable here."""
        await self.until(lambda: self.index.height >= height)

    async def until_certified(self, height: int) -> None:
        """Wait for a height to be final here."""
        await self.until(lambda: self.chain.certified_height >= height)

    def execution(self, height: int) -> Execution:
        """What executing a height gave. Raises NotFound: NO_SUCH_HEIGHT."""
        link = self.chain.link(height)
        return Execution(link.block.header, link.block.commit, link.outcome.result, link.outcome.outlook)

    async def sent_execution(self, height: int) -> Execution:
        """The same, read in a thread where the block is old. Raises NotFound: NO_SUCH_HEIGHT."""
        return self.execution(height) if self.chain.is_recent(height) else await run_to_end(self.execution, height)

    def standings(self) -> Standings:
        """All members at the tip, and who has revealed in this epoch."""
        members = tuple(self.chain.members())
        revealed = [each.profile.member_id for each in members if self.index.has_revealed(each.profile.member_key)]
        return Standings(self.chain.tip.outlook.epoch, members, tuple(revealed))

    async def sent_block(self, height: int) -> SentBlock:
        """A block as it lies in the store, and its certificate if it is here. Raises NotFound: NO_SUCH_HEIGHT."""
        if not self.chain.is_recent(height):
            return await run_to_end(self._stored, height)
        certificate, block = self.chain.result_certificate(height), self.chain.block(height)
        is_small = sum(map(len, block.batches)) <= INLINE_BYTES_MAX
        data = encode(block, self.chain.chain_id) if is_small else await run_to_end(self._store.read_block, height)
        return SentBlock(data, None if certificate is None else encode(certificate, self.chain.chain_id))

    def _stored(self, height: int) -> SentBlock:
        """An old block, as `sent_block`."""
        try:
            certificate = self._store.read_certificate(height)
        except NotFound:
            certificate = None
        return SentBlock(self._store.read_block(height), certificate)

    def _notify(self) -> None:
        """Have everybody in `until` look again."""
        self._changed.set()
        self._changed = asyncio.Event()


def _tell_upgrade(tip: Tip, before: UpgradeAct | None) -> None:
    """Say once what was adopted, and once that this build stops here (G5)."""
    upgrade, stops_at = tip.outlook.upgrade, tip.outlook.stops_at
    if upgrade is not None and upgrade != before:
        level = logging.INFO if stops_at is None else logging.WARNING
        _log.write(level, "upgrade_adopted", version=upgrade.version, height=upgrade.height, known=PROTOCOL_VERSION)
    if upgrade is not None and stops_at == tip.height + 1:
        _log.write(logging.ERROR, "upgrade_needed", version=upgrade.version, height=upgrade.height, known=PROTOCOL_VERSION)


def _is_peers_fault(error: Exception) -> bool:
    """Whether nothing was changed, because a certificate does not hold or came too early."""
    return isinstance(error, BadSignature) or (isinstance(error, FailedPrecondition) and error.reason == "NOT_EXECUTED")
