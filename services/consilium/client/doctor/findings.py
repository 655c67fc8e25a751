"""What the doctor says: one finding for each thing looked at, whether it is well, and what to do where it is not."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, of what, how it is, and what to do next; `advice` is "" where nothing is to be done."""

    check: str
    subject: str
    state: State
    sentence: str
    advice: str = ""


def well(check: str, subject: str, sentence: str) -> Finding:
    """A finding of something that is as it should be."""
    return Finding(check, subject, State.OK, sentence)


def odd(check: str, subject: str, sentence: str, advice: str) -> Finding:
    """A finding of something that will become a fault, or that could not be looked at."""
    return Finding(check, subject, State.WARNING, sentence, advice)


def wrong(check: str, subject: str, sentence: str, advice: str) -> Finding:
    """A finding of a fault."""
    return Finding(check, subject, State.FAILED, sentence, advice)


def count(findings: Iterable[Finding], state: State) -> int:
    """How many are in that state."""
    return sum(each.state is state for each in findings)
