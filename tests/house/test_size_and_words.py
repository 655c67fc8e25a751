"""Small files, small functions, one word for one thing (the name table of the design)."""

from __future__ import annotations

import ast
import re

import pytest

from tests.house.source import ROOT, modules

FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
# Kubernetes, Merkle trees, Cassandra and PBFT all own "node"; the others have a word in the table.
BANNED_WORDS = {"node", "nodes", "leader", "leaders", "validator", "validators", "util", "utils", "helpers"}
ALLOWED_NAMES = {"node_hash"}
NEVER_CLAIMED = re.compile(r"unhackable|tamper-?proof|\banonymous\b|\bcompliant\b", re.IGNORECASE)

Found = list[str]


def long_functions(path: str, tree: ast.Module) -> Found:
    """Names the functions above the limit, docstrings not counted."""
    found = []
    for each in ast.walk(tree):
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef):
            first = each.body[1:] if ast.get_docstring(each) and len(each.body) > 1 else each.body
            lines = (each.end_lineno or 0) - first[0].lineno + 1
            if lines > FUNCTION_LINES_MAX:
                found.append(f"{path}: {each.name} has {lines} lines")
    return found


def names_in(tree: ast.Module) -> set[str]:
    """Returns every identifier that the module defines, binds or imports."""
    names = set()
    for each in ast.walk(tree):
        if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(each.name)
        elif isinstance(each, ast.arg):
            names.add(each.arg)
        elif isinstance(each, ast.Name):
            names.add(each.id)
        elif isinstance(each, ast.Attribute):
            names.add(each.attr)
    return names


def banned_names(path: str, tree: ast.Module) -> Found:
    """Names the identifiers and the module names that hold a banned word."""
    stem = path.rsplit("/", 1)[-1].removesuffix(".py")
    found = []
    for name in sorted({*names_in(tree), stem} - ALLOWED_NAMES):
        words = re.findall(r"[a-z]+|[A-Z][a-z]*", name)
        if BANNED_WORDS & {word.lower() for word in words}:
            found.append(f"{path}: {name}")
    return found


def test_files_are_small() -> None:
    long = [path for path in modules() if len((ROOT / path).read_text().splitlines()) > FILE_LINES_MAX]
    assert long == []


def test_functions_are_small() -> None:
    assert [line for path, tree in modules().items() for line in long_functions(path, tree)] == []


def test_banned_words_are_not_used() -> None:
    assert [line for path, tree in modules().items() for line in banned_names(path, tree)] == []


def test_nothing_is_claimed_that_cannot_be_kept() -> None:
    texts = [ROOT / path for path in modules()] + sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md"))
    claims = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in texts
        for line in path.read_text().splitlines()
        if NEVER_CLAIMED.search(line) and not re.search(r"\b(never|not|no)\b", line, re.IGNORECASE)
    ]
    assert claims == []


@pytest.mark.parametrize("source", ["leader_id = 1", "class NodeHash: ...", "def f(validators): ...", "x.node = 1"])
def test_banned_words_are_found(source: str) -> None:
    assert banned_names("services/consilium/kernel/any.py", ast.parse(source)) != []


def test_banned_module_names_are_found() -> None:
    assert banned_names("services/consilium/kernel/utils.py", ast.parse("")) != []


def test_the_merkle_word_is_allowed() -> None:
    assert banned_names("services/consilium/kernel/merkle.py", ast.parse("def node_hash(left, right): ...")) == []


def test_long_functions_are_found() -> None:
    body = "\n".join("    x = 1" for _ in range(FUNCTION_LINES_MAX + 1))
    assert long_functions("any.py", ast.parse(f"def f():\n    '''Doc.'''\n{body}")) == ["any.py: f has 71 lines"]
