"""The pages that people work by, and what they tell them to type.

A block is indented or fenced; a line in it that ends with a backslash goes on in the next. What stands behind `--` of a
`kubectl exec` is a command of its own, and so is what `as NAME` of docs/sandbox.md runs.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, NamedTuple

from tests.house.source import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "deploy").rglob("*.md"))]
PROGRAMS = ("consilium", "helm", "kubectl", "make", "python")
_BETWEEN = {"|", "||", "&&", ";", "&"}
_STANDS_FOR = {"<release>": "consilium", "<fullname>": "consilium", "<service>": "ledger", "$(date +%s)": "1"}
"""What people put in the place of these."""


class Typed(NamedTuple):
    """A command as a page has it."""

    page: str
    program: str
    words: list[str]

    def __str__(self) -> str:
        return f"{self.page}: {self.program} {' '.join(self.words)}"


def text_of(page: Path) -> str:
    """What a page says, to somebody whose release is called consilium."""
    text = page.read_text()
    for each, value in _STANDS_FOR.items():
        text = text.replace(each, value)
    return text


def name_of(page: Path) -> str:
    """How a page is called in what a test says."""
    return str(page.relative_to(ROOT))


def commands(program: str) -> list[Typed]:
    """Every command of a program in a block of a page."""
    found = [each for page in PAGES for line in _block_lines(text_of(page)) for each in _split(name_of(page), line)]
    return [each for each in found if each.program == program]


def mentioned(program: str) -> list[Typed]:
    """Every command of a program in the running text of a page, which may leave out what it needs."""
    found = []
    for page in PAGES:
        for code in inline(page):
            words = code.split()
            if words[:1] == [program] and len(words) > 1:
                found.append(Typed(name_of(page), program, words[1:]))
    return found


def inline(page: Path) -> list[str]:
    """The code in a page's running text."""
    lines = text_of(page).splitlines()
    shell = set(_block_lines(text_of(page)))
    return re.findall(r"`([^`]+)`", "\n".join(each for each in lines if each.strip() not in shell))


def fenced(page: Path, language: str) -> list[str]:
    """The blocks of a page in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def _block_lines(text: str) -> Iterator[str]:
    is_fenced = False
    for line in text.replace("\\\n", " ").splitlines():
        if line.startswith("```"):
            is_fenced = not is_fenced
        elif is_fenced or line.startswith("    "):
            yield line.strip()


def _split(page: str, line: str) -> Iterator[Typed]:
    """The commands of a line. `[--option VALUE]` may be left out, and is taken as it would be given."""
    lexer = shlex.shlex(re.sub(r"\[(--[^\]]*)\]", r"\1", line), posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split = True
    words: list[str] = []
    try:
        tokens = [*lexer, ";"]
    except ValueError:  # a line of something else, where a quote is no quote
        return
    for token in tokens:
        if token not in _BETWEEN:
            words.append(token)
            continue
        for part in _parts(words):
            yield Typed(page, part[0].rpartition("/")[2], part[1:])
        words = []


def _parts(words: list[str]) -> Iterator[list[str]]:
    """A command, and the one that it runs elsewhere; without variables before it, and without what goes into a file."""
    words = words[: words.index(">")] if ">" in words else words
    while words and re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    if words[:1] == ["as"] and len(words) > 2:
        words = ["consilium", *words[2:]]
    if words[:1] == ["kubectl"] and "--" in words:
        inner = words.index("--")
        yield from _parts(words[inner + 1 :])
        words = words[:inner]
    if words and words[0].rpartition("/")[2] in PROGRAMS and "$@" not in words:
        yield words
