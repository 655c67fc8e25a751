"""One run: an alliance of real processes under load, strikes by a seed, and everything judged at the end."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
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
from tests.nemesis.replay import Sum, judge, receipt_of
from tests.nemesis.rivals import Rivals
from tests.nemesis.strikes import Nemesis, Way, draw_strikes
from tests.nemesis.work import Ward, check_everywhere, clients

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from consilium.sandbox.local import SandboxAlliance
    from tests.nemesis.network import Network

PARAMETERS = Parameters(
    term_blocks=60, heartbeat_ms=500, view_timeout_ms=1_500, view_timeout_max_ms=12_000, tip_age_max_ms=10_000
)
"""Several epochs a run, and two heartbeats a second."""
ROUTES = (("2A", "3A"), ("3A", "1A"), ("2B", "2A"))
"""Wards, and where their records go."""
RIVALS = (("2A", "3B", "1A", "3A"), ("3A", "1A", "2B", "2A"))
"""Where the devices and desks of rivals are."""
WIPED = ("1A", "3B")
"""Members that may lose all their state: those whose storage is nobody's home. A home's shred secrets have no copy (S2)."""
ON_THE_NETWORK = (Way.SLOW, Way.ISOLATE, Way.HALVE)


@dataclass(slots=True)
class Report:
    """What a run did."""

    book: Book
    strikes: Counter[str] = field(default_factory=Counter)
    started_s: float = field(default_factory=time.monotonic)
    proofs: int = 0
    looked_at: Sum = field(default_factory=lambda: Sum(0, 0, 0))

    def __str__(self) -> str:
        """For people."""
        done = ", ".join(f"{count} {name}" for name, count in sorted(self.book.done.items()))
        failed = ", ".join(f"{count} {name}" for name, count in self.book.failed.most_common())
        strikes = ", ".join(f"{count} {name}" for name, count in sorted(self.strikes.items()))
        book, looked_at = self.book, self.looked_at
        calls = [each for several in book.calls.values() for each in several]
        unheard = sum(each.code is None for each in calls)
        return (
            f"{strikes} in {time.monotonic() - self.started_s:.0f} s; acknowledged: {done}; "
            f"not acknowledged: {failed or 'nothing'}\n"
            f"held: {len(book.final)} transactions, proven {self.proofs} times at five members; {len(book.stored)} objects; "
            f"{len(book.taken)} fragments taken, {len(book.deleted)} deleted; {len(book.releases)} releases\n"
            f"history: {len(calls)} acts on {len(book.calls)} grants, {unheard} of them not heard of, in one order each; "
            f"{len(book.reads)} reads of their heights\n"
            f"judged: {looked_at.heights} blocks of five members with {looked_at.transactions} transactions, "
            f"{looked_at.envelopes} envelopes; no second word, no blame, one chain"
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done by a seed: so many kills, then strikes of all kinds, at least so many and at least for so long."""

    seed: int
    kills: int = 0
    strikes: int = 0
    seconds: int = 0
    network: Network | None = None

    @property
    def ways(self) -> list[Way]:
        """The ways to strike that can be done here."""
        return [each for each in Way if self.network is not None or each not in ON_THE_NETWORK]


def run(folder: Path, plan: Plan, tell: Callable[[str], None]) -> Report:
    """Strike as planned; raises Violation, or what a client or a chain raised, when a promise broke."""
    report = Report(Book())
    with recorded(folder, PARAMETERS, network=plan.network) as found:
        asyncio.run(_run(found.alliance, plan, report, tell))
        report.looked_at = judge(found, report.book)
    return report


async def _run(alliance: SandboxAlliance, plan: Plan, report: Report, tell: Callable[[str], None]) -> None:
    await alliance.start()
    async with clients(alliance) as members, Told(alliance).listening() as told:
        book = report.book
        wards = [Ward.between(members[home], members[other], book, f"{plan.seed} {home}") for home, other in ROUTES]
        rivals = [Rivals.among([members[each] for each in names], book, f"{plan.seed} {names}") for names in RIVALS]
        stopping = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            for work in [each.work for each in wards] + [each.work for each in rivals]:
                tasks.create_task(work(stopping))
            await _strike(Nemesis(alliance, told, book, plan.network), plan, report, tell)
            stopping.set()
        await told.until_all_agree()
        report.proofs = await check_everywhere(members, book)
        await asyncio.gather(*(each.check() for each in wards))
        await until_receipted(alliance, book)
        await told.until_all_agree()
    assert not alliance.ended(), f"these ended by themselves: {alliance.ended()}"
    await alliance.stop()


async def _strike(nemesis: Nemesis, plan: Plan, report: Report, tell: Callable[[str], None]) -> None:
    """So many kills, or strikes until the time is over; the one under way is finished."""
    members = list(nemesis.alliance.members)
    for number, kill in enumerate(draw_kills(plan.seed, plan.kills, members), 1):
        tell(f"{number}: {kill}, at height {nemesis.told.newest()}")
        await strike(nemesis.alliance, nemesis.told, kill)
        report.strikes["kill"] += 1
    until_s = time.monotonic() + plan.seconds
    for number, each in enumerate(draw_strikes(plan.seed, plan.ways, members, WIPED), 1):
        if number > plan.strikes and time.monotonic() >= until_s:
            return
        tell(f"{number}: {each}, at height {nemesis.told.newest()}, {until_s - time.monotonic():.0f} s left")
        await nemesis.strike(each)
        report.strikes[each.way.value] += 1


async def until_receipted(alliance: SandboxAlliance, book: Book) -> None:
    """Wait until the ledger has what holders owe it for their answers: a receipt may be ordered after its release.

    A holder sees to that by itself, after a kill of its consensus too. What never comes is for the judge to say.
    """
    owed, home = book.receipts_owed(), alliance.member(next(iter(alliance.members)))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LIVENESS_S), home.channel("ledger", Limits(stream_s=None)) as channel:
            events = LedgerServiceStub(channel).StreamEvents(ledger_pb2.StreamEventsRequest(kinds=[Kind.RECEIPT.name]))
            async for each in events:
                body = open_transaction(each.transaction.encoded, alliance.genesis.chain_id).payload.body
                if isinstance(body, ReceiptBody) and each.code == Code.APPLIED.name:
                    owed.discard(receipt_of(body))
                if not owed:
                    return
