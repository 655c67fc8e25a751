"""A client's way to one member of a sandbox alliance (`client.alliance.MemberGateway`).

Within one process a call is a call; what it answers with is what the services will put on the wire. A
member that is down refuses connections, as a host without a listener does.
"""

import asyncio
from collections.abc import Sequence

from consilium.kernel.consent import Release
from consilium.kernel.errors import NotFound
from consilium.kernel.light_client import EpochHop, StateProof, TransactionProof
from consilium.kernel.manifest import Manifest, StorageReceipt
from consilium.kernel.umbral import Sealed
from consilium.ledger.core.chain import Chain
from consilium.sandbox.histories import is_final
from consilium.sandbox.member import Member

WAIT_S = 30
"""How long a client's question waits for the chain before it is answered with TimeoutError, in seconds."""


class LocalGateway:
    """One member's services, called directly."""

    def __init__(self, member: Member) -> None:
        self._member = member

    def _up(self) -> Member:
        if not self._member.is_up:
            raise ConnectionRefusedError(f"{self._member.member_id} cannot be reached.")
        return self._member

    # --- consensus ---

    async def submit(self, transaction: bytes) -> None:
        """Take a transaction in; raises what `kernel.opening` raises, and ResourceExhausted."""
        await self._up().replica.submit([transaction])

    # --- ledger ---

    async def prove_transaction(self, transaction_hash: bytes) -> TransactionProof:
        """The proof of a transaction, once it is final."""
        ledger = self._up().ledger
        async with asyncio.timeout(WAIT_S):
            await ledger.until(lambda chain: is_final(chain, transaction_hash))
        return await ledger.read(lambda chain: chain.prove_transaction(transaction_hash))

    async def prove_record(self, record_id: bytes) -> TransactionProof:
        """The proof of a record's registration; raises NotFound, FailedPrecondition NOT_FINAL."""
        return await self._up().ledger.read(lambda chain: _prove_record(chain, record_id))

    async def prove_state(self, key: bytes) -> StateProof:
        """What the authenticated map holds at the newest certified height."""
        ledger = self._up().ledger
        async with asyncio.timeout(WAIT_S):
            await ledger.until(lambda chain: chain.certified_height > 0)
        return await ledger.read(lambda chain: chain.prove_state(key))

    async def prove_grant_history(self, grant_id: bytes) -> Sequence[TransactionProof]:
        """Every final transaction that names a grant, in the order of the ledger."""
        member = self._up()
        return await member.ledger.read(
            lambda chain: [chain.prove_transaction(each) for each in member.histories.of(grant_id)]
        )

    async def epoch_hop(self, epoch: int) -> EpochHop:
        """What a light client needs to cross from `epoch` into the next; raises NotFound."""
        return await self._up().ledger.read(lambda chain: chain.epoch_hop(epoch))

    async def member_ids(self) -> Sequence[str]:
        """The names of the active members."""
        chain = self._up().ledger.chain
        return [each.profile.member_id for each in chain.active_members()]

    # --- storage ---

    async def put_chunk(self, record_id: bytes, index: int, chunk: bytes) -> None:
        """Take in one sealed chunk of an object that is being written."""
        await self._up().storage.put_chunk(record_id, index, chunk)

    async def complete_object(self, manifest: Manifest, shred_secret: bytes) -> StorageReceipt:
        """Make a written object durable here and at another member, and sign for it."""
        return await self._up().storage.complete_object(manifest, shred_secret)

    async def get_manifest(self, record_id: bytes, request_hash: bytes) -> Manifest:
        """The manifest, to a granted request."""
        async with asyncio.timeout(WAIT_S):
            return await self._up().storage.get_manifest(record_id, request_hash)

    async def get_shred_secret(self, record_id: bytes, request_hash: bytes) -> Sealed:
        """The shred secret, sealed to the recipient of a granted request."""
        async with asyncio.timeout(WAIT_S):
            return await self._up().storage.get_shred_secret(record_id, request_hash)

    async def get_chunk(self, record_id: bytes, index: int, request_hash: bytes) -> bytes:
        """One sealed chunk, to a granted request."""
        async with asyncio.timeout(WAIT_S):
            return await self._up().storage.get_chunk(record_id, index, request_hash)

    # --- re-encryption ---

    async def grant_access(self, grant_id: bytes, kfrag: bytes) -> None:
        """Take in this holder's key fragment of a grant."""
        async with asyncio.timeout(WAIT_S):
            await self._up().holder.grant_access(grant_id, kfrag)

    async def reencrypt_capsule(self, request_hash: bytes, capsule: bytes) -> Release:
        """A capsule fragment under the release rule."""
        async with asyncio.timeout(WAIT_S):
            return await self._up().holder.reencrypt_capsule(request_hash, capsule)

    async def revoke_access(self, grant_id: bytes) -> None:
        """Wait until the holder has given its fragment up."""
        async with asyncio.timeout(WAIT_S):
            await self._up().holder.revoke_access(grant_id)


def _prove_record(chain: Chain, record_id: bytes) -> TransactionProof:
    entry = chain.record(record_id)
    if entry is None:
        raise NotFound("UNKNOWN_RECORD", "The ledger knows no such record.", "S3")
    return chain.prove_transaction(entry.transaction_hash)
