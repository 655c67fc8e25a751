"""What an alliance of real services does on this machine: all five of every member, mutual TLS, clients beside them.

Prints one table: the latency of one registration, registrations and signed requests a second, what a block costs in
messages, syncs and CPU, what a grant costs at 1 KB and at 1 GB, how fast objects go in and out, memory, and the start.
Rates are medians of several rounds after a warm-up. The load average stands beside each, because neighbours on the cores
change what the clock says, and hardly what the CPU time does. Figures are printed, never asserted.

    bench/alliance.py [--quick] [--members 4|7|10]     about four minutes, or half of one, on two quiet cores

Ordering is measured with seven and ten delegates as well, but not by `--quick`.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rich.console import Console
from rich.table import Table

from bench.rig.ordering import Load, Rate, load_on
from bench.rig.running import Running, load_average, running
from bench.rig.sharing import EVIDENCE, MIB, Parties, Speed, parties, write_noise
from consilium.client.sharing import request_record
from consilium.kernel.codes import Code
from consilium.kernel.merkle import leaf_hash
from consilium.runtime.memory import keep_freed_memory

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Plan(NamedTuple):
    """How much is measured."""

    members: int
    samples: int
    rounds: int
    round_s: float
    large_mib: int
    beside: tuple[int, ...]


FULL = Plan(4, 120, 3, 4.0, 1_024, beside=(7, 10))
QUICK = Plan(4, 30, 1, 2.0, 64, beside=())
TRANSFER_MIB = 64


@dataclass
class Report:
    """The rows so far."""

    rows: list[tuple[str, str, str, str, str]] = field(default_factory=list)

    def add(self, what: str, figure: str, aim: str = "", detail: str = "") -> None:
        """One line, with the load average of now."""
        self.rows.append((what, figure, aim, detail, f"{load_average():.1f}"))

    def table(self) -> Table:
        """All of them."""
        table = Table("what", "figure", "aim", "detail", "load")
        for each in self.rows:
            table.add_row(*each)
        return table


async def measure(plan: Plan, folder: Path, report: Report) -> None:
    """All scenes, in two alliances: the second keeps no copies."""
    async with running(plan.members) as alliance:
        services = len(alliance.alliance.services())
        report.add("start", f"{alliance.started_s:.1f} s", "20 s of five members", f"{services} services ready")
        async with load_on(alliance) as load, parties(alliance) as people:
            await light(plan, load, report)
            await registrations(plan, load, people, report)
            await requests(plan, load, people, report, folder)
            memory(alliance, report, "consensus", "ledger")
        async with parties(alliance) as people:
            await sharing(plan, people, report, folder)
            await transfer(plan, people, report, folder, "a copy at another member")
            memory(alliance, report, "storage", "reencryption", "identity")
    async with running(plan.members, {"storage": {"copies": 0}}) as alliance, parties(alliance) as people:
        await transfer(plan, people, report, folder, "home copy only")
    for members in plan.beside:
        if members != plan.members:
            await larger(plan._replace(members=members), report)


async def larger(plan: Plan, report: Report) -> None:
    """Ordering alone with more delegates; they share the same cores, so it is their number that is measured."""
    async with running(plan.members) as alliance, load_on(alliance) as load, parties(alliance) as people:
        services = len(alliance.alliance.services())
        report.add(f"with {plan.members} delegates: start", f"{alliance.started_s:.1f} s", "", f"{services} services ready")
        await light(plan, load, report)
        await registrations(plan, load, people, report)


async def light(plan: Plan, load: Load, report: Report) -> None:
    """One registration at a time, and what a block costs."""
    await load.submit_to_final_ms(8)
    before = await load.running.used()
    times = sorted(await load.submit_to_final_ms(plan.samples))
    used = (await load.running.used()).since(before)
    p99 = times[max(0, len(times) * 99 // 100 - 1)]
    report.add(
        "submit to final, one at a time",
        f"{statistics.median(times):.0f} ms",
        "30 ms at n = 4",
        f"p99 {p99:.0f} ms, {len(times)} samples",
    )
    n = plan.members
    votes, all_votes = used.per_block(used.ordering_messages), used.per_block(used.result_votes)
    report.add("messages that order a block", f"{votes:.1f}", f"{2 * n * (n - 1)}", f"and {all_votes:.1f} result votes")
    syncs = f"{used.per_block(used.ledger_syncs):.1f} + {used.per_block(used.vote_log_syncs):.1f}"
    report.add("syncs a block", syncs, "", f"ledgers + vote logs of {n} members")
    report.add("CPU a block of one transaction", f"{used.per_block(used.cpu_us) / 1_000:.1f} ms", "", "ledgers, consensus")


async def registrations(plan: Plan, load: Load, people: Parties, report: Report) -> None:
    """Registrations vouched for in batches."""
    last = load.registrations(load.clients[0], 1)
    rates = await rounds(plan, load.register)
    await load.clients[0].register(last)
    await expect(people, last[0], Code.APPLIED)
    add_rate(report, "registrations, batches signed by members", "5,000 a second at n = 4", rates)


async def requests(plan: Plan, load: Load, people: Parties, report: Report, folder: Path) -> None:
    """Access requests, each signed by its author and handed over by itself."""
    reference = await people.patient.write(await write_noise(folder / "asked for", 1_024))
    grant = await people.grant()
    body, author = request_record(grant.terms, reference, EVIDENCE), people.keys.author

    async def submit(count: int) -> Rate:
        return await load.submit([load.signed(author, body) for _ in range(count)])

    rates = await rounds(plan, submit)
    last = load.signed(author, body)
    await load.clients[0].submit(last)
    await expect(people, last, Code.GRANTED)
    add_rate(report, "requests, each signed, a call each", "", rates)


async def rounds(plan: Plan, work: Callable[[int], Awaitable[Rate]]) -> list[Rate]:
    """A warm-up that tells how much fits into a round, and the rounds."""
    await work(1_000)
    rate = (await work(1_000)).per_second
    count = max(1_000, int(rate * plan.round_s))
    return [await work(count) for _ in range(plan.rounds)]


async def expect(people: Parties, transaction: bytes, code: Code) -> None:
    """Refuse to report rates of transactions that the ledger has refused."""
    session = people.away.session
    verified = await session.verified(await session.home.prove_transaction(leaf_hash(transaction)))
    assert verified.code is code, f"the ledger said {verified.code.name}"


def add_rate(report: Report, what: str, aim: str, rates: list[Rate]) -> None:
    """The median round by its rate, and its CPU."""
    rate = sorted(rates)[len(rates) // 2]
    used = rate.used
    report.add(what, f"{rate.per_second:,.0f} a second", aim, f"to final {rate.latency_ms:.0f} ms under this load")
    syncs = used.per_block(used.ledger_syncs + used.vote_log_syncs)
    a_block = f"{used.blocks} blocks, each {syncs:.0f} syncs, {used.per_block(used.frames):.0f} frames"
    detail = f"of ledgers and consensus; clients {rate.client_us:.0f} us; {a_block}"
    report.add("  CPU of the services each", f"{rate.services_us:,.0f} us", "", detail)


async def sharing(plan: Plan, people: Parties, report: Report, folder: Path) -> None:
    """A grant and an opening of a small record and of a large one."""
    for name, size in (("1 KB", 1_024), (f"{plan.large_mib:,} MiB", plan.large_mib * MIB)):
        source = await write_noise(folder / "record", size)
        started = time.perf_counter()
        reference = await people.patient.write(source)
        took_s = time.perf_counter() - started
        source.unlink()
        found = await people.share(reference, 2 * plan.rounds + 1)
        report.add(
            f"grant of a record of {name}",
            f"{found.grant_ms:.1f} ms, {found.grant_bytes:,} B",
            "the same for both",
            f"client CPU, bytes; written in {took_s:.1f} s",
        )
        detail = f"the manifest has {found.manifest_bytes:,} B more: 32 a chunk"
        report.add(f"  and opening it, {name}", f"{found.open_ms:.1f} ms, {found.open_bytes:,} B", "", detail)


async def transfer(plan: Plan, people: Parties, report: Report, folder: Path, what: str) -> None:
    """Records of 64 MiB in and out."""
    source = await write_noise(folder / "transfer", TRANSFER_MIB * MIB)
    put, get = await people.transfer(source, TRANSFER_MIB * MIB, plan.rounds)
    how = f"seal, store, read back, register, final; {cpu(put)}"
    report.add(f"put {TRANSFER_MIB} MiB, {what}", f"{put.mib_s:.0f} MiB/s", "100", how)
    report.add(f"get {TRANSFER_MIB} MiB", f"{get.mib_s:.0f} MiB/s", "100", f"verify and open every chunk; {cpu(get)}")


def cpu(speed: Speed) -> str:
    """What a MiB costs."""
    return f"CPU a MiB: client {speed.client_ms:.1f} ms, storage {speed.storage_ms:.1f} ms"


def memory(alliance: Running, report: Report, *names: str) -> None:
    """The most any member's service has held."""
    for each in names:
        report.add(f"memory of {each}, at most", f"{alliance.resident_mib_max(each)} MiB", "150 MiB", "after the rows above")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="The alliance of real services, measured on this machine.")
    parser.add_argument("--quick", action="store_true", help="one round of each, in about half a minute")
    parser.add_argument("--members", type=int, default=4, choices=(4, 7, 10), help="how many delegates")
    arguments = parser.parse_args()
    plan = (QUICK if arguments.quick else FULL)._replace(members=arguments.members)
    keep_freed_memory()  # as the command line does
    report, started = Report(), time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="consilium-bench-") as folder:
        asyncio.run(measure(plan, Path(folder), report))
    Console(width=160).print(report.table())
    print(f"{plan.members} members, {time.perf_counter() - started:.0f} s in all")


if __name__ == "__main__":
    main()
