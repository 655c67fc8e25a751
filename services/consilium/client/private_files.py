"""Files for one user's eyes, written by `runtime.whole_files`: refused here when others could read them.

What is sealed inside is each caller's own. Who writes what it has read before takes a turn, so that two commands at once
lose nothing.
"""

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from consilium.kernel.errors import FailedPrecondition

FOR_OTHERS = 0o077
"""The permission bits of everybody but the owner."""


def read_private(path: Path, bytes_max: int) -> bytes:
    """A file's bytes, one more than `bytes_max` of a longer one.

    Raises FailedPrecondition: OPEN_TO_OTHERS for a mode wider than 0600, but for a Secret's mount. May raise OSError.
    """
    found = path.stat()
    if found.st_mode & FOR_OTHERS and not _is_mounted_secret(found):
        raise FailedPrecondition("OPEN_TO_OTHERS", f"{path} is open to other users; its mode must be 0600 (chmod 600).")
    with path.open("rb") as file:
        return file.read(bytes_max + 1)


@contextmanager
def turn(path: Path) -> Iterator[None]:
    """Hold the lock file beside this one alone. May raise OSError."""
    with path.with_name(f"{path.name}.lock").open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _is_mounted_secret(found: os.stat_result) -> bool:
    """Whether root lays the file before one of this process's groups to read, and nobody else: so Kubernetes mounts them."""
    shown = found.st_mode & (FOR_OTHERS | stat.S_IWUSR)
    return found.st_uid == 0 != os.geteuid() and shown == stat.S_IRGRP and found.st_gid in (os.getegid(), *os.getgroups())
