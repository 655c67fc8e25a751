"""What a client asks of one member, whatever lies between them (rules S2, S5; promise 8).

`remote_member.RemoteMember` asks the five services over gRPC. Nothing a member says is believed: proofs, signatures, hashes
and keys are checked by `session`, `patient` and `recipient`. Every call raises errors of `kernel.errors`, and Unavailable or
OSError when the member cannot be reached.
"""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

from consilium.kernel.consent import Release
from consilium.kernel.executions import GrantHistoryQuery
from consilium.kernel.light_client import Finality, Hop, StateProof, TransactionProof
from consilium.kernel.manifest import Manifest, StorageReceipt
from consilium.kernel.merkle import ConsistencyProof
from consilium.kernel.retention import ErasureCertificate, SignedErasureOrder
from consilium.kernel.transactions import Endorsement, RetentionAct
from consilium.kernel.umbral import Sealed


class OutgoingObject(Protocol):
    """A sealed object on its way to its home member."""

    @property
    def record_id(self) -> bytes:
        """The random id of its record, 16 bytes."""

    @property
    def size_class(self) -> int:
        """Its size class, which says how many chunks it has."""

    def chunks(self) -> AsyncGenerator[bytes, None]:
        """Its sealed chunks from the first on; the very same at every call, so that a broken put can be resumed."""

    def finish(self) -> tuple[Manifest, bytes]:
        """The manifest and the shred secret, once all chunks have been taken."""


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """What storage hands out beside the chunks; the shred secret, sealed to the recipient, only from the record's home."""

    manifest: Manifest
    sealed_shred_secret: Sealed | None


@dataclass(frozen=True, slots=True)
class SignedQuery:
    """A query for a grant history under the signature of the grants' author; it counts once."""

    query: GrantHistoryQuery
    owner: Endorsement


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Some of a grant history, in the order of the ledger, and the token of the next page, "" on the last."""

    proofs: Sequence[TransactionProof]
    next_page_token: str


class MemberGateway(Protocol):
    """One member's services, as a client uses them."""

    # --- consensus ---

    async def submit(self, transaction: bytes) -> None:
        """Take in a transaction that its author has signed (L2)."""

    async def register(self, payload: bytes, receipt: StorageReceipt) -> None:
        """Take in the payload of a record of this member's own, for which it vouches; it has signed the receipt (L2)."""

    # --- ledger ---

    async def prove_transaction(self, transaction_hash: bytes, finality: Finality = Finality.COMMITTEE) -> TransactionProof:
        """The proof of a transaction, once it is as final as that; waits for it.

        Raises NotFound or FailedPrecondition in the end.
        """

    async def prove_consistency(self, old_height: int, new_height: int) -> ConsistencyProof:
        """That the log at one height continues the log at an earlier one (L4)."""

    async def prove_record(self, record_id: bytes) -> TransactionProof:
        """The proof of the registration of a record. Raises NotFound."""

    async def prove_state(self, key: bytes, least_height: int = 0) -> StateProof:
        """What the authenticated map holds under a key, at the newest certified height (L4).

        Waits for one that is not below the least height. Raises FailedPrecondition NOT_FINAL in the end.
        """

    async def grant_history(self, signed: SignedQuery, page_token: str) -> HistoryPage:
        """Every final transaction that names a grant of the query's key and author, refused ones too (promise 8).

        Raises PermissionDenied NOT_THE_OWNER for somebody who has made no such grant.
        """

    async def epoch_hop(self, epoch: int) -> Hop:
        """What a light client needs to cross from `epoch` into the next (L5). Raises NotFound."""

    # --- storage ---

    async def put_object(self, outgoing: OutgoingObject) -> StorageReceipt:
        """Take in an object of this member's own, make it durable, read it back, and sign for it (S2)."""

    async def get_manifest(self, record_id: bytes, request_hash: bytes) -> StoredManifest:
        """The manifest and the shred secret, to a granted request. Raises NotFound, PermissionDenied."""

    def get_object(self, record_id: bytes, request_hash: bytes, first: int, count: int = 0) -> AsyncGenerator[bytes, None]:
        """The sealed chunks from the one of index `first` on, so many or with 0 all, to a granted request."""

    async def sign_retention(
        self, record_id: bytes, act: RetentionAct, order: SignedErasureOrder | None, evidence: bytes
    ) -> bytes:
        """An erasure or hold of a record of this member's own, signed by it, to be handed in (S8)."""

    async def erase_object(self, record_id: bytes, height: int) -> tuple[ErasureCertificate, Sequence[ErasureCertificate]]:
        """Destroy the object of a record that the ledger has erased at a height; its certificate and those of copies."""

    # --- re-encryption ---

    async def grant_access(self, grant_id: bytes, kfrag: bytes) -> None:
        """Take in this holder's key fragment, once the holder's own ledger has the grant; waits for it (S3, S4)."""

    async def reencrypt_capsule(self, request_hash: bytes, capsule: bytes) -> Release:
        """A capsule fragment under the release rule, once the holder's own ledger has the request; waits for it (S5)."""

    async def revoke_access(self, grant_id: bytes) -> None:
        """Wait until this holder has deleted the key fragment of a revoked grant and signed for it (S6)."""
