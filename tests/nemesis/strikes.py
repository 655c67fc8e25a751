"""What the nemesis does besides killing: pauses, restarts, wiped disks, slow ways, partitions; each mended again.

Every round has each way once, in an order of the seed's. A strike takes one member, or one of its services, so f are faulty
at most; while it lasts the others must go on (C1, C2), and what comes after it must be whole (promise 5). Only a partition
into halves leaves no quorum: then nothing need happen, until it is over.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from consilium.api.consensus.v1.consensus_pb2 import REPLICA_STATE_SILENT, GetCommitteeRequest, GetReplicaStateRequest
from consilium.api.consensus.v1.consensus_pb2_grpc import ConsensusServiceStub
from consilium.consensus.store import FileVoteLog
from consilium.kernel.membership import SERVICES
from consilium.runtime.channels import typed
from consilium.runtime.disk import OsDisk
from consilium.sandbox.foundation import write_settings
from consilium.sandbox.local import NOTHING
from tests.nemesis.kills import BLOCKS_GO_ON, LIVENESS_S, PAUSE_MS_MAX, Kill, strike
from tests.nemesis.network import Slow

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from consilium.sandbox.local import SandboxAlliance
    from tests.nemesis.book import Book
    from tests.nemesis.kills import Told
    from tests.nemesis.network import Network

LASTS_MS_MIN, LASTS_MS_MAX = 1_000, 8_000
"""How long a pause, a slow way or a partition lasts: shorter and longer than a view."""
POLL_S = 0.2
FROM_BACKUP = ("identity",)
"""Services whose folder an operator has a sealed copy of, and puts back: the member's authority and its credentials."""


class Way(Enum):
    """How to strike."""

    KILL = "kill"
    PAUSE = "pause"
    RESTART = "restart"
    SLOW = "slow"
    ISOLATE = "isolate"
    HALVE = "halve"
    WIPE_VOTES = "wipe votes"
    WIPE_MEMBER = "wipe member"


class Strike(NamedTuple):
    """One strike on a member, or on one of its services; None for all five. `dice` is what is left to chance."""

    way: Way
    member_id: str
    service: str | None
    pause_ms: int
    lasts_ms: int
    dice: random.Random

    def __str__(self) -> str:
        """For the story."""
        whom = f"{self.member_id} {self.service or 'whole'}" if self.way in WHOSE else self.member_id
        return f"{self.way.value} {whom}"


WHOSE = (Way.KILL, Way.PAUSE, Way.RESTART)
"""Those that may take one service."""


def draw_strikes(seed: int, ways: Sequence[Way], members: Sequence[str], wiped: Sequence[str]) -> Iterator[Strike]:
    """The strikes of a seed, without end; only `wiped` may lose a whole member's state."""
    chance = random.Random(f"strikes {seed}")  # noqa: S311  a schedule, no secret
    while True:
        for way in chance.sample(list(ways), len(ways)):
            member_id = chance.choice(wiped if way is Way.WIPE_MEMBER else members)
            service = chance.choice([*SERVICES, None]) if way in WHOSE else None
            dice = random.Random(chance.randrange(2**32))  # noqa: S311  the same
            lasts_ms = chance.randrange(LASTS_MS_MIN, LASTS_MS_MAX)
            yield Strike(way, member_id, service, chance.randrange(PAUSE_MS_MAX), lasts_ms, dice)


@dataclass(frozen=True, slots=True)
class Nemesis:
    """Who strikes; `network` is None where all members share one loopback."""

    alliance: SandboxAlliance
    told: Told
    book: Book
    network: Network | None

    async def strike(self, it: Strike) -> None:
        """Do it, see that the others go on, and mend it. Raises Violation."""
        match it.way:
            case Way.KILL:
                again = it.dice.randrange(4) == 0
                await strike(self.alliance, self.told, Kill(it.member_id, it.service, it.pause_ms, again))
                return
            case Way.PAUSE:
                await self._pause(it)
            case Way.RESTART:
                await self._restart(it)
            case Way.SLOW | Way.ISOLATE | Way.HALVE:
                await self._network_fault(it)
            case Way.WIPE_VOTES:
                await self._wipe(it, "consensus")
            case Way.WIPE_MEMBER:
                await self._wipe(it, None)
        await asyncio.sleep(it.pause_ms / 1_000)

    async def _pause(self, it: Strike) -> None:
        self.alliance.pause(it.member_id, it.service)
        try:
            await self._others_go_on(it)
            await asyncio.sleep(it.lasts_ms / 1_000)
        finally:
            self.alliance.resume(it.member_id, it.service)

    async def _restart(self, it: Strike) -> None:
        await self.alliance.stop(it.member_id, it.service)
        await self._others_go_on(it)
        await self.alliance.start(it.member_id, it.service)

    async def _network_fault(self, it: Strike) -> None:
        assert self.network is not None, "drawn only where there is one"
        switch, others = self.network.switch, [each for each in self.alliance.members if each != it.member_id]
        if it.way is Way.SLOW:
            switch.slow(
                it.member_id, Slow(it.dice.randrange(5, 120), it.dice.randrange(60), it.dice.choice((0, 0.01, 0.05)))
            )
        elif it.way is Way.ISOLATE:
            ways = [(it.member_id, each) for each in others], [(each, it.member_id) for each in others]
            both, out, back = [*ways[0], *ways[1]], ways[0], ways[1]
            switch.cut(it.dice.choice((both, both, out, back)))
        else:
            switch.cut(between({it.member_id, it.dice.choice(others)}, list(self.alliance.members)))
        try:
            if it.way is not Way.HALVE:
                await self._others_go_on(it)
            await asyncio.sleep(it.lasts_ms / 1_000)
        finally:
            switch.cut(())
            switch.slow(it.member_id, None)
        goal = self.told.newest() + BLOCKS_GO_ON
        await self.told.until(lambda: self.told.newest() >= goal, f"After {it} no block {goal} became final")

    async def _wipe(self, it: Strike, name: str | None) -> None:
        """The folder of a service is gone, or of all; an operator starts it again as its settings say (C5)."""
        before, alliance = await self._epoch(it.member_id), self.alliance
        alliance.kill(it.member_id, name)
        above = await asyncio.to_thread(incarnation_of, alliance.service(it.member_id, "consensus").state_folder / "votes")
        for each in alliance.services(it.member_id, name):
            if each.name not in FROM_BACKUP:
                await asyncio.to_thread(wipe, each.state_folder)
        if name is None:
            self.book.forgive(it.member_id)
        await self._others_go_on(it)
        write_settings(alliance.layout, {"consensus": {"begin_again_above": above}})
        try:
            await alliance.start(it.member_id, name)
        finally:
            write_settings(alliance.layout, NOTHING)
        await self._until_heard_again(it, before)

    async def _until_heard_again(self, it: Strike, before: tuple[int, bool]) -> None:
        """Nobody else is touched before it counts among the faulty no more: its silence is over, and its epoch too (C5)."""
        epoch, was_delegate = before
        async with asyncio.timeout(LIVENESS_S):
            while was_delegate and (await self._epoch(it.member_id))[0] == epoch:  # noqa: ASYNC110  in other processes
                await asyncio.sleep(POLL_S)
            while await self._is_silent(it.member_id):  # noqa: ASYNC110  the same
                await asyncio.sleep(POLL_S)

    async def _is_silent(self, member_id: str) -> bool:
        async with self.alliance.member(member_id).channel("consensus") as channel:
            with typed():
                found = await ConsensusServiceStub(channel).GetReplicaState(GetReplicaStateRequest())
        return found.state == REPLICA_STATE_SILENT

    async def _epoch(self, member_id: str) -> tuple[int, bool]:
        """The epoch that another member is in, and whether this one is a delegate of it."""
        other = next(each for each in self.alliance.members.values() if each.member_id != member_id)
        async with other.channel("consensus") as channel:
            with typed():
                found = await ConsensusServiceStub(channel).GetCommittee(GetCommitteeRequest())
        return found.epoch, member_id in [each.member_id for each in found.delegates]

    async def _others_go_on(self, it: Strike) -> None:
        goal = self.told.newest(it.member_id) + BLOCKS_GO_ON
        reached = f"In spite of {it} no block {goal} became final"
        await self.told.until(lambda: self.told.newest(it.member_id) >= goal, reached)


def between(half: set[str], members: Sequence[str]) -> list[tuple[str, str]]:
    """All ways between a part of the members and the rest."""
    return [(one, two) for one in members for two in members if (one in half) != (two in half)]


def incarnation_of(votes: Path) -> int:
    """The highest incarnation that others can have seen of a vote log whose service is down; read from a copy."""
    with tempfile.TemporaryDirectory() as folder:
        for each in votes.parent.glob(f"{votes.name}*"):
            shutil.copy(each, folder)
        log = FileVoteLog.open(OsDisk(), Path(folder) / votes.name)
        log.close()
        return log.incarnation


def wipe(folder: Path) -> None:
    """Empty a service's folder."""
    for each in folder.iterdir():
        shutil.rmtree(each) if each.is_dir() else each.unlink()
