"""The memory of running processes, as a core dump would show it, searched for bytes (proc(5): /proc/PID/maps and mem).

What may differ from the files it was read from is searched: everything writable and everything without a file. Machine
code and read-only data of libraries are left out.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PIECE_BYTES = 16 * 1_048_576
EMPTY = bytes(65_536)
KERNEL_OWN = ("[vvar", "[vsyscall", "[vdso")


class Region(NamedTuple):
    """A run of addresses."""

    start: int
    end: int


def search(pid: int, words: Mapping[str, bytes]) -> set[str]:
    """Which of the words stand somewhere in a process's memory."""
    overlap = max(map(len, words.values())) - 1
    found: set[str] = set()
    for piece in pieces(pid, overlap):
        found |= {name for name, word in words.items() if name not in found and word in piece}
    return found


def pieces(pid: int, overlap: int) -> Iterator[bytes]:
    """All regions in pieces that overlap; what the process lets go of meanwhile is passed over."""
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for region in regions(Path(f"/proc/{pid}/maps").read_text()):
            for start in range(region.start, region.end, PIECE_BYTES):
                size = min(PIECE_BYTES + overlap, region.end - start)
                try:
                    memory.seek(start)
                    yield without_empty(memory.read(size))
                except OSError:
                    break


def without_empty(piece: bytes) -> bytes:
    """A piece without its blocks of zeros: two thirds of most processes, and no word stands in them."""
    blocks = (piece[start : start + len(EMPTY)] for start in range(0, len(piece), len(EMPTY)))
    return b"".join(each for each in blocks if each != EMPTY)


def regions(maps: str) -> Iterator[Region]:
    """The regions of /proc/PID/maps that are worth a look."""
    for line in maps.splitlines():
        span, rights, _, _, inode, *name = line.split(maxsplit=5)
        is_ours = "r" in rights and ("w" in rights or inode == "0")
        if is_ours and not (name and name[0].startswith(KERNEL_OWN)):
            start, end = span.split("-")
            yield Region(int(start, 16), int(end, 16))


def family(pid: int) -> list[int]:
    """A process and all below it, as worker processes are."""
    found = [pid]
    parents = dict(_parents())
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found


def _parents() -> Iterator[tuple[int, int]]:
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name in brackets may hold anything; the parent is the second word behind it.
            yield int(path.parent.name), int(path.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
