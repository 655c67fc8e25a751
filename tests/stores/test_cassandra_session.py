"""What the way to Cassandra does when the database hangs, fails or refuses; no ring is needed to ask it (S2)."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from threading import Event
from typing import Any
from weakref import ref

import cassandra
import pytest
from cassandra import InvalidRequest
from cassandra.protocol import ErrorMessage, PreparedQueryNotFound, SyntaxException

from consilium.kernel.errors import DataLoss, FailedPrecondition, Unavailable
from consilium.storage.cassandra.clock import Timestamps
from consilium.storage.cassandra.draft import Draft, Write
from consilium.storage.cassandra.session import Database, LightConnection, patiently, translated
from consilium.storage.settings import StorageSettings


@dataclass
class Answer:
    """A write under way, answered or hanging until somebody waits for it."""

    is_answered: bool = True
    asked: bool = False

    def rows(self) -> list[Any]:
        """As `Pending` does."""
        self.asked = True
        return []


def test_writes_answered_behind_one_that_hangs_are_bounded_by_number() -> None:
    """Each holds 256 KiB: a put of any size keeps no more of them than may be in flight."""
    draft, hangs = Draft(), Answer(is_answered=False)
    answers = (hangs, Answer(), Answer())
    draft.under_way = deque(Write((index, b""), b"", each) for index, each in enumerate(answers))  # type: ignore[arg-type]
    draft.settle(3)
    assert (len(draft.under_way), hangs.asked) == (3, False)
    draft.settle(2)
    assert (len(draft.under_way), hangs.asked) == (0, True)


class Watched:
    """What a timer is about."""

    def __init__(self) -> None:
        self.told = Event()

    def late(self) -> None:
        """Its time has come."""
        self.told.set()


def test_a_timer_keeps_no_request_and_still_fires() -> None:
    """The driver lets go of a timer only when its time comes; the chunks of that long would be in memory."""
    LightConnection.initialize_reactor()
    answered, waiting = Watched(), Watched()
    gone = ref(answered)
    over, due = (LightConnection.create_timer(600.0, each.late) for each in (answered, waiting))
    del answered
    assert gone() is None
    for each in (over, due):
        each.callback()
    assert waiting.told.is_set()


@dataclass
class Page:
    """A page of a table."""

    current_rows: list[int]
    paging_state: bytes | None


@dataclass
class Stumbling:
    """A session that times out before every page."""

    said: list[bytes | None] = field(default_factory=list)
    pages: dict[bytes | None, Page] = field(
        default_factory=lambda: {None: Page([1, 2], b"next"), b"next": Page([], b"last"), b"last": Page([3], None)}
    )

    def bind(self, _: object) -> Stumbling:
        """As a statement does."""
        return self

    def execute(self, _: object, paging_state: bytes | None = None) -> Page:
        """As a session does."""
        self.said.append(paging_state)
        if self.said.count(paging_state) == 1:
            raise cassandra.OperationTimedOut
        return self.pages[paging_state]


def test_a_scan_goes_on_where_a_page_was_late() -> None:
    session = Stumbling()
    database = Database(None, session, StorageSettings())
    assert list(database.scan(session)) == [1, 2, 3]
    assert session.said == [None, None, b"next", b"next", b"last", b"last"]
    with pytest.raises(Unavailable, match="DATABASE_UNREACHABLE"):
        list(Database(None, Stumbling(), StorageSettings(cassandra_wait_ms=0)).scan(session))


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (SyntaxException(0x2000, "no such word", None), FailedPrecondition),
        (PreparedQueryNotFound(0x2500, "prepare it", None), Unavailable),
        (ErrorMessage(0x0000, "a server error", None), Unavailable),
        (InvalidRequest("Keyspace 'system_views' does not exist"), FailedPrecondition),
    ],
)
def test_what_the_database_cannot_read_is_not_asked_again(error: Exception, ours: type[Exception]) -> None:
    with pytest.raises(ours), translated():
        raise error


@pytest.mark.parametrize(
    "said",
    ["Keyspace 'home' does not exist", "table chunks does not exist", "Resource <keyspace home> doesn't exist"],
)
def test_what_an_instance_has_not_heard_of_yet_is_asked_for_again(said: str) -> None:
    """And is refused in its words when the time is over: it was heard, and not done."""
    refusals = [InvalidRequest(said)] * 3

    def ask() -> int:
        if refusals:
            raise refusals.pop()
        return 7

    with pytest.raises(FailedPrecondition, match="DATABASE_REFUSED"):
        patiently(time.monotonic(), ask)
    assert patiently(time.monotonic() + 60, ask) == 7


class Truncated:
    """A keyspace whose table clock has no row."""

    def prepare(self, cql: str) -> str:
        """As `Database` does."""
        return cql

    def run(self, statement: str, *_: object) -> list[Any]:
        """As `Database` does: a conditional update of no row tells only that it was not applied."""
        return [Now()] if statement.startswith("SELECT") else [NotApplied()]


@dataclass
class Now:
    """The database's clock."""

    ms: int = 1


@dataclass
class NotApplied:
    """The answer to a condition on a row that is not there."""

    applied: bool = False


def test_a_truncated_clock_is_data_loss_with_what_to_do() -> None:
    with pytest.raises(DataLoss, match="CLOCK_LOST"):
        Timestamps(Truncated())  # type: ignore[arg-type]
