"""The patient's own report: who asked, who was let in, who handed out what, who was shut out (promises 2 and 8).

Made from transactions the client has verified itself, so every line carries its proof. Lines tell what the ledger shows: a
release stands on the holder's signed receipt. Where receipts and requests do not fit together the report says so instead of
leaving a line out. Pure.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from consilium.kernel.codes import Code
from consilium.kernel.errors import ConsiliumError
from consilium.kernel.light_client import VerifiedTransaction
from consilium.kernel.transactions import (
    GrantBody,
    GrantTerms,
    ReceiptBody,
    ReceiptKind,
    RequestBody,
    RevokeBody,
)


class Event(Enum):
    """What a line tells; the value is the word shown."""

    GRANTED_ACCESS = "you granted access"
    REQUEST_GRANTED = "asked and was granted"
    REQUEST_DENIED = "asked and was denied"
    FRAGMENT_RELEASED = "released a fragment"
    OPENED = "could open the record"
    REVOKED = "you revoked the grant"
    ENDED_WITH_KEY = "the grant ended, as you closed its epoch"
    FRAGMENT_DELETED = "deleted its key fragment"
    GRANT_DEAD = "the grant can never open anything again"
    UNEXPLAINED = "attested a release no granted request explains"


@dataclass(frozen=True, slots=True)
class ReportLine:
    """One line: at this height this member did this, about this record (None where it concerns a whole grant)."""

    height: int
    event: Event
    grant_id: bytes
    record_id: bytes | None
    member: str
    proof: VerifiedTransaction


@dataclass(frozen=True, slots=True)
class PatientReport:
    """The lines, and by name the members that were not heard to the end, with why: what they alone know is missing."""

    lines: list[ReportLine]
    faults: dict[str, ConsiliumError | OSError]


def patient_report(grants: Sequence[GrantTerms], transactions: Iterable[VerifiedTransaction]) -> list[ReportLine]:
    """The lines about these grants, in the order given, which is the ledger's.

    Transactions that concern other grants are passed over. A request refused by the ledger is a line too: who tried counts.
    """
    report = _Report({terms.grant_id: terms for terms in grants})
    for transaction in transactions:
        report.take(transaction)
    return report.lines


class _Report:
    """The lines so far, and what is needed to read the next transaction."""

    def __init__(self, grants: Mapping[bytes, GrantTerms]) -> None:
        self._grants = grants
        self._ended: dict[bytes, int] = {}
        self._granted: dict[bytes, RequestBody] = {}
        self._released: dict[bytes, list[str]] = {}
        self._deleted: dict[bytes, list[str]] = {}
        self.lines: list[ReportLine] = []

    def take(self, transaction: VerifiedTransaction) -> None:
        """Add what one transaction tells."""
        body = transaction.payload.body
        if transaction.code == Code.DUPLICATE:
            return  # the same act handed in again; it was judged where it came first (L6)
        if isinstance(body, RequestBody):
            self._request(transaction, body)
        elif transaction.code != Code.APPLIED:
            return
        elif isinstance(body, GrantBody):
            self._line(transaction, Event.GRANTED_ACCESS, body.terms.grant_id)
        elif isinstance(body, RevokeBody):
            self._revocation(transaction, body)
        elif isinstance(body, ReceiptBody):
            self._receipt(transaction, body)

    def _request(self, transaction: VerifiedTransaction, body: RequestBody) -> None:
        granted = transaction.code == Code.GRANTED
        if granted:
            self._granted[transaction.transaction_hash] = body
        event = Event.REQUEST_GRANTED if granted else Event.REQUEST_DENIED
        self._line(transaction, event, body.grant_id, body.record_id, self._asker(transaction, body.grant_id))

    def _asker(self, transaction: VerifiedTransaction, grant_id: bytes) -> str | None:
        """The recipient, or the key of whoever tried under a grant made to another."""
        terms = self._grants.get(grant_id)
        foreign = terms is not None and transaction.author != terms.recipient_key
        return f"the holder of key {transaction.author.hex()[:16]}" if foreign else None

    def _revocation(self, transaction: VerifiedTransaction, body: RevokeBody) -> None:
        """An end; with a successor the other grants under the same key end with it, and the regrants begin (S6)."""
        self._end(transaction, Event.REVOKED, body.grant_id)
        closed = self._grants.get(body.grant_id)
        for terms in self._grants.values():
            if body.successor_pk is not None and closed is not None and terms.delegating_pk == closed.delegating_pk:
                self._end(transaction, Event.ENDED_WITH_KEY, terms.grant_id)
        for regrant in body.regrants:
            self._line(transaction, Event.GRANTED_ACCESS, regrant.terms.grant_id)

    def _end(self, transaction: VerifiedTransaction, event: Event, grant_id: bytes) -> None:
        """One grant's end, told once."""
        if grant_id not in self._ended:
            self._ended[grant_id] = transaction.height
            self._line(transaction, event, grant_id)

    def _receipt(self, transaction: VerifiedTransaction, body: ReceiptBody) -> None:
        if body.grant_id not in self._grants:
            return
        if body.receipt == ReceiptKind.DELETION:
            self._deletion(transaction, body)
        else:
            self._release(transaction, body)

    def _release(self, transaction: VerifiedTransaction, body: ReceiptBody) -> None:
        """A release; with the threshold's worth of them, the moment the record could be opened."""
        request = self._granted.get(body.request_hash)
        holders_named = self._grants[body.grant_id].holders
        if request is None or request.grant_id != body.grant_id or body.holder not in holders_named:
            self._line(transaction, Event.UNEXPLAINED, body.grant_id, member=body.holder)
            return
        holders = self._released.setdefault(body.request_hash, [])
        self._line(transaction, Event.FRAGMENT_RELEASED, body.grant_id, request.record_id, body.holder)
        if body.holder in holders:
            return
        holders.append(body.holder)
        if len(holders) == self._grants[body.grant_id].threshold:
            self._line(transaction, Event.OPENED, body.grant_id, request.record_id)

    def _deletion(self, transaction: VerifiedTransaction, body: ReceiptBody) -> None:
        """A deletion; with h - t + 1 of them fewer than t fragments are left (S6)."""
        terms = self._grants[body.grant_id]
        holders = self._deleted.setdefault(body.grant_id, [])
        self._line(transaction, Event.FRAGMENT_DELETED, body.grant_id, member=body.holder)
        if body.holder in holders:
            return
        holders.append(body.holder)
        if len(holders) == len(terms.holders) - terms.threshold + 1:
            self._line(transaction, Event.GRANT_DEAD, body.grant_id)

    def _line(
        self,
        transaction: VerifiedTransaction,
        event: Event,
        grant_id: bytes,
        record_id: bytes | None = None,
        member: str | None = None,
    ) -> None:
        """Add a line; where no member is named it is the grant's recipient."""
        terms = self._grants.get(grant_id)
        if terms is None:
            return
        who = terms.recipient_member if member is None else member
        self.lines.append(ReportLine(transaction.height, event, grant_id, record_id, who, transaction))
