"""Logs: one JSON object a line, only allowed keys, nothing of what others wrote (promise 7)."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import time
import warnings
from collections.abc import Iterator

import pytest

from consilium.kernel.errors import Conflict
from consilium.runtime import calls, logs
from consilium.runtime.logs import TEXT_MAX, Log, describe_error

SECRET = "Jane Doe"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """What is logged, and logging as it was afterwards."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    written = io.StringIO()
    logs.configure("ledger", "1A", "info", written)
    yield written
    logging.captureWarnings(capture=False)
    root.handlers[:], root.level = before[0], before[1]


def entries(stream: io.StringIO) -> list[dict[str, object]]:
    """The lines, each a JSON object."""
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_says_where_when_and_what(stream: io.StringIO) -> None:
    Log("consilium.ledger").write(logging.INFO, "block_executed", height=7, code="OK")
    (entry,) = entries(stream)
    moment = str(entry.pop("at"))
    assert time.strptime(moment[:19], "%Y-%m-%dT%H:%M:%S")
    assert moment.endswith("Z")
    assert entry == {
        "level": "info", "service": "ledger", "member": "1A", "logger": "consilium.ledger", "event": "block_executed",
        "height": 7, "code": "OK",
    }  # fmt: skip


def test_only_allowed_facts_are_written(stream: io.StringIO) -> None:
    Log("consilium.ledger").write(logging.INFO, "odd", height=7, patient=SECRET, record_id="1234")
    (entry,) = entries(stream)
    assert entry["left_out"] == ["patient", "record_id"]
    assert entry["height"] == 7
    assert SECRET not in stream.getvalue()


def test_long_facts_are_cut(stream: io.StringIO) -> None:
    Log("consilium.ledger").write(logging.INFO, "odd", method="x" * 1_000)
    assert entries(stream)[0]["method"] == "x" * TEXT_MAX


def test_what_a_library_logs_shows_its_template_only(stream: io.StringIO) -> None:
    logging.getLogger("library").warning("Cannot store %s", SECRET)
    logging.getLogger("library").info("Below a warning")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn(SECRET, ResourceWarning, stacklevel=1)
    first, second = entries(stream)
    assert first["event"] == "Cannot store %s"
    assert second["event"] == "warning"
    assert SECRET not in stream.getvalue()


def fail() -> None:
    """Fails as code does that nobody foresaw."""
    try:
        dict[str, str]()[SECRET]
    except KeyError as error:
        raise ValueError(SECRET) from error


def test_an_exception_shows_where_it_was_and_not_what_about(stream: io.StringIO) -> None:
    try:
        fail()
    except ValueError as error:
        Log("consilium.ledger").write(logging.ERROR, "failed", error)
    (entry,) = entries(stream)
    lines = entry["error"]
    assert isinstance(lines, list)
    assert [line for line in lines if not line.startswith(" ")] == ["ValueError", "KeyError"]
    assert any("test_logs.py" in line for line in lines)
    assert SECRET not in stream.getvalue()


def test_our_refusals_and_the_systems_errors_say_more() -> None:
    assert describe_error(Conflict("RECORD_EXISTS", SECRET)) == ["Conflict: RECORD_EXISTS"]
    assert describe_error(OSError(28, "No space left on device", SECRET)) == ["OSError: ENOSPC"]


def test_the_request_id_is_on_every_line_of_a_call(stream: io.StringIO) -> None:
    async def in_a_call() -> None:
        scope = calls.Scope("one-story", None)
        calls.enter(scope)
        Log("consilium.ledger").write(logging.INFO, "during")
        scope.ended = True
        Log("consilium.ledger").write(logging.INFO, "after")

    asyncio.run(in_a_call())
    during, after = entries(stream)
    assert during["request_id"] == "one-story"
    assert "request_id" not in after
