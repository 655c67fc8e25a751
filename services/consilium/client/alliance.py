"""What a client asks of one member, whatever lies between them (rules S2, S5; promise 8).

The sandbox answers within one process; a client of the five services will answer over gRPC. Nothing a member says
is believed: proofs, signatures, hashes and keys are checked by `session`, `patient` and `recipient`. Every call raises
errors of `kernel.errors`, and OSError when the member cannot be reached.
"""

from collections.abc import Sequence
from typing import Protocol

from consilium.kernel.consent import Release
from consilium.kernel.light_client import EpochHop, StateProof, TransactionProof
from consilium.kernel.manifest import Manifest, StorageReceipt
from consilium.kernel.umbral import Sealed


class MemberGateway(Protocol):
    """One member's services, as a client uses them."""

    # --- consensus ---

    async def submit(self, transaction: bytes) -> None:
        """Take a transaction in; of a record the bare payload, which the member vouches for (L2)."""

    # --- ledger ---

    async def prove_transaction(self, transaction_hash: bytes) -> TransactionProof:
        """The proof of a transaction, once it is final; waits for it."""

    async def prove_record(self, record_id: bytes) -> TransactionProof:
        """The proof of the registration of a record. Raises NotFound."""

    async def prove_state(self, key: bytes) -> StateProof:
        """What the authenticated map holds under a key, at the newest certified height (L4)."""

    async def prove_grant_history(self, grant_id: bytes) -> Sequence[TransactionProof]:
        """Every final transaction that names a grant, refused ones too, in the order of the ledger (promise 8)."""

    async def epoch_hop(self, epoch: int) -> EpochHop:
        """What a light client needs to cross from `epoch` into the next (L5). Raises NotFound."""

    async def member_ids(self) -> Sequence[str]:
        """The names of all members; each is then proven by its state."""

    # --- storage ---

    async def put_chunk(self, record_id: bytes, index: int, chunk: bytes) -> None:
        """Take in one sealed chunk of an object that is being written."""

    async def complete_object(self, manifest: Manifest, shred_secret: bytes) -> StorageReceipt:
        """Make a written object durable, read it back, and sign for it (S2)."""

    async def get_manifest(self, record_id: bytes, request_hash: bytes) -> Manifest:
        """The manifest, to a granted request. Raises NotFound, PermissionDenied."""

    async def get_shred_secret(self, record_id: bytes, request_hash: bytes) -> Sealed:
        """The shred secret as `kernel.manifest.seal_shred_secret` makes it, to a granted request (S2)."""

    async def get_chunk(self, record_id: bytes, index: int, request_hash: bytes) -> bytes:
        """One sealed chunk, to a granted request, from the home member or one with a copy."""

    # --- re-encryption ---

    async def grant_access(self, grant_id: bytes, kfrag: bytes) -> None:
        """Take in this holder's key fragment, once the holder's own ledger has the grant; waits for it (S3, S4)."""

    async def reencrypt_capsule(self, request_hash: bytes, capsule: bytes) -> Release:
        """A capsule fragment under the release rule, once the holder's own ledger has the request; waits for it (S5)."""

    async def revoke_access(self, grant_id: bytes) -> None:
        """Delete the key fragment of a revoked grant, and put the receipt on the ledger; waits for the revocation (S6)."""
