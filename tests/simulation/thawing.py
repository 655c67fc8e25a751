"""Frozen values made as cheaply as others, in the processes of a search.

A frozen dataclass makes each of its fields by a call; a seed makes some hundred thousand. That nobody changes a value is
what type checks and all tests that run on frozen ones hold; a seed's trace is the same either way (`test_simulation`).
"""

from __future__ import annotations

import sys
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def thaw() -> None:
    """Have every frozen dataclass that is imported by now set its fields as an ordinary one does."""
    for kind in _frozen():
        kind.__init__ = _plain_init(kind)
        del kind.__setattr__, kind.__delattr__


def _frozen() -> list[Any]:
    """The project's frozen dataclasses whose fields are all handed in, in their order."""
    modules = [module for name, module in sys.modules.items() if name.startswith(("consilium.", "tests."))]
    kinds = {each for module in modules for each in vars(module).values() if isinstance(each, type) and is_dataclass(each)}
    return [each for each in kinds if "__setattr__" in vars(each) and all(map(_is_handed_in, fields(each)))]


def _is_handed_in(field: Field[Any]) -> bool:
    return field.init and not field.kw_only and field.default_factory is MISSING


def _plain_init(kind: Any) -> Callable[..., None]:
    names, made = [each.name for each in fields(kind)], dict[str, Any]()
    lines = [f"self.{name} = {name}" for name in names]
    if hasattr(kind, "__post_init__"):
        lines.append("self.__post_init__()")
    exec(f"def __init__(self, {', '.join(names)}):\n  " + "\n  ".join(lines or ["pass"]), made)  # noqa: S102  as dataclasses do
    plain: Callable[..., None] = made["__init__"]
    plain.__defaults__ = kind.__init__.__defaults__
    return plain
