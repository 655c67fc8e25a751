"""Files that are replaced as a whole: synced, then renamed; a reader sees the old one or the new one. Secrets are 0600."""

import os
import secrets
from pathlib import Path

from consilium.kernel.errors import DataLoss
from consilium.kernel.signing import SEED_BYTES, Ed25519Signer


def write_atomically(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace a file, durable on return. May raise OSError."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def write_changed(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace a file unless it holds just this, so that readers that watch it are not woken for nothing."""
    if not path.exists() or path.read_bytes() != data:
        write_atomically(path, data, mode)


def sync_directory(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_member_key(path: Path) -> Ed25519Signer:
    """The member's key from its file, 32 random bytes. Raises DataLoss: BAD_MEMBER_KEY."""
    try:
        seed = path.read_bytes()
    except OSError as error:
        raise DataLoss("BAD_MEMBER_KEY", f"The member key cannot be read: {error}") from error
    if len(seed) != SEED_BYTES:
        raise DataLoss("BAD_MEMBER_KEY", f"{path} holds no member key of {SEED_BYTES} bytes.")
    return Ed25519Signer.from_seed(seed)
