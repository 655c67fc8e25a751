"""One contract for both back ends of the identity store."""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from consilium.identity.core.credentials import (
    Credential,
    CredentialKind,
    CredentialTerms,
    RevocationReason,
    revoke_credential,
)
from consilium.identity.core.evidence import RankEvidence
from consilium.identity.store import DatabaseRows, Entry, IdentityStore, Known, MemoryRows, Rows
from consilium.kernel.errors import Conflict, DataLoss, FailedPrecondition, NotFound
from consilium.kernel.hashing import ZERO_DIGEST, sha256

if TYPE_CHECKING:
    from pathlib import Path

CHAIN_ID = sha256(b"chain")


class Place(ABC):
    """Where rows are kept, and what may happen to them there."""

    rows: Rows

    @abstractmethod
    def restart(self) -> IdentityStore:
        """End the process and open the rows again."""

    @abstractmethod
    def damage(self, table: str) -> None:
        """Flip a bit of every value of a table."""

    @property
    def store(self) -> IdentityStore:
        """The store over the rows."""
        return IdentityStore(self.rows, CHAIN_ID)


class MemoryPlace(Place):
    """A simulated member's memory; a restart keeps it."""

    def __init__(self) -> None:
        self.rows: MemoryRows = MemoryRows()

    def restart(self) -> IdentityStore:
        return self.store

    def damage(self, table: str) -> None:
        for _, key, value in self.rows.page(table, 0, 100):
            self.rows.write([Entry(table, key, value[:-1] + bytes([value[-1] ^ 1]))])


class DatabasePlace(Place):
    """A file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: DatabaseRows = DatabaseRows.create(path)

    def restart(self) -> IdentityStore:
        self.rows.close()
        self.rows = DatabaseRows.open(self.path)
        return self.store

    def damage(self, table: str) -> None:
        self.rows.close()
        connection = sqlite3.connect(self.path)
        for number, value in connection.execute("SELECT number, value FROM rows WHERE kind = ?", (table,)).fetchall():
            flipped = value[:-1] + bytes([value[-1] ^ 1])
            connection.execute("UPDATE rows SET value = ? WHERE number = ?", (flipped, number))
        connection.commit()
        connection.close()
        self.rows = DatabaseRows.open(self.path)


@pytest.fixture(params=["memory", "database"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return MemoryPlace() if request.param == "memory" else DatabasePlace(tmp_path / "identity.db")


def credential(number: int, name: str = "ab", ends_ms: int = 1_000) -> Credential:
    """A credential whose id comes from a number."""
    terms = CredentialTerms(number.to_bytes(16), CredentialKind.STAFF, name, "nurse", b"k" * 32, 0, ends_ms)
    return Credential(terms, b"certificate", ZERO_DIGEST, None)


def document(number: int) -> tuple[RankEvidence, bytes]:
    """A document that comes from a number."""
    data = number.to_bytes(4)
    return RankEvidence(sha256(data), "anshan", "text/plain", b"k" * 32, b"s" * 64), data


def test_credentials_are_found_by_id_request_and_name(place: Place) -> None:
    place.store.put_credential(credential(1), b"r" * 16)
    place.store.put_credential(credential(2), None)
    store = place.restart()
    assert store.credential(credential(1).terms.credential_id) == credential(1)
    assert store.credential_of_request(b"r" * 16) == credential(1)
    assert store.credential_of_name("ab") == credential(2)
    assert (store.credential_of_request(b"x" * 16), store.credential_of_name("x")) == (None, None)
    with pytest.raises(NotFound, match="NO_SUCH_CREDENTIAL"):
        store.credential(bytes(16))


def test_no_credential_takes_anothers_place(place: Place) -> None:
    """L6: a request id answers once; a refused write leaves nothing behind."""
    place.store.put_credential(credential(1), b"r" * 16)
    with pytest.raises(Conflict, match="CREDENTIAL_EXISTS"):
        place.store.put_credential(credential(1, "other"), None)
    with pytest.raises(Conflict, match="REQUEST_ID_USED"):
        place.store.put_credential(credential(2), b"r" * 16)
    assert [each for _, each in place.restart().credentials(0, 10)] == [credential(1)]


def test_pages_join(place: Place) -> None:
    for number in range(1, 6):
        place.store.put_credential(credential(number), None)
        place.store.put_evidence(*document(number))
    store = place.restart()
    first = store.credentials(0, 3)
    rest = store.credentials(first[-1][0], 3)
    assert [int.from_bytes(each.terms.credential_id) for _, each in first + rest] == [1, 2, 3, 4, 5]
    assert list(store.credentials_back()) == [each for _, each in reversed(first + rest)]
    newest = store.evidence_back(0, 2)
    older = store.evidence_back(newest[-1][0], 9)
    assert [each for _, each in newest + older] == [document(number)[0] for number in (5, 4, 3, 2, 1)]


def test_the_revoked_are_known_again_until_they_have_ended(place: Place) -> None:
    for number, ends_ms in ((1, 500), (2, 1_500), (3, 1_500)):
        place.store.put_credential(credential(number, ends_ms=ends_ms), None)
    for number, ends_ms in ((1, 500), (2, 1_500)):
        ended = revoke_credential(credential(number, ends_ms=ends_ms), RevocationReason.SUPERSEDED, 400)
        place.store.put_revoked(ended)
    store = place.restart()
    assert store.revoked(1_000) == [2]
    assert sorted(store.revoked(0)) == [1, 2]
    kept = store.credential((2).to_bytes(16)).revocation
    assert kept is not None
    assert kept.reason is RevocationReason.SUPERSEDED


def test_documents_and_what_is_known(place: Place) -> None:
    kept, data = document(1)
    place.store.put_evidence(kept, data)
    place.store.put_evidence(kept, data)
    with pytest.raises(Conflict, match="DOCUMENT_EXISTS"):
        place.store.put_evidence(replace(kept, media_type="text/html"), data)
    assert place.store.known() == Known(b"", ())
    place.store.put_known(Known(b"cursor", ("anshan",)))
    store = place.restart()
    assert store.evidence(kept.document_hash) == (kept, data)
    assert store.known() == Known(b"cursor", ("anshan",))
    with pytest.raises(NotFound, match="NO_SUCH_DOCUMENT"):
        store.evidence(bytes(32))


@pytest.mark.parametrize("table", ["credential", "revoked", "name", "document", "known"])
def test_a_changed_row_is_data_loss_and_never_another_value(place: Place, table: str) -> None:
    store = place.store
    store.put_credential(credential(1), None)
    store.put_revoked(revoke_credential(credential(1), RevocationReason.SUPERSEDED, 0))
    store.put_evidence(*document(1))
    store.put_known(Known(b"cursor", ("anshan",)))
    place.damage(table)
    reads = {
        "credential": lambda store: store.credential((1).to_bytes(16)),
        "revoked": lambda store: store.revoked(0),
        "name": lambda store: store.credential_of_name("ab"),
        "document": lambda store: store.evidence(document(1)[0].document_hash),
        "known": lambda store: store.known(),
    }
    with pytest.raises(DataLoss, match="STORE_DAMAGED"):
        reads[table](place.store)


def test_a_file_is_made_once_and_opened_alone(tmp_path: Path) -> None:
    path = tmp_path / "identity.db"
    with pytest.raises(DataLoss, match="STORE_MISSING"):
        DatabaseRows.open(path)
    rows = DatabaseRows.create(path)
    with pytest.raises(Conflict, match="STORE_EXISTS"):
        DatabaseRows.create(path)
    with pytest.raises(FailedPrecondition, match="LOCKED"):
        DatabaseRows.open(path)
    rows.close()
