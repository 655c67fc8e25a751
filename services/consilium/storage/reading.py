"""What goes out of a member's storage: reads under a grant, and what other members need to repair (rules S2, S9).

Every chunk is verified. What is damaged, or is not what the ledger's record names, comes from a member that keeps a copy.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence

from consilium.kernel.encoding import decode
from consilium.kernel.errors import (
    Conflict,
    ConsiliumError,
    DataLoss,
    FailedPrecondition,
    NotFound,
    PermissionDenied,
    Unavailable,
)
from consilium.kernel.light_client import VerifiedTransaction
from consilium.kernel.manifest import Manifest, seal_shred_secret, verify_chunk, verify_manifest
from consilium.kernel.state_values import GrantState, grant_entry
from consilium.kernel.transactions import RecordBody
from consilium.kernel.umbral import Sealed
from consilium.runtime.names import PeerIdentity, Role
from consilium.runtime.proven_ledger import contradiction
from consilium.runtime.threads import some_ahead
from consilium.storage.core.manifest import chunks_of_range, ciphertext_bytes
from consilium.storage.core.reading import granted_body, judge_read, judge_repair
from consilium.storage.core.retention import refuse_erased
from consilium.storage.driver import Driver

READ_AHEAD = 4
"""How many chunks of a stream are read, or held, at once: from a database one after the other takes its way each time."""
RECHECK_S = 5.0
"""How often, in seconds, a running read asks again whether its grant stands."""
OWN_MANIFEST_S = 3.0
"""How long, in seconds, a home waits for its own manifest: a reader has little more patience than that."""


class Reading:
    """One member's reads."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver

    async def permit(self, record_id: bytes, request_hash: bytes, caller: PeerIdentity) -> GrantState:
        """The grant behind a request, once that is final; waits a while for it.

        Raises PermissionDenied as `core.reading`; NotFound: ERASED; FailedPrecondition: NOT_FINAL.
        """
        driver = self._driver
        request = await self._until_final(request_hash)
        body = granted_body(request, record_id)
        state = await driver.ledger.read_state(grant_entry(body.grant_id), request.height)
        if state.value is None:
            raise contradiction("grant")
        grant = decode(GrantState, state.value, driver.chain_id)
        judge_read(request, grant, caller.member_id)
        refuse_erased(await driver.retention(record_id, request.height))
        return grant

    async def get_manifest(
        self, record_id: bytes, request_hash: bytes, caller: PeerIdentity
    ) -> tuple[Manifest, Sealed | None]:
        """The manifest, checked against the ledger, and at the home the shred secret sealed to the recipient (S2).

        Only the home has the secret, so where its objects are lost or out of reach it gives a keeper's manifest.
        Raises as `permit`; NotFound: NO_SUCH_OBJECT or DESTROYED; Conflict: OTHER_RECORD.
        """
        driver = self._driver
        grant = await self.permit(record_id, request_hash, caller)
        holding = await driver.work(driver.stores.holdings.read, record_id)
        if holding.home != driver.member_id:
            return await self._manifest(record_id), None
        manifest = await self._manifest(record_id, holding.keepers)
        secret = await driver.work(driver.stores.secrets.read, record_id)
        return manifest, await driver.work(seal_shred_secret, grant.terms.receiving_pk, request_hash, secret)

    async def get_object(
        self, record_id: bytes, request_hash: bytes, offset: int, length: int, caller: PeerIdentity
    ) -> AsyncIterator[tuple[int, bytes]]:
        """The chunks of a range, each verified and, where damaged, healed from a copy first.

        Raises as `permit` or `judge_repair`, at any time; InvalidArgument: BAD_RANGE; DataLoss: NO_GOOD_COPY.
        """
        if request_hash:
            await self.permit(record_id, request_hash, caller)
            manifest = await self._manifest(record_id)
        else:
            manifest = await self._manifest_to_repair(record_id, caller)
        checked_s = time.monotonic()
        wanted = chunks_of_range(manifest, offset, length or ciphertext_bytes(manifest))
        reading = (self._numbered(record_id, index, repair=bool(request_hash)) for index in wanted)
        async with contextlib.aclosing(some_ahead(reading, READ_AHEAD)) as chunks:
            async for numbered in chunks:
                if request_hash and time.monotonic() - checked_s > RECHECK_S:
                    await self.permit(record_id, request_hash, caller)
                    checked_s = time.monotonic()
                yield numbered

    async def _numbered(self, record_id: bytes, index: int, *, repair: bool) -> tuple[int, bytes]:
        return index, await self.read_chunk(record_id, index, repair=repair)

    async def read_chunk(self, record_id: bytes, index: int, *, repair: bool) -> bytes:
        """One chunk, verified; with `repair` a damaged one is healed first. Raises DataLoss."""
        driver = self._driver
        try:
            return await driver.work(driver.stores.objects.read_chunk, record_id, index)
        except DataLoss:
            if not repair:  # who asks for repair of its own is not sent on to a third
                raise
            return await self.heal(record_id, index)

    async def heal(self, record_id: bytes, index: int) -> bytes:
        """Put a good chunk in the place of a damaged one. Raises DataLoss: NO_GOOD_COPY."""
        driver = self._driver
        manifest = await driver.work(driver.stores.objects.read_manifest, record_id)
        holding = await driver.work(driver.stores.holdings.read, record_id)
        for name in holding.keepers if holding.home == driver.member_id else (holding.home,):
            try:
                chunk = await driver.others.fetch_chunk(name, record_id, index)
                verify_chunk(manifest.chunk_hashes, index, chunk)
                await driver.work(driver.stores.objects.heal, record_id, index, chunk)
            except ConsiliumError:  # the next one may have it
                continue
            return chunk
        raise DataLoss("NO_GOOD_COPY", f"No other member has a good copy of chunk {index}.", "S2")

    async def _manifest(self, record_id: bytes, keepers: Sequence[str] = ()) -> Manifest:
        """The manifest, once it is known to be of the very object the record registered; else that of one of the keepers."""
        driver = self._driver
        record = await driver.ledger.read_record(record_id)
        if record is None:
            raise NotFound("UNKNOWN_RECORD", "The ledger knows no such record.", "S3")
        reading = asyncio.ensure_future(self.own_manifest(record))
        reading.add_done_callback(asyncio.Future.exception)  # looked at, so that it is not reported as overlooked
        await asyncio.wait([reading], timeout=OWN_MANIFEST_S if keepers else None)
        failure = reading.exception() if reading.done() else None
        if not reading.done() or isinstance(failure, NotFound | DataLoss | Unavailable):
            kept = await self._kept_manifest(record, keepers)
            if kept is not None:
                return kept
        return await reading

    async def own_manifest(self, record: RecordBody) -> Manifest:
        """The manifest that lies here, once it is of the very object the record registered.

        Raises NotFound: NO_SUCH_OBJECT; DataLoss (BAD_MANIFEST) for a damaged one, and for a good one of another object: a
        row that somebody has put back.
        """
        driver = self._driver
        manifest = await driver.work(driver.stores.objects.read_manifest, record.record_id)
        try:
            verify_manifest(manifest, record)
        except Conflict as error:
            raise DataLoss(
                "BAD_MANIFEST", f"What lies here is another object than the record's: {error.sentence}", "S2"
            ) from error
        return manifest

    async def _kept_manifest(self, record: RecordBody, keepers: Sequence[str]) -> Manifest | None:
        """The first that one of them has; all are asked at once, for a reader does not wait for one after the other."""
        asked = [asyncio.ensure_future(self._manifest_at(name, record)) for name in keepers]
        try:
            for each in asyncio.as_completed(asked):
                if (manifest := await each) is not None:
                    return manifest
        finally:
            for left in asked:
                left.cancel()
        return None

    async def _manifest_at(self, name: str, record: RecordBody) -> Manifest | None:
        with contextlib.suppress(ConsiliumError):  # another one may have it
            manifest, _ = await self._driver.others.fetch_copy(name, record.record_id)
            verify_manifest(manifest, record)
            return manifest
        return None

    async def get_copy(self, record_id: bytes, caller: PeerIdentity) -> tuple[Manifest, bytes]:
        """What another member's storage needs beside the chunks, to have again what it lost (S9).

        The sealed secret goes to the home, which alone opens it, or from the home to a member that keeps it.
        """
        driver = self._driver
        manifest = await self._manifest_to_repair(record_id, caller)
        holding = await driver.work(driver.stores.holdings.read, record_id)
        if caller.member_id == driver.member_id:
            return manifest, b""  # no secret goes into a backup, sealed or not
        if holding.home == driver.member_id:
            return manifest, await driver.escrow_of(record_id)
        with contextlib.suppress(NotFound):
            if holding.home == caller.member_id:
                return manifest, await driver.work(driver.stores.escrows.read, record_id)
        return manifest, b""

    async def _manifest_to_repair(self, record_id: bytes, caller: PeerIdentity) -> Manifest:
        """For another member's storage, or the own staff that backs ciphertext up; nobody reads anything by it."""
        driver = self._driver
        holding = await driver.work(driver.stores.holdings.read, record_id)
        if caller.role is Role.STAFF and caller.member_id == driver.member_id:
            refuse_erased(await driver.retention(record_id))
            return await driver.work(driver.stores.objects.read_manifest, record_id)
        if caller.role is not Role.SERVICE or caller.name != "storage":
            raise PermissionDenied("NOT_GRANTED", "Reading takes an access request that was granted.", "S2")
        judge_repair(caller.member_id, holding.home, holding.keepers)
        refuse_erased(await driver.retention(record_id))
        return await driver.work(driver.stores.objects.read_manifest, record_id)

    async def _until_final(self, request_hash: bytes) -> VerifiedTransaction:
        driver = self._driver
        try:
            return await driver.ledger.read_transaction(request_hash, driver.limits.wait_s)
        except (NotFound, FailedPrecondition) as error:
            raise FailedPrecondition("NOT_FINAL", "The request is not final at this member; ask again.", "S2") from error
