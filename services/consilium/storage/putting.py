"""What goes into a member's storage: puts of its own, copies for others, and the copies it sends out (rules S2, S9).

A stream holds two short runs of chunks and asks for more only when the first run is with the operating system, so a slow
disk slows the sender and never fills memory.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Self

from consilium.kernel.errors import ConsiliumError, InvalidArgument, PermissionDenied, ResourceExhausted
from consilium.kernel.manifest import Manifest, StorageReceipt, verify_manifest, verify_storage_receipt
from consilium.kernel.sealing import CHUNK_BYTES, chunk_count, sealed_chunk_bytes
from consilium.runtime.names import PeerIdentity
from consilium.storage.core.copies import copy_order
from consilium.storage.core.manifest import check_manifest
from consilium.storage.core.retention import refuse_erased
from consilium.storage.driver import Driver, named
from consilium.storage.holdings import Holding, HoldingState

RUN_CHUNKS = 4
"""How many chunks of a stream are written in one turn of a thread, while as many more come; a turn costs about a write."""
Chunk = tuple[int, bytes]
"""A chunk with its index."""


@dataclass(frozen=True, slots=True)
class Put:
    """An object that is durable: the receipt, and the members with copies."""

    receipt: StorageReceipt
    keepers: tuple[str, ...]


class Intake:
    """The chunks of one stream on their way to the disk: a run of them is written while the next ones come.

    With the end of the block none is on its way any more.
    """

    def __init__(
        self, put: Callable[[Holding, Sequence[Chunk]], Awaitable[None]], drop: Callable[[Holding], Awaitable[None]]
    ) -> None:
        """`put` takes a run of chunks in, `drop` lets go of those that came."""
        self._put, self._drop = put, drop
        self._holding: Holding | None = None
        self._run: list[Chunk] = []
        self._writing: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        """Nothing is on its way yet."""
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for what is being written; what it fails with is the block's no more. Where no room is left, drop it all.

        Of a sender that went away all that came is kept, for its next call.
        """
        await self._ended()
        if self._holding is not None and not isinstance(failure, ConsiliumError):
            await self._write(self._holding)
            await self._ended()
        if self._holding is not None and isinstance(failure, ResourceExhausted):
            await self._drop(self._holding)

    async def take(self, holding: Holding, index: int, data: bytes) -> None:
        """Send a chunk on its way, when there is room; raises what an earlier one failed with.

        Raises InvalidArgument (BAD_CHUNK_PLACE) for one that no such object has.
        """
        fits = index < chunk_count(holding.size_class) and len(data) == sealed_chunk_bytes(holding.size_class, index)
        if not fits:
            sentence = f"Objects of size class {holding.size_class} have no chunk {index} of {len(data)} bytes."
            raise InvalidArgument("BAD_CHUNK_PLACE", sentence, "S2")
        self._holding = holding
        self._run.append((index, data))
        if len(self._run) == RUN_CHUNKS:
            await self._write(holding)

    async def settle(self) -> None:
        """Wait for all of them; raises what one has failed with."""
        if self._holding is not None:
            await self._write(self._holding)
            await self._written()

    async def _write(self, holding: Holding) -> None:
        await self._written()
        run, self._run = self._run, []
        if run:
            self._writing = asyncio.ensure_future(self._put(holding, run))

    async def _written(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            await writing

    async def _ended(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            await asyncio.wait([writing])
            if not writing.cancelled():
                writing.exception()  # looked at, so that it is not reported as overlooked


class Putting:
    """One member's puts, and the copies it keeps for others or has others keep."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    @contextlib.asynccontextmanager
    async def intake(self) -> AsyncIterator[Intake]:
        """One of the streams that may run at once, with its chunks. Raises ResourceExhausted: TOO_MANY_CALLS."""
        with self._driver.stream():
            async with Intake(self.put_chunks, self._drop) as intake:
                yield intake

    async def begin_put(self, record_id: bytes, size_class: int, writer: PeerIdentity) -> Holding:
        """Begin or resume a put of this member's own; raises as `Holdings.begin`, and OBJECT_TOO_LARGE, BAD_SIZE_CLASS."""
        driver = self._driver
        wanted = self.draft(record_id, size_class, driver.member_id, named(writer))
        return await driver.work(driver.stores.holdings.begin, wanted, driver.limits.writer_bytes_max)

    async def begin_copy(self, manifest: Manifest, receipt: StorageReceipt, caller: PeerIdentity) -> Holding:
        """Begin or resume a copy for another member, within its quota.

        Raises as `begin_put`, and BadSignature, Conflict (OTHER_OBJECT, OTHER_RECORD) when the home has not signed for it.
        """
        driver = self._driver
        home = driver.profile_of(caller.member_id)
        check_manifest(manifest)
        verify_storage_receipt(receipt, manifest, home, driver.chain_id, driver.verifier)
        await self._check_registered(manifest, caller.member_id)
        wanted = self.draft(manifest.record_id, manifest.size_class, caller.member_id, named(caller))
        return await driver.work(driver.stores.holdings.begin, wanted, driver.limits.foreign_bytes_max)

    async def put_chunks(self, holding: Holding, run: Sequence[Chunk]) -> None:
        """Take in some chunks, each at its place; raises as `ObjectStore.put_chunk`."""
        objects = self._driver.stores.objects

        def put() -> None:
            for index, data in run:
                objects.put_chunk(holding.record_id, index, data)

        await self._driver.work(put)

    async def _drop(self, holding: Holding) -> None:
        """Give the room back that an unfinished object takes; where even this fails, the scrub does it later."""
        with contextlib.suppress(ConsiliumError, OSError):
            await self._driver.work(self._driver.stores.objects.drop, holding.record_id)

    async def finish_put(self, holding: Holding, manifest: Manifest, shred_secret: bytes) -> Put:
        """Make the object durable here and at other members, keep its shred secret, and sign for it (S2).

        Raises as `ObjectStore.complete`; Conflict: OTHER_RECORD; ResourceExhausted: NO_COPY when too few others took a copy.
        """
        driver = self._driver
        _check_draft(holding, manifest)
        await self._check_registered(manifest, driver.member_id)
        await driver.work(driver.stores.objects.complete, manifest)
        await driver.work(driver.stores.secrets.put, manifest.record_id, shred_secret)
        done = await driver.work(driver.stores.holdings.finish, manifest.record_id, manifest.ciphertext_root)
        spread = await self.spread(done, manifest)
        if len(spread.keepers) < driver.limits.copies:
            sentence = (
                f"{len(spread.keepers)} of {driver.limits.copies} other members took a copy; finish the put again later."
            )
            raise ResourceExhausted("NO_COPY", sentence, "S9")
        return Put(driver.sign(manifest, is_copy=False), spread.keepers)

    async def finish_copy(self, holding: Holding, manifest: Manifest, escrow: bytes) -> StorageReceipt:
        """Make a copy durable, and its home's sealed secret, and sign for it; raises as `ObjectStore.complete`."""
        driver = self._driver
        _check_draft(holding, manifest)
        await driver.work(driver.stores.objects.complete, manifest)
        if escrow:
            await driver.work(driver.stores.escrows.put, manifest.record_id, escrow)
        await driver.work(driver.stores.holdings.finish, manifest.record_id, manifest.ciphertext_root)
        return driver.sign(manifest, is_copy=True)

    async def put_state(self, record_id: bytes, caller: PeerIdentity) -> tuple[list[bytes], StorageReceipt | None]:
        """The hashes of the chunks taken in, and the receipt once complete.

        Raises NotFound: NO_SUCH_OBJECT; PermissionDenied: OTHER_WRITER.
        """
        driver = self._driver
        holding = await driver.work(driver.stores.holdings.read, record_id)
        if holding.writer != named(caller):
            raise PermissionDenied("OTHER_WRITER", "Somebody else puts the object of this record.", "S2")
        if holding.state is HoldingState.COMPLETE:
            manifest = await driver.work(driver.stores.objects.read_manifest, record_id)
            return list(manifest.chunk_hashes), driver.sign(manifest, is_copy=holding.home != driver.member_id)
        return await driver.work(driver.stores.objects.staged, record_id), None

    def draft(self, record_id: bytes, size_class: int, home: str, writer: str) -> Holding:
        """What is kept of an object that is begun. Raises InvalidArgument: OBJECT_TOO_LARGE, BAD_SIZE_CLASS."""
        driver = self._driver
        last = chunk_count(size_class) - 1
        size = last * CHUNK_BYTES + sealed_chunk_bytes(size_class, last)
        if size > driver.limits.object_bytes_max:
            allowed = f"the setting object_bytes_max allows {driver.limits.object_bytes_max}"
            raise InvalidArgument("OBJECT_TOO_LARGE", f"The object has {size} bytes, and {allowed}.", "S2")
        return Holding(record_id, home, writer, size_class, size, int(time.time()))

    async def _check_registered(self, manifest: Manifest, home: str) -> None:
        """Raise Conflict (OTHER_RECORD) when the ledger knows the record as another; it may not know it yet.

        Raises NotFound (ERASED) as well: what comes back from a backup or a copy is not taken in.
        """
        driver = self._driver
        record = await driver.ledger.read_record(manifest.record_id)
        if record is not None:
            refuse_erased(await driver.retention(manifest.record_id))
            verify_manifest(manifest, record)
            if record.holder != home:
                raise PermissionDenied("NOT_THE_HOME", f"The record's home is {record.holder}.", "S2")

    async def spread(self, holding: Holding, manifest: Manifest) -> Holding:
        """Bring copies to the first active members in the record's order that can be reached, until enough have one (S9)."""
        driver = self._driver
        receipt, escrow = driver.sign(manifest, is_copy=False), await driver.escrow_of(manifest.record_id)
        for name in copy_order(manifest.record_id, driver.member_id, self._may_keep()):
            if len(holding.keepers) >= driver.limits.copies:
                break
            keeper = None if name in holding.keepers else driver.member_of(name)
            if keeper is None or not keeper.is_active:
                continue
            try:
                word = await driver.others.replicate(name, manifest, receipt, escrow, driver.stores.objects.read_chunk)
                verify_storage_receipt(word, manifest, keeper.profile, driver.chain_id, driver.verifier, is_copy=True)
            except ConsiliumError:  # out of reach, full, or not to be believed: the next one may do it
                continue
            holding = replace(holding, keepers=(*holding.keepers, name))
            await driver.work(driver.stores.holdings.write, holding)
        return holding

    def _may_keep(self) -> list[str]:
        """The other members that this one lets keep copies: all, unless the setting `residency` names some."""
        driver = self._driver
        chosen = driver.limits.residency
        return [each for each in driver.others.names() if not chosen or each in chosen]


def _check_draft(holding: Holding, manifest: Manifest) -> None:
    """Raise Conflict unless the manifest is of the object that was begun."""
    if (manifest.record_id, manifest.size_class) != (holding.record_id, holding.size_class):
        raise InvalidArgument("OTHER_MANIFEST", "The manifest is of another record or size class than the put.", "S2")
