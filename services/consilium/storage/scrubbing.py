"""The scrub: every stored chunk read back now and then, compared with the ledger, and healed from a copy (rule S2).

It also finishes what could not be finished at the time: unfinished puts are dropped once they are old, and copies of erased
objects are deleted as soon as their keepers can be reached.
"""

import asyncio
import logging
import time
from dataclasses import dataclass

from consilium.kernel.errors import ConsiliumError, DataLoss, NotFound
from consilium.kernel.manifest import Manifest
from consilium.kernel.transactions import RecordBody
from consilium.runtime.clock import wall_ms
from consilium.runtime.logs import Log
from consilium.storage.driver import Driver
from consilium.storage.erasing import Erasing
from consilium.storage.healing import Healing
from consilium.storage.holdings import HoldingState
from consilium.storage.reading import Reading

_log = Log("consilium.storage.scrubbing")


@dataclass(slots=True)
class ScrubState:
    """What the scrub has found; `last_round_ms` in milliseconds since 1970-01-01 UTC, None before the first.

    `chunks_scrubbed` counts all rounds, `chunks_read` the present one; `chunks_unhealed` are those that the last round could
    not have again, or the present one if they are more.
    """

    chunks_scrubbed: int = 0
    chunks_read: int = 0
    chunks_total: int = 0
    chunks_damaged: int = 0
    chunks_healed: int = 0
    chunks_unhealed: int = 0
    orphans: int = 0
    last_round_ms: int | None = None


class Scrub:
    """Reads everything back, `chunks_per_s` chunks a second."""

    def __init__(self, driver: Driver, reading: Reading, erasing: Erasing, healing: Healing, chunks_per_s: int) -> None:
        self.state = ScrubState()
        self._driver, self._reading, self._erasing, self._healing = driver, reading, erasing, healing
        self._pause_s = 1 / chunks_per_s
        self._unhealed = 0

    async def run(self, interval_s: int) -> None:
        """One round after the other, for ever."""
        while True:
            try:
                await self.tidy()
                await self.round()
                await self._healing.check_copies()
            except (ConsiliumError, OSError) as error:
                _log.write(logging.WARNING, "scrub_broke_off", error)
            await asyncio.sleep(interval_s)

    async def tidy(self) -> None:
        """Add up what writers have, drop old drafts, and delete the copies of erased objects that are left."""
        driver, stores = self._driver, self._driver.stores
        if await driver.work(stores.holdings.sum_up):
            _log.write(logging.ERROR, "quota_sums_mended")
        for each in await driver.work(stores.holdings.drafts, int(time.time()) - driver.limits.draft_s):
            if await self._is_registered(each.record_id):  # its row is an older one that was put back: `round` mends it
                continue
            if await driver.work(stores.holdings.drop_draft, each.record_id):
                await driver.work(stores.objects.delete, each.record_id)
        await self._erasing.tidy()

    async def round(self) -> None:
        """Read every object back once: those that are there, and those that are noted as there."""
        driver, state = self._driver, self.state
        found = await driver.work(driver.stores.objects.record_ids)
        noted = await driver.work(driver.stores.holdings.complete_ids)
        state.chunks_read = state.chunks_total = self._unhealed = 0
        orphans = 0
        for record_id in sorted({*found, *noted}):
            if await self._erasing.obey(record_id):
                continue
            record = await driver.ledger.read_record(record_id)
            manifest = await self._manifest(record_id, record)
            if manifest is None:
                continue
            state.chunks_total += len(manifest.chunk_hashes)
            orphans += record is None
            await self._read_back(manifest)
        state.orphans, state.chunks_unhealed, state.last_round_ms = orphans, self._unhealed, wall_ms()
        if self._unhealed:
            _log.write(logging.ERROR, "chunks_damaged", count=self._unhealed)

    async def _is_registered(self, record_id: bytes) -> bool:
        """Whether the object is here, and is the one that the ledger's record names."""
        record = await self._driver.ledger.read_record(record_id)
        try:
            return record is not None and bool(await self._reading.own_manifest(record))
        except (NotFound, DataLoss):
            return False

    async def _is_noted(self, record_id: bytes) -> bool:
        """Whether it is noted as complete, by a row that is what was written."""
        holding = await self._driver.work(self._driver.stores.holdings.find_sound, record_id)
        return holding is not None and holding.state is HoldingState.COMPLETE

    async def _is_held(self, record: RecordBody) -> bool:
        """The same, and that what opens it is here as well, at its home."""
        is_own = record.holder == self._driver.member_id
        return await self._is_noted(record.record_id) and (not is_own or await self._driver.has_secret(record.record_id))

    async def _manifest(self, record_id: bytes, record: RecordBody | None) -> Manifest | None:
        """The object's manifest; where it is damaged, lost or another's, the object is had again from other members.

        So is what is noted of it, and its shred secret, which other members keep sealed.
        """
        driver = self._driver
        try:
            if record is None:
                return await driver.work(driver.stores.objects.read_manifest, record_id)
            manifest = await self._reading.own_manifest(record)
        except NotFound:
            if not await self._is_noted(record_id):  # erased meanwhile
                return None
        except DataLoss:
            pass
        else:
            if not await self._is_held(record):
                await self._healing.heal_one(record_id)
                self._note(is_healed=await self._is_held(record))
            return manifest
        self._note(is_healed=await self._healing.heal_one(record_id))
        return None

    async def _read_back(self, manifest: Manifest) -> None:
        for index in range(len(manifest.chunk_hashes)):
            try:
                await self._reading.read_chunk(manifest.record_id, index, repair=False)
            except NotFound:
                return
            except DataLoss:
                await self._heal(manifest.record_id, index)
            self.state.chunks_read += 1
            self.state.chunks_scrubbed += 1
            await asyncio.sleep(self._pause_s)

    async def _heal(self, record_id: bytes, index: int) -> None:
        try:
            await self._reading.heal(record_id, index)
        except ConsiliumError as error:
            _log.write(logging.WARNING, "chunk_not_healed", reason=error.reason)
            self._note(is_healed=False)
        else:
            self._note(is_healed=True)

    def _note(self, *, is_healed: bool) -> None:
        """Count one that was damaged."""
        state = self.state
        state.chunks_damaged += 1
        state.chunks_healed += is_healed
        self._unhealed += not is_healed
        state.chunks_unhealed = max(state.chunks_unhealed, self._unhealed)
