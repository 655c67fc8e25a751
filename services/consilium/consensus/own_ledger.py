"""The member's own ledger behind a channel: what a replica starts from, hands over, and is told (rules C1, L8).

Consensus takes its own ledger's word. A block's execution is told from whichever comes first, the answer to the block or the
stream of executions, in the order of heights and once each; the stream also brings what block sync has executed.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import grpc

from consilium.api.ledger.v1 import ledger_pb2 as pb
from consilium.api.ledger.v1.ledger_pb2_grpc import LedgerServiceStub
from consilium.consensus.core.identity import Tip
from consilium.kernel.certificates import Committee, Result, ResultCertificate
from consilium.kernel.chain import CertifiedBlock, Genesis, Header, Outlook
from consilium.kernel.encoding import decode, encode
from consilium.kernel.errors import ConsiliumError, DeadlineExceeded, FailedPrecondition, ResourceExhausted, Unavailable
from consilium.kernel.executions import Execution, Standings
from consilium.kernel.founding import FIRST_MIX, first_committee, first_electorate
from consilium.runtime.channels import typed
from consilium.runtime.logs import Log

RETRY_S_MIN, RETRY_S_MAX = 0.05, 2.0
"""The pause before the ledger is asked again, doubled at every failure in a row."""
ANSWER_S, READ_S = 5.0, 30.0
"""How long the ledger may take, at a start, to say where it stands and to read out what it has executed, in seconds."""
PASSING = ("HEIGHT_GAP", "NOT_EXECUTED")
"""Refusals of a ledger that has lost blocks and is fetching them."""

PASSING_KINDS = (Unavailable, DeadlineExceeded, ResourceExhausted)
"""A ledger that is away, late, or takes no more calls at the moment."""

_log = Log("consilium.consensus.own_ledger")

_Answer = TypeVar("_Answer")


class Listener(Protocol):
    """Who is told, in the order in which things happened."""

    def executed(self, execution: Execution) -> None:
        """The next block was executed and is durable."""

    def certified(self, certificate: ResultCertificate) -> None:
        """A height became final."""

    def told(self, standings: Standings) -> None:
        """How the members stand."""


@dataclass(frozen=True, slots=True)
class Start:
    """What the ledger knows when the replica starts; `previous_start` is the first height of the epoch before, or 0."""

    tip: Tip
    outlook: Outlook
    previous_start: int = 0

    @property
    def height(self) -> int:
        """The last block executed."""
        return 0 if self.tip.header is None else self.tip.header.height


class OwnLedger:
    """The ledger as the driver sees it (`driver.LocalLedger`)."""

    def __init__(self, channel: grpc.aio.Channel, genesis: Genesis) -> None:
        self._stub = LedgerServiceStub(channel)
        self._genesis, self._chain_id = genesis, genesis.chain_id
        self._height, self._taken = 0, b""
        self._listener: Listener | None = None

    # --- starting ---

    async def start(self, since: int | None = None) -> Start:
        """Wait for the ledger and read where it stands.

        `since` is the height above which batches in the vote log may have been ordered, None where it holds none.
        """
        start = await _until_answered(lambda: self._read_start(since))
        self._height = start.height
        return start

    async def height(self) -> int:
        """Wait for the ledger; the height it has executed."""
        return int((await _until_answered(self._tip)).executed_height)

    async def _tip(self) -> pb.GetTipResponse:
        with typed():
            return await self._stub.GetTip(pb.GetTipRequest(), timeout=ANSWER_S)

    async def _read_start(self, since: int | None) -> Start:
        tip = await self._tip()
        height, genesis_ms = tip.executed_height, self._genesis.time_ms
        if height == 0:
            return Start(Tip(genesis_ms), first_outlook(self._genesis))
        recent: list[Header] = []
        async for each in self._executions(await self._first_recent(height, since), height):
            recent.append(decode(Header, each.header, self._chain_id))
            newest = each
        certificate = tip.result_certificate
        previous, previous_start = await self._previous(newest.outlook)
        return Start(
            Tip(
                genesis_ms,
                recent[-1],
                newest.result,
                newest.commit,
                decode(ResultCertificate, certificate, self._chain_id) if certificate else None,
                await self._term_end(newest.outlook, height),
                previous,
                tuple(recent),
            ),
            newest.outlook,
            previous_start,
        )

    async def _first_recent(self, height: int, since: int | None) -> int:
        """Two windows back, and further where a batch that waited when the replica stopped was ordered without it since.

        Never so far back that all it carries has expired (L6).
        """
        parameters = (await self._execution(height)).outlook.parameters
        first = height - 2 * parameters.window_blocks + 1
        if since is not None:
            first = min(first, max(since + 1, height - parameters.expiry_blocks_max))
        return max(1, first)

    async def _term_end(self, outlook: Outlook, height: int) -> Result | None:
        """The last result of this term, once it is executed."""
        if outlook.term_end > height:
            return None
        return (await self._execution(outlook.term_end)).result

    async def _previous(self, outlook: Outlook) -> tuple[Committee | None, int]:
        """The committee of the epoch before and its first height: as they stood before the block that handed over.

        A recovery has no such block: the epoch before, be it without any block, is still ahead at the last one (C10).
        """
        if outlook.epoch == 0:
            return None, 0
        before = await self._outlook_at(outlook.epoch_start - 1)
        if before.epoch == outlook.epoch:
            before = await self._outlook_at(outlook.epoch_start - 2)
        return before.committee, before.epoch_start

    async def _outlook_at(self, height: int) -> Outlook:
        return (await self._execution(height)).outlook if height else first_outlook(self._genesis)

    async def _execution(self, height: int) -> Execution:
        (found,) = [each async for each in self._executions(height, height)]
        return found

    async def _executions(self, first: int, last: int) -> AsyncIterator[Execution]:
        with typed():
            wanted = pb.StreamExecutionsRequest(first_height=first, last_height=last)
            async for each in self._stub.StreamExecutions(wanted, timeout=READ_S):
                if each.WhichOneof("item") == "execution":
                    yield decode(Execution, each.execution, self._chain_id)

    # --- handing over ---

    async def deliver(self, item: CertifiedBlock | ResultCertificate) -> None:
        """Have a block executed or a certificate kept, however long it takes; raises what cannot pass."""
        encoded = encode(item, self._chain_id)
        is_block = isinstance(item, CertifiedBlock)
        request = pb.ExecuteBlockRequest(block=encoded) if is_block else pb.ExecuteBlockRequest(result_certificate=encoded)
        pause_s = RETRY_S_MIN
        while True:
            try:
                with typed():
                    response = await self._stub.ExecuteBlock(request)
            except (*PASSING_KINDS, FailedPrecondition) as error:
                if isinstance(error, FailedPrecondition) and error.reason not in PASSING:
                    raise
                _log.write(logging.WARNING, "block_not_delivered", reason=error.reason)
            else:
                if response.execution:
                    self._take(response.execution)
                return
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, RETRY_S_MAX)

    # --- being told ---

    async def follow(self, listener: Listener) -> None:
        """Tell the listener of everything from now on, until cancelled; the stream is opened again whenever it ends."""
        self._listener = listener
        pause_s = RETRY_S_MIN
        while True:
            try:
                with typed():
                    async for each in self._stub.StreamExecutions(pb.StreamExecutionsRequest(first_height=self._height + 1)):
                        pause_s = RETRY_S_MIN
                        self._tell(listener, each)
            except ConsiliumError as error:
                _log.write(logging.WARNING, "ledger_not_followed", reason=error.reason)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, RETRY_S_MAX)

    def _tell(self, listener: Listener, response: pb.StreamExecutionsResponse) -> None:
        match response.WhichOneof("item"):
            case "execution":
                self._take(response.execution)
            case "result_certificate":
                listener.certified(decode(ResultCertificate, response.result_certificate, self._chain_id))
            case "standings":
                listener.told(decode(Standings, response.standings, self._chain_id))
            case None:
                pass

    def _take(self, data: bytes) -> None:
        """Pass an execution on, unless it was, or one below it is still to come on the stream."""
        if data == self._taken:
            return
        execution = decode(Execution, data, self._chain_id)
        if self._listener is not None and execution.result.height == self._height + 1:
            self._height += 1
            self._taken = data
            self._listener.executed(execution)


async def _until_answered(ask: Callable[[], Awaitable[_Answer]]) -> _Answer:
    """Ask a ledger that may be away until it answers."""
    pause_s = RETRY_S_MIN
    while True:
        try:
            return await ask()
        except PASSING_KINDS as error:
            _log.write(logging.WARNING, "ledger_not_reached", reason=error.reason)
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, RETRY_S_MAX)


def first_outlook(genesis: Genesis) -> Outlook:
    """Who orders block 1. Raises FailedPrecondition: TOO_FEW_MEMBERS."""
    committee, electorate = first_committee(genesis), first_electorate(genesis)
    return Outlook(0, 1, committee, None, FIRST_MIX, electorate, genesis.parameters)
