"""One run: an alliance of real processes under load, kills by a seed, and everything judged at the end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from consilium.api.ledger.v1 import ledger_pb2
from consilium.api.ledger.v1.ledger_pb2_grpc import LedgerServiceStub
from consilium.kernel.codes import Code
from consilium.kernel.opening import open_transaction
from consilium.kernel.parameters import Parameters
from consilium.kernel.transactions import Kind, ReceiptBody
from consilium.runtime.channels import Limits
from tests.nemesis.book import Book
from tests.nemesis.kills import LIVENESS_S, Told, draw_kills, strike
from tests.nemesis.recorded import recorded
from tests.nemesis.replay import Sum, judge, receipt_of, receipts_owed
from tests.nemesis.work import Ward, check_everywhere, clients

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from consilium.sandbox.local import SandboxAlliance

PARAMETERS = Parameters(
    term_blocks=200, heartbeat_ms=500, view_timeout_ms=1_500, view_timeout_max_ms=12_000, tip_age_max_ms=10_000
)
"""Several epochs a run, and two heartbeats a second."""
ROUTES = (("2A", "3A"), ("3A", "1A"), ("2B", "2A"))
"""Wards, and where their records go."""


@dataclass(slots=True)
class Report:
    """What a run did."""

    kills: int
    book: Book
    started_s: float = field(default_factory=time.monotonic)
    proofs: int = 0
    looked_at: Sum = field(default_factory=lambda: Sum(0, 0, 0))

    def __str__(self) -> str:
        """For people."""
        done = ", ".join(f"{count} {name}" for name, count in sorted(self.book.done.items()))
        failed = ", ".join(f"{count} {name}" for name, count in self.book.failed.most_common())
        book, looked_at = self.book, self.looked_at
        return (
            f"{self.kills} kills in {time.monotonic() - self.started_s:.0f} s; acknowledged: {done}; "
            f"not acknowledged: {failed or 'nothing'}\n"
            f"held: {len(book.final)} transactions, proven {self.proofs} times at five members; {len(book.stored)} objects; "
            f"{len(book.taken)} fragments taken, {len(book.deleted)} deleted; {len(book.releases)} releases\n"
            f"judged: {looked_at.heights} blocks of five members with {looked_at.transactions} transactions, "
            f"{looked_at.envelopes} envelopes; no second word, no blame, one chain"
        )


def run(folder: Path, seed: int, count: int, tell: Callable[[str], None]) -> Report:
    """Kill so many times by a seed; raises Violation, or what a client or a chain raised, when a promise broke."""
    report = Report(count, Book())
    with recorded(folder, PARAMETERS) as found:
        asyncio.run(_run(found.alliance, seed, report, tell))
        report.looked_at = judge(found, report.book)
    return report


async def _run(alliance: SandboxAlliance, seed: int, report: Report, tell: Callable[[str], None]) -> None:
    await alliance.start()
    async with clients(alliance) as members, Told(alliance).listening() as told:
        book = report.book
        wards = [Ward.between(members[home], members[other], book, f"{seed} {home}") for home, other in ROUTES]
        stopping = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            for each in wards:
                tasks.create_task(each.work(stopping))
            for number, kill in enumerate(draw_kills(seed, report.kills, list(alliance.members)), 1):
                tell(f"{number}: {kill}, at height {told.newest()}")
                await strike(alliance, told, kill)
            stopping.set()
        await told.until_all_agree()
        report.proofs = await check_everywhere(members, book)
        await asyncio.gather(*(each.check() for each in wards))
        await until_receipted(alliance, book)
        await told.until_all_agree()
    assert not alliance.ended(), f"these ended by themselves: {alliance.ended()}"
    await alliance.stop()


async def until_receipted(alliance: SandboxAlliance, book: Book) -> None:
    """Wait until the ledger has what holders owe it for their answers: a receipt may be ordered after its release.

    A holder sees to that by itself, after a kill of its consensus too. What never comes is for the judge to say.
    """
    owed, home = receipts_owed(book), alliance.member(next(iter(alliance.members)))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LIVENESS_S), home.channel("ledger", Limits(stream_s=None)) as channel:
            events = LedgerServiceStub(channel).StreamEvents(ledger_pb2.StreamEventsRequest(kinds=[Kind.RECEIPT.name]))
            async for each in events:
                body = open_transaction(each.transaction.encoded, alliance.genesis.chain_id).payload.body
                if isinstance(body, ReceiptBody) and each.code == Code.APPLIED.name:
                    owed.discard(receipt_of(body))
                if not owed:
                    return
