"""What the alliance has acknowledged to its clients, as they write it down: nothing of it may ever be lost (promise 5)."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, cast

from consilium.client.session import Session

if TYPE_CHECKING:
    from collections.abc import Mapping

    from consilium.client.alliance import MemberGateway, OutgoingObject
    from consilium.kernel.chain import Genesis
    from consilium.kernel.codes import Code
    from consilium.kernel.consent import Release
    from consilium.kernel.light_client import TransactionProof, VerifiedTransaction
    from consilium.kernel.manifest import StorageReceipt
    from consilium.kernel.signing import Verifier


class Place(NamedTuple):
    """Where a transaction stands and how it ended."""

    height: int
    code: Code


class Fragment(NamedTuple):
    """A holder's key fragment of a grant."""

    grant_id: bytes
    holder: str


@dataclass(slots=True)
class Book:
    """Everything acknowledged, from all clients."""

    final: dict[bytes, Place] = field(default_factory=dict)
    """Transactions proven final, by hash."""
    stored: dict[bytes, StorageReceipt] = field(default_factory=dict)
    """Objects a home member has signed for, by record id."""
    taken: set[Fragment] = field(default_factory=set)
    """Key fragments a holder has taken in."""
    deleted: set[Fragment] = field(default_factory=set)
    """Key fragments a holder has deleted and signed for."""
    releases: list[Release] = field(default_factory=list)
    """What holders have released."""
    done: Counter[str] = field(default_factory=Counter)
    """Acts of clients that were acknowledged, by name."""
    failed: Counter[str] = field(default_factory=Counter)
    """Acts that failed, by reason: nothing was promised, nothing is checked."""

    def note_final(self, found: VerifiedTransaction) -> None:
        """A transaction is final; another place than the one noted before contradicts it at once."""
        place = Place(found.height, found.code)
        assert self.final.setdefault(found.transaction_hash, place) == place, "one transaction in two places"


class NotingSession(Session):
    """A light client that writes down every transaction it verified, and what members acknowledge."""

    def __init__(
        self, genesis: Genesis, home: str, members: Mapping[str, MemberGateway], verifier: Verifier, book: Book
    ) -> None:
        noted = {name: cast("MemberGateway", NotingGateway(name, each, book)) for name, each in members.items()}
        super().__init__(genesis, home, noted, verifier)
        self._book = book

    async def verified(self, proof: TransactionProof) -> VerifiedTransaction:
        found = await super().verified(proof)
        self._book.note_final(found)
        return found


class NotingGateway:
    """A gateway that writes down the four answers that promise something by themselves; all others pass."""

    def __init__(self, member_id: str, inner: MemberGateway, book: Book) -> None:
        self._member_id, self._inner, self._book = member_id, inner, book

    def __getattr__(self, name: str) -> object:
        """All other questions."""
        return getattr(self._inner, name)

    async def put_object(self, outgoing: OutgoingObject) -> StorageReceipt:
        receipt = await self._inner.put_object(outgoing)
        self._book.stored[outgoing.record_id] = receipt
        return receipt

    async def grant_access(self, grant_id: bytes, kfrag: bytes) -> None:
        await self._inner.grant_access(grant_id, kfrag)
        self._book.taken.add(Fragment(grant_id, self._member_id))

    async def reencrypt_capsule(self, request_hash: bytes, capsule: bytes) -> Release:
        release = await self._inner.reencrypt_capsule(request_hash, capsule)
        self._book.releases.append(release)
        return release

    async def revoke_access(self, grant_id: bytes) -> None:
        await self._inner.revoke_access(grant_id)
        self._book.deleted.add(Fragment(grant_id, self._member_id))
