"""Replicated code walks no sets and computes with integers alone (design section 3).

Python salts the hashes of str and bytes per process, so two replicas walk one set in two orders. The check
follows names inside one module: a name annotated or assigned as a set is a set wherever it appears.
"""

from __future__ import annotations

import ast

import pytest

from tests.house.source import pure_modules

SET_NAMES = {"set", "frozenset", "Set", "AbstractSet", "FrozenSet", "MutableSet"}
SET_METHODS = {"union", "intersection", "difference", "symmetric_difference"}
# The order in which these take their elements does not show in what they return.
ORDERLESS = {"sorted", "sum", "min", "max", "any", "all", "len", "set", "frozenset"}
WALKERS = {"list", "tuple", "iter", "enumerate", "zip", "map", "filter", "dict", "reversed", "join"}


def name_of(value: ast.expr) -> str | None:
    """Returns the last part of a dotted name, or None for anything else."""
    if isinstance(value, ast.Attribute):
        return value.attr
    return value.id if isinstance(value, ast.Name) else None


def annotates_set(annotation: ast.expr) -> bool:
    """Tells whether an annotation is a set's."""
    outer = annotation.value if isinstance(annotation, ast.Subscript) else annotation
    return name_of(outer) in SET_NAMES


class SetWalk:
    """Finds the places in one module where a set is walked."""

    def __init__(self, tree: ast.Module) -> None:
        self.tree = tree
        self.sets: set[str] = set()
        for each in ast.walk(tree):
            self._learn(each)

    def _learn(self, each: ast.AST) -> None:
        if isinstance(each, ast.AnnAssign) and annotates_set(each.annotation):
            self.sets.add(name_of(each.target) or "")
        elif isinstance(each, ast.arg) and each.annotation is not None and annotates_set(each.annotation):
            self.sets.add(each.arg)
        elif isinstance(each, ast.Assign) and self.is_set(each.value):
            self.sets.update(name_of(target) or "" for target in each.targets)

    def is_set(self, value: ast.expr) -> bool:
        """Tells whether an expression is known to be a set."""
        if isinstance(value, ast.Set | ast.SetComp):
            return True
        if isinstance(value, ast.BinOp) and isinstance(value.op, ast.BitOr | ast.BitAnd | ast.Sub | ast.BitXor):
            return self.is_set(value.left) or self.is_set(value.right)
        if isinstance(value, ast.Call):
            by_method = isinstance(value.func, ast.Attribute) and value.func.attr in SET_METHODS
            return by_method or name_of(value.func) in {"set", "frozenset"}
        return name_of(value) in self.sets

    def found(self) -> list[int]:
        """Returns the lines where a set's order could show."""
        harmless = {
            id(argument)
            for call in ast.walk(self.tree)
            if isinstance(call, ast.Call) and name_of(call.func) in ORDERLESS
            for argument in call.args
        }
        lines = set()
        for each in ast.walk(self.tree):
            if id(each) in harmless or isinstance(each, ast.SetComp):
                continue
            if any(self.is_set(walked) for walked in self._walked(each)):
                lines.add(getattr(each, "lineno", 0))
        return sorted(lines)

    def _walked(self, each: ast.AST) -> list[ast.expr]:
        """Returns the expressions that one statement or expression walks."""
        if isinstance(each, ast.For):
            return [each.iter]
        if isinstance(each, ast.ListComp | ast.GeneratorExp | ast.DictComp):
            return [generator.iter for generator in each.generators]
        if isinstance(each, ast.Call) and name_of(each.func) in WALKERS:
            return list(each.args)
        if isinstance(each, ast.Starred):
            return [each.value]
        return []


def inexact(tree: ast.Module) -> list[int]:
    """Returns the lines with a float, a true division or a complex number."""
    return sorted(
        each.lineno
        for each in ast.walk(tree)
        if (isinstance(each, ast.Constant) and isinstance(each.value, float | complex))
        or (isinstance(each, ast.BinOp) and isinstance(each.op, ast.Div))
        or (isinstance(each, ast.Name) and each.id in {"float", "complex"} and isinstance(each.ctx, ast.Load))
    )


def test_no_set_is_walked_in_pure_code() -> None:
    found = {path: lines for path, tree in pure_modules().items() if (lines := SetWalk(tree).found())}
    assert found == {}


def test_pure_code_computes_with_integers() -> None:
    assert {path: lines for path, tree in pure_modules().items() if (lines := inexact(tree))} == {}


@pytest.mark.parametrize(
    "source",
    [
        "for x in {1, 2}: ...",
        "for x in set(y): ...",
        "[x for x in frozenset(y)]",
        "a = {1}\ntuple(a)",
        "def f(a: set[bytes]): return [x for x in a]",
        "class C:\n    seen: frozenset[int]\n    def f(self): return list(self.seen)",
        "b = set(x)\nfor y in b | c: ...",
        "[*{1, 2}]",
        "b''.join({c})",
    ],
)
def test_a_walked_set_is_found(source: str) -> None:
    assert SetWalk(ast.parse(source)).found() != []


@pytest.mark.parametrize(
    "source",
    [
        "for x in sorted({1, 2}): ...",
        "a = set(b)\nany(x > 1 for x in a)",
        "a = {1}\n1 in a",
        "len({x for x in {1}})",
        "for x in [1]: ...",
    ],
)
def test_an_orderless_use_is_allowed(source: str) -> None:
    assert SetWalk(ast.parse(source)).found() == []


@pytest.mark.parametrize("source", ["x = 0.5", "x = a / b", "x = float(a)"])
def test_inexact_arithmetic_is_found(source: str) -> None:
    assert inexact(ast.parse(source)) == [1]
