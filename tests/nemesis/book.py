"""What the alliance has acknowledged to its clients, as they write it down: nothing of it may ever be lost (promise 5).

Beside it stands when each act on a grant began and ended, how it was answered, and what was read of grants at which height:
the one is judged as a history (`linearizable`), the other against the chain (`replay`).
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, cast

from consilium.client.session import Session
from consilium.kernel.encoding import decode
from consilium.kernel.state_values import GrantState, grant_entry
from consilium.kernel.transactions import Body, GrantBody, ReceiptKind, RequestBody, RevokeBody
from tests.nemesis.linearizable import UNHEARD, Act, Call, Standing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from consilium.client.alliance import MemberGateway, OutgoingObject
    from consilium.kernel.chain import Genesis
    from consilium.kernel.codes import Code
    from consilium.kernel.consent import Release
    from consilium.kernel.light_client import TransactionProof, VerifiedState, VerifiedTransaction
    from consilium.kernel.manifest import StorageReceipt
    from consilium.kernel.signing import Signer, Verifier

ACTS = {GrantBody: Act.GRANT, RevokeBody: Act.REVOKE, RequestBody: Act.ASK}
GRANTS = grant_entry(b"")
Receipt = tuple[ReceiptKind, str, bytes]
"""What kind of receipt, whose, and about which request or grant."""


class Place(NamedTuple):
    """Where a transaction stands and how it ended."""

    height: int
    code: Code


class Read(NamedTuple):
    """A grant as a member proved it under the certificate of a height."""

    grant_id: bytes
    height: int
    standing: Standing


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
    calls: dict[bytes, list[Call]] = field(default_factory=dict)
    """Every act on a grant, by grant."""
    reads: set[Read] = field(default_factory=set)
    """What was read of grants."""
    excused: set[Receipt] = field(default_factory=set)
    """Receipts that a holder owed when its disk was wiped, fragments and all."""
    done: Counter[str] = field(default_factory=Counter)
    """Acts of clients that were acknowledged, by name."""
    failed: Counter[str] = field(default_factory=Counter)
    """Acts that failed, by reason: nothing was promised, nothing is checked."""

    def note_final(self, found: VerifiedTransaction) -> None:
        """A transaction is final; another place than the one noted before contradicts it at once."""
        place = Place(found.height, found.code)
        assert self.final.setdefault(found.transaction_hash, place) == place, "one transaction in two places"

    def receipts_owed(self) -> set[Receipt]:
        """The receipts that holders have to see onto the ledger for what they have answered."""
        releases = [each.statement for each in self.releases]
        owed: set[Receipt] = {(ReceiptKind.RELEASE, each.holder, each.request_hash) for each in releases}
        return (owed | {(ReceiptKind.DELETION, holder, grant_id) for grant_id, holder in self.deleted}) - self.excused

    def forgive(self, member_id: str) -> None:
        """A holder's disk is gone: it has no fragments to use, and cannot see to receipts any more."""
        self.excused |= {each for each in self.receipts_owed() if each[1] == member_id}
        self.taken = {each for each in self.taken if each.holder != member_id}


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

    async def perform(self, body: Body, signer: Signer) -> VerifiedTransaction:
        act = ACTS.get(type(body))
        if act is None or not isinstance(body, GrantBody | RevokeBody | RequestBody):
            return await super().perform(body, signer)
        calls = self._book.calls.setdefault(_grant_id_of(body), [])
        place, started_s = len(calls), time.monotonic()
        calls.append(Call(self.home_id, act, started_s, UNHEARD, None))
        found = await super().perform(body, signer)
        calls[place] = Call(self.home_id, act, started_s, time.monotonic(), found.code)
        return found

    async def state(self, key: bytes, least_height: int = 0) -> VerifiedState:
        found = await super().state(key, least_height)
        if key.startswith(GRANTS):
            self._book.reads.add(Read(key.removeprefix(GRANTS), found.height, _standing(found.value, self.chain_id)))
        return found


def _grant_id_of(body: GrantBody | RevokeBody | RequestBody) -> bytes:
    return body.terms.grant_id if isinstance(body, GrantBody) else body.grant_id


def _standing(value: bytes | None, chain_id: bytes) -> Standing:
    if value is None:
        return Standing.ABSENT
    return Standing.ACTIVE if decode(GrantState, value, chain_id).revoked_height is None else Standing.REVOKED


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
