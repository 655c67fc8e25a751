"""A disk in memory that forgets what was not synced, in every way a real one may (reference: reliability.md section 6).

What a program sees is the newest state. What a power cut leaves is one of `crash_states()`: for every file, its synced bytes
with any choice of the later writes, torn at sector borders, the rest old or zero; for every directory, its synced names with
the first so many of the later changes. File contents and names are cut independently, so a rename may outlive the bytes it
was meant to publish (Pillai et al., OSDI 2014, ALICE).

A sync that fails may leave its pages clean (Rebello et al., ATC 2020): they are read back, also by the next process, and no
later sync writes them, until somebody writes them again. Names are not forgotten so: a file system whose own journal cannot
be written goes read-only.
"""

from __future__ import annotations

import errno
from itertools import product
from typing import TYPE_CHECKING

from consilium.runtime.disk import locked

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from consilium.runtime.disk import File, Lock

SECTOR_BYTES = 64
WRITES_ENUMERATED_MAX = 5


class PowerCutError(BaseException):
    """The power went; not an Exception, so that no handler in the code under test can go on."""


class Content:
    """One file's bytes: what was synced, and what was done since."""

    def __init__(self, durable: bytes = b"") -> None:
        self.durable = durable
        self.visible = bytearray(durable)
        self.lengths = [len(durable)]
        self.touched: dict[int, None] = {}
        self.forgotten: dict[int, None] = {}

    def write(self, offset: int, data: bytes) -> None:
        """Change the visible bytes; every touched sector may or may not reach the disk."""
        end = offset + len(data)
        self.visible += bytes(max(0, offset - len(self.visible)))
        self.visible[offset:end] = data
        self.lengths.append(len(self.visible))
        sectors = range(offset // SECTOR_BYTES, -(-end // SECTOR_BYTES))
        self.touched.update(dict.fromkeys(sectors))
        if self.forgotten:
            for sector in sectors:
                self.forgotten.pop(sector, None)

    def truncate(self, length: int) -> None:
        """Change the length, which may or may not reach the disk."""
        del self.visible[length:]
        self.visible += bytes(length - len(self.visible))
        self.lengths.append(length)

    def sync(self) -> None:
        """Make what is visible durable, but for what a failed sync has marked clean."""
        kept = self.durable.ljust(len(self.visible), b"\0") if self.forgotten else b""
        self.durable = bytes(self.visible)
        for sector in self.forgotten:
            place = slice(sector * SECTOR_BYTES, min((sector + 1) * SECTOR_BYTES, len(self.visible)))
            self.durable = self.durable[: place.start] + kept[place] + self.durable[place.stop :]
        self.lengths, self.touched = [len(self.visible)], {}

    def forget(self) -> None:
        """Mark everything clean that a failed sync should have written: nothing of it is durable, all of it is visible."""
        self.forgotten.update(self.touched)
        self.touched = {}

    def after_crash(self) -> Iterator[bytes]:
        """Every content a power cut may leave; all choices of sectors while they are few, else the telling ones."""
        for length in dict.fromkeys(self.lengths):
            for kept in _choices(list(self.touched)):
                yield self._mixed(length, kept)

    def after_one_crash(self, chance: random.Random) -> bytes:
        """One of the contents a power cut may leave."""
        return self._mixed(chance.choice(self.lengths), tuple(each for each in self.touched if chance.random() < 0.5))

    def _mixed(self, length: int, kept: tuple[int, ...]) -> bytes:
        mixed = bytearray(self.durable[:length].ljust(length, b"\0"))
        for sector in kept:
            start, end = sector * SECTOR_BYTES, min((sector + 1) * SECTOR_BYTES, length, len(self.visible))
            if start < end:
                mixed[start:end] = self.visible[start:end]
        return bytes(mixed)


def _choices(sectors: list[int]) -> Iterator[tuple[int, ...]]:
    if len(sectors) <= WRITES_ENUMERATED_MAX:
        for mask in product((False, True), repeat=len(sectors)):
            yield tuple(sector for sector, keep in zip(sectors, mask, strict=True) if keep)
        return
    yield from ((), tuple(sectors))
    for place in range(len(sectors)):
        yield tuple(sectors[:place])
        yield tuple(sectors[:place] + sectors[place + 1 :])
        yield (sectors[place],)


class SimulatedFile:
    """An open file of a simulated disk."""

    def __init__(self, disk: SimulatedDisk, content: Content) -> None:
        self._disk = disk
        self._content = content

    def size(self) -> int:
        """How many bytes are visible."""
        return len(self._content.visible)

    def read(self, offset: int, length: int) -> bytes:
        """The visible bytes."""
        return bytes(self._content.visible[offset : offset + length])

    def write(self, offset: int, data: bytes) -> None:
        """A step; when the disk is full, half of the bytes arrive."""
        self._disk.step("write")
        if self._disk.full:
            self._content.write(offset, data[: len(data) // 2])
            raise OSError(errno.ENOSPC, "the simulated disk is full")
        self._content.write(offset, data)

    def truncate(self, length: int) -> None:
        """A step."""
        self._disk.step("truncate")
        self._content.truncate(length)

    def sync(self) -> None:
        """A step; when syncs fail, nothing becomes durable, and it may be marked clean."""
        self._disk.step("sync")
        if self._disk.sync_fails:
            if self._disk.sync_forgets:
                self._content.forget()
            raise OSError(errno.EIO, "the simulated disk cannot sync")
        self._content.sync()

    def close(self) -> None:
        """Nothing to do."""


class SimulatedLock:
    """A held name."""

    def __init__(self, locks: dict[Path, None], path: Path) -> None:
        self._locks = locks
        self._path = path

    def close(self) -> None:
        """Let go."""
        self._locks.pop(self._path, None)


class SimulatedDisk:
    """Names and contents; the power goes at step `cut_at`, counted from 0, before that step is done."""

    def __init__(self, names: dict[Path, Content] | None = None, cut_at: int | None = None) -> None:
        self._durable = dict(names or {})
        self._changes: list[Callable[[dict[Path, Content]], None]] = []
        self._locks: dict[Path, None] = {}
        self.cut_at = cut_at
        self.steps: list[str] = []
        self.full = False
        self.sync_fails = False
        self.sync_forgets = False

    def step(self, what: str) -> None:
        """Count a step that matters for durability, or take the power away."""
        if self.cut_at == len(self.steps):
            raise PowerCutError
        self.steps.append(what)

    def _visible(self) -> dict[Path, Content]:
        return self._names_after(len(self._changes))

    def _names_after(self, changes: int) -> dict[Path, Content]:
        names = dict(self._durable)
        for change in self._changes[:changes]:
            change(names)
        return names

    def open(self, path: Path, *, create: bool = False) -> File:
        """Open, or make, a file."""
        content = self._visible().get(path)
        if content is None:
            if not create:
                raise FileNotFoundError(path)
            self.step("create")
            made = content = Content()
            self._changes.append(lambda names: names.update({path: made}))
        return SimulatedFile(self, content)

    def exists(self, path: Path) -> bool:
        """Whether the name is visible."""
        return path in self._visible()

    def names(self, directory: Path) -> list[str]:
        """The visible names."""
        return sorted(path.name for path in self._visible() if path.parent == directory)

    def rename(self, source: Path, target: Path) -> None:
        """A step."""
        self.step("rename")
        self._changes.append(lambda names: names.update({target: names.pop(source)}))

    def remove(self, path: Path) -> None:
        """A step, if the name is there."""
        if self.exists(path):
            self.step("remove")
            self._changes.append(lambda names: _drop(names, path))

    def sync_directory(self, directory: Path) -> None:
        """A step: all names so far become durable (one directory is all the stores use)."""
        self.step(f"sync {directory.name}")
        if self.sync_fails:
            raise OSError(errno.EIO, "the simulated disk cannot sync")
        self._durable, self._changes = self._visible(), []

    def lock(self, path: Path) -> Lock:
        """Hold a name alone; a crash lets go."""
        if path in self._locks:
            raise locked(path)
        self._locks[path] = None
        return SimulatedLock(self._locks, path)

    def contents(self, path: Path) -> bytearray:
        """The visible bytes of a file, to damage them."""
        return self._visible()[path].visible

    def killed(self) -> SimulatedDisk:
        """The same disk after kill -9: everything is visible, what was not synced still is not; locks and faults end."""
        self._locks, self.full, self.sync_fails, self.sync_forgets = {}, False, False, False
        return self

    def settled(self, cut_at: int | None = None) -> SimulatedDisk:
        """A copy in which everything visible is durable."""
        names = {path: Content(bytes(content.visible)) for path, content in self._visible().items()}
        return SimulatedDisk(names, cut_at)

    def after_power_cut(self, chance: random.Random) -> SimulatedDisk:
        """One of the disks a power cut may leave."""
        names = self._names_after(chance.randint(0, len(self._changes)))
        return SimulatedDisk({path: Content(each.after_one_crash(chance)) for path, each in names.items()})

    def crash_states(self) -> Iterator[SimulatedDisk]:
        """Every disk a power cut may leave."""
        seen: dict[tuple[tuple[Path, bytes], ...], None] = {}
        for changes in range(len(self._changes) + 1):
            names = self._names_after(changes)
            for contents in product(*(dict.fromkeys(content.after_crash()) for content in names.values())):
                state = tuple(zip(names, contents, strict=True))
                if state not in seen:
                    seen[state] = None
                    yield SimulatedDisk({path: Content(data) for path, data in state})


def _drop(names: dict[Path, Content], path: Path) -> None:
    names.pop(path, None)


def cut_everywhere(run: Callable[[SimulatedDisk], None], start: SimulatedDisk) -> Iterator[SimulatedDisk]:
    """The disk at the moment of the cut, for a cut before every step of `run`, and once after its end."""
    cut_at = 0
    while True:
        disk = start.settled(cut_at)
        try:
            run(disk)
        except PowerCutError:
            disk.cut_at = None
            yield disk
            cut_at += 1
        else:
            yield disk
            return
