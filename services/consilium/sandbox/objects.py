"""One member's storage, run: objects at home, copies for others, reads that repair, scrub (S2; design section 7).

Ciphertext goes only to a granted request, as the member's own ledger says; between members it goes as it
is, since it opens nothing. The shred secret stays with the home member, and leaves it sealed to the
recipient.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from consilium.kernel.codes import Code
from consilium.kernel.encoding import encode
from consilium.kernel.errors import ConsiliumError, DataLoss, PermissionDenied, ResourceExhausted
from consilium.kernel.manifest import (
    Manifest,
    StorageReceipt,
    StorageStatement,
    seal_shred_secret,
    verify_manifest,
)
from consilium.kernel.opening import open_transaction
from consilium.kernel.signing import Signer
from consilium.kernel.state_values import GrantState
from consilium.kernel.transactions import RequestBody
from consilium.kernel.umbral import Sealed
from consilium.ledger.core.chain import Chain
from consilium.runtime.disk import OsDisk
from consilium.runtime.shreddable import DatabaseRows
from consilium.runtime.threads import run_to_end
from consilium.sandbox.histories import is_final
from consilium.sandbox.ledgers import RunningLedger
from consilium.storage.core.copies import copy_order
from consilium.storage.shredding import ShredSecretStore
from consilium.storage.store import EmbeddedObjectStore

COPIES = 1
"""How many other members keep a copy of an object."""


@dataclass(frozen=True, slots=True)
class Scrubbed:
    """What a scrub read and found: the damaged chunks as (record id, index), each healed from the member named."""

    objects: int
    chunks: int
    healed: tuple[tuple[bytes, int, str], ...]


class RunningStorage:
    """The storage service of one member. `others` tells which other members' storage can be reached."""

    def __init__(
        self,
        member_id: str,
        signer: Signer,
        ledger: RunningLedger,
        folder: Path,
        others: Callable[[], Mapping[str, "RunningStorage"]],
    ) -> None:
        """Open the stores in `folder`, or make those of a member that never had any."""
        self.member_id = member_id
        self._signer = signer
        self._ledger = ledger
        self._others = others
        self._folder = folder
        disk, chain_id, secrets_path = OsDisk(), ledger.chain.chain_id, folder / "shred-secrets.db"
        is_new = not secrets_path.exists()
        folder.mkdir(mode=0o700, exist_ok=True)
        make = EmbeddedObjectStore.create if is_new else EmbeddedObjectStore.open
        self._store = make(disk, folder, chain_id)
        self._rows = (DatabaseRows.create if is_new else DatabaseRows.open)(secrets_path)
        self._secrets = ShredSecretStore(self._rows)

    def close(self) -> None:
        """Let go of the stores."""
        self._store.close()
        self._rows.close()

    # --- writing ---

    async def put_chunk(self, record_id: bytes, index: int, chunk: bytes) -> None:
        """Take in one sealed chunk; raises as `ObjectStore.put_chunk`."""
        await run_to_end(self._store.put_chunk, record_id, index, chunk)

    async def complete_object(self, manifest: Manifest, shred_secret: bytes) -> StorageReceipt:
        """Make the object durable here and at another member, keep its shred secret, and sign for it (S2).

        Raises as `ObjectStore.complete`, and ResourceExhausted NO_COPY when no other member took a copy.
        """
        await run_to_end(self._store.complete, manifest)
        await run_to_end(self._secrets.put, manifest.record_id, shred_secret)
        await self._spread(manifest)
        statement = StorageStatement(self.member_id, manifest.record_id, manifest.ciphertext_root)
        return StorageReceipt(statement, self._signer.sign(encode(statement, self._ledger.chain.chain_id)))

    async def _spread(self, manifest: Manifest) -> None:
        """Bring copies to the first members in the record's order that can be reached."""
        members = [each.profile.member_id for each in self._ledger.chain.active_members()]
        others, kept = self._others(), 0
        for name in copy_order(manifest.record_id, self.member_id, members):
            if kept < COPIES and name in others:
                await others[name].take_copy(manifest, self._store.read_chunk)
                kept += 1
        if kept < COPIES:
            raise ResourceExhausted("NO_COPY", "No other member can be reached to keep a copy.", "S2")

    async def take_copy(self, manifest: Manifest, read_chunk: Callable[[bytes, int], bytes]) -> None:
        """Fetch an object chunk by chunk from its home and keep it, read back and durable."""

        def fetch() -> None:
            for index in range(len(manifest.chunk_hashes)):
                self._store.put_chunk(manifest.record_id, index, read_chunk(manifest.record_id, index))
            self._store.complete(manifest)

        await run_to_end(fetch)

    # --- reading ---

    async def get_manifest(self, record_id: bytes, request_hash: bytes) -> Manifest:
        """The manifest, to a granted request; raises PermissionDenied, NotFound or DataLoss."""
        await self._permit(record_id, request_hash)
        return await run_to_end(self._store.read_manifest, record_id)

    async def get_chunk(self, record_id: bytes, index: int, request_hash: bytes) -> bytes:
        """One sealed chunk, to a granted request; a damaged one is healed from a copy first."""
        await self._permit(record_id, request_hash)
        try:
            return await run_to_end(self._store.read_chunk, record_id, index)
        except DataLoss:
            await self._heal(record_id, index)
            return await run_to_end(self._store.read_chunk, record_id, index)

    async def get_shred_secret(self, record_id: bytes, request_hash: bytes) -> Sealed:
        """The shred secret sealed to the grant's recipient, to a granted request (S2)."""
        grant = await self._permit(record_id, request_hash)
        secret = await run_to_end(self._secrets.read, record_id)
        return seal_shred_secret(grant.terms.receiving_pk, request_hash, secret)

    async def _permit(self, record_id: bytes, request_hash: bytes) -> GrantState:
        """The grant a request was granted under, once the request is final here; waits for it.

        Raises PermissionDenied unless it was granted, for this record, and its grant stands still: the member hands out
        no more than a holder would.
        """
        await self._ledger.until(lambda chain: is_final(chain, request_hash))
        return await self._ledger.read(lambda chain: _granted(chain, record_id, request_hash))

    # --- keeping ---

    def where(self, record_id: bytes) -> Path:
        """The file an object's chunks lie in, one behind the other (`storage.store`)."""
        return self._folder / "chunks" / record_id.hex()

    async def record_ids(self) -> list[bytes]:
        """The records of which this member keeps the object or a copy."""
        return await run_to_end(self._store.record_ids)

    async def scrub(self) -> Scrubbed:
        """Read every object back, compare it with the ledger, and heal what is damaged from another member.

        Raises DataLoss NO_GOOD_COPY when a damaged chunk has no good copy, Conflict for an object the
        ledger knows as another.
        """
        record_ids, chunks, healed = await self.record_ids(), 0, []
        for record_id in record_ids:
            manifest = await run_to_end(self._store.read_manifest, record_id)
            registered = self._ledger.chain.record(record_id)
            if registered is not None:
                verify_manifest(manifest, registered.body)
            chunks += len(manifest.chunk_hashes)
            damaged = await run_to_end(self._damaged, manifest)
            healed += [(record_id, index, await self._heal(record_id, index)) for index in damaged]
        return Scrubbed(len(record_ids), chunks, tuple(healed))

    def _damaged(self, manifest: Manifest) -> list[int]:
        """The chunks of an object that are not what was stored."""
        found = []
        for index in range(len(manifest.chunk_hashes)):
            try:
                self._store.read_chunk(manifest.record_id, index)
            except DataLoss:
                found.append(index)
        return found

    async def _heal(self, record_id: bytes, index: int) -> str:
        """Put a good chunk in the place of a damaged one; the member it came from."""
        for name, other in self._others().items():
            with suppress(ConsiliumError):
                chunk = await run_to_end(other.chunk_for_member, record_id, index)
                await run_to_end(self._store.heal, record_id, index, chunk)
                return name
        raise DataLoss("NO_GOOD_COPY", f"No other member has a good copy of chunk {index}.", "S2")

    def chunk_for_member(self, record_id: bytes, index: int) -> bytes:
        """One sealed chunk for another member's storage, verified; raises NotFound or DataLoss."""
        return self._store.read_chunk(record_id, index)


def _granted(chain: Chain, record_id: bytes, request_hash: bytes) -> GrantState:
    """The grant behind a final request; raises PermissionDenied."""
    height, code = chain.code_of(request_hash)
    request = open_transaction(chain.prove_transaction(request_hash).transaction, chain.chain_id).payload.body
    if code is not Code.GRANTED or not isinstance(request, RequestBody):
        raise PermissionDenied("NOT_GRANTED", "The ledger's verdict on this request is not GRANTED.", "S2")
    if request.record_id != record_id:
        raise PermissionDenied("OTHER_RECORD", "The request was granted for another record.", "S2")
    grant = chain.grant(request.grant_id)
    assert grant is not None, "a granted request names a grant"
    if grant.revoked_height is not None and grant.revoked_height > height:
        raise PermissionDenied("REVOKED", f"The grant was revoked at height {grant.revoked_height}.", "S5")
    return grant
