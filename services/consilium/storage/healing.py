"""Having again what this member's storage has lost, from the members that keep it too (rule S9).

`heal` asks every other member what concerns both, and fetches what is missing or damaged here: objects of own records with
their shred secrets, and copies kept for others with the secrets their homes sealed. Nothing is believed that the ledger's
record does not name: the manifest has the record's root, each chunk the manifest's hash. `check_copies` is the other
direction: copies that a member should keep for this one and does not are brought there anew. What a heal has fetched stays
when it breaks off; the next one goes on.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field, replace

from consilium.kernel.errors import ConsiliumError, DataLoss, FailedPrecondition, NotFound
from consilium.kernel.manifest import Manifest, verify_chunk, verify_manifest
from consilium.kernel.state_values import is_erased
from consilium.kernel.transactions import Kind, RecordBody
from consilium.runtime.clock import wall_ms
from consilium.runtime.logs import Log
from consilium.storage.core.escrow import open_escrow
from consilium.storage.core.manifest import check_manifest, ciphertext_bytes
from consilium.storage.driver import Driver, storage_of
from consilium.storage.holdings import ERASED_STATES, Holding, HoldingState
from consilium.storage.putting import Putting
from consilium.storage.reading import Reading

PARALLEL = 4
"""How many objects are fetched at once."""
LOST_TOLD_MAX = 1_000
"""How many ids of lost records are told at most."""
_log = Log("consilium.storage.healing")


@dataclass(slots=True)
class HealState:
    """How far a heal has come."""

    objects_total: int = 0
    objects_done: int = 0
    objects_healed: int = 0
    bytes_healed: int = 0
    secrets_healed: int = 0
    objects_failed: int = 0
    lost: list[bytes] = field(default_factory=list)
    unreached: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Shared:
    """An object that others have something to say about: whose record it is by the ledger, and which members say so."""

    record: RecordBody
    members: tuple[str, ...]

    @property
    def record_id(self) -> bytes:
        """The record's."""
        return self.record.record_id

    @property
    def home(self) -> str:
        """The record's."""
        return self.record.holder


class Healing:
    """One member's healing; counts are since the start. `last` is how the last whole heal ended, `last_ended_ms` when."""

    def __init__(self, driver: Driver, putting: Putting, reading: Reading) -> None:
        self.copies_missing = self.copies_restored = self.objects_healed = self.bytes_healed = 0
        self.last = HealState()
        self.last_ended_ms: int | None = None
        self._driver, self._putting, self._reading = driver, putting, reading
        self.is_running = False

    # --- what was lost here ---

    async def heal(self) -> AsyncGenerator[HealState, None]:
        """Fetch what is missing here, telling how far it is after every few objects; the last one tells how it ended.

        Raises FailedPrecondition: HEAL_RUNNING.
        """
        if self.is_running:
            raise FailedPrecondition("HEAL_RUNNING", "A heal is running already; wait for its end.", "S9")
        self.is_running = True
        try:
            state = HealState()
            shared = await self._shared(state)
            state.objects_total = len(shared)
            for group in batches(list(shared), PARALLEL):
                await asyncio.gather(*(self._look_after(each, shared[each], state) for each in group))
                yield state
            state.lost = await self._lost()
            self.last, self.last_ended_ms = state, wall_ms()
            yield state
        finally:
            self.is_running = False

    async def heal_one(self, record_id: bytes) -> bool:
        """Have one object again that the scrub has not found whole; whether that was done."""
        driver, state = self._driver, HealState()
        holding = await driver.work(driver.stores.holdings.find_sound, record_id)
        if holding is None:
            members = await self._keepers_of(record_id)
        else:
            members = list(holding.keepers) if holding.home == driver.member_id else [holding.home]
        await self._look_after(record_id, members, state)
        return state.objects_healed > 0

    async def _keepers_of(self, record_id: bytes) -> list[str]:
        """The other members that have something of an object of which nothing is noted here."""
        found = list[str]()
        for name in self._driver.others.names():
            with suppress(ConsiliumError):
                await self._driver.others.fetch_copy(name, record_id)
                found.append(name)
        return found

    async def _shared(self, state: HealState) -> dict[bytes, list[str]]:
        """The records of which other members say that they concern both, and which members those are."""
        driver, found = self._driver, dict[bytes, list[str]]()
        for name in driver.others.names():
            try:
                async for record_id, _ in driver.others.list_copies(name):
                    found.setdefault(record_id, []).append(name)
            except ConsiliumError as error:
                _log.write(logging.WARNING, "member_not_asked", member=name, reason=error.reason)
                state.unreached.append(name)
        return found

    async def _look_after(self, record_id: bytes, members: list[str], state: HealState) -> None:
        """Have one object again if it is not whole; what fails is counted, and tried at the next heal."""
        try:
            record = await self._driver.ledger.read_record(record_id)
            if record is not None and (record.holder == self._driver.member_id or record.holder in members):
                await self._restore(Shared(record, tuple(members)), state)
        except (ConsiliumError, OSError) as error:
            _log.write(logging.WARNING, "object_not_healed", error)
            state.objects_failed += 1
        state.objects_done += 1

    async def _restore(self, shared: Shared, state: HealState) -> None:
        driver, record_id = self._driver, shared.record_id
        holding = await driver.work(driver.stores.holdings.find_sound, record_id)
        if holding is not None and holding.state in ERASED_STATES:
            return
        if is_erased(await driver.retention(record_id)):
            return
        if not await self._is_whole(shared.record):
            fetched = await self._fetch(shared)
            state.bytes_healed += fetched
            self.bytes_healed += fetched
            state.objects_healed += 1
            self.objects_healed += 1
        elif holding is None or holding.state is not HoldingState.COMPLETE:
            await self._hold_again(shared)
        if shared.home == driver.member_id:
            await self._note_keepers(shared)
            was_missing = await self._restore_secret(shared)
        else:
            was_missing = await self._restore_escrow(shared)
        state.secrets_healed += was_missing

    async def _hold_again(self, shared: Shared) -> None:
        """Note again what is here whole, though its holding is not: where the objects lie in a database of their own."""
        driver = self._driver
        manifest = await self._reading.own_manifest(shared.record)
        holding = await self._begun(shared, manifest)
        if shared.home == driver.member_id:
            await self._complete(holding, manifest)
        else:
            _, escrow = await driver.others.fetch_copy(shared.home, shared.record_id)
            await self._putting.finish_copy(holding, manifest, escrow)

    async def _begun(self, shared: Shared, manifest: Manifest) -> Holding:
        driver = self._driver
        wanted = self._putting.draft(shared.record_id, manifest.size_class, shared.home, storage_of(shared.home))
        quota = None if shared.home == driver.member_id else driver.limits.foreign_bytes_max
        return await driver.work(driver.stores.holdings.begin_again, wanted, quota)

    async def _complete(self, holding: Holding, manifest: Manifest) -> None:
        """An own object is whole again."""
        driver = self._driver
        await driver.work(driver.stores.objects.complete, manifest)
        done = replace(holding, state=HoldingState.COMPLETE, root=manifest.ciphertext_root)
        await driver.work(driver.stores.holdings.write, done)

    async def _is_whole(self, record: RecordBody) -> bool:
        """Whether the object is here that the record names, and every chunk reads as it was stored."""
        driver = self._driver
        try:
            manifest = await self._reading.own_manifest(record)
            for index in range(len(manifest.chunk_hashes)):
                await driver.work(driver.stores.objects.read_chunk, record.record_id, index)
        except (NotFound, DataLoss):
            return False
        return True

    async def _fetch(self, shared: Shared) -> int:
        """The object from the first member that has it whole; how many bytes it has. Raises DataLoss: NO_GOOD_COPY."""
        for name in shared.members:
            try:
                return await self._fetch_from(name, shared)
            except ConsiliumError as error:
                _log.write(logging.WARNING, "copy_not_had", member=name, reason=error.reason)
        raise DataLoss("NO_GOOD_COPY", f"No other member has a good copy of record {shared.record_id.hex()}.", "S9")

    async def _fetch_from(self, name: str, shared: Shared) -> int:
        driver, record_id = self._driver, shared.record_id
        manifest, escrow = await driver.others.fetch_copy(name, record_id)
        check_manifest(manifest)
        verify_manifest(manifest, shared.record)
        if await self._repair(name, manifest):
            return ciphertext_bytes(manifest)
        holding = await self._begun(shared, manifest)
        first = await self._first_missing(manifest)
        async with aclosing(driver.others.fetch_chunks(name, record_id, first)) as chunks:
            async for index, chunk in chunks:
                verify_chunk(manifest.chunk_hashes, index, chunk)
                await driver.work(driver.stores.objects.put_chunk, record_id, index, chunk)
        if shared.home == driver.member_id:
            await self._complete(holding, manifest)
        else:
            await self._putting.finish_copy(holding, manifest, escrow)
        return ciphertext_bytes(manifest)

    async def _repair(self, name: str, manifest: Manifest) -> bool:
        """Where the manifest is here, put single good chunks in the place of damaged ones; whether that was so."""
        driver, record_id = self._driver, manifest.record_id
        try:
            kept = await driver.work(driver.stores.objects.read_manifest, record_id)
        except NotFound:
            return False
        except DataLoss:  # the row that makes it an object is damaged; its chunks may be good, and perhaps nobody else's are
            await driver.work(driver.stores.objects.mend_manifest, manifest)
            kept = manifest
        if kept != manifest:
            await driver.work(driver.stores.objects.delete, record_id)
            return False
        for index in range(len(manifest.chunk_hashes)):
            try:
                await driver.work(driver.stores.objects.read_chunk, record_id, index)
            except DataLoss:
                chunk = await driver.others.fetch_chunk(name, record_id, index)
                await driver.work(driver.stores.objects.heal, record_id, index, chunk)
        return True

    async def _first_missing(self, manifest: Manifest) -> int:
        """The first chunk an earlier heal has not brought."""
        staged = await self._driver.work(self._driver.stores.objects.staged, manifest.record_id)
        pairs = zip(staged, manifest.chunk_hashes, strict=False)
        return next((index for index, (have, want) in enumerate(pairs) if have != want), len(staged))

    async def _note_keepers(self, shared: Shared) -> None:
        """Know again who keeps copies of an own object."""
        driver = self._driver
        holding = await driver.work(driver.stores.holdings.read, shared.record_id)
        keepers = tuple(dict.fromkeys((*holding.keepers, *shared.members)))
        if keepers != holding.keepers:
            await driver.work(driver.stores.holdings.write, replace(holding, keepers=keepers))

    async def _restore_secret(self, shared: Shared) -> bool:
        """Have the shred secret of an own record again, from whoever keeps it sealed; whether it was missing or damaged."""
        driver, record_id = self._driver, shared.record_id
        if await driver.has_secret(record_id):
            return False
        for name in shared.members:
            try:
                _, escrow = await driver.others.fetch_copy(name, record_id)
                secret = open_escrow(driver.keys.escrow, record_id, escrow)
                await driver.work(driver.stores.secrets.mend, record_id, secret)
            except ConsiliumError as error:
                _log.write(logging.WARNING, "secret_not_had", member=name, reason=error.reason)
            else:
                return True
        raise DataLoss("NO_SHRED_SECRET", f"Nobody has the sealed shred secret of record {record_id.hex()}.", "S9")

    async def _restore_escrow(self, shared: Shared) -> bool:
        """Have another home's sealed secret again, which no backup holds (S10), from that home; whether it was missing.

        Only the home can tell a damaged one from a sound one; each time it seals a secret the same comes out.
        """
        driver, record_id = self._driver, shared.record_id
        _, escrow = await driver.others.fetch_copy(shared.home, record_id)
        with suppress(NotFound):
            if await driver.work(driver.stores.escrows.read, record_id) == escrow:
                return False
        if escrow:
            await driver.work(driver.stores.escrows.mend, record_id, escrow)
        return bool(escrow)  # none where the home has lost the secret itself

    async def _lost(self) -> list[bytes]:
        """The records of this member's on the ledger whose objects are not here, though they were not erased."""
        driver, lost = self._driver, list[bytes]()
        height = (await driver.ledger.read_tip()).certified_height
        async for event in driver.ledger.events((Kind.RECORD,), b"", height):
            body = event.body
            if not isinstance(body, RecordBody) or body.holder != driver.member_id or len(lost) >= LOST_TOLD_MAX:
                continue
            holding = await driver.work(driver.stores.holdings.find_sound, body.record_id)
            is_here = holding is not None and holding.state is not HoldingState.DRAFT
            if not is_here and not is_erased(await driver.retention(body.record_id)):
                lost.append(body.record_id)
        return lost

    # --- what others have lost ---

    async def check_copies(self) -> None:
        """Ask who keeps what for this member, and bring copies where too few are left."""
        driver, kept = self._driver, dict[str, set[bytes]]()
        for name in driver.others.names():
            try:
                kept[name] = {each async for each, is_theirs in driver.others.list_copies(name) if not is_theirs}
            except ConsiliumError:  # out of reach is not lost
                continue
        self.copies_missing = 0
        for holding in await driver.work(driver.stores.holdings.at_home, driver.member_id):
            gone = [each for each in holding.keepers if each in kept and holding.record_id not in kept[each]]
            if gone or len(holding.keepers) < driver.limits.copies:
                await self._bring_copies(holding, gone)

    async def _bring_copies(self, holding: Holding, gone: Sequence[str]) -> None:
        driver = self._driver
        left = replace(holding, keepers=tuple(each for each in holding.keepers if each not in gone))
        try:
            manifest = await driver.work(driver.stores.objects.read_manifest, holding.record_id)
            spread = await self._putting.spread(left, manifest)
        except ConsiliumError as error:
            _log.write(logging.WARNING, "copies_not_brought", reason=error.reason)
            spread = left
        self.copies_restored += len(spread.keepers) - len(left.keepers)
        self.copies_missing += max(driver.limits.copies - len(spread.keepers), 0)


def batches(items: list[bytes], size: int) -> list[list[bytes]]:
    """The items in groups of a size."""
    return [items[first : first + size] for first in range(0, len(items), size)]
