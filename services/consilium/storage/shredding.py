"""The shred secrets of a member's records: destroy one, and its object opens for nobody (S2, promise 6).

A store of its own, apart from the ciphertext, out of backup. Each secret carries a check, so one that changed or moved to
another record is DataLoss and never used.
"""

from consilium.kernel.errors import DataLoss
from consilium.kernel.hashing import DIGEST_BYTES, domain_hash
from consilium.kernel.sealing import KEY_BYTES
from consilium.runtime.shreddable import ShreddableRows


class ShredSecretStore:
    """Secrets of 32 bytes by record id."""

    def __init__(self, rows: ShreddableRows) -> None:
        """Keep them in `rows`, which hold nothing else."""
        self._rows = rows

    def put(self, record_id: bytes, secret: bytes) -> None:
        """Keep a secret, durable on return; the same again is no fault.

        Raises Conflict: ALREADY_STORED or DESTROYED.
        """
        assert len(secret) == KEY_BYTES, "a shred secret has 32 bytes"
        self._rows.put(record_id, secret + _check(record_id, secret))

    def mend(self, record_id: bytes, secret: bytes) -> None:
        """Keep a secret in the place of one that is lost or damaged, durable on return. Raises Conflict: DESTROYED."""
        self._rows.mend(record_id, secret + _check(record_id, secret))

    def read(self, record_id: bytes) -> bytes:
        """The secret of a record.

        Raises NotFound: NOT_STORED or DESTROYED; DataLoss: BAD_SECRET.
        """
        row = self._rows.read(record_id)
        secret, check = row[:KEY_BYTES], row[KEY_BYTES:]
        if len(row) != KEY_BYTES + DIGEST_BYTES or check != _check(record_id, secret):
            raise DataLoss("BAD_SECRET", f"The shred secret of record {record_id.hex()} is not what was stored.", "S2")
        return secret

    def destroy(self, record_id: bytes) -> None:
        """Destroy a secret for ever; durable on return, and a later `put` is refused."""
        self._rows.destroy(record_id)

    def record_ids(self) -> list[bytes]:
        """The records that have secrets, sorted."""
        return self._rows.keys()


def _check(record_id: bytes, secret: bytes) -> bytes:
    return domain_hash("consilium.shred-secret", record_id, secret)
