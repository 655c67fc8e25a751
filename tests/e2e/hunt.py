"""Looking for plaintext in files: names, markers and letters, as they are or thinly dressed.

As `strings` does, every run of eight or more printable characters is taken out of a file, in one byte a character and in
two (UTF-16, either order); in these runs each word is looked for as it is, in hexadecimal, and in base64 at all three
offsets. Ciphertext has such runs by chance only, one in some thousand bytes.
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

WORD_MIN = 8
"""The shortest word hunted for, in characters; shorter ones are found by chance."""
_NARROW = re.compile(rb"[\x20-\x7e]{8,}")
_LITTLE = re.compile(rb"(?:[\x20-\x7e]\x00){8,}")
_BIG = re.compile(rb"(?:\x00[\x20-\x7e]){8,}")


class Find(NamedTuple):
    """A word in a file, and how it was dressed."""

    path: str
    word: str
    dress: str


def hunt(folder: Path, words: Iterable[str]) -> list[Find]:
    """All words found in the files below a folder, and in their names."""
    forms = {dress_up: (word, dress) for word in words for dress, dress_up in dresses(word)}
    found = []
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        name = str(path.relative_to(folder))
        runs = b"\n".join((name.encode(), *_runs(path.read_bytes())))
        found += [Find(name, *forms[form]) for form in forms if form in runs]
    return found


def dresses(word: str) -> Iterator[tuple[str, bytes]]:
    """The forms a word is looked for in; a base64 form leaves out what the neighbours decide."""
    assert len(word) >= WORD_MIN, f"{word!r} is too short to be hunted for"
    plain = word.encode()
    yield "as it is", plain
    yield "hexadecimal", plain.hex().encode()
    yield "hexadecimal, capitals", plain.hex().upper().encode()
    for before in range(3):
        whole = base64.b64encode(bytes(before) + plain)
        first, last = (0, 2, 3)[before], len(plain) + before
        yield f"base64, offset {before}", whole[first : last * 4 // 3]


def _runs(data: bytes) -> Iterator[bytes]:
    yield from _NARROW.findall(data)
    for each in _LITTLE.findall(data):
        yield each[::2]
    for each in _BIG.findall(data):
        yield each[1::2]
