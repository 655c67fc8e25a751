"""Behaviours of the model as TLC writes them: a file each, a state after the other, in TLA+'s own notation.

Read here are the values that Consensus.tla's states are made of: numbers, names, tuples, sets, and functions over names.
A tuple becomes a tuple, a set a frozenset, a function a dict; what else a file holds is Unreadable.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

Value = object
"""int, str, tuple, frozenset or dict, nested."""
Block = tuple[str, ...]
"""The chain a block ends: the contents from height 1."""
Mark = tuple[int, Block]
"""A view and a block."""

TOKENS = re.compile(r"<<|>>|:>|@@|\|->|[{}(),]|\d+|\w+")
BRACKETS = {"<<": ">>", "{": "}"}


class Unreadable(Exception):
    """The file is not a behaviour of the model."""


@dataclass(frozen=True, slots=True)
class State:
    """One state; the variables of Consensus.tla, tuples over epochs counted from 0 here."""

    votes: tuple[dict[str, frozenset[Mark]], ...]
    commits: tuple[dict[str, frozenset[Mark]], ...]
    view: tuple[dict[str, int], ...]
    calls: tuple[dict[str, frozenset[int]], ...]
    plans: tuple[dict[str, frozenset[Mark]], ...]
    boundary: dict[str, Block]


def read_behaviour(path: Path) -> list[State]:
    """All states of a file, in order.

    Raises Unreadable.
    """
    parts = re.split(r"^STATE_\d+ ==\s*$", path.read_text(), flags=re.MULTILINE)[1:]
    if not parts:
        raise Unreadable(f"{path} holds no states")
    return [_state(part) for part in parts]


def _state(text: str) -> State:
    bodies = dict(re.findall(r"^/\\ (\w+) = (.*?)(?=^/\\ |^\s*$|\Z)", text, flags=re.MULTILINE | re.DOTALL))
    try:
        return State(**{name: parse(body) for name, body in bodies.items()})  # type: ignore[arg-type]
    except TypeError as error:
        raise Unreadable(f"these are not the variables of the model: {sorted(bodies)}") from error


def parse(text: str) -> Value:
    """One value.

    Raises Unreadable.
    """
    tokens = iter([*TOKENS.findall(text), ""])
    value, following = _value(tokens, next(tokens))
    if following:
        raise Unreadable(f"{following!r} after a whole value")
    return value


def _value(tokens: Iterator[str], token: str) -> tuple[Value, str]:
    """A value that begins with `token`, and the token after it."""
    if token in BRACKETS:
        items = _items(tokens, BRACKETS[token])
        return (tuple(items) if token == "<<" else frozenset(items)), next(tokens)
    if token == "(":
        return _function(tokens), next(tokens)
    if not token or not token[0].isalnum():
        raise Unreadable(f"{token!r} begins no value")
    return (int(token) if token.isdigit() else token), next(tokens)


def _items(tokens: Iterator[str], end: str) -> Iterator[Value]:
    token = next(tokens)
    while token != end:
        item, token = _value(tokens, token)
        yield item
        if token == ",":
            token = next(tokens)
        elif token != end:
            raise Unreadable(f"{token!r} where {end!r} or a comma stands")


def _function(tokens: Iterator[str]) -> dict[Value, Value]:
    """`(a :> 1 @@ b :> 2)`, its opening bracket read."""
    found: dict[Value, Value] = {}
    token = "@@"
    while token == "@@":
        key, arrow = _value(tokens, next(tokens))
        if arrow != ":>":
            raise Unreadable(f"{arrow!r} where ':>' stands")
        found[key], token = _value(tokens, next(tokens))
    if token != ")":
        raise Unreadable(f"{token!r} where a function ends")
    return found
