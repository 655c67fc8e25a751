"""What the storage service does between its border and its stores: puts, copies, reads that repair (rules S2, S8).

Disk work happens in threads, a bounded number at once; a stream holds a few chunks and asks for the next only when the first
of them is with the operating system, so a slow disk slows the sender and never fills memory.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import ParamSpec, Self, TypeVar

from consilium.kernel.encoding import decode, encode
from consilium.kernel.errors import (
    ConsiliumError,
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unavailable,
)
from consilium.kernel.light_client import VerifiedTransaction
from consilium.kernel.manifest import (
    Manifest,
    StorageReceipt,
    StorageStatement,
    seal_shred_secret,
    verify_chunk,
    verify_manifest,
    verify_storage_receipt,
)
from consilium.kernel.parameters import Parameters
from consilium.kernel.sealing import CHUNK_BYTES, chunk_count, sealed_chunk_bytes
from consilium.kernel.signing import Ed25519Verifier, Signer
from consilium.kernel.state_values import (
    AllianceState,
    GrantState,
    MemberState,
    RetentionState,
    alliance_entry,
    grant_entry,
    retention_entry,
)
from consilium.kernel.transactions import MemberProfile, RecordBody
from consilium.kernel.umbral import Sealed
from consilium.runtime.names import PeerIdentity, Role
from consilium.runtime.proven_ledger import LedgerReader, contradiction
from consilium.runtime.shreddable import ShreddableRows
from consilium.runtime.threads import run_to_end, some_ahead
from consilium.storage.core.copies import copy_order
from consilium.storage.core.escrow import seal_escrow
from consilium.storage.core.manifest import check_manifest, chunks_of_range, ciphertext_bytes
from consilium.storage.core.reading import granted_body, judge_read, judge_repair
from consilium.storage.core.retention import refuse_erased
from consilium.storage.holdings import Holding, Holdings, HoldingState
from consilium.storage.peers import OtherStorages
from consilium.storage.shredding import ShredSecretStore
from consilium.storage.store import ObjectStore

INTAKE_CHUNKS = 4
"""How many chunks of a stream may be on their way to the disk."""
READ_AHEAD = 4
"""How many chunks of a stream are read, or held, at once: from a database one after the other takes its way each time."""
RECHECK_S = 5.0
"""How often, in seconds, a running read asks again whether its grant stands."""
OWN_MANIFEST_S = 3.0
"""How long, in seconds, a home waits for its own manifest: a reader has little more patience than that."""
Given = ParamSpec("Given")
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Stores:
    """What the service keeps."""

    objects: ObjectStore
    secrets: ShredSecretStore
    escrows: ShreddableRows
    holdings: Holdings


@dataclass(frozen=True, slots=True)
class Limits:
    """As the settings of these names say."""

    copies: int
    object_bytes_max: int
    foreign_bytes_max: int
    writer_bytes_max: int
    streams_max: int
    disk_jobs_max: int
    draft_s: int
    wait_s: int
    residency: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Put:
    """An object that is durable: the receipt, and the members with copies."""

    receipt: StorageReceipt
    keepers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MemberKeys:
    """What this member signs with, and what it seals the shred secrets with that others keep for it."""

    signer: Signer
    escrow: bytes = field(repr=False)


class Intake:
    """The chunks of one stream on their way to the disk: the next ones come while this one is written.

    With the end of the block none is on its way any more.
    """

    def __init__(self, put: Callable[[Holding, int, bytes], Awaitable[None]]) -> None:
        """`put` takes one chunk in."""
        self._put = put
        self._writing: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> Self:
        """Nothing is on its way yet."""
        return self

    async def __aexit__(self, *failure: object) -> None:
        """Wait for what is being written; what it fails with is the block's no more."""
        if self._writing:
            await asyncio.wait(self._writing)
        for each in self._writing:
            if not each.cancelled():
                each.exception()  # looked at, so that it is not reported as overlooked

    async def take(self, holding: Holding, index: int, data: bytes) -> None:
        """Send a chunk on its way, when there is room; raises what an earlier one failed with."""
        if len(self._writing) >= INTAKE_CHUNKS:
            await self._writing.popleft()
        self._writing.append(asyncio.ensure_future(self._put(holding, index, data)))

    async def settle(self) -> None:
        """Wait for all of them; raises what one has failed with."""
        while self._writing:
            await self._writing.popleft()


class Driver:
    """One member's storage. `member_of` tells what the ledger says of a member, None for one unheard of."""

    def __init__(
        self, member_id: str, keys: MemberKeys, chain_id: bytes, stores: Stores, ledger: LedgerReader,
        others: OtherStorages, member_of: Callable[[str], MemberState | None], limits: Limits,
    ) -> None:  # fmt: skip
        self.member_id, self.chain_id, self.ledger, self.others = member_id, chain_id, ledger, others
        self.stores, self.limits = stores, limits
        self.keys, self._member_of, self.verifier = keys, member_of, Ed25519Verifier()
        self._jobs = asyncio.Semaphore(limits.disk_jobs_max)
        self._streams = 0

    async def work(self, do: Callable[Given, Made], *args: Given.args, **kwargs: Given.kwargs) -> Made:
        """Do blocking work in a thread, a bounded number at once."""
        async with self._jobs:
            return await run_to_end(do, *args, **kwargs)

    @contextlib.contextmanager
    def stream(self) -> Iterator[None]:
        """One of the streams that may run at once. Raises ResourceExhausted: TOO_MANY_STREAMS."""
        if self._streams >= self.limits.streams_max:
            sentence = f"{self._streams} objects are streaming, and the setting streams_max allows no more; call again."
            raise ResourceExhausted("TOO_MANY_STREAMS", sentence)
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1

    def profile_of(self, member_id: str) -> MemberProfile:
        """Another member's keys. Raises PermissionDenied: NOT_ANOTHER_MEMBER."""
        member = self._member_of(member_id)
        if member is None or member_id == self.member_id:
            raise PermissionDenied("NOT_ANOTHER_MEMBER", f"{member_id} is no other member of the alliance.", "S2")
        return member.profile

    async def retention(self, record_id: bytes, least_height: int = 0) -> RetentionState | None:
        """What the ledger says of a record's erasure or hold, None for neither (S8).

        Raises FailedPrecondition: NOT_FINAL.
        """
        state = await self.ledger.read_state(retention_entry(record_id), least_height)
        return None if state.value is None else decode(RetentionState, state.value, self.chain_id)

    async def parameters(self) -> Parameters:
        """The alliance's numbers in force (G4). Raises FailedPrecondition: NOT_FINAL while nothing is certified."""
        state = await self.ledger.read_state(alliance_entry())
        return decode(AllianceState, state.value or b"", self.chain_id).parameters

    # --- writing ---

    @contextlib.asynccontextmanager
    async def intake(self) -> AsyncIterator[Intake]:
        """One of the streams that may run at once, with its chunks. Raises ResourceExhausted: TOO_MANY_STREAMS."""
        with self.stream():
            async with Intake(self.put_chunk) as intake:
                yield intake

    async def begin_put(self, record_id: bytes, size_class: int, writer: PeerIdentity) -> Holding:
        """Begin or resume a put of this member's own; raises as `Holdings.begin`, and OBJECT_TOO_LARGE, BAD_SIZE_CLASS."""
        wanted = self.draft(record_id, size_class, self.member_id, named(writer))
        return await self.work(self.stores.holdings.begin, wanted, self.limits.writer_bytes_max)

    async def begin_copy(self, manifest: Manifest, receipt: StorageReceipt, caller: PeerIdentity) -> Holding:
        """Begin or resume a copy for another member, within its quota.

        Raises as `begin_put`, and BadSignature, Conflict (OTHER_OBJECT, OTHER_RECORD) when the home has not signed for it.
        """
        home = self.profile_of(caller.member_id)
        check_manifest(manifest)
        verify_storage_receipt(receipt, manifest, home, self.chain_id, self.verifier)
        await self._check_registered(manifest, caller.member_id)
        wanted = self.draft(manifest.record_id, manifest.size_class, caller.member_id, named(caller))
        return await self.work(self.stores.holdings.begin, wanted, self.limits.foreign_bytes_max)

    async def put_chunk(self, holding: Holding, index: int, data: bytes) -> None:
        """Take in one chunk at its place; raises as `ObjectStore.put_chunk`."""
        fits = index < chunk_count(holding.size_class) and len(data) == sealed_chunk_bytes(holding.size_class, index)
        if not fits:
            sentence = f"Objects of size class {holding.size_class} have no chunk {index} of {len(data)} bytes."
            raise InvalidArgument("BAD_CHUNK_PLACE", sentence, "S2")
        await self.work(self.stores.objects.put_chunk, holding.record_id, index, data)

    async def finish_put(self, holding: Holding, manifest: Manifest, shred_secret: bytes) -> Put:
        """Make the object durable here and at other members, keep its shred secret, and sign for it (S2).

        Raises as `ObjectStore.complete`; Conflict: OTHER_RECORD; ResourceExhausted: NO_COPY when too few others took a copy.
        """
        _check_draft(holding, manifest)
        await self._check_registered(manifest, self.member_id)
        await self.work(self.stores.objects.complete, manifest)
        await self.work(self.stores.secrets.put, manifest.record_id, shred_secret)
        done = await self.work(self.stores.holdings.finish, manifest.record_id, manifest.ciphertext_root)
        spread = await self.spread(done, manifest)
        if len(spread.keepers) < self.limits.copies:
            sentence = (
                f"{len(spread.keepers)} of {self.limits.copies} other members took a copy; finish the put again later."
            )
            raise ResourceExhausted("NO_COPY", sentence, "S9")
        return Put(self.sign(manifest, is_copy=False), spread.keepers)

    async def finish_copy(self, holding: Holding, manifest: Manifest, escrow: bytes) -> StorageReceipt:
        """Make a copy durable, and its home's sealed secret, and sign for it; raises as `ObjectStore.complete`."""
        _check_draft(holding, manifest)
        await self.work(self.stores.objects.complete, manifest)
        if escrow:
            await self.work(self.stores.escrows.put, manifest.record_id, escrow)
        await self.work(self.stores.holdings.finish, manifest.record_id, manifest.ciphertext_root)
        return self.sign(manifest, is_copy=True)

    def sign(self, manifest: Manifest, *, is_copy: bool) -> StorageReceipt:
        """This member's word that it holds the object, as its home or as a copy."""
        statement = StorageStatement(self.member_id, manifest.record_id, manifest.ciphertext_root, is_copy)
        return StorageReceipt(statement, self.keys.signer.sign(encode(statement, self.chain_id)))

    async def put_state(self, record_id: bytes, caller: PeerIdentity) -> tuple[list[bytes], StorageReceipt | None]:
        """The hashes of the chunks taken in, and the receipt once complete.

        Raises NotFound: NO_SUCH_OBJECT; PermissionDenied: OTHER_WRITER.
        """
        holding = await self.work(self.stores.holdings.read, record_id)
        if holding.writer != named(caller):
            raise PermissionDenied("OTHER_WRITER", "Somebody else puts the object of this record.", "S2")
        if holding.state is HoldingState.COMPLETE:
            manifest = await self.work(self.stores.objects.read_manifest, record_id)
            return list(manifest.chunk_hashes), self.sign(manifest, is_copy=holding.home != self.member_id)
        return await self.work(self.stores.objects.staged, record_id), None

    def draft(self, record_id: bytes, size_class: int, home: str, writer: str) -> Holding:
        """What is kept of an object that is begun. Raises InvalidArgument: OBJECT_TOO_LARGE, BAD_SIZE_CLASS."""
        last = chunk_count(size_class) - 1
        size = last * CHUNK_BYTES + sealed_chunk_bytes(size_class, last)
        if size > self.limits.object_bytes_max:
            allowed = f"the setting object_bytes_max allows {self.limits.object_bytes_max}"
            raise InvalidArgument("OBJECT_TOO_LARGE", f"The object has {size} bytes, and {allowed}.", "S2")
        return Holding(record_id, home, writer, size_class, size, int(time.time()))

    async def _check_registered(self, manifest: Manifest, home: str) -> None:
        """Raise Conflict (OTHER_RECORD) when the ledger knows the record as another; it may not know it yet.

        Raises NotFound (ERASED) as well: what comes back from a backup or a copy is not taken in.
        """
        record = await self.ledger.read_record(manifest.record_id)
        if record is not None:
            refuse_erased(await self.retention(manifest.record_id))
            verify_manifest(manifest, record)
            if record.holder != home:
                raise PermissionDenied("NOT_THE_HOME", f"The record's home is {record.holder}.", "S2")

    async def spread(self, holding: Holding, manifest: Manifest) -> Holding:
        """Bring copies to the first active members in the record's order that can be reached, until enough have one (S9)."""
        receipt, escrow = self.sign(manifest, is_copy=False), await self.escrow_of(manifest.record_id)
        for name in copy_order(manifest.record_id, self.member_id, self._may_keep()):
            if len(holding.keepers) >= self.limits.copies:
                break
            keeper = None if name in holding.keepers else self._member_of(name)
            if keeper is None or not keeper.is_active:
                continue
            try:
                word = await self.others.replicate(name, manifest, receipt, escrow, self.stores.objects.read_chunk)
                verify_storage_receipt(word, manifest, keeper.profile, self.chain_id, self.verifier, is_copy=True)
            except ConsiliumError:  # out of reach, full, or not to be believed: the next one may do it
                continue
            holding = replace(holding, keepers=(*holding.keepers, name))
            await self.work(self.stores.holdings.write, holding)
        return holding

    def _may_keep(self) -> list[str]:
        """The other members that this one lets keep copies: all, unless the setting `residency` names some."""
        chosen = self.limits.residency
        return [each for each in self.others.names() if not chosen or each in chosen]

    async def escrow_of(self, record_id: bytes) -> bytes:
        """This home's shred secret of a record, sealed for others to keep; empty where it is not here."""
        try:
            secret = await self.work(self.stores.secrets.read, record_id)
        except NotFound:
            return b""
        return seal_escrow(self.keys.escrow, record_id, secret)

    # --- reading ---

    async def permit(self, record_id: bytes, request_hash: bytes, caller: PeerIdentity) -> GrantState:
        """The grant behind a request, once that is final; waits a while for it.

        Raises PermissionDenied as `core.reading`; NotFound: ERASED; FailedPrecondition: NOT_FINAL.
        """
        request = await self._until_final(request_hash)
        body = granted_body(request, record_id)
        state = await self.ledger.read_state(grant_entry(body.grant_id), request.height)
        if state.value is None:
            raise contradiction("grant")
        grant = decode(GrantState, state.value, self.chain_id)
        judge_read(request, grant, caller.member_id)
        refuse_erased(await self.retention(record_id, request.height))
        return grant

    async def get_manifest(
        self, record_id: bytes, request_hash: bytes, caller: PeerIdentity
    ) -> tuple[Manifest, Sealed | None]:
        """The manifest, checked against the ledger, and at the home the shred secret sealed to the recipient (S2).

        Only the home has the secret, so where its objects are lost or out of reach it gives a keeper's manifest.
        Raises as `permit`; NotFound: NO_SUCH_OBJECT or DESTROYED; Conflict: OTHER_RECORD.
        """
        grant = await self.permit(record_id, request_hash, caller)
        holding = await self.work(self.stores.holdings.read, record_id)
        if holding.home != self.member_id:
            return await self._manifest(record_id), None
        manifest = await self._manifest(record_id, holding.keepers)
        secret = await self.work(self.stores.secrets.read, record_id)
        return manifest, await self.work(seal_shred_secret, grant.terms.receiving_pk, request_hash, secret)

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
        try:
            return await self.work(self.stores.objects.read_chunk, record_id, index)
        except DataLoss:
            if not repair:  # who asks for repair of its own is not sent on to a third
                raise
            return await self.heal(record_id, index)

    async def heal(self, record_id: bytes, index: int) -> bytes:
        """Put a good chunk in the place of a damaged one. Raises DataLoss: NO_GOOD_COPY."""
        manifest = await self.work(self.stores.objects.read_manifest, record_id)
        holding = await self.work(self.stores.holdings.read, record_id)
        for name in holding.keepers if holding.home == self.member_id else (holding.home,):
            try:
                chunk = await self.others.fetch_chunk(name, record_id, index)
                verify_chunk(manifest.chunk_hashes, index, chunk)
                await self.work(self.stores.objects.heal, record_id, index, chunk)
            except ConsiliumError:  # the next one may have it
                continue
            return chunk
        raise DataLoss("NO_GOOD_COPY", f"No other member has a good copy of chunk {index}.", "S2")

    async def _manifest(self, record_id: bytes, keepers: Sequence[str] = ()) -> Manifest:
        """The manifest, once it is known to be of the very object the record registered; else that of one of the keepers."""
        record = await self.ledger.read_record(record_id)
        if record is None:
            raise NotFound("UNKNOWN_RECORD", "The ledger knows no such record.", "S3")
        reading = asyncio.ensure_future(self.work(self.stores.objects.read_manifest, record_id))
        reading.add_done_callback(asyncio.Future.exception)  # looked at, so that it is not reported as overlooked
        await asyncio.wait([reading], timeout=OWN_MANIFEST_S if keepers else None)
        failure = reading.exception() if reading.done() else None
        if not reading.done() or isinstance(failure, NotFound | DataLoss | Unavailable):
            kept = await self._kept_manifest(record, keepers)
            if kept is not None:
                return kept
        manifest = await reading
        verify_manifest(manifest, record)
        return manifest

    async def _kept_manifest(self, record: RecordBody, keepers: Sequence[str]) -> Manifest | None:
        for name in keepers:
            with contextlib.suppress(ConsiliumError):  # the next one may have it
                manifest, _ = await self.others.fetch_copy(name, record.record_id)
                verify_manifest(manifest, record)
                return manifest
        return None

    async def get_copy(self, record_id: bytes, caller: PeerIdentity) -> tuple[Manifest, bytes]:
        """What another member's storage needs beside the chunks, to have again what it lost (S9).

        The sealed secret goes to the home, which alone opens it, or from the home to a member that keeps it.
        """
        manifest = await self._manifest_to_repair(record_id, caller)
        holding = await self.work(self.stores.holdings.read, record_id)
        if caller.member_id == self.member_id:
            return manifest, b""  # no secret goes into a backup, sealed or not
        if holding.home == self.member_id:
            return manifest, await self.escrow_of(record_id)
        with contextlib.suppress(NotFound):
            if holding.home == caller.member_id:
                return manifest, await self.work(self.stores.escrows.read, record_id)
        return manifest, b""

    async def _manifest_to_repair(self, record_id: bytes, caller: PeerIdentity) -> Manifest:
        """For another member's storage, or the own staff that backs ciphertext up; nobody reads anything by it."""
        holding = await self.work(self.stores.holdings.read, record_id)
        if caller.role is Role.STAFF and caller.member_id == self.member_id:
            refuse_erased(await self.retention(record_id))
            return await self.work(self.stores.objects.read_manifest, record_id)
        if caller.role is not Role.SERVICE or caller.name != "storage":
            raise PermissionDenied("NOT_GRANTED", "Reading takes an access request that was granted.", "S2")
        judge_repair(caller.member_id, holding.home, holding.keepers)
        refuse_erased(await self.retention(record_id))
        return await self.work(self.stores.objects.read_manifest, record_id)

    async def _until_final(self, request_hash: bytes) -> VerifiedTransaction:
        try:
            return await self.ledger.read_transaction(request_hash, self.limits.wait_s)
        except (NotFound, FailedPrecondition) as error:
            raise FailedPrecondition("NOT_FINAL", "The request is not final at this member; ask again.", "S2") from error


def _check_draft(holding: Holding, manifest: Manifest) -> None:
    """Raise Conflict unless the manifest is of the object that was begun."""
    if (manifest.record_id, manifest.size_class) != (holding.record_id, holding.size_class):
        raise InvalidArgument("OTHER_MANIFEST", "The manifest is of another record or size class than the put.", "S2")


def storage_of(member_id: str) -> str:
    """A member's storage as one that goes on with a put."""
    return f"{member_id}/{Role.SERVICE}/storage"


def named(peer: PeerIdentity) -> str:
    """Who may go on with a put."""
    return f"{peer.member_id}/{peer.role}/{peer.name}"
