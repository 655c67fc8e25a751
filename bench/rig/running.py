"""The alliance under measurement: all services of every member as processes, and what they used and counted.

What a process used comes from the kernel, so a busy neighbour hardly moves it; what it counted comes from its own
metrics port, over mutual TLS as Prometheus reads it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from consilium.kernel.parameters import Parameters
from consilium.sandbox.figures import fetch_page
from consilium.sandbox.founders import founders_of
from consilium.sandbox.local import NOTHING, SandboxAlliance, SandboxMember, sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from consilium.sandbox.layout import Tables

ORDERING = ("ledger", "consensus")
"""The services on the way of a transaction."""
_CPUCLOCK_SCHED = 2
"""From clock_getcpuclockid(3): the clock of a process is made of its inverted number and this."""


class Used(NamedTuple):
    """What the members' ledgers and replicas have used and counted since they started; two of them subtract."""

    cpu_us: int
    blocks: int
    ledger_syncs: int
    vote_log_syncs: int
    ordering_messages: int
    result_votes: int
    envelopes: int
    frames: int

    def since(self, before: Used) -> Used:
        """What was used between."""
        return Used(*(after - earlier for after, earlier in zip(self, before, strict=True)))

    def per_block(self, count: int) -> float:
        """A count for each block."""
        return count / max(1, self.blocks)


@dataclass(frozen=True, slots=True)
class Running:
    """An alliance that is up, and how long that took."""

    alliance: SandboxAlliance
    started_s: float

    @property
    def members(self) -> list[SandboxMember]:
        """Its members."""
        return list(self.alliance.members.values())

    def cpu_us(self, *names: str) -> int:
        """User and system time of these services at all members, or of all services, in microseconds."""
        chosen = [each for name in names for each in self.alliance.services(None, name)] or self.alliance.services()
        return sum(cpu_us_of(each.pid) for each in chosen if each.pid is not None)

    def resident_mib_max(self, name: str) -> int:
        """The most memory any member's service of this name has held so far, in MiB."""
        pids = [each.pid for each in self.alliance.services(None, name)]
        return max(resident_mib_of(pid) for pid in pids if pid is not None)

    async def used(self) -> Used:
        """Everything that is counted on the way of a transaction, over all members."""
        replicas = [await _page(each, "consensus") for each in self.members]
        ledgers = [await _page(each, "ledger") for each in self.members]
        sent = 'consilium_consensus_{}_total{{direction="sent"}}'
        kind = 'consilium_consensus_said_total{{kind="{}"}}'
        return Used(
            self.cpu_us(*ORDERING),
            max(sample(each, "consilium_ledger_height") for each in ledgers),
            sum(sample(each, "consilium_ledger_syncs_total") for each in ledgers),
            sum(sample(each, "consilium_consensus_syncs_total") for each in replicas),
            sum(sample(each, kind.format(name)) for each in replicas for name in ("PrePrepare", "Prepare", "Commit")),
            sum(sample(each, kind.format("Checkpoint")) for each in replicas),
            sum(sample(each, sent.format("envelopes")) for each in replicas),
            sum(sample(each, sent.format("messages")) for each in replicas),
        )


@contextlib.asynccontextmanager
async def running(members: int, settings: Tables = NOTHING) -> AsyncIterator[Running]:
    """An alliance of so many members, all services ready, with the parameters and settings that a real one would have."""
    begun = time.perf_counter()
    async with sandbox(founders=founders_of(members), parameters=Parameters(), settings=settings) as alliance:
        yield Running(alliance, time.perf_counter() - begun)


def cpu_us_of(pid: int) -> int:
    """User and system time of one process, in microseconds, by the clock that the kernel keeps of it."""
    return int(time.clock_gettime(~pid << 3 | _CPUCLOCK_SCHED) * 1e6)


def resident_mib_of(pid: int | str) -> int:
    """The most memory that one process has held so far, in MiB.

    Not `ru_maxrss`: a child begins that with what its parent holds.
    """
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1_024


def own_cpu_us() -> int:
    """The same of this process, in microseconds."""
    return time.process_time_ns() // 1_000


def load_average() -> float:
    """How many processes wanted a core over the last minute."""
    return os.getloadavg()[0]


def sample(text: str, name: str) -> int:
    """One metric out of a page of them; 0 for one that has not been counted yet."""
    for line in text.splitlines():
        labelled, _, value = line.rpartition(" ")
        if labelled == name:
            return int(float(value))
    return 0


async def _page(member: SandboxMember, name: str) -> str:
    """What Prometheus reads of a service."""
    return await asyncio.to_thread(fetch_page, member, member.services[name])
