"""What every part of the storage service works with: stores, keys, limits, and what the ledger says (rules S2, S8).

Disk work happens in threads, a bounded number at once. `putting`, `reading`, `erasing`, `healing` and `scrubbing` have the
rest.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar

from consilium.kernel.encoding import decode, encode
from consilium.kernel.errors import DataLoss, NotFound, PermissionDenied
from consilium.kernel.manifest import Manifest, StorageReceipt, StorageStatement
from consilium.kernel.parameters import Parameters
from consilium.kernel.signing import Ed25519Verifier, Signer
from consilium.kernel.state_values import AllianceState, MemberState, RetentionState, alliance_entry, retention_entry
from consilium.kernel.transactions import MemberProfile
from consilium.runtime import calls
from consilium.runtime.names import PeerIdentity, Role
from consilium.runtime.proven_ledger import LedgerReader
from consilium.runtime.shares import Shares
from consilium.runtime.shreddable import ShreddableRows
from consilium.runtime.threads import run_to_end
from consilium.storage.core.escrow import seal_escrow
from consilium.storage.holdings import Holdings
from consilium.storage.peers import OtherStorages
from consilium.storage.shredding import ShredSecretStore
from consilium.storage.store import ObjectStore

STREAMS_SHARE = 16
"""Any one other member is sure of one in so many of the streams."""
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
class MemberKeys:
    """What this member signs with, and what it seals the shred secrets with that others keep for it."""

    signer: Signer
    escrow: bytes = field(repr=False)


class Driver:
    """One member's storage. `member_of` tells what the ledger says of a member, None for one unheard of."""

    def __init__(
        self, member_id: str, keys: MemberKeys, chain_id: bytes, stores: Stores, ledger: LedgerReader,
        others: OtherStorages, member_of: Callable[[str], MemberState | None], limits: Limits,
    ) -> None:  # fmt: skip
        self.member_id, self.chain_id, self.ledger, self.others = member_id, chain_id, ledger, others
        self.stores, self.limits = stores, limits
        self.keys, self.member_of, self.verifier = keys, member_of, Ed25519Verifier()
        self._jobs = asyncio.Semaphore(limits.disk_jobs_max)
        self.streams = Shares(member_id, limits.streams_max, STREAMS_SHARE)

    async def work(self, do: Callable[Given, Made], *args: Given.args, **kwargs: Given.kwargs) -> Made:
        """Do blocking work in a thread, a bounded number at once."""
        async with self._jobs:
            return await run_to_end(do, *args, **kwargs)

    def stream(self) -> AbstractContextManager[None]:
        """One of the streams that may run at once, for the caller. Raises ResourceExhausted: TOO_MANY_CALLS."""
        return self.streams.place(calls.peer())

    def profile_of(self, member_id: str) -> MemberProfile:
        """Another member's keys. Raises PermissionDenied: NOT_ANOTHER_MEMBER."""
        member = self.member_of(member_id)
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

    def sign(self, manifest: Manifest, *, is_copy: bool) -> StorageReceipt:
        """This member's word that it holds the object, as its home or as a copy."""
        statement = StorageStatement(self.member_id, manifest.record_id, manifest.ciphertext_root, is_copy)
        return StorageReceipt(statement, self.keys.signer.sign(encode(statement, self.chain_id)))

    async def escrow_of(self, record_id: bytes) -> bytes:
        """This home's shred secret of a record, sealed for others to keep; empty where it is not here."""
        try:
            secret = await self.work(self.stores.secrets.read, record_id)
        except NotFound:
            return b""
        return seal_escrow(self.keys.escrow, record_id, secret)

    async def has_secret(self, record_id: bytes) -> bool:
        """Whether this home's shred secret of a record is here, and is what was stored."""
        try:
            return bool(await self.escrow_of(record_id))
        except DataLoss:
            return False


def storage_of(member_id: str) -> str:
    """A member's storage as one that goes on with a put."""
    return f"{member_id}/{Role.SERVICE}/storage"


def named(peer: PeerIdentity) -> str:
    """Who may go on with a put."""
    return f"{peer.member_id}/{peer.role}/{peer.name}"
