"""The highest height this machine has seen final, kept beside the keystore: one file a chain (rule L4).

A command starts no lower than the one before it ended, so a member cannot answer from the past between two commands. The
file tells nothing that is not public. Where no keystore lies, as for the acts of a member, nothing is kept.
"""

from pathlib import Path

from consilium.client.private_files import read_private, turn
from consilium.kernel.errors import DataLoss
from consilium.runtime.whole_files import write_atomically

DIGITS_MAX = 20


class HeightFile:
    """Where a chain's height lies beside a keystore."""

    def __init__(self, keystore: Path, chain_id: bytes) -> None:
        self._keystore = keystore
        self.path = keystore.with_name(f"{keystore.name}.{chain_id.hex()[:16]}.height")

    def read(self) -> int:
        """The height, 0 where none is kept. Raises DataLoss: DAMAGED_HEIGHT; FailedPrecondition: OPEN_TO_OTHERS."""
        if not self.path.exists():
            return 0
        digits = read_private(self.path, DIGITS_MAX).decode("ascii", "replace").strip()
        if not digits.isdecimal() or len(digits) > DIGITS_MAX:
            raise DataLoss("DAMAGED_HEIGHT", f"{self.path} was cut or changed; move it away: the next command starts anew.")
        return int(digits)

    def keep(self, height: int) -> None:
        """Put a higher height into the file; it never goes back. Raises as `read`; may raise OSError."""
        if not self._keystore.exists() or height <= self.read():
            return
        with turn(self.path):
            write_atomically(self.path, b"%d\n" % max(height, self.read()))
