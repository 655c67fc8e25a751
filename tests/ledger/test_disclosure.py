"""Verdicts and receipts (S3, S5, S6; promise 2)."""

from __future__ import annotations

from typing import Any

import pytest

from consilium.kernel.codes import RULES, Code
from consilium.kernel.signing import Ed25519Signer
from consilium.kernel.transactions import Purpose, ReceiptKind
from tests.alliance import Alliance, Scribe, id_of, opened, seed_of
from tests.ledger.patient import FROM_MS, UNTIL_MS, Patient, grant, receipt, request, revoke


@pytest.fixture
def scribe() -> Scribe:
    return Scribe(Alliance.founded())


@pytest.fixture
def patient(scribe: Scribe) -> Patient:
    """A patient whose record r stands under grant g."""
    patient = Patient("mrs wang", scribe.alliance.chain_id)
    codes = scribe.write(scribe.record("r", "anshan", patient.commitment()), grant(scribe, patient)).codes
    assert codes == (Code.APPLIED, Code.APPLIED)
    return patient


def code_of(scribe: Scribe, *transactions: bytes, time_ms: int | None = None) -> Code:
    return scribe.write(*transactions, time_ms=time_ms).codes[-1]


# --- verdicts ---


def test_a_request_under_a_grant_is_granted(scribe: Scribe, patient: Patient) -> None:
    """S3: as often as it is asked anew."""
    assert code_of(scribe, request(scribe, patient)) == Code.GRANTED
    assert code_of(scribe, request(scribe, patient)) == Code.GRANTED


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"record_id": id_of("nothing")}, Code.RECORD_UNKNOWN),
        ({"grant_id": id_of("nothing")}, Code.GRANT_UNKNOWN),
        ({"salt": seed_of("foreign")}, Code.FOREIGN_SALT),
        ({"purpose": Purpose.RESEARCH}, Code.OTHER_PURPOSE),
    ],
)
def test_a_request_must_fit_record_and_grant(scribe: Scribe, patient: Patient, changes: dict[str, Any], code: Code) -> None:
    """S3."""
    assert code_of(scribe, request(scribe, patient, **changes)) == code
    assert RULES[code] == "S3"


def test_a_grant_opens_only_its_own_owners_records(scribe: Scribe, patient: Patient) -> None:
    """S3: the opened salt ties record to grant; another patient's record is denied under this grant."""
    other = Patient("mr li", scribe.alliance.chain_id)
    scribe.write(scribe.record("other", "anshan", other.commitment()))
    assert code_of(scribe, request(scribe, patient, "other")) == Code.FOREIGN_SALT


def test_a_record_of_an_earlier_key_epoch_is_denied(scribe: Scribe, patient: Patient) -> None:
    """S3, S6: a grant under epoch 1 does not open what was sealed under epoch 0."""
    regrant = patient.grant(patient.terms("g1", 1), 1)
    scribe.write(revoke(scribe, patient, "g", regrant, epoch=1))
    assert code_of(scribe, request(scribe, patient, "r", "g1")) == Code.FOREIGN_SALT


def test_only_the_recipients_own_key_asks(scribe: Scribe, patient: Patient) -> None:
    """S3."""
    patient.recipient = Ed25519Signer.from_seed(seed_of("stranger"))
    assert code_of(scribe, request(scribe, patient)) == Code.NOT_THE_RECIPIENT


def test_the_period_is_judged_by_certified_block_time(scribe: Scribe, patient: Patient) -> None:
    """L7: from the first millisecond to just before the last."""
    scribe.write(grant(scribe, patient, "later", not_before_ms=FROM_MS + 10_000))
    assert code_of(scribe, request(scribe, patient, name="later"), time_ms=FROM_MS + 9_999) == Code.OUTSIDE_PERIOD
    assert code_of(scribe, request(scribe, patient, name="later"), time_ms=FROM_MS + 10_000) == Code.GRANTED
    assert code_of(scribe, request(scribe, patient), time_ms=UNTIL_MS - 1) == Code.GRANTED
    assert code_of(scribe, request(scribe, patient), time_ms=UNTIL_MS) == Code.OUTSIDE_PERIOD


def test_after_the_revocation_requests_are_denied(scribe: Scribe, patient: Patient) -> None:
    """S6, promise 2: from the next transaction of the same block on."""
    before, after = request(scribe, patient), request(scribe, patient)
    codes = scribe.write(before, revoke(scribe, patient), after).codes
    assert codes == (Code.GRANTED, Code.APPLIED, Code.GRANT_REVOKED)


def test_closing_the_key_denies_requests_under_all_its_grants(scribe: Scribe, patient: Patient) -> None:
    """S6."""
    scribe.write(grant(scribe, patient, "h"))
    scribe.write(revoke(scribe, patient, "g", epoch=1))
    assert code_of(scribe, request(scribe, patient, name="h")) == Code.GRANT_REVOKED


def test_everything_about_a_grant_can_be_listed(scribe: Scribe, patient: Patient) -> None:
    """Promise 8: the denied request too, each once, in the ledger's order."""
    asked, denied = request(scribe, patient), request(scribe, patient, salt=seed_of("foreign"))
    ended = revoke(scribe, patient)
    scribe.write(asked, asked, denied)
    scribe.write(asked, ended)
    first, *others = scribe.chain.transactions_about(id_of("g"))
    assert scribe.chain.code_of(first) == (1, Code.APPLIED)
    assert others == [opened(scribe.alliance, each).leaf for each in (asked, denied, ended)]
    assert [scribe.chain.code_of(each) for each in others] == [
        (2, Code.GRANTED),
        (2, Code.FOREIGN_SALT),
        (3, Code.APPLIED),
    ]
    assert scribe.chain.transactions_about(id_of("nothing")) == ()


# --- receipts ---


def granted(scribe: Scribe, patient: Patient) -> bytes:
    transaction = request(scribe, patient)
    assert code_of(scribe, transaction) == Code.GRANTED
    return opened(scribe.alliance, transaction).leaf


def release(scribe: Scribe, holder: str, request_hash: bytes, height: int, name: str = "g") -> bytes:
    return receipt(scribe, holder, ReceiptKind.RELEASE, name, request_hash, height)


def test_a_release_hangs_on_a_granted_request(scribe: Scribe, patient: Patient) -> None:
    """S5: no receipt without an audit entry, one a holder."""
    name = granted(scribe, patient)
    denied = request(scribe, patient, salt=seed_of("foreign"))
    assert code_of(scribe, denied) == Code.FOREIGN_SALT
    foreign = opened(scribe.alliance, denied).leaf
    assert code_of(scribe, release(scribe, "anshan", foreign, 2)) == Code.REQUEST_UNKNOWN
    assert code_of(scribe, release(scribe, "anshan", seed_of("x"), 2)) == Code.REQUEST_UNKNOWN
    assert code_of(scribe, release(scribe, "anshan", name, 2)) == Code.APPLIED
    assert code_of(scribe, release(scribe, "anshan", name, 3)) == Code.RECEIPT_REPEATED
    assert code_of(scribe, release(scribe, "dalian", name, 3)) == Code.APPLIED


def test_a_release_names_a_height_it_can_have_had(scribe: Scribe, patient: Patient) -> None:
    """S5: not below the request, not above the block."""
    name = granted(scribe, patient)
    assert code_of(scribe, release(scribe, "anshan", name, 1)) == Code.BAD_HEIGHT
    assert code_of(scribe, release(scribe, "anshan", name, 5)) == Code.BAD_HEIGHT
    assert code_of(scribe, release(scribe, "anshan", name, 5)) == Code.APPLIED


def test_a_release_is_for_the_grant_of_its_request(scribe: Scribe, patient: Patient) -> None:
    """S5."""
    scribe.write(grant(scribe, patient, "h"))
    name = granted(scribe, patient)
    assert code_of(scribe, release(scribe, "anshan", name, 3, "h")) == Code.REQUEST_UNKNOWN


def test_only_a_holder_speaks_for_itself(scribe: Scribe, patient: Patient) -> None:
    """S5, S6."""
    scribe.write(revoke(scribe, patient))
    assert code_of(scribe, receipt(scribe, "fushun")) == Code.NOT_A_HOLDER
    assert code_of(scribe, receipt(scribe, "anshan", signed_by="fushun")) == Code.NOT_A_HOLDER
    assert code_of(scribe, receipt(scribe, "anshan")) == Code.APPLIED
    assert code_of(scribe, receipt(scribe, "anshan", name="nothing")) == Code.GRANT_UNKNOWN


def test_enough_deletions_make_the_grant_dead(scribe: Scribe, patient: Patient) -> None:
    """S6: h - t + 1 = 2 of 3, different holders, after the revocation only."""
    assert code_of(scribe, receipt(scribe, "anshan")) == Code.NOT_REVOKED
    scribe.write(revoke(scribe, patient))
    scribe.write(receipt(scribe, "anshan"))
    assert code_of(scribe, receipt(scribe, "anshan")) == Code.RECEIPT_REPEATED
    alive = scribe.chain.grant(id_of("g"))
    assert alive is not None
    assert (alive.deleted_by, alive.dead_height) == (("anshan",), None)
    scribe.write(receipt(scribe, "chaoyang"))
    scribe.write(receipt(scribe, "dalian"))
    dead = scribe.chain.grant(id_of("g"))
    assert dead is not None
    assert (dead.deleted_by, dead.dead_height) == (("anshan", "chaoyang", "dalian"), 6)
