"""Logs: one JSON object a line on standard error, with keys from a fixed list (promise 7 holds for logs too).

An entry is an event, named by a fixed word, and facts under allowed keys; a fact under another key is left out and only its
key told. What others wrote into a message or an exception may be a patient's, so libraries' messages appear as templates
without their arguments, and exceptions as types and stack positions; only our own refusals and the operating system's errors
say more. The request id is on every line that a request caused.
"""

import errno
import json
import logging
import sys
import time
import traceback
from dataclasses import dataclass
from typing import TextIO

from consilium.kernel.errors import ConsiliumError
from consilium.runtime import calls

FACTS = frozenset({
    "address", "bytes", "code", "count", "delegates", "duration_ms", "epoch", "expires", "height", "kind",
    "method", "peer_member", "peer_role", "peer_service", "port", "reason", "received", "rule",
    "sent", "sequence_number", "setting", "signal", "version", "view",
})  # fmt: skip
"""The only keys an event may carry: counts, positions, and names of machines and members, never of people or records."""
TEXT_MAX = 256
"""The longest fact, in characters."""
STACK_MAX = 40
"""The most stack positions of an exception, the innermost ones."""
FACTS_KEY = "consilium_facts"

_ENCODER = json.JSONEncoder(separators=(",", ":"))

Fact = str | int | bool | None


@dataclass(frozen=True, slots=True)
class Log:
    """The log of one module."""

    name: str

    def write(self, level: int, event: str, error: BaseException | None = None, /, **facts: Fact) -> None:
        """Write an event, at a level of `logging`, with what failed and the facts about it."""
        logger = logging.getLogger(self.name)
        if logger.isEnabledFor(level):
            failure = (type(error), error, error.__traceback__) if error else None
            # Made by hand, because looking for the calling line costs more than all the rest.
            logger.handle(logger.makeRecord(self.name, level, "", 0, event, (), failure, extra={FACTS_KEY: facts}))


class JsonLines(logging.Formatter):
    """Formats an entry as one line of JSON."""

    def __init__(self, service: str, member_id: str) -> None:
        super().__init__()
        self._origin = {"service": service, "member": member_id}

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        entry: dict[str, object] = {"at": _timestamp(record.created), "level": record.levelname.lower(), **self._origin}
        entry |= {"logger": record.name, "event": _event(record)}
        if request_id := calls.request_id():
            entry["request_id"] = request_id
        entry |= _facts(record)
        if record.exc_info and record.exc_info[1] is not None:
            entry["error"] = describe_error(record.exc_info[1])
        return _ENCODER.encode(entry)


def configure(service: str, member_id: str, level: str, stream: TextIO | None = None) -> None:
    """Send what the process logs to one stream as JSON lines: ours from `level` up, libraries' from warnings up."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonLines(service, member_id))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("consilium").setLevel(level.upper())
    logging.captureWarnings(capture=True)


def describe_error(error: BaseException) -> list[str]:
    """The chain of an exception, outermost first: what each was, and where, without what it was about."""
    lines: list[str] = []
    seen: BaseException | None = error
    while seen is not None:
        lines.append(_what(seen))
        frames = traceback.extract_tb(seen.__traceback__)[-STACK_MAX:]
        lines += [f"  {frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return lines


def _what(error: BaseException) -> str:
    """A type, and more only where nobody else had a hand in the text."""
    name = type(error).__qualname__
    if isinstance(error, ConsiliumError):
        return f"{name}: {error.reason}"
    if isinstance(error, OSError) and error.errno is not None:
        return f"{name}: {errno.errorcode.get(error.errno)}"
    return name


def _event(record: logging.LogRecord) -> str:
    """Our event, or the first line of a library's template without its arguments; a warning's text is no template."""
    if record.name == "py.warnings":
        return "warning"
    return str(record.msg).partition("\n")[0][:TEXT_MAX]


def _facts(record: logging.LogRecord) -> dict[str, object]:
    """The facts under allowed keys, and the names of the others."""
    facts: dict[str, Fact] = getattr(record, FACTS_KEY, {})
    kept: dict[str, object] = {
        key: value[:TEXT_MAX] if isinstance(value, str) else value
        for key, value in facts.items()
        if key in FACTS and isinstance(value, Fact)
    }
    left_out = sorted(facts.keys() - kept.keys())
    return {**kept, "left_out": left_out} if left_out else kept


def _timestamp(seconds: float) -> str:
    """RFC 3339 in UTC with milliseconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds * 1000) % 1000:03d}Z"
