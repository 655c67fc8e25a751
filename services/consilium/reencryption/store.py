"""The key fragments a member holds, sealed at rest and deleted on revocation (rules S4, S6; design section 7).

A fragment is sealed under the member's own sealing key with ChaCha20-Poly1305 (RFC 8439), tied to its grant and holder:
one that was changed, or moved to another grant or member, does not open. The nonce is random; a member holds thousands of
fragments, far below where random 96-bit nonces might meet. A deleted fragment stays deleted: its grant id is refused from
then on. The store never goes into a backup, and the ledger is asked at every release, so an old copy of it serves nobody.
"""

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from consilium.kernel.errors import Conflict, DataLoss, NotFound
from consilium.kernel.hashing import domain_hash
from consilium.runtime.shreddable import ShreddableRows

SEALING_KEY_BYTES = 32
_NONCE_BYTES = 12


class KeyFragmentStore:
    """One member's fragments (kfrag bytes) by grant id."""

    def __init__(self, rows: ShreddableRows, sealing_key: bytes, holder: str) -> None:
        """Keep them in `rows`, which hold nothing else, sealed under the member's key of 32 bytes."""
        assert len(sealing_key) == SEALING_KEY_BYTES, "a sealing key has 32 bytes"
        self._rows = rows
        self._cipher = ChaCha20Poly1305(sealing_key)
        self._holder = holder

    def put(self, grant_id: bytes, kfrag: bytes) -> None:
        """Keep a fragment, durable on return; the same again is no fault.

        Raises Conflict: ALREADY_STORED for another one, DESTROYED after a revocation.
        """
        if self._holds(grant_id, kfrag):
            return
        nonce = secrets.token_bytes(_NONCE_BYTES)
        self._rows.put(grant_id, nonce + self._cipher.encrypt(nonce, kfrag, self._place(grant_id)))

    def read(self, grant_id: bytes) -> bytes:
        """The fragment of a grant.

        Raises NotFound: NOT_STORED or DESTROYED; DataLoss: BAD_FRAGMENT.
        """
        row = self._rows.read(grant_id)
        try:
            return self._cipher.decrypt(row[:_NONCE_BYTES], row[_NONCE_BYTES:], self._place(grant_id))
        except (InvalidTag, ValueError) as error:
            raise DataLoss(
                "BAD_FRAGMENT", f"The key fragment of grant {grant_id.hex()} is not what this member sealed.", "S4"
            ) from error

    def delete(self, grant_id: bytes) -> None:
        """Destroy a fragment for ever; durable on return, and a later `put` is refused (S6)."""
        self._rows.destroy(grant_id)

    def grant_ids(self) -> list[bytes]:
        """The grants this member holds fragments of, sorted."""
        return self._rows.keys()

    def deleted(self) -> list[bytes]:
        """The grants whose fragments were deleted here, or would be refused, sorted."""
        return self._rows.destroyed()

    def _holds(self, grant_id: bytes, kfrag: bytes) -> bool:
        """Whether this very fragment is kept already; sealing it again would give other bytes.

        Raises Conflict: ALREADY_STORED.
        """
        try:
            kept = self.read(grant_id)
        except NotFound:
            return False
        if kept != kfrag:
            raise Conflict("ALREADY_STORED", f"Grant {grant_id.hex()} has another fragment here already.", "S4")
        return True

    def _place(self, grant_id: bytes) -> bytes:
        return domain_hash("consilium.kfrag-at-rest", grant_id, self._holder.encode())
