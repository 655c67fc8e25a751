"""What identity reads and keeps as files: the member's key, and what others watch, which is touched only when it changes."""

from pathlib import Path

from consilium.kernel.errors import DataLoss
from consilium.kernel.signing import SEED_BYTES, Ed25519Signer
from consilium.runtime.whole_files import PRIVATE, write_atomically


def write_changed(path: Path, data: bytes, mode: int = PRIVATE) -> None:
    """Replace a file unless it holds just this, so that readers that watch it are not woken for nothing."""
    if not path.exists() or path.read_bytes() != data:
        write_atomically(path, data, mode)


def read_member_key(path: Path) -> Ed25519Signer:
    """The member's key from its file, 32 random bytes. Raises DataLoss: BAD_MEMBER_KEY."""
    try:
        seed = path.read_bytes()
    except OSError as error:
        raise DataLoss("BAD_MEMBER_KEY", f"The member key cannot be read: {error}") from error
    if len(seed) != SEED_BYTES:
        raise DataLoss("BAD_MEMBER_KEY", f"{path} holds no member key of {SEED_BYTES} bytes.")
    return Ed25519Signer.from_seed(seed)
