"""Every rule of docs/protocol.md is held by code and by tests, and the table that says so is true."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "protocol.md").read_text()
CLAIMS = (ROOT / "docs" / "consistency.md").read_text().partition("## The model")[0]
RULES = re.findall(r"^\*\*([LCSG]\d+)\. ", TEXT, re.MULTILINE)
ROWS = {
    rule: (re.findall(r"`([^`]+)`", code), re.findall(r"`([^`]+)`", tests))
    for rule, code, tests in re.findall(r"^\| ([LCSG]\d+) \| (.*?) \| (.*?) \|$", TEXT, re.MULTILINE)
}
RESERVED = {"S7"}
"""Rules that have a number and nothing else yet."""


def cites(path: Path, rule: str) -> bool:
    """Whether a file names a rule."""
    return re.search(rf"\b{rule}\b", path.read_text(), re.IGNORECASE) is not None


def test_every_rule_has_a_row() -> None:
    assert set(RULES) - RESERVED == set(ROWS)
    assert len(RULES) == len(set(RULES))


@pytest.mark.parametrize("rule", ROWS)
def test_the_code_that_holds_a_rule_cites_it(rule: str) -> None:
    code, _ = ROWS[rule]
    assert code
    for name in code:
        assert cites(ROOT / "services" / "consilium" / name, rule), f"{name} does not cite {rule}"


@pytest.mark.parametrize("rule", ROWS)
def test_the_tests_of_a_rule_exist_and_cite_it(rule: str) -> None:
    _, tests = ROWS[rule]
    assert tests
    for test in tests:
        path = existing(test)
        assert cites(path, rule), f"{path} does not cite {rule}"


def existing(test: str) -> Path:
    """The file that a test named as in the table stands in, with the function if one is named."""
    name, _, function = test.partition("::")
    path = ROOT / "tests" / name
    tree = ast.walk(ast.parse(path.read_text()))
    found = [each.name for each in tree if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert not function or function in found, f"{name} has no {function}"
    return path


def test_the_tests_beside_the_papers_claims_exist() -> None:
    """docs/consistency.md."""
    named = re.findall(r"`([a-z0-9_/]+\.py[:a-z0-9_]*)`", CLAIMS)
    assert len(named) > 10
    for test in named:
        existing(test)
