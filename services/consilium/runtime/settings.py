"""Settings: a frozen dataclass a service, filled from the environment or a file; the only reader of the environment.

A field `port` of section `ledger` is the variable CONSILIUM_LEDGER_PORT, or `port` in the table `[ledger]` of the TOML file
that CONSILIUM_SETTINGS names. The environment wins. One file may hold the tables of all five services. Nothing is guessed: a
value of the wrong kind, out of range or under an unknown name is refused with a sentence that names it, its value and what
is allowed, before anything starts. Secrets never stand here, only the paths of the files that hold them.
"""

import difflib
import os
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar

from consilium.kernel.errors import InvalidArgument

FILE_VARIABLE = "CONSILIUM_SETTINGS"
"""Names the TOML file; unset for none."""
SECTIONS = ("identity", "consensus", "ledger", "storage", "reencryption", "client", "sandbox")
"""Whose settings there are; a variable or table of another section is left to its owner."""
WORDS = {"true": True, "false": False}
"""How a yes or no is written in the environment; TOML has its own."""


class Settings(Protocol):
    """A frozen dataclass whose fields are made by `setting`; SECTION names its variables and its table."""

    SECTION: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, Any]]


Value = TypeVar("Value")
Filled = TypeVar("Filled", bound=Settings)


@dataclass(frozen=True, slots=True)
class Rule:
    """A field's sentence and its limits: whole numbers from `least` to `most`, texts out of `choices`."""

    says: str
    least: int | None
    most: int | None
    choices: tuple[str, ...]


def setting(
    default: Value, says: str, *, least: int | None = None, most: int | None = None, choices: tuple[str, ...] = ()
) -> Value:
    """Declare a field: its default, its sentence (with the unit), and what is allowed."""
    declared: Value = field(default=default, metadata={"rule": Rule(says, least, most, choices)})
    return declared


def load(kind: type[Filled], environment: Mapping[str, str] = os.environ) -> Filled:
    """Fill a section's settings, the environment before the file before the defaults.

    Raises InvalidArgument: UNKNOWN_SETTING, BAD_SETTING or BAD_SETTINGS_FILE.
    """
    _refuse_unknown_variables(kind, environment)
    table, source = _table(kind, environment)
    values: dict[str, object] = {}
    for name, (wanted, rule) in _declared(kind).items():
        variable = _variable(kind, name)
        if variable in environment:
            values[name] = _checked(variable, _from_text(wanted, environment[variable]), environment[variable], wanted, rule)
        elif name in table:
            values[name] = _checked(f"{name} in {source}", _from_toml(wanted, table[name]), table[name], wanted, rule)
    return kind(**values)


def describe(kind: type[Settings]) -> str:
    """The table for --help: every variable with its default, what is allowed, and its sentence."""
    defaults = {each.name: each.default for each in fields(kind)}
    rows = [("SETTING", "DEFAULT", "ALLOWED", "MEANING")] + [
        (_variable(kind, name), _shown(defaults[name]) or '""', _allowed(wanted, rule), rule.says)
        for name, (wanted, rule) in _declared(kind).items()
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join("  ".join((*(row[i].ljust(widths[i]) for i in range(3)), row[3])) for row in rows)


def _declared(kind: type[Settings]) -> dict[str, tuple[object, Rule]]:
    """Type and rule of every field, in the order of the class."""
    kinds = typing.get_type_hints(kind)
    return {each.name: (kinds[each.name], each.metadata["rule"]) for each in fields(kind)}


def _variable(kind: type[Settings], name: str) -> str:
    return f"CONSILIUM_{kind.SECTION}_{name}".upper()


def _from_text(wanted: object, text: str) -> object:
    """A value as the environment writes it, or None when it is not of the kind wanted."""
    if wanted is bool:
        return WORDS.get(text.lower())
    if wanted is int:
        return int(text) if text.removeprefix("-").isdecimal() and text.isascii() else None
    if wanted is Path:
        return Path(text)
    return tuple(filter(None, map(str.strip, text.split(",")))) if wanted == tuple[str, ...] else text


def _from_toml(wanted: object, value: object) -> object:
    """A value as TOML types it, or None when it is not of the kind wanted."""
    if wanted == tuple[str, ...]:
        is_texts = isinstance(value, list) and all(isinstance(each, str) for each in value)
        return tuple(typing.cast("list[str]", value)) if is_texts else None
    if wanted is Path:
        return Path(value) if isinstance(value, str) else None
    return value if type(value) is wanted else None


def _checked(place: str, value: object, written: object, wanted: object, rule: Rule) -> object:
    """The value, once it is of the right kind and in range. Raises InvalidArgument: BAD_SETTING."""
    if value is not None and _in_range(value, rule):
        return value
    hint = (
        " Kubernetes writes such values for a Service of that name: set enableServiceLinks to false."
        if (str(written).startswith("tcp://"))
        else ""
    )
    raise InvalidArgument("BAD_SETTING", f"{place} is {written!r}; allowed: {_allowed(wanted, rule)}.{hint}")


def _in_range(value: object, rule: Rule) -> bool:
    if isinstance(value, int) and not isinstance(value, bool):
        return (rule.least is None or value >= rule.least) and (rule.most is None or value <= rule.most)
    return not rule.choices or value in rule.choices


def _allowed(wanted: object, rule: Rule) -> str:
    """What a field takes, in words."""
    if rule.choices:
        return ", ".join(rule.choices)
    if wanted is int:
        least = "" if rule.least is None else f" from {rule.least}"
        return f"whole number{least}{'' if rule.most is None else f' to {rule.most}'}"
    return {bool: "true, false", Path: "path", str: "text"}.get(typing.cast("type", wanted), "texts apart by commas")


def _shown(value: object) -> str:
    """A default as the environment would write it."""
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _refuse_unknown_variables(kind: type[Settings], environment: Mapping[str, str]) -> None:
    """Raise InvalidArgument: UNKNOWN_SETTING for a CONSILIUM_ variable that nobody reads."""
    known = [FILE_VARIABLE, *(_variable(kind, name) for name in _declared(kind))]
    others = tuple(f"CONSILIUM_{section}_".upper() for section in SECTIONS if section != kind.SECTION)
    for name in sorted(environment):
        if name.startswith("CONSILIUM_") and name not in known and not name.startswith(others):
            raise _unknown(name, known)


def _table(kind: type[Settings], environment: Mapping[str, str]) -> tuple[dict[str, object], str]:
    """The section's table of the settings file and the words for where it stands; empty without a file."""
    if FILE_VARIABLE not in environment:
        return {}, ""
    path = environment[FILE_VARIABLE]
    try:
        tables = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidArgument("BAD_SETTINGS_FILE", f"{FILE_VARIABLE} is {path!r}, which cannot be read: {error}.") from error
    for section, table in tables.items():
        if section not in SECTIONS or not isinstance(table, dict):
            raise _unknown(f"{section} in {path}", [f"[{each}]" for each in SECTIONS])
    table = tables.get(kind.SECTION, {})
    source = f"[{kind.SECTION}] of {path}"
    for name in table:
        if name not in _declared(kind):
            raise _unknown(f"{name} in {source}", list(_declared(kind)))
    return table, source


def _unknown(name: str, known: list[str]) -> InvalidArgument:
    """The refusal, with the nearest name there is."""
    near = difflib.get_close_matches(name.partition(" in ")[0], known, 1) or difflib.get_close_matches(name, known, 1, 0)
    return InvalidArgument("UNKNOWN_SETTING", f"{name} is no setting; the nearest is {near[0]}.")
