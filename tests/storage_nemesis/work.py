"""Somebody who stores, reads and deletes all the time, and writes down what the store has promised.

An operation that ends with Unavailable has an unknown outcome: it may have happened or not, and is held to nothing but
that no part of an object shows. Everything else is a promise, and judged at the end.
"""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from consilium.kernel.errors import NotFound, Unavailable
from tests.stores.objects import ONE_CHUNK, TWO_CHUNKS, make_chunks, make_manifest, record_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from consilium.storage.cassandra.store import CassandraObjectStore
    from consilium.storage.store import ObjectStore

WAIT_S_MAX = 240


class Violation(AssertionError):
    """A promise that did not hold."""


@dataclass
class Book:
    """What the store has said. Sizes by the name of the object."""

    stored: dict[str, int] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    unknown: dict[str, int] = field(default_factory=dict)
    done: int = 0
    refused: int = 0


class Worker:
    """One thread at work. `may_fail` says whether the store may be unavailable now."""

    def __init__(self, store: CassandraObjectStore, seed: int) -> None:
        self.store, self.book = store, Book()
        self.may_fail = False
        self.failure: BaseException | None = None
        self._random = random.Random(seed)  # noqa: S311  which operation comes next
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="storage-nemesis")
        self._thread.start()

    def until(self, what: Callable[[Book], bool]) -> None:
        """Wait for the book to say so. Raises Violation, and what ended the work."""
        with self._changed:
            arrived = self._changed.wait_for(lambda: self.failure is not None or what(self.book), WAIT_S_MAX)
        if self.failure is not None:
            raise self.failure
        if not arrived:
            raise Violation(f"nothing goes on: {self.book.done} done, {self.book.refused} refused")

    def until_more(self, done: int) -> None:
        """Wait for so many more operations that were acknowledged."""
        wanted = self.book.done + done
        self.until(lambda book: book.done >= wanted)

    def end(self) -> Book:
        """End the work after the operation under way. Raises as `until`."""
        self._ended = True
        self._thread.join()
        if self.failure is not None:
            raise self.failure
        return self.book

    def _run(self) -> None:
        try:
            while not self._ended:
                self._once()
        except BaseException as error:  # noqa: BLE001  told to whoever waits
            self.failure = error
        with self._changed:
            self._changed.notify_all()

    def _once(self) -> None:
        allowed, book = self.may_fail, self.book
        try:
            self._random.choice((self._put, self._put, self._read, self._read, self._delete))()
            book.done += 1
        except Unavailable as error:
            if not (allowed or self.may_fail):
                raise Violation(f"unavailable although a quorum was up: {error}") from error
            book.refused += 1
        with self._changed:
            self._changed.notify_all()

    def _put(self) -> None:
        book = self.book
        name, size_class = f"object {len(book.stored) + len(book.deleted) + len(book.unknown)}", TWO_CHUNKS
        if self._random.random() < 0.5:
            size_class = ONE_CHUNK
        book.unknown[name] = size_class
        put(self.store, name, size_class)
        del book.unknown[name]
        book.stored[name] = size_class

    def _read(self) -> None:
        if self.book.stored:
            name = self._random.choice(list(self.book.stored))
            check_whole(self.store, name, self.book.stored[name])

    def _delete(self) -> None:
        if len(self.book.stored) > 3:
            name = self._random.choice(list(self.book.stored))
            self.book.unknown[name] = self.book.stored.pop(name)
            self.store.delete(record_id(name))
            del self.book.unknown[name]
            self.book.deleted.add(name)


def put(store: ObjectStore, name: str, size_class: int) -> None:
    """Store a whole object."""
    chunks = make_chunks(name, size_class)
    for index, chunk in enumerate(chunks):
        store.put_chunk(record_id(name), index, chunk)
    store.complete(make_manifest(name, size_class, chunks))


def check_whole(store: ObjectStore, name: str, size_class: int) -> None:
    """Raise Violation unless every byte of an object is there."""
    chunks = make_chunks(name, size_class)
    found = [store.read_chunk(record_id(name), index) for index in range(len(chunks))]
    if found != chunks:
        raise Violation(f"{name} is not what was stored")


def judge(store: ObjectStore, book: Book) -> None:
    """Hold the store to all it said: acknowledged objects whole, deleted ones gone, unknown ones whole or not there.

    Raises Violation, and whatever reading an acknowledged object raises.
    """
    present = set(store.record_ids())
    for name, size_class in book.stored.items():
        check_whole(store, name, size_class)
    for name in book.deleted:
        if record_id(name) in present:
            raise Violation(f"{name} was deleted and is back")
    for name, size_class in book.unknown.items():
        try:
            check_whole(store, name, size_class)
        except NotFound:
            put(store, name, size_class)
            check_whole(store, name, size_class)
