"""The journal's bytes: what was acknowledged is there after a crash, and what is damaged is never mistaken for it (C5).

    file   = magic | version | id | generation | initial length | crc        then records:
    record = marker | length | crc | previous | synced | bytes               integers big-endian

`previous` is the hash chain over the header and all records before, 16 bytes of SHA-256: a record that was swapped,
replayed or rolled back does not fit. `synced` is how many bytes were durable when the record was written. It decides what a
bad record is: if a later record knows it was durable, it is damage, and the journal refuses to open (DataLoss); if none
does, it is what a power cut leaves of an append that nobody was told had succeeded, and it is cut off. Several records
appended before one sync may be torn in any order, so "a good one follows" alone would not tell the two apart.

The newest synced records have no later record. Their guard is the mark, a small file beside the journal that says how long
it was, written after each sync and itself never synced: it is exact after kill -9, and after a power cut at worst behind.

The CRC is zlib's CRC-32: the chain finds change, the CRC only has to find where a tear begins, and a library for CRC-32C
would be a dependency for nothing. None of this has a key: whoever may write the files can make a whole false journal, and
is found out by the certificates inside it and by the peers. Design: reference reliability.md section 6.
Pure: `runtime.journal` does the writing. Left out: what the records mean.
"""

import struct
import zlib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256
from typing import NamedTuple

from consilium.kernel.errors import DataLoss

MAGIC = b"CNSLJRNL"
VERSION = 1
RECORD_BYTES_MAX = 256 * 1024 * 1024
"""The most bytes a record may have: a whole block with room."""

_HEADER = struct.Struct(">8sI16sQQ")
_RECORD = struct.Struct(">4sII16sQ")
# The same in two parts, around the CRC.
_START, _END = struct.Struct(">4sI"), struct.Struct(">16sQ")
_CRC = struct.Struct(">I")
_MARK = struct.Struct(">16sQQ16s")
_SPAN = struct.Struct(">QI16s")
HEADER_BYTES = _HEADER.size + _CRC.size
RECORD_OVERHEAD_BYTES = _RECORD.size
_WINDOW_BYTES = 1024 * 1024


class Verdict(Enum):
    """What the end of a journal looks like."""

    WHOLE = "whole"
    TORN = "torn"


class Span(NamedTuple):
    """Where one record's bytes lie, and the hash chain up to and with it."""

    offset: int
    length: int
    chain: bytes


class Spans:
    """The places of all of a journal's records, in order: 28 bytes each, for a ledger keeps those of every block."""

    __slots__ = ("_rows",)

    def __init__(self, spans: Iterable[Span] = ()) -> None:
        self._rows = bytearray()
        self.extend(spans)

    def __len__(self) -> int:
        return len(self._rows) // _SPAN.size

    def __getitem__(self, place: int) -> Span:
        return Span(*_SPAN.unpack_from(self._rows, range(len(self))[place] * _SPAN.size))

    def __iter__(self) -> Iterator[Span]:
        return map(self.__getitem__, range(len(self)))

    def extend(self, spans: Iterable[Span]) -> None:
        """Add the places of the records that follow."""
        for each in spans:
            self._rows += _SPAN.pack(*each)


@dataclass(frozen=True, slots=True)
class Header:
    """A journal's name (16 random bytes), how often it was rewritten, and the length it was made with."""

    journal_id: bytes
    generation: int
    initial_length: int

    def encode(self) -> bytes:
        """The header as it lies in the file."""
        return _sealed(_HEADER.pack(MAGIC, VERSION, self.journal_id, self.generation, self.initial_length))

    @property
    def chain(self) -> bytes:
        """The chain before the first record."""
        return chain_after(b"", self.encode())

    @property
    def marker(self) -> bytes:
        """What every record of this journal begins with, so that one can be found behind a damaged place."""
        return self.journal_id[:4]


@dataclass(frozen=True, slots=True)
class Mark:
    """How long a journal was, and its chain there, when it was last synced."""

    journal_id: bytes
    generation: int
    length: int
    chain: bytes

    def encode(self) -> bytes:
        """The mark as it lies in its file."""
        return _sealed(_MARK.pack(self.journal_id, self.generation, self.length, self.chain))


@dataclass(frozen=True, slots=True)
class Reading:
    """What a journal holds: its header, its records, its length up to the last good one, the chain there, the verdict.

    `synced` is how many bytes a sync is known to have made durable; what lies behind may be in the page cache alone.
    """

    header: Header
    spans: Spans
    good_length: int
    chain: bytes
    verdict: Verdict
    synced: int


class Framed(NamedTuple):
    """Records made ready to be written in one piece: their bytes, their places, and the chain after them."""

    data: bytes
    spans: list[Span]
    chain: bytes


def frame_records(header: Header, records: Iterable[bytes], offset: int, chain: bytes, synced: int) -> Framed:
    """The records (1 byte to RECORD_BYTES_MAX each) as they lie in the file from `offset` on."""
    pieces, spans, marker = list[bytes](), list[Span](), header.marker
    for record in records:
        length = len(record)
        assert 0 < length <= RECORD_BYTES_MAX, "a record has from 1 byte to RECORD_BYTES_MAX"
        start, end = _START.pack(marker, length), _END.pack(chain, synced)
        pieces += (start, _CRC.pack(_record_crc(header, start + end, record)), end, record)
        chain = chain_after(chain, record)
        spans.append(Span(offset + RECORD_OVERHEAD_BYTES, length, chain))
        offset += RECORD_OVERHEAD_BYTES + length
    return Framed(b"".join(pieces), spans, chain)


def record_at(raw: bytes, span: Span) -> bytes | None:
    """The record's bytes if `raw`, read from the start of its frame, still gives the chain of `span`; else None."""
    if len(raw) != RECORD_OVERHEAD_BYTES + span.length:
        return None
    data = raw[RECORD_OVERHEAD_BYTES:]
    return data if chain_after(_RECORD.unpack_from(raw)[3], data) == span.chain else None


def read_journal(data: bytes, mark: bytes = b"") -> tuple[list[bytes], int, Verdict]:
    """The records, the length up to the last good one, and the verdict on what follows it. Pure.

    Raises DataLoss: JOURNAL_DAMAGED, when anything that was durable is missing or changed.
    """
    reading = scan_journal(lambda offset, length: data[offset : offset + length], len(data), mark)
    records = [data[span.offset : span.offset + span.length] for span in reading.spans]
    return records, reading.good_length, reading.verdict


def scan_journal(read: Callable[[int, int], bytes], size: int, mark: bytes = b"") -> Reading:
    """Judge a journal of `size` bytes that `read(offset, length)` gives; the records stay where they are.

    Raises DataLoss: JOURNAL_DAMAGED.
    """
    header = _read_header(read(0, HEADER_BYTES))
    floor = _read_mark(mark, header)
    chain, offset, spans = header.chain, HEADER_BYTES, Spans()
    synced = max(header.initial_length, floor.length)
    while (found := _read_record(read, size, header, offset)) is not None:
        if found.previous != chain or found.synced > offset:
            raise _damaged(f"the record at byte {offset} does not continue the records before it")
        chain, synced = chain_after(chain, found.data), max(synced, found.synced)
        offset += RECORD_OVERHEAD_BYTES + len(found.data)
        spans.extend([Span(offset - len(found.data), len(found.data), chain)])
    _check_mark(floor, spans)
    if offset < header.initial_length or _known_durable(read, size, header, offset):
        raise _damaged(f"what follows byte {offset} was durable and cannot be read")
    return Reading(header, spans, offset, chain, Verdict.WHOLE if offset == size else Verdict.TORN, synced)


class _Found(NamedTuple):
    """A record whose CRC holds."""

    previous: bytes
    synced: int
    data: bytes


def _read_header(data: bytes) -> Header:
    # A journal comes into being by a rename after a sync, so even a crash leaves no half header.
    body = _opened(data)
    if body is None or len(body) != _HEADER.size:
        raise _damaged("its header cannot be read")
    magic, version, journal_id, generation, initial_length = _HEADER.unpack(body)
    if (magic, version) != (MAGIC, VERSION):
        raise _damaged(f"it is not a journal of version {VERSION}")
    return Header(journal_id, generation, initial_length)


def _read_mark(data: bytes, header: Header) -> Mark:
    """The mark if it speaks of this file; one that is torn or older than the last rewrite says nothing."""
    body = _opened(data)
    nothing = Mark(header.journal_id, header.generation, 0, b"")
    if body is None or len(body) != _MARK.size:
        return nothing
    mark = Mark(*_MARK.unpack(body))
    if mark.journal_id != header.journal_id or mark.generation > header.generation:
        raise _damaged("the mark beside it speaks of another or of a newer journal")
    return mark if mark.generation == header.generation else nothing


def _read_record(read: Callable[[int, int], bytes], size: int, header: Header, offset: int) -> _Found | None:
    """The record at `offset`; None if there is none whose CRC holds."""
    head = read(offset, RECORD_OVERHEAD_BYTES)
    if len(head) < RECORD_OVERHEAD_BYTES:
        return None
    marker, length, crc, previous, synced = _RECORD.unpack(head)
    end = offset + RECORD_OVERHEAD_BYTES + length
    if marker != header.marker or not 0 < length <= RECORD_BYTES_MAX or end > size:
        return None
    data = read(offset + RECORD_OVERHEAD_BYTES, length)
    if len(data) != length or _record_crc(header, head[: _START.size] + head[-_END.size :], data) != crc:
        return None
    return _Found(previous, synced, data)


def _record_crc(header: Header, head: bytes, data: bytes) -> int:
    """The CRC over the journal's id and all of the record but the CRC itself, which `head` is without."""
    return zlib.crc32(data, zlib.crc32(head, zlib.crc32(header.journal_id)))


def _check_mark(mark: Mark, spans: Spans) -> None:
    """Refuse a journal that does not hold all that was synced, just as it was."""
    if mark.length in (0, HEADER_BYTES):
        return
    place = bisect_left(spans, mark.length, key=_end)
    if place == len(spans) or _end(spans[place]) != mark.length or spans[place].chain != mark.chain:
        raise _damaged(f"its first {mark.length} bytes are not those that were synced")


def _end(span: Span) -> int:
    return span.offset + span.length


def _known_durable(read: Callable[[int, int], bytes], size: int, header: Header, bad: int) -> bool:
    """Whether a good record after `bad` was written when the bytes at `bad` were already durable."""
    start = bad
    while start < size:
        window = read(start, _WINDOW_BYTES + len(header.marker) - 1)
        if not window:
            break
        place = window.find(header.marker)
        while 0 <= place < _WINDOW_BYTES:
            found = _read_record(read, size, header, start + place)
            if found is not None and found.synced > bad:
                return True
            place = window.find(header.marker, place + 1)
        start += _WINDOW_BYTES
    return False


def chain_after(previous: bytes, data: bytes) -> bytes:
    """The hash chain, 16 bytes, once `data` follows what `previous` stands for."""
    return sha256(previous + data).digest()[:16]


def _sealed(body: bytes) -> bytes:
    return body + _CRC.pack(zlib.crc32(body))


def _opened(data: bytes) -> bytes | None:
    body = data[: -_CRC.size]
    return body if len(data) > _CRC.size and _sealed(body) == data else None


def _damaged(why: str) -> DataLoss:
    return DataLoss(
        "JOURNAL_DAMAGED",
        f"The journal is damaged: {why}. Keep the file, and begin again from the other members.",
        "C5",
    )
