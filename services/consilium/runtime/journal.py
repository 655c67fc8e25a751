"""An append-only journal in a file: append, one sync for many, rewrite in one step (C5; reference reliability.md section 6).

`runtime.journal_format` says what the bytes mean and judges them; this is what writes them. Acknowledge nothing before
`sync` has returned. A write or a sync that fails poisons the journal: every later call refuses, because after a failed
sync the kernel may have marked the pages clean, and a second try would succeed without writing (Rebello et al., ATC 2020).
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from consilium.kernel.errors import Conflict, DataLoss, FailedPrecondition, ResourceExhausted
from consilium.runtime.disk import Disk, File, Lock
from consilium.runtime.journal_format import (
    HEADER_BYTES,
    RECORD_OVERHEAD_BYTES,
    Header,
    Mark,
    Reading,
    Span,
    Spans,
    frame_records,
    record_at,
    scan_journal,
)

JOURNAL_ID_BYTES = 16


class Journal:
    """One open journal, held alone. One writer at a time; reading is free at any time.

    `syncs` counts the syncs of the file, for the metrics; `torn_bytes` is what opening cut off.
    """

    def __init__(self, disk: Disk, path: Path, lock: Lock, header: Header) -> None:
        """Not for callers: `create` and `open` make journals."""
        self._disk, self._path, self._lock, self._header = disk, path, lock, header
        self._spans = Spans()
        self._chain = header.chain
        self._length = self._synced = HEADER_BYTES
        self._file: File | None = None
        self._mark: File | None = None
        self._failure = ""
        self.syncs = 0
        self.torn_bytes = 0

    @classmethod
    def create(cls, disk: Disk, path: Path, journal_id: bytes, records: Sequence[bytes] = ()) -> "Journal":
        """A new journal with these records, durable on return; `journal_id` is 16 random bytes.

        Raises Conflict: JOURNAL_EXISTS, also where only its mark is left; FailedPrecondition: LOCKED.
        """
        assert len(journal_id) == JOURNAL_ID_BYTES, "a journal id has 16 bytes"
        journal = cls(disk, path, disk.lock(beside(path, "lock")), Header(journal_id, 0, HEADER_BYTES))
        try:
            journal._make(records)
        except BaseException:
            journal.close()
            raise
        return journal

    @classmethod
    def begin_again(cls, disk: Disk, path: Path, journal_id: bytes, records: Sequence[bytes] = ()) -> "Journal":
        """A new journal in the place of a lost or damaged one, whose file is kept under the ending `.lost`.

        Until it returns, `open` refuses as before. Raises FailedPrecondition: LOCKED.
        """
        journal = cls(disk, path, disk.lock(beside(path, "lock")), Header(journal_id, 0, HEADER_BYTES))
        try:
            if disk.exists(path):
                disk.rename(path, beside(path, "lost"))
            journal._replace(records, 0)
            journal._settle_mark()
        except BaseException:
            journal.close()
            raise
        return journal

    @classmethod
    def open(cls, disk: Disk, path: Path) -> "Journal":
        """The journal at `path`, its torn end cut off, and all that is read from it durable on return.

        Raises DataLoss: JOURNAL_MISSING, JOURNAL_DAMAGED or SYNC_FAILED; ResourceExhausted: WRITE_FAILED; and
        FailedPrecondition: LOCKED.
        """
        journal = cls(disk, path, disk.lock(beside(path, "lock")), Header(bytes(JOURNAL_ID_BYTES), 0, 0))
        try:
            journal._load()
        except BaseException:
            journal.close()
            raise
        return journal

    def _make(self, records: Sequence[bytes]) -> None:
        if self._disk.exists(self._path) or self._disk.exists(beside(self._path, "mark")):
            raise Conflict("JOURNAL_EXISTS", f"{self._path} or its mark is there already: open it instead.", "C5")
        self._replace(records, 0)

    def _load(self) -> None:
        if not self._disk.exists(self._path):
            raise DataLoss(
                "JOURNAL_MISSING",
                f"{self._path} is not there. A new member creates it; a member that had one begins again after a loss.",
                "C5",
            )
        self._file = self._disk.open(self._path)
        self._mark = self._disk.open(beside(self._path, "mark"), create=True)
        self._adopt(scan_journal(self._file.read, self._file.size(), self._mark.read(0, self._mark.size())))

    def _adopt(self, reading: Reading) -> None:
        """Go on where a reading ended."""
        file = self._open_file()
        self._header, self._spans, self._chain = reading.header, reading.spans, reading.chain
        self._length = reading.good_length
        self.torn_bytes = file.size() - reading.good_length
        self._write_anew(file, reading.synced)
        self._sync_name()
        self.sync()

    def _write_anew(self, file: File, synced: int) -> None:
        """Write all again that no sync is known to have made durable, so that the next sync is about these bytes (C5).

        After kill -9 they are only in the page cache. After a sync that failed they may be there and marked clean: then they
        are read back as if nothing had happened, every later sync succeeds without them, and the next power cut takes them.
        They are written over themselves, so a power cut meanwhile harms nothing.
        """
        try:
            if self.torn_bytes:
                file.truncate(self._length)
            if synced < self._length:
                file.write(synced, file.read(synced, self._length - synced))
        except OSError as error:
            self._fail(ResourceExhausted, "WRITE_FAILED", error)

    def _sync_name(self) -> None:
        """Make the file's name durable too: that may have outlived a process that ended in the middle of a rewrite alone."""
        try:
            self._disk.sync_directory(self._path.parent)
        except OSError as error:
            self._fail(DataLoss, "SYNC_FAILED", error)

    @property
    def spans(self) -> Spans:
        """Every record's place, in order."""
        return self._spans

    def append(self, records: Iterable[bytes]) -> list[Span]:
        """Write records at the end; they are durable after the next `sync`.

        Raises ResourceExhausted (WRITE_FAILED) and refuses everything after it; FailedPrecondition: JOURNAL_FAILED.
        """
        file = self._open_file()
        framed = frame_records(self._header, records, self._length, self._chain, self._synced)
        try:
            file.write(self._length, framed.data)
        except OSError as error:
            self._fail(ResourceExhausted, "WRITE_FAILED", error)
        self._length, self._chain = self._length + len(framed.data), framed.chain
        self._spans.extend(framed.spans)
        return framed.spans

    def sync(self) -> None:
        """Make every append before this call durable.

        Raises DataLoss (SYNC_FAILED) and refuses everything after it; FailedPrecondition: JOURNAL_FAILED.
        """
        file, length, chain = self._open_file(), self._length, self._chain
        try:
            file.sync()
            self._note_synced(length, chain)
        except OSError as error:
            self._fail(DataLoss, "SYNC_FAILED", error)

    def read(self, span: Span) -> bytes:
        """One record's bytes, checked against the chain once more.

        Raises DataLoss: RECORD_DAMAGED; FailedPrecondition: JOURNAL_FAILED.
        """
        raw = self._open_file().read(span.offset - RECORD_OVERHEAD_BYTES, RECORD_OVERHEAD_BYTES + span.length)
        data = record_at(raw, span)
        if data is None:
            raise DataLoss("RECORD_DAMAGED", f"The record at byte {span.offset} of {self._path} has changed.", "C5")
        return data

    def read_start(self, span: Span, length: int) -> bytes:
        """The first bytes of a record, at most `length`, as opening found them: they are not checked again."""
        return self._open_file().read(span.offset, min(length, span.length))

    def records(self) -> Iterator[bytes]:
        """Every record, in order."""
        spans = self._spans
        return (self.read(spans[place]) for place in range(len(spans)))

    def rewrite(self, records: Sequence[bytes]) -> None:
        """Hold these records instead, in one step: after a crash there are the old ones or the new ones.

        Raises DataLoss (SYNC_FAILED) and refuses everything after it; FailedPrecondition: JOURNAL_FAILED.
        """
        self._open_file()
        self._replace(records, self._header.generation + 1)

    def close(self) -> None:
        """Let go of the journal; what was not synced may be lost."""
        for each in (self._file, self._mark, self._lock):
            if each is not None:
                each.close()
        self._file = self._mark = None
        self._failure = self._failure or f"{self._path} was closed."

    def _replace(self, records: Sequence[bytes], generation: int) -> None:
        """Write a whole new file beside the old one, sync it, put it in its place, and make the name durable."""
        length = HEADER_BYTES + sum(RECORD_OVERHEAD_BYTES + len(each) for each in records)
        header = Header(self._header.journal_id, generation, length)
        framed = frame_records(header, records, HEADER_BYTES, header.chain, 0)
        try:
            file = self._write_fresh(header.encode() + framed.data)
        except OSError as error:
            self._fail(DataLoss, "SYNC_FAILED", error)
        if self._file is not None:
            self._file.close()
        self._file, self._header = file, header
        self._spans, self._length, self._chain = Spans(framed.spans), header.initial_length, framed.chain
        try:
            # Opened only now: a mark must never speak of a file that a crash could still take back.
            self._mark = self._mark or self._disk.open(beside(self._path, "mark"), create=True)
            self._note_synced(self._length, self._chain)
        except OSError as error:
            self._fail(ResourceExhausted, "WRITE_FAILED", error)

    def _settle_mark(self) -> None:
        """Marks are not synced, as an old one is only behind. That of another journal would speak against this one."""
        try:
            if self._mark is not None:
                self._mark.sync()
        except OSError as error:
            self._fail(DataLoss, "SYNC_FAILED", error)

    def _write_fresh(self, data: bytes) -> File:
        """The file that now stands at the journal's path, holding `data`, all durable."""
        fresh = beside(self._path, "new")
        self._disk.remove(fresh)
        file = self._disk.open(fresh, create=True)
        try:
            file.write(0, data)
            file.sync()
            self._disk.rename(fresh, self._path)
            self._disk.sync_directory(self._path.parent)
        except BaseException:
            file.close()
            raise
        return file

    def _note_synced(self, length: int, chain: bytes) -> None:
        """Remember how far the journal is durable, and leave the mark for the next start."""
        self.syncs += 1
        self._synced = length
        if self._mark is not None:
            mark = Mark(self._header.journal_id, self._header.generation, length, chain)
            self._mark.write(0, mark.encode())

    def _open_file(self) -> File:
        """The file, unless something failed before."""
        if self._failure or self._file is None:
            raise FailedPrecondition("JOURNAL_FAILED", f"{self._failure} Start the process again.", "C5")
        return self._file

    def _fail(self, kind: type[DataLoss | ResourceExhausted], reason: str, error: OSError) -> NoReturn:
        self._failure = f"{self._path} could not be written: {error}."
        raise kind(reason, f"{self._failure} It is not tried again: restart, and repair from peers.", "C5") from error


def beside(path: Path, what: str) -> Path:
    """The name of a file that belongs to the one at `path`."""
    return path.with_name(f"{path.name}.{what}")
