"""The few file operations that durability rests on, so that a test can take the power away between any two of them.

`OsDisk` is the machine's own; the tests hold a simulated one that loses, tears and reorders what was not synced
(reference: reliability.md section 6, "ALICE's question"). A write is visible at once and durable after `sync`; a new,
renamed or removed name is durable after `sync_directory`. Sizes and offsets are bytes. Every method may raise OSError.
"""

import fcntl
import os
from pathlib import Path
from typing import Protocol

from consilium.kernel.errors import FailedPrecondition


class File(Protocol):
    """An open file, read and written at offsets."""

    def size(self) -> int:
        """How many bytes the file has."""

    def read(self, offset: int, length: int) -> bytes:
        """The bytes at `offset`, fewer than `length` only at the end of the file."""

    def write(self, offset: int, data: bytes) -> None:
        """Write all of `data` at `offset`."""

    def truncate(self, length: int) -> None:
        """Cut the file, or extend it with zeros, to `length`."""

    def sync(self) -> None:
        """Make everything written so far durable. After an OSError nobody knows what is: never call it again."""

    def close(self) -> None:
        """Let go of the file."""


class Lock(Protocol):
    """A held lock."""

    def close(self) -> None:
        """Let go of it."""


class Disk(Protocol):
    """Names and the files behind them."""

    def open(self, path: Path, *, create: bool = False) -> File:
        """Open a file for reading and writing; with `create`, make an empty one if there is none.

        Raises FileNotFoundError.
        """

    def exists(self, path: Path) -> bool:
        """Whether the name is there."""

    def names(self, directory: Path) -> list[str]:
        """The names in a directory, sorted."""

    def rename(self, source: Path, target: Path) -> None:
        """Give a file another name, replacing what had it."""

    def remove(self, path: Path) -> None:
        """Take a name away; one that is not there is no fault."""

    def sync_directory(self, directory: Path) -> None:
        """Make the names in a directory durable."""

    def lock(self, path: Path) -> Lock:
        """Hold `path` alone, until closed or until the process ends.

        Raises FailedPrecondition: LOCKED.
        """


class OsFile:
    """A file of the operating system."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def size(self) -> int:
        """How many bytes the file has."""
        return os.fstat(self._descriptor).st_size

    def read(self, offset: int, length: int) -> bytes:
        """The bytes at `offset`, fewer than `length` only at the end of the file."""
        data = os.pread(self._descriptor, length, offset)
        while 0 < len(data) < length:
            more = os.pread(self._descriptor, length - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def write(self, offset: int, data: bytes) -> None:
        """Write all of `data` at `offset`."""
        rest = memoryview(data)
        while rest:
            written = os.pwrite(self._descriptor, rest, offset)
            offset, rest = offset + written, rest[written:]

    def truncate(self, length: int) -> None:
        """Cut the file, or extend it with zeros, to `length`."""
        os.ftruncate(self._descriptor, length)

    def sync(self) -> None:
        """fdatasync: the data, and the length if it changed."""
        os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)


class OsDisk:
    """The operating system's files; new ones are the owner's alone (0600)."""

    def open(self, path: Path, *, create: bool = False) -> File:
        """Open a file for reading and writing; with `create`, make an empty one if there is none."""
        return OsFile(os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), 0o600))

    def exists(self, path: Path) -> bool:
        """Whether the name is there."""
        return path.exists()

    def names(self, directory: Path) -> list[str]:
        """The names in a directory, sorted."""
        return sorted(each.name for each in directory.iterdir())

    def rename(self, source: Path, target: Path) -> None:
        """Give a file another name, replacing what had it."""
        source.replace(target)

    def remove(self, path: Path) -> None:
        """Take a name away; one that is not there is no fault."""
        path.unlink(missing_ok=True)

    def sync_directory(self, directory: Path) -> None:
        """Fsync of the directory."""
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def lock(self, path: Path) -> Lock:
        """Flock of a file made for it, which the kernel lets go when the process ends.

        Raises FailedPrecondition: LOCKED.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise locked(path) from error
        return OsFile(descriptor)


def locked(path: Path) -> FailedPrecondition:
    """The refusal for a second holder."""
    return FailedPrecondition("LOCKED", f"{path} is open elsewhere; end that process before starting another.", "C5")
