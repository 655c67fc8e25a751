"""Promise 8 and S5, S6: the patient's own report, line by line, each line with its proof."""

from __future__ import annotations

import dataclasses

import pytest

from consilium.client.report import Event, ReportLine, patient_report
from consilium.kernel.codes import Code
from consilium.kernel.hashing import ZERO_DIGEST, sha256
from consilium.kernel.light_client import VerifiedTransaction
from consilium.kernel.transactions import (
    Body,
    Payload,
    Purpose,
    ReceiptBody,
    ReceiptKind,
    RequestBody,
    RevokeBody,
)
from tests.client.cases import CHOICE, HOLDERS, PERMISSION, RECIPIENT, granted, owner

GRANT = granted()
TERMS = GRANT.terms
RECORD = b"R" * 16
ASK = RequestBody(TERMS.grant_id, RECORD, b"s" * 32, Purpose.TREATMENT, b"e" * 32)


def final(height: int, body: Body, code: Code = Code.APPLIED, author: bytes = RECIPIENT.author_key) -> VerifiedTransaction:
    name = sha256(b"%d %d" % (height, body.KIND) + getattr(body, "holder", "").encode())
    return VerifiedTransaction(height, name, author, Payload(author, name[:16], height + 9, body), code)


def receipt(height: int, kind: ReceiptKind, holder: str, request: VerifiedTransaction | None = None) -> VerifiedTransaction:
    answered = ZERO_DIGEST if request is None else request.transaction_hash
    return final(height, ReceiptBody(kind, holder, TERMS.grant_id, answered, height))


def told(*transactions: VerifiedTransaction) -> list[ReportLine]:
    return patient_report([TERMS], transactions)


def events(*transactions: VerifiedTransaction) -> list[tuple[int, Event, str]]:
    return [(line.height, line.event, line.member) for line in told(*transactions)]


REQUEST = final(5, ASK, Code.GRANTED)


def test_story_of_one_record_is_told_in_order() -> None:
    """Promise 8: grant, request, releases, the moment it could be opened, revocation, deletions, the end."""
    story = [
        final(3, GRANT.body),
        REQUEST,
        receipt(6, ReceiptKind.RELEASE, "alder", REQUEST),
        receipt(7, ReceiptKind.RELEASE, "damson", REQUEST),
        final(9, RevokeBody(TERMS.grant_id, None, ())),
        receipt(10, ReceiptKind.DELETION, "cedar"),
        receipt(11, ReceiptKind.DELETION, "alder"),
    ]
    assert events(*story) == [
        (3, Event.GRANTED_ACCESS, "birch"),
        (5, Event.REQUEST_GRANTED, "birch"),
        (6, Event.FRAGMENT_RELEASED, "alder"),
        (7, Event.FRAGMENT_RELEASED, "damson"),
        (7, Event.OPENED, "birch"),
        (9, Event.REVOKED, "birch"),
        (10, Event.FRAGMENT_DELETED, "cedar"),
        (11, Event.FRAGMENT_DELETED, "alder"),
        (11, Event.GRANT_DEAD, "birch"),
    ]


def test_every_line_carries_its_proof_and_names_the_record() -> None:
    """Promise 8: a line can be checked on the spot."""
    release = receipt(6, ReceiptKind.RELEASE, "alder", REQUEST)
    first, second = told(REQUEST, release)
    assert (first.proof, second.proof) == (REQUEST, release)
    assert first.record_id == second.record_id == RECORD


def test_one_release_below_the_threshold_does_not_open() -> None:
    """S4: the record could be opened only once t holders attested a release."""
    once = receipt(6, ReceiptKind.RELEASE, "alder", REQUEST)
    again = receipt(7, ReceiptKind.RELEASE, "alder", REQUEST)
    assert Event.OPENED not in [line.event for line in told(REQUEST, once, again)]


def test_threshold_is_said_once() -> None:
    releases = [receipt(6 + i, ReceiptKind.RELEASE, holder, REQUEST) for i, holder in enumerate(HOLDERS)]
    assert [line.event for line in told(REQUEST, *releases)].count(Event.OPENED) == 1


@pytest.mark.parametrize("code", [Code.GRANT_REVOKED, Code.FOREIGN_SALT, Code.OTHER_PURPOSE, Code.OUTSIDE_PERIOD])
def test_refused_request_is_a_line(code: Code) -> None:
    """Promise 8: who tried counts."""
    assert events(final(5, ASK, code)) == [(5, Event.REQUEST_DENIED, "birch")]


def test_stranger_who_tried_is_named_by_its_key() -> None:
    """S3: a third hospital asking under another's grant is refused, and shown."""
    [line] = told(final(5, ASK, Code.NOT_THE_RECIPIENT, author=b"\xab" * 32))
    assert (line.event, line.member) == (Event.REQUEST_DENIED, "the holder of key abababababababab")


def test_request_handed_in_twice_is_one_line() -> None:
    """L6: a resend is not a second access."""
    again = dataclasses.replace(REQUEST, height=6, code=Code.DUPLICATE)
    assert events(REQUEST, again) == [(5, Event.REQUEST_GRANTED, "birch")]


def test_release_without_a_granted_request_stands_out() -> None:
    """Promise 2: a disclosure without its audit entry must not hide among the others."""
    denied = final(5, ASK, Code.GRANT_REVOKED)
    unasked, refused = receipt(6, ReceiptKind.RELEASE, "alder"), receipt(6, ReceiptKind.RELEASE, "alder", denied)
    for lines in (told(unasked), told(denied, refused)):
        assert (lines[-1].event, lines[-1].member) == (Event.UNEXPLAINED, "alder")


def test_release_by_a_member_that_holds_nothing_stands_out() -> None:
    """S4: only the grant's holders can release."""
    assert told(REQUEST, receipt(6, ReceiptKind.RELEASE, "elm", REQUEST))[-1].event is Event.UNEXPLAINED


def test_refused_receipts_grants_and_revocations_are_no_lines() -> None:
    """L8: what the ledger refused had no effect."""
    refused = [
        final(3, GRANT.body, Code.NOT_THE_OWNER),
        final(4, RevokeBody(TERMS.grant_id, None, ()), Code.NOT_THE_GRANTOR),
        dataclasses.replace(receipt(6, ReceiptKind.DELETION, "alder"), code=Code.NOT_REVOKED),
    ]
    assert told(*refused) == []


def test_others_grants_are_passed_over() -> None:
    foreign = dataclasses.replace(ASK, grant_id=b"x" * 16)
    other = ReceiptBody(ReceiptKind.RELEASE, "alder", b"x" * 16, ZERO_DIGEST, 6)
    assert told(final(5, foreign, Code.GRANTED), final(6, other), final(7, RevokeBody(b"x" * 16, None, ()))) == []


def test_closing_an_epoch_ends_its_other_grants_too() -> None:
    """S6: every grant under the closed key ends with it; one that had ended before is not told twice."""
    other = dataclasses.replace(TERMS, grant_id=b"o" * 16, recipient_member="elm")
    later = dataclasses.replace(TERMS, grant_id=b"l" * 16, delegating_pk=owner(epoch=1).delegating_pk)
    alone, closing = final(9, RevokeBody(TERMS.grant_id, None, ())), final(11, owner().close(TERMS.grant_id, []))
    lines = patient_report([TERMS, other, later], [alone, closing])
    assert [(line.height, line.event, line.member) for line in lines] == [
        (9, Event.REVOKED, "birch"),
        (11, Event.ENDED_WITH_KEY, "elm"),
    ]


def test_regrant_inside_a_revocation_is_a_line_of_its_own() -> None:
    """S6: the successor's grants begin where the old epoch ends."""
    regrant = owner().regrant(b"n" * 16, RECIPIENT, PERMISSION, CHOICE, author_epoch=0)
    revoke = final(9, owner().close(TERMS.grant_id, [regrant]))
    lines = patient_report([TERMS, regrant.terms], [revoke])
    assert [(line.event, line.grant_id) for line in lines] == [
        (Event.REVOKED, TERMS.grant_id),
        (Event.GRANTED_ACCESS, b"n" * 16),
    ]
