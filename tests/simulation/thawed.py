"""Frozen values made as cheaply as others, in the workers of a long search.

A frozen dataclass makes each of its fields by a call; a seed makes some hundred thousand. That nobody changes a value is
what type checks hold, and every shorter search, replay and test, which run on frozen ones; a seed's trace is the same
either way (`test_simulation`). Importing this thaws what `run` has imported, for as long as the process lasts.
"""

from __future__ import annotations

import sys
from dataclasses import MISSING, Field, fields
from typing import TYPE_CHECKING, Any

import tests.simulation.run  # noqa: F401  what it imports is what a seed is made of

if TYPE_CHECKING:
    from collections.abc import Callable


def _thaw() -> None:
    """Have every frozen dataclass that is imported by now set its fields as an ordinary one does."""
    for kind in _frozen():
        kind.__init__ = _plain_init(kind)
        del kind.__setattr__, kind.__delattr__


def _frozen() -> list[Any]:
    """The project's frozen dataclasses whose fields are all handed in, in their order; others stay as they are."""
    modules = [module for name, module in sys.modules.items() if name.startswith(("consilium.", "tests."))]
    kinds = {each for module in modules for each in vars(module).values() if isinstance(each, type)}
    return [each for each in kinds if _is_frozen(each) and all(map(_is_handed_in, fields(each)))]


def _is_frozen(kind: Any) -> bool:
    made = vars(kind).get("__dataclass_params__")
    return made is not None and made.frozen and made.init


def _is_handed_in(field: Field[Any]) -> bool:
    return field.init and not field.kw_only and field.default_factory is MISSING


def _plain_init(kind: Any) -> Callable[..., None]:
    names, made = [each.name for each in fields(kind)], dict[str, Any]()
    lines = [f"self.{name} = {name}" for name in names]
    if hasattr(kind, "__post_init__"):
        lines.append("self.__post_init__()")
    exec(f"def __init__(self, {', '.join(names)}):\n  " + "\n  ".join(lines or ["pass"]), made)  # noqa: S102  as dataclasses do
    plain: Callable[..., None] = made["__init__"]
    assert kind.__init__.__code__.co_varnames[1 : len(names) + 1] == tuple(names), f"{kind} is handed something else"
    plain.__defaults__ = kind.__init__.__defaults__
    return plain


_thaw()
