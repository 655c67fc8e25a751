"""Puts two objects and deletes the first, killed by signal 9 at every call into the system or into SQLite in turn.

Usage: python -m tests.stores.object_put_process FOLDER. Child number n works in FOLDER/n and is killed at step n; a line on
standard output says what it had acknowledged. The profile hook sees every call of a C function; those of `posix` and of
SQLite's connection are where files change.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from consilium.runtime.disk import OsDisk
from consilium.storage.embedded import EmbeddedObjectStore
from tests.stores.objects import CHAIN_ID, ONE_CHUNK, make_chunks, make_manifest, record_id

if TYPE_CHECKING:
    from types import FrameType

STEPS = {"open", "pwrite", "ftruncate", "fdatasync", "fsync", "rename", "replace", "unlink", "mkdir", "execute", "close"}


class Killer:
    """Kills the process at a step; every step counts twice, before and after it is done."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __call__(self, _: FrameType, event: str, function: object) -> None:
        """The hook for sys.setprofile."""
        if event in {"c_call", "c_return"} and getattr(function, "__name__", "") in STEPS:
            if self.count == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            self.count -= 1


def put(store: EmbeddedObjectStore, name: str, tell: int) -> None:
    """Store an object of one chunk, and tell that it is stored."""
    chunks = make_chunks(name, ONE_CHUNK)
    store.put_chunk(record_id(name), 0, chunks[0])
    store.complete(make_manifest(name, ONE_CHUNK, chunks))
    os.write(tell, name.encode() + b" ")


def live(folder: Path, count: int, tell: int) -> None:
    """Do it all, or be killed."""
    sys.setprofile(Killer(count))
    store = EmbeddedObjectStore.create(OsDisk(), folder, CHAIN_ID)
    put(store, "first", tell)
    put(store, "second", tell)
    os.write(tell, b"deleting ")
    store.delete(record_id("first"))
    os.write(tell, b"-first ")
    os._exit(0)


def run_until_killed(folder: Path, count: int) -> bool:
    """Do it in a child process; whether it came to its end."""
    folder.mkdir()
    hear, tell = os.pipe()
    child = os.fork()
    if child == 0:
        live(folder, count, tell)
    os.close(tell)
    with os.fdopen(hear) as told:
        sys.stdout.write(told.read() + "\n")
    _, status = os.waitpid(child, 0)
    if status not in (0, signal.SIGKILL):
        raise SystemExit(f"the child ended with {status} at step {count}")
    return status == 0


def main(folder: Path) -> None:
    """Kill a child at every step, until one comes to its end."""
    count = 0
    while not run_until_killed(folder / str(count), count):
        count += 1


if __name__ == "__main__":
    main(Path(sys.argv[1]))
