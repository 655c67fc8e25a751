"""Killing: which process when, by a seed, and what must hold between a kill and the start after it (promise 5).

The seed fixes who is killed and after which pause; what the processes do meanwhile is theirs, so a seed gives the same
kills again but not the same run.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from consilium.api.ledger.v1 import ledger_pb2
from consilium.api.ledger.v1.ledger_pb2_grpc import LedgerServiceStub
from consilium.kernel.errors import ConsiliumError, NotFound
from consilium.kernel.membership import SERVICES
from consilium.ledger.store import JournalBlockStore
from consilium.runtime.channels import Limits, typed
from consilium.runtime.disk import OsDisk
from tests.simulation.observed import Violation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from consilium.sandbox.local import SandboxAlliance

PAUSE_MS_MAX = 1_500
"""The longest pause between a start and the next kill."""
AGAIN_EVERY = 6
"""One kill in so many falls on a process that is still starting."""
BLOCKS_GO_ON = 2
"""How many more blocks must become final at the others while a member is down."""
LIVENESS_S = 120
"""How long they may take: far beyond any view change, for a machine that is busy with other things."""
REDIAL_S = 0.1


class Kill(NamedTuple):
    """One kill: a service of a member, or None for all five; `again` for once more while it starts."""

    member_id: str
    service: str | None
    pause_ms: int
    again: bool

    def __str__(self) -> str:
        """For the story."""
        return f"{self.member_id} {self.service or 'whole'}{', and again as it starts' if self.again else ''}"


def draw_kills(seed: int, count: int, members: Sequence[str]) -> list[Kill]:
    """The kills of a seed: every six hit each service and a whole member, every thirty each of them at every member."""
    chance = random.Random(seed)  # noqa: S311  a schedule, no secret
    victims = _victims(chance, members)
    return [Kill(*next(victims), chance.randrange(PAUSE_MS_MAX), chance.randrange(AGAIN_EVERY) == 0) for _ in range(count)]


def _victims(chance: random.Random, members: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    while True:
        orders = {kind: chance.sample(list(members), len(members)) for kind in (*SERVICES, None)}
        for round_number in range(len(members)):
            for kind in chance.sample(list(orders), len(orders)):
                yield orders[kind][round_number], kind


@dataclass(slots=True)
class Told:
    """What every ledger has told its clients: the newest height it called final."""

    alliance: SandboxAlliance
    heights: dict[str, int] = field(default_factory=dict)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Told]:
        """Listen to all of them while within."""
        tasks = [asyncio.create_task(self._listen(each)) for each in self.alliance.members]
        try:
            yield self
        finally:
            for each in tasks:
                each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _listen(self, member_id: str) -> None:
        while True:
            try:
                async with self.alliance.member(member_id).channel("ledger", Limits(stream_s=None)) as channel:
                    with typed():
                        async for tip in LedgerServiceStub(channel).StreamTips(ledger_pb2.StreamTipsRequest()):
                            await self._hear(member_id, tip.certified_height)
            except ConsiliumError:  # it is down
                await asyncio.sleep(REDIAL_S)

    async def _hear(self, member_id: str, height: int) -> None:
        async with self._changed:
            self.heights[member_id] = max(height, self.heights.get(member_id, 0))
            self._changed.notify_all()

    async def until(self, holds: Callable[[], bool], what: str) -> None:
        """Wait for something to become true of the heights; raises Violation when it never does."""
        try:
            async with asyncio.timeout(LIVENESS_S), self._changed:
                await self._changed.wait_for(holds)
        except TimeoutError:
            raise Violation("liveness", f"{what} in {LIVENESS_S} seconds; heights: {self.heights}.") from None

    def newest(self, without: str = "") -> int:
        """The newest height any ledger called final, one member left out."""
        return max((height for name, height in self.heights.items() if name != without), default=0)

    async def until_all_agree(self) -> None:
        """Wait until everybody has called final what anybody has by now."""
        height = self.newest()
        everybody = self.alliance.members
        await self.until(
            lambda: all(self.heights.get(each, 0) >= height for each in everybody), f"Not everybody reached {height}"
        )


async def strike(alliance: SandboxAlliance, told: Told, kill: Kill) -> None:
    """Kill, see that what was told is on the disk and that the others go on, and start again."""
    await asyncio.sleep(kill.pause_ms / 1_000)
    member_id = kill.member_id
    alliance.kill(member_id, kill.service)
    if kill.service in (None, "ledger"):
        kept = await asyncio.to_thread(kept_height, alliance.service(member_id, "ledger").state_folder / "blocks")
        if kept < told.heights.get(member_id, 0):
            raise Violation("durability", f"{member_id} called {told.heights[member_id]} final and has {kept} on disk.")
    goal = told.newest(member_id) + BLOCKS_GO_ON
    await told.until(lambda: told.newest(member_id) >= goal, f"Without {kill} no block {goal} became final")
    if kill.again:
        for each in alliance.services(member_id, kill.service):
            each.spawn()
        await asyncio.sleep(kill.pause_ms / 1_000)
        alliance.kill(member_id, kill.service)
    await alliance.start(member_id, kill.service)


def kept_height(blocks: Path) -> int:
    """The newest height that a block journal, whose ledger is down, holds with its certificate; read from a copy."""
    with tempfile.TemporaryDirectory() as folder:
        for each in blocks.parent.glob(f"{blocks.name}*"):
            shutil.copy(each, folder)
        store = JournalBlockStore.open(OsDisk(), Path(folder) / blocks.name)
        try:
            return next((each for each in range(store.height, 0, -1) if _is_certified(store, each)), 0)
        finally:
            store.close()


def _is_certified(store: JournalBlockStore, height: int) -> bool:
    try:
        store.read_certificate(height)
    except NotFound:
        return False
    return True
