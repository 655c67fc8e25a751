"""An object on its way out: read, sealed and hashed in a thread, one piece ahead of what is sent (rule S2).

What is held in memory is a piece of the file and its chunks, whatever the object's size. A put that broke off is resumed by
sealing the object once more from its source: under the same keys the same chunks come out, so none has to be kept.
"""

import io
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from consilium.client.records import RecordWriter
from consilium.kernel.errors import InvalidArgument
from consilium.kernel.manifest import Manifest
from consilium.runtime.threads import ahead

PIECE_BYTES = 1_048_576
"""How much of a file is read and sealed at a time."""
PIECE_CHUNKS = 4
"""How many chunks of padding are made at a time."""
Progress = Callable[[int], None]
"""Told how many of the object's bytes have been sealed and taken so far."""


def ignore(_: int) -> None:
    """Progress nobody wants to hear of."""


def length_of(source: bytes | Path) -> int:
    """How many bytes there are. Raises InvalidArgument NO_SUCH_FILE."""
    if isinstance(source, bytes):
        return len(source)
    if not source.is_file():
        raise InvalidArgument("NO_SUCH_FILE", f"{source} is no file; name one that can be read.", "S2")
    return source.stat().st_size


class OutgoingRecord:
    """One record's object from its source (`alliance.OutgoingObject`); `writer` has what remains to be registered."""

    def __init__(self, source: bytes | Path, writer: RecordWriter, progress: Progress) -> None:
        self._source, self.writer, self._progress = source, writer, progress
        self.record_id, self.size_class = writer.record_id, writer.size_class

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The sealed chunks, the next piece being made while this one is sent. May raise OSError."""
        self.writer.begin_again()
        with _opened(self._source) as file:
            async with aclosing(ahead(self._pieces(file))) as pieces:
                async for sealed, chunks in pieces:
                    for chunk in chunks:
                        yield chunk
                    self._progress(sealed)

    def finish(self) -> tuple[Manifest, bytes]:
        """What storage is told at the end."""
        written = self.writer.written()
        return written.manifest, written.shred_secret

    def _pieces(self, file: BinaryIO) -> Iterator[tuple[int, list[bytes]]]:
        """How many bytes are sealed, and the chunks that this has completed; blocks."""
        sealed = 0
        while data := file.read(PIECE_BYTES):
            sealed += len(data)
            yield sealed, self.writer.update(data)
        padding = self.writer.finish()
        while chunks := list(islice(padding, PIECE_CHUNKS)):
            yield sealed, chunks


def _opened(source: bytes | Path) -> BinaryIO:
    return io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")
