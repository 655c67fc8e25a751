"""How a command ends: a table for people or one JSON object for machines, an exit code, a refusal in one sentence.

Exit codes: 0 done; 1 a check failed, or a proof shows that it is not there; 2 refused or wrong use; 3 cannot be reached.
Results go to standard output, everything else to standard error. A reader that goes away and Ctrl-C end a command without
a word. What users and other members have named is shown as it is, never obeyed: no markup, no terminal's control sequence.
"""

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console, JustifyMethod, RenderableType
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TransferSpeedColumn
from rich.style import StyleType
from rich.table import Table
from rich.text import Text

from consilium.kernel.errors import (
    BadSignature,
    ConsiliumError,
    DataLoss,
    DeadlineExceeded,
    Malformed,
    NotFound,
    Unauthenticated,
    Unavailable,
)

DONE, UNTRUE, REFUSED, UNREACHED = 0, 1, 2, 3
"""The exit codes."""
INTERRUPTED = 130
"""The exit code after Ctrl-C, or Ctrl-D where something is asked: 128 and SIGINT."""
READER_GONE = 141
"""The exit code when whoever reads our output has closed it: 128 and SIGPIPE, as of every Unix tool."""
EXIT_CODES = "Exit codes: 0 done; 1 a check failed, or proven not to be there; 2 refused or wrong use; 3 cannot be reached."


def examples(*lines: str) -> str:
    """What stands below a command's --help: how it is used, and how it ends."""
    shown = "\n".join(f"- `{each}`" for each in lines)
    return f"For example:\n\n{shown}\n\n{EXIT_CODES}"


def verbs(name: str, purpose: str) -> typer.Typer:
    """A group of commands."""
    return typer.Typer(name=name, help=purpose, no_args_is_help=True, rich_markup_mode="markdown")


_SETTINGS_REASONS = frozenset({"BAD_GENESIS", "BAD_TLS_FILES", "BAD_SETTING"})
"""What a wrong or missing settings file leads to."""
_UNTRUE_REASONS = frozenset({"BAD_PROOF", "STALE_STATE", "WRONG_CAPSULE", "FOREIGN_CAPSULE", "OUTSIDE_EPOCH", "TWO_CHAINS"})
"""Reasons, besides those that begin with OTHER_, by which a client says that what it was shown does not fit together."""
_WRONG_USE_REASONS = frozenset(
    {"NO_GENESIS", "NO_KEYSTORE", "UNKNOWN_SEED", "NOT_NOTED", "NO_WAY_TO_MEMBER", "NO_WAY_TO_SERVICE"}
)
"""What was not found here, and not in a proof."""
_NEXT_STEPS: Mapping[type[ConsiliumError], str] = {
    Unavailable: "See that the member is up, and that its addresses in the settings are right.",
    DeadlineExceeded: "Whether it took effect is unknown: look with `consilium audit` before trying again.",
    Unauthenticated: "A patient's own credential is renewed with `consilium patient renew`, a patient's in custody or a"
    " recipient's is the one in the settings: ask the member's administrator for a fresh one.",
}


@dataclass(frozen=True, slots=True)
class Told:
    """What a command found: the facts as JSON shows them, the same for people, and the exit code."""

    facts: Mapping[str, Any]
    shown: tuple[RenderableType, ...]
    code: int = DONE


class _Console(Console):
    """Rich's, that ends without a word when the reader is gone."""

    def on_broken_pipe(self) -> None:
        """Leave nothing that the interpreter would still try to flush."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(READER_GONE)


def console() -> Console:
    """Where results go."""
    return _Console(highlight=False, soft_wrap=False)


def tell(told: Told, *, as_json: bool) -> None:
    """Show what was found, and end with its exit code."""
    if as_json:
        _tell_json(told.facts)
    else:
        out = console()
        for each in told.shown:
            is_line = isinstance(each, str | Text)
            out.print(styled(each) if isinstance(each, str) else each, soft_wrap=is_line)
    if told.code != DONE:
        raise SystemExit(told.code)


def _tell_json(facts: Mapping[str, Any]) -> None:
    text = json.dumps(facts, ensure_ascii=False)
    console().out(_UNSHOWN.sub(lambda found: f"\\u{ord(found[0]):04x}", text), highlight=False)


def _tell_error(reason: str, sentence: str, rule: str, code: int) -> None:
    _tell_json({"error": {"reason": reason, "sentence": sentence, "rule": rule, "exit_code": code}})


@contextmanager
def refusals(*, as_json: bool) -> Iterator[None]:
    """Turn a refusal into one sentence on standard error, with `--json` an object on standard output, and an exit code."""
    try:
        yield
    except ConsiliumError as error:
        code = exit_code_of(error)
        if as_json:
            _tell_json(
                {"error": {"reason": error.reason, "sentence": error.sentence, "rule": error.rule, "exit_code": code}}
            )
        complain(_sentence(error))
        raise SystemExit(code) from error
    except BrokenPipeError:
        raise
    except OSError as error:
        code = UNREACHED if isinstance(error, ConnectionError | TimeoutError) else REFUSED
        sentence = f"{error.filename}: {error.strerror}." if error.filename else f"{error}."
        if as_json:
            _tell_error("UNREACHABLE" if code == UNREACHED else "FILE_ERROR", sentence, "", code)
        complain(sentence)
        raise SystemExit(code) from error


def complain(sentence: str) -> None:
    """Say one sentence on standard error."""
    sys.stderr.write(f"consilium: {plain(' '.join(sentence.split()))}\n")


def exit_code_of(error: ConsiliumError) -> int:
    """What a refusal ends the command with."""
    if isinstance(error, Unavailable | DeadlineExceeded):
        return UNREACHED
    if isinstance(error, NotFound):
        return REFUSED if error.reason in _WRONG_USE_REASONS else UNTRUE
    is_untrue = isinstance(error, BadSignature | Malformed | DataLoss) or error.reason in _UNTRUE_REASONS
    return UNTRUE if is_untrue or error.reason.startswith("OTHER_") else REFUSED


def reason_of(error: ConsiliumError | OSError) -> str:
    """A fault in a word."""
    return error.reason if isinstance(error, ConsiliumError) else type(error).__name__


def _sentence(error: ConsiliumError) -> str:
    """The refusal, and what to do next where the refusal itself does not say."""
    if error.reason in _SETTINGS_REASONS:
        return f"{error} Name the file with the client's settings by --settings or CONSILIUM_SETTINGS."
    if error.reason.startswith("S3_"):
        return f"{error} Once the store is well start the command again: it goes on where it was."
    step = next((step for kind, step in _NEXT_STEPS.items() if isinstance(error, kind)), "")
    return f"{error} {step}"


# --- how things look ---

_UNSHOWN = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""What moves a terminal's cursor, turns the direction of writing, or is half a character (Unicode Cc, bidi controls, Cs)."""


def plain(text: str) -> str:
    """A text as anybody may have chosen it, with a mark in the place of all that a terminal would obey."""
    return _UNSHOWN.sub("\ufffd", text)


def styled(text: str, style: str = "") -> Text:
    """The text as it is, brackets and all, in one style."""
    return Text(plain(text), style)


class _Table(Table):
    """Rich's, whose cells are texts and no markup."""

    def add_row(self, *cells: RenderableType | None, style: StyleType | None = None, end_section: bool = False) -> None:
        """Add a row."""
        shown = (styled(each) if isinstance(each, str) else each for each in cells)
        super().add_row(*shown, style=style, end_section=end_section)


def table(title: str, *columns: str) -> Table:
    """A table; a column whose name begins with > stands to the right, one that begins with = is never folded."""
    drawn = _Table(title=styled(title), title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        justify: JustifyMethod = "right" if name.startswith(">") else "left"
        drawn.add_column(name.lstrip(">="), justify=justify, overflow="fold", no_wrap=name.startswith("="))
    return drawn


def facts_table(title: str, facts: Mapping[str, str | Text]) -> Table:
    """Names on the left, values on the right."""
    drawn = _Table(
        title=styled(title), title_justify="left", title_style="bold", box=None, pad_edge=False, show_header=False
    )
    drawn.add_column(style="cyan")
    drawn.add_column(overflow="fold")
    for name, value in facts.items():
        drawn.add_row(name, value)
    return drawn


def short(identifier: str) -> str:
    """As much of an id as people need; every command takes it for the whole."""
    return identifier[:12]


def day(time_ms: int) -> str:
    """An instant in milliseconds since 1970-01-01 UTC, for people."""
    return datetime.fromtimestamp(time_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M UTC")


@dataclass
class Bar:
    """A progress bar of bytes, or of things counted, on standard error; a terminal alone sees it."""

    label: str
    total: int
    as_json: bool
    counted: bool = False
    _progress: Progress = field(init=False)

    def __enter__(self) -> Callable[..., None]:
        """Begin; call what is handed out with the number done so far, and where it was not known with that of all."""
        out = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=30),
            *((MofNCompleteColumn(),) if self.counted else (DownloadColumn(binary_units=True), TransferSpeedColumn())),
            console=out,
            transient=True,
            disable=self.as_json or not out.is_terminal,
        )
        task = self._progress.add_task(plain(self.label), total=self.total)
        self._progress.start()
        return lambda done, total=None: self._progress.update(task, completed=done, total=total)

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
