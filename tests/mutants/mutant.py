"""A mutant: one protocol bug as exact text before and after, read from a TOML file and applied to a copy of services/.

Whatever does not apply word for word is refused. A bug that silently changed nothing would survive, and one that changed
another place than its author meant would be killed for the wrong reason. README.md beside this file tells the format.
"""

from __future__ import annotations

import shutil
import tomllib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SEEDS_MAX = 2_000
"""The most seeds a mutant may survive; the cap of one that names none."""
_KEYS = {"stands_for": str, "checkers": list, "change": list}
_MAY = {"seeds": int}
_CHANGE_KEYS = {"file": str, "before": str, "after": str}


class BadMutant(Exception):
    """A mutant that cannot be used, with a sentence that says why."""


@dataclass(frozen=True, slots=True)
class Change:
    """One text in one file below services/, and what stands in its place."""

    file: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """A bug by name: what it stands for, the checkers expected to kill it, its changes, and its own cap of seeds."""

    name: str
    stands_for: str
    checkers: tuple[str, ...]
    changes: tuple[Change, ...]
    seeds_max: int = SEEDS_MAX


def read_mutants(folder: Path) -> list[Mutant]:
    """All mutants of a folder, by name; raises BadMutant when there is none, or one is out of form."""
    paths = sorted(folder.glob("*.toml"))
    if not paths:
        raise BadMutant(f"{folder} holds no mutants: each is one .toml file, as tests/mutants/README.md says.")
    return [read_mutant(path) for path in paths]


def read_mutant(path: Path) -> Mutant:
    """One mutant; raises BadMutant when the file is not TOML or not in form."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadMutant(f"{path.name} is not TOML in UTF-8: {error}.") from error
    _check_keys(path.name, table, _KEYS, _MAY)
    checkers, changes = table["checkers"], tuple(_change(path.name, each) for each in table["change"])
    if not checkers or not changes or not all(isinstance(each, str) and each for each in checkers):
        raise BadMutant(f"{path.name} needs at least one checker, by name, and at least one [[change]].")
    seeds_max = table.get("seeds", SEEDS_MAX)
    if not 0 < seeds_max <= SEEDS_MAX:
        raise BadMutant(f"{path.name} caps itself at {seeds_max} seeds; give 1 to {SEEDS_MAX}.")
    return Mutant(path.stem, table["stands_for"], tuple(checkers), changes, seeds_max)


def apply_mutant(mutant: Mutant, services: Path) -> None:
    """Make the changes in this copy of services/; raises BadMutant for one that does not apply exactly once."""
    for change in mutant.changes:
        _apply(mutant.name, change, services)


def copy_services(services: Path, to: Path) -> Path:
    """A copy to change and throw away."""
    return shutil.copytree(services, to / services.name, ignore=shutil.ignore_patterns(".*"))


def _apply(name: str, change: Change, services: Path) -> None:
    path = (services / change.file).resolve()
    if not path.is_relative_to(services.resolve()) or not path.is_file():
        raise BadMutant(f"{name}: there is no file {change.file} below services/.")
    text = path.read_text(encoding="utf-8")
    found = text.count(change.before)
    if found != 1:
        raise BadMutant(f"{name}: its text before stands {found} times in {change.file}, not once; give more lines of it.")
    mutated = text.replace(change.before, change.after)
    try:
        compile(mutated, change.file, "exec")
    except SyntaxError as error:
        raise BadMutant(f"{name}: {change.file} is no Python after the change: {error}.") from error
    path.write_text(mutated, encoding="utf-8")
    for cached in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        cached.unlink()


def _change(name: str, table: object) -> Change:
    if not isinstance(table, dict):
        raise BadMutant(f"{name}: write every change under a [[change]] of its own.")
    _check_keys(f"{name}: a change", table, _CHANGE_KEYS, {})
    if not table["before"] or table["before"] == table["after"]:
        raise BadMutant(f"{name}: a change needs a text before, and another text after.")
    return Change(table["file"], table["before"], table["after"])


def _check_keys(what: str, table: dict[str, Any], must: Mapping[str, type], may: Mapping[str, type]) -> None:
    known = {**must, **may}
    missing, strange = sorted(must.keys() - table.keys()), sorted(table.keys() - known.keys())
    if missing or strange:
        raise BadMutant(f"{what} lacks {missing or 'nothing'} and has {strange or 'nothing'} too many.")
    for key, value in table.items():
        if type(value) is not known[key]:
            raise BadMutant(f"{what} gives {key} as {type(value).__name__}; it takes {known[key].__name__}.")
