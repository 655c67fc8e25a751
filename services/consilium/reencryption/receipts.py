"""The receipts this holder has signed: kept until they are final, and afterwards for who asks (rules S5, S6)."""

from dataclasses import dataclass
from pathlib import Path

from consilium.kernel.transactions import ReceiptKind
from consilium.runtime.database import Database

_SCHEMA = (
    "CREATE TABLE receipts (number INTEGER PRIMARY KEY AUTOINCREMENT, kind INTEGER NOT NULL, grant_id BLOB NOT NULL,"
    " request_hash BLOB NOT NULL, carried BLOB NOT NULL, expiry_height INTEGER NOT NULL, settled INTEGER NOT NULL,"
    " UNIQUE (kind, grant_id, request_hash))"
)
_SELECT = "SELECT number, kind, grant_id, request_hash, CAST(carried AS BLOB), expiry_height, settled FROM receipts"


@dataclass(frozen=True, slots=True)
class KeptReceipt:
    """A receipt as handed to consensus. `number` counts from 1; `settled` once its outcome is final."""

    number: int
    kind: ReceiptKind
    grant_id: bytes
    request_hash: bytes
    carried: bytes
    expiry_height: int
    settled: bool = False


class Receipts:
    """One receipt for each kind, grant and request; every change is durable on return."""

    def __init__(self, database: Database) -> None:
        """Not for callers: `create` and `open` make receipts."""
        self._database = database

    @classmethod
    def create(cls, path: Path) -> "Receipts":
        """Those of a member that never had any. Raises Conflict: STORE_EXISTS."""
        return cls(Database.create(path, _SCHEMA))

    @classmethod
    def open(cls, path: Path) -> "Receipts":
        """The member's. Raises DataLoss: STORE_MISSING or STORE_DAMAGED; FailedPrecondition: LOCKED."""
        return cls(Database.open(path))

    def put(self, each: KeptReceipt) -> None:
        """Keep a receipt, in the place of one about the same; its number is given here."""
        row = each.kind, each.grant_id, each.request_hash, each.carried, each.expiry_height, each.settled
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO receipts (kind, grant_id, request_hash, carried, expiry_height, settled)"
                " VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (kind, grant_id, request_hash) DO UPDATE SET"
                " carried = excluded.carried, expiry_height = excluded.expiry_height, settled = excluded.settled",
                row,
            )

    def find(self, kind: ReceiptKind, grant_id: bytes, request_hash: bytes) -> KeptReceipt | None:
        """The receipt about this, if there is one."""
        query = f"{_SELECT} WHERE kind = ? AND grant_id = ? AND request_hash = ?"
        rows = self._database.rows(query, kind, grant_id, request_hash)
        return _kept(rows[0]) if rows else None

    def unsettled(self) -> list[KeptReceipt]:
        """Those whose outcome is not final, oldest first."""
        return [_kept(row) for row in self._database.rows(f"{_SELECT} WHERE settled = 0 ORDER BY number")]

    def grant_ids(self, kind: ReceiptKind) -> list[bytes]:
        """The grants that there are receipts of this kind about."""
        return [row[0] for row in self._database.rows("SELECT grant_id FROM receipts WHERE kind = ?", int(kind))]

    def page(self, after: int, size: int, grant_id: bytes, kind: ReceiptKind | None) -> list[KeptReceipt]:
        """The first receipts with a number above `after`, of a grant and a kind where given."""
        where = "number > ? AND (? = x'' OR grant_id = ?) AND (? = 0 OR kind = ?)"
        query = f"{_SELECT} WHERE {where} ORDER BY number LIMIT ?"
        number = 0 if kind is None else int(kind)
        return [_kept(row) for row in self._database.rows(query, after, grant_id, grant_id, number, number, size)]

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()


def _kept(row: tuple[object, ...]) -> KeptReceipt:
    number, kind, grant_id, request_hash, carried, expiry_height, settled = row
    assert isinstance(grant_id, bytes)
    assert isinstance(request_hash, bytes)
    assert isinstance(carried, bytes)
    kept_as = ReceiptKind(int(str(kind)))
    return KeptReceipt(int(str(number)), kept_as, grant_id, request_hash, carried, int(str(expiry_height)), bool(settled))
