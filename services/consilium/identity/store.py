"""What the identity service keeps: credentials, what was revoked, evidence, and whom it knows as members.

Two back ends, memory and SQLite, keep rows; one class above them gives the rows their types. Every value carries its own
check, so a row that changed under a bad disk is DataLoss and never another credential. Writes are durable on return and
happen together or not at all.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, NamedTuple, Protocol, Self, TypeVar

from consilium.identity.core.credentials import Credential
from consilium.identity.core.evidence import RankEvidence
from consilium.identity.core.recovery import RecoveryPart
from consilium.kernel.certificates import MEMBERS_MAX
from consilium.kernel.encoding import AtMost, Encodable, MemberId, decode, encode
from consilium.kernel.errors import Conflict, DataLoss, NotFound
from consilium.kernel.hashing import domain_hash
from consilium.runtime.database import Database

CURSOR_BYTES_MAX = 256
"""The most bytes a cursor of the ledger's event stream may have."""
RECOVERY_PART_BYTES_MAX = 64 * 1024 * 1024
"""The most bytes a member's part in a recovery may have: the reports of the whole alliance."""
CHECK_BYTES = 16
"""The length of the check in front of every value."""
NEWEST_PAGE = 1_000
"""How many credentials are read at a time, newest first."""
Value = TypeVar("Value", bound=Encodable)


class Entry(NamedTuple):
    """A row: what kind of thing, its key, its bytes."""

    table: str
    key: bytes
    value: bytes


class Rows(Protocol):
    """Rows by table and key, numbered in the order of their first writing."""

    def write(self, entries: Sequence[Entry]) -> None:
        """Keep rows, each in the place of the one with its key; durable on return, all or none."""

    def read(self, table: str, key: bytes) -> bytes | None:
        """The value of a key, None if there is none."""

    def page(self, table: str, after: int, limit: int) -> list[tuple[int, bytes, bytes]]:
        """At most `limit` rows numbered above `after`, oldest first: number, key, value."""

    def page_back(self, table: str, before: int, limit: int) -> list[tuple[int, bytes, bytes]]:
        """At most `limit` rows numbered below `before`, newest first; 0 begins with the newest."""

    def close(self) -> None:
        """Let go of them."""


class MemoryRows:
    """Rows in memory."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, bytes], tuple[int, bytes]] = {}

    def write(self, entries: Sequence[Entry]) -> None:
        """Keep rows."""
        for table, key, value in entries:
            number, _ = self._rows.get((table, key), (len(self._rows) + 1, b""))
            self._rows[table, key] = (number, value)

    def read(self, table: str, key: bytes) -> bytes | None:
        """The value of a key."""
        return self._rows.get((table, key), (0, None))[1]

    def page(self, table: str, after: int, limit: int) -> list[tuple[int, bytes, bytes]]:
        """Rows numbered above `after`, oldest first."""
        return [each for each in self._of(table) if each[0] > after][:limit]

    def page_back(self, table: str, before: int, limit: int) -> list[tuple[int, bytes, bytes]]:
        """Rows numbered below `before`, newest first."""
        return [each for each in reversed(self._of(table)) if not before or each[0] < before][:limit]

    def close(self) -> None:
        """Nothing to let go of."""

    def _of(self, table: str) -> list[tuple[int, bytes, bytes]]:
        return [(number, key, value) for (kind, key), (number, value) in self._rows.items() if kind == table]


class DatabaseRows:
    """Rows in an SQLite file."""

    _SCHEMA = (
        "CREATE TABLE rows (number INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, key BLOB NOT NULL, "
        "value BLOB NOT NULL, UNIQUE (kind, key));CREATE INDEX in_order ON rows (kind, number)"
    )
    _PUT = (
        "INSERT INTO rows (kind, key, value) VALUES (?, ?, ?) ON CONFLICT (kind, key) DO UPDATE SET value = excluded.value"
    )
    _PAGE = "SELECT number, key, value FROM rows WHERE kind = ? AND number > ? ORDER BY number LIMIT ?"
    _PAGE_BACK = "SELECT number, key, value FROM rows WHERE kind = ? AND number < ? ORDER BY number DESC LIMIT ?"
    _NUMBER_MAX = 2**63 - 1

    def __init__(self, database: Database) -> None:
        """Not for callers: `create` and `open` make rows."""
        self._database = database

    @classmethod
    def create(cls, path: Path) -> Self:
        """The rows of a member that never had any. Raises Conflict: STORE_EXISTS."""
        return cls(Database.create(path, cls._SCHEMA))

    @classmethod
    def open(cls, path: Path) -> Self:
        """The rows at `path`. Raises DataLoss: STORE_MISSING or STORE_DAMAGED; FailedPrecondition: LOCKED."""
        return cls(Database.open(path, "or begin anew by `python -m consilium.identity found`"))

    def write(self, entries: Sequence[Entry]) -> None:
        """Keep rows. Raises DataLoss: STORE_DAMAGED; ResourceExhausted: DISK_FULL or STORE_FULL."""
        with self._database.transaction() as connection:
            connection.executemany(self._PUT, entries)

    def read(self, table: str, key: bytes) -> bytes | None:
        """The value of a key. Raises DataLoss: STORE_DAMAGED."""
        found = self._database.rows("SELECT value FROM rows WHERE kind = ? AND key = ?", table, key)
        return found[0][0] if found else None

    def page(self, table: str, after: int, limit: int) -> list[tuple[int, bytes, bytes]]:
        """Rows numbered above `after`, oldest first. Raises DataLoss: STORE_DAMAGED."""
        return self._numbered(self._PAGE, table, after, limit)

    def page_back(self, table: str, before: int, limit: int) -> list[tuple[int, bytes, bytes]]:
        """Rows numbered below `before`, newest first. Raises DataLoss: STORE_DAMAGED."""
        return self._numbered(self._PAGE_BACK, table, before or self._NUMBER_MAX, limit)

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def _numbered(self, query: str, table: str, bound: int, limit: int) -> list[tuple[int, bytes, bytes]]:
        return [(int(number), key, value) for number, key, value in self._database.rows(query, table, bound, limit)]


@dataclass(frozen=True, slots=True)
class Known:
    """Whom the service has heard of: the members' ids, sorted, and the cursor of the last event that told of one."""

    DOMAIN: ClassVar[str] = "consilium.known-members"
    cursor: Annotated[bytes, AtMost(CURSOR_BYTES_MAX)]
    member_ids: Annotated[tuple[MemberId, ...], AtMost(MEMBERS_MAX)]


class IdentityStore:
    """The rows with their types."""

    _CREDENTIAL, _REQUEST, _NAME, _REVOKED = "credential", "request", "name", "revoked"
    _EVIDENCE, _DOCUMENT, _KNOWN = "evidence", "document", "known"
    _RECOVERY = "recovery"

    def __init__(self, rows: Rows, chain_id: bytes) -> None:
        self._rows = rows
        self._chain_id = chain_id

    # --- credentials ---

    def put_credential(self, credential: Credential, request_id: bytes | None) -> None:
        """Keep a new credential under its id, its holder's name, and the request that it answers.

        Raises Conflict: CREDENTIAL_EXISTS or REQUEST_ID_USED.
        """
        credential_id, name = credential.terms.credential_id, credential.terms.name.encode()
        if self._read(self._CREDENTIAL, credential_id) is not None:
            raise Conflict("CREDENTIAL_EXISTS", "There is a credential of that id.")
        entries = [self._entry(self._CREDENTIAL, credential_id, self._encoded(credential))]
        entries.append(self._entry(self._NAME, name, credential_id))
        if request_id is not None:
            if self._read(self._REQUEST, request_id) is not None:
                raise Conflict("REQUEST_ID_USED", "The request id was used for another credential.", "L6")
            entries.append(self._entry(self._REQUEST, request_id, credential_id))
        self._rows.write(entries)

    def put_revoked(self, credential: Credential) -> None:
        """Keep a credential that has ended in the place of the one that had not."""
        credential_id = credential.terms.credential_id
        end = credential.terms.not_after_ms.to_bytes(8)
        self._rows.write([
            self._entry(self._CREDENTIAL, credential_id, self._encoded(credential)),
            self._entry(self._REVOKED, credential_id, end),
        ])  # fmt: skip

    def credential(self, credential_id: bytes) -> Credential:
        """A credential. Raises NotFound: NO_SUCH_CREDENTIAL."""
        found = self._value(Credential, self._CREDENTIAL, credential_id)
        if found is None:
            raise NotFound("NO_SUCH_CREDENTIAL", "This member has no credential of that id.")
        return found

    def credential_of_request(self, request_id: bytes) -> Credential | None:
        """The answer that a request was given, None if there was none."""
        credential_id = self._read(self._REQUEST, request_id)
        return None if credential_id is None else self.credential(credential_id)

    def credential_of_name(self, name: str) -> Credential | None:
        """The latest credential of a holder, None for a name nobody has."""
        credential_id = self._read(self._NAME, name.encode())
        return None if credential_id is None else self.credential(credential_id)

    def credentials(self, after: int, limit: int) -> list[tuple[int, Credential]]:
        """Credentials numbered above `after`, oldest first."""
        return self._typed(Credential, self._CREDENTIAL, self._rows.page(self._CREDENTIAL, after, limit))

    def credentials_back(self) -> Iterator[Credential]:
        """All credentials, newest first."""
        before = 0
        while page := self._typed(Credential, self._CREDENTIAL, self._rows.page_back(self._CREDENTIAL, before, NEWEST_PAGE)):
            before = page[-1][0]
            yield from (each for _, each in page)

    def revoked(self, now_ms: int) -> list[int]:
        """The serial numbers of all revoked certificates that have not ended by themselves."""
        found, after = list[int](), 0
        while page := self._rows.page(self._REVOKED, after, 1_000):
            after = page[-1][0]
            ends = [(key, self._opened(self._REVOKED, key, value)) for _, key, value in page]
            found += [int.from_bytes(key) for key, end in ends if int.from_bytes(end) >= now_ms]
        return found

    # --- evidence ---

    def put_evidence(self, evidence: RankEvidence, document: bytes) -> None:
        """Keep a document; the same again changes nothing. Raises Conflict (DOCUMENT_EXISTS) for another attestation."""
        key = evidence.document_hash
        kept = self._value(RankEvidence, self._EVIDENCE, key)
        if kept not in (None, evidence):
            raise Conflict("DOCUMENT_EXISTS", "That document is kept with another attestation.")
        entries = self._entry(self._EVIDENCE, key, self._encoded(evidence)), self._entry(self._DOCUMENT, key, document)
        self._rows.write(entries)

    def evidence(self, document_hash: bytes) -> tuple[RankEvidence, bytes]:
        """A document's attestation, and the document. Raises NotFound: NO_SUCH_DOCUMENT."""
        found = self._value(RankEvidence, self._EVIDENCE, document_hash)
        document = self._read(self._DOCUMENT, document_hash)
        if found is None or document is None:
            raise NotFound("NO_SUCH_DOCUMENT", "This member keeps no document of that hash.")
        return found, document

    def evidence_back(self, before: int, limit: int) -> list[tuple[int, RankEvidence]]:
        """Attestations numbered below `before`, newest first; 0 begins with the newest."""
        return self._typed(RankEvidence, self._EVIDENCE, self._rows.page_back(self._EVIDENCE, before, limit))

    # --- recovery ---

    def put_recovery(self, part: RecoveryPart) -> None:
        """Keep the member's part in the recovery of its newest epoch."""
        self._rows.write([self._entry(self._RECOVERY, b"", self._encoded(part))])

    def recovery(self) -> RecoveryPart | None:
        """The member's part in the recovery of the newest epoch that it has stopped in; None for none."""
        data = self._read(self._RECOVERY, b"")
        return None if data is None else decode(RecoveryPart, data, self._chain_id, RECOVERY_PART_BYTES_MAX)

    # --- whom the service knows ---

    def put_known(self, known: Known) -> None:
        """Keep whom the service knows."""
        self._rows.write([self._entry(self._KNOWN, b"", self._encoded(known))])

    def known(self) -> Known:
        """Whom the service knows; nobody at first."""
        return self._value(Known, self._KNOWN, b"") or Known(b"", ())

    def close(self) -> None:
        """Let go of the rows."""
        self._rows.close()

    # --- rows and values ---

    def _encoded(self, value: Encodable) -> bytes:
        return encode(value, self._chain_id)

    def _value(self, kind: type[Value], table: str, key: bytes) -> Value | None:
        data = self._read(table, key)
        return None if data is None else decode(kind, data, self._chain_id)

    def _typed(self, kind: type[Value], table: str, page: list[tuple[int, bytes, bytes]]) -> list[tuple[int, Value]]:
        return [(number, decode(kind, self._opened(table, key, value), self._chain_id)) for number, key, value in page]

    def _read(self, table: str, key: bytes) -> bytes | None:
        value = self._rows.read(table, key)
        return None if value is None else self._opened(table, key, value)

    def _entry(self, table: str, key: bytes, data: bytes) -> Entry:
        return Entry(table, key, _check(table, key, data) + data)

    def _opened(self, table: str, key: bytes, value: bytes) -> bytes:
        """The bytes behind the check. Raises DataLoss: STORE_DAMAGED."""
        data = value[CHECK_BYTES:]
        if value[:CHECK_BYTES] != _check(table, key, data):
            raise DataLoss("STORE_DAMAGED", f"A kept {table} is not what was written; restore the store.")
        return data


def _check(table: str, key: bytes, data: bytes) -> bytes:
    return domain_hash("consilium.identity.row", table.encode(), key, data)[:CHECK_BYTES]
