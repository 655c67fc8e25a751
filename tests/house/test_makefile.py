"""The door says what it offers, and names what is missing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.house.source import ROOT

if TYPE_CHECKING:
    from pathlib import Path


OWN = ("SEARCH", "MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS")
"""What whoever runs these tests may have chosen for a make of their own."""


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs make at the top of the checkout."""
    command = [shutil.which("make") or "make", "--no-print-directory", *arguments]
    environment = {name: value for name, value in os.environ.items() if name not in OWN}  # noqa: TID251  passed on
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)  # noqa: S603 (our Makefile)


def test_help_is_the_default_and_one_line_a_target() -> None:
    lines = make().stdout.splitlines()
    assert lines == make("help").stdout.splitlines()
    offered = [line.split()[1] for line in lines]
    [words] = re.findall(r"^\.PHONY: (help .*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert sorted(offered) == sorted(set(words.split()) - {"tools-there"})
    assert promised() - set(offered) == set()


def promised() -> set[str]:
    """What the README says that can be typed."""
    typed = re.findall(r"^    (.*\bmake .*)$", (ROOT / "README.md").read_text(), re.MULTILINE)
    found = {word for line in typed for word in re.findall(r"\bmake ([a-z][a-z-]*)", line)}
    assert {"demo", "test", "cluster-long"} <= found
    return found


def test_missing_tools_are_named_in_one_sentence(tmp_path: Path) -> None:
    run = make("tools-there", "PYTHON=/missing/python3.11", "GO=/missing/go", f"BUF={tmp_path}/buf")
    assert run.returncode != 0
    assert "make test needs CPython 3.11 and Go 1.26.7 or newer, not found on the PATH." in run.stderr
    run = make("tools-there", "JAVA=/missing/java", "MVN=/missing/mvn", f"CASSANDRA={tmp_path}/jars")
    assert "make test needs Java 17 and Maven 3, not found on the PATH." in run.stderr
    run = make("tools-there", "PROMETHEUS=/missing/prometheus")
    named = "Prometheus with promtool (Debian and Ubuntu: prometheus)"
    assert f"make test needs {named}, not found on the PATH." in run.stderr


@pytest.mark.parametrize(
    "word",
    ["demo", "sandbox", "lint", "pages-test", "sim", "mutants", "nemesis", "consensus-odds", "bench", "cluster-there"],
)
def test_what_runs_our_code_has_its_stubs_made(word: str) -> None:
    """From a fresh clone: generated code is not committed."""
    rules = make("--print-data-base", "--question", "help").stdout
    [prerequisites] = re.findall(rf"^{word}: (.*)$", rules, re.MULTILINE)
    assert "build/protos.stamp" in prerequisites.split()


def test_sim_replays_one_seed() -> None:
    assert "tests.simulation --seed 77" in make("--dry-run", "sim", "SEED=77").stdout
    assert "tests.simulation --seeds 10 --from 5 " in make("--dry-run", "sim", "SEEDS=10", "FROM=5").stdout


@pytest.mark.parametrize("asked", [["SEEDS=1000"], ["SEEDS=20000", "FROM=7"], ["SEEDS=10", "SEARCH=fast"]])
def test_a_long_search_runs_on_the_fast_python(asked: list[str]) -> None:
    """What it finds there is what the usual one finds: the summaries' digests tell."""
    printed = make("--dry-run", "sim", "FAST_PLATFORM=linux-amd64", *asked).stdout
    assert "PYTHONPATH=services build/search/bin/python -m tests.simulation --seeds" in printed


@pytest.mark.parametrize(
    "asked",
    [["SEEDS=100"], ["SEEDS=999"], ["SEED=1000"], ["SEED=7", "SEEDS=1000"], ["SEEDS=1000", "SEARCH=usual"], ["SEEDS=many"]],
)
def test_anything_shorter_runs_on_the_usual_python(asked: list[str]) -> None:
    printed = make("--dry-run", "sim", "FAST_PLATFORM=linux-amd64", *asked).stdout
    assert ".venv/bin/python -m tests.simulation" in printed
    assert "build/search" not in printed


def test_where_the_fast_python_cannot_be_had_it_is_said_what_to_do(tmp_path: Path) -> None:
    missing = make(f"{tmp_path}/python", f"FAST={tmp_path}/python", "GO=/missing/go")
    assert missing.returncode != 0
    assert "Go 1.26.7 or newer is missing" in missing.stderr
    assert "make sim SEARCH=usual does without." in missing.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("lacking", [["FAST_PLATFORM="], ["GO=/missing/go", "FAST=/missing/python"]])
def test_who_cannot_have_the_fast_python_searches_on_the_usual_one(lacking: list[str]) -> None:
    printed = make("--dry-run", "sim", "SEEDS=1000", *lacking).stdout
    assert ".venv/bin/python -m tests.simulation --seeds 1000 " in printed
    assert "build/search" not in printed


def test_the_fast_python_is_pinned_by_hash() -> None:
    [module] = re.findall(r"^require (\S+ \S+)$", (ROOT / "tools/python/go.mod").read_text(), re.MULTILINE)
    assert f"\n{module} h1:" in (ROOT / "tools/python/go.sum").read_text()
