"""A page for every alert, and no page for none: what it means, where to look, what to do, in commands that exist."""

from __future__ import annotations

import re

import pytest
import typer

from consilium.client.cli import app
from tests.observability.rules import ALERTS, RUNBOOKS, RUNBOOKS_URL, Rule

INDEX = "README.md"


def commands() -> set[str]:
    """Every command of the CLI, those of groups with their group's name before them."""
    found: set[str] = set()

    def walk(group: object, before: str) -> None:
        for name, command in getattr(group, "commands", {}).items():
            found.add(f"{before}{name}")
            walk(command, f"{before}{name} ")

    walk(typer.main.get_command(app), "")
    return found


def test_every_alert_has_its_page_and_every_page_its_alert() -> None:
    assert {each.stem for each in RUNBOOKS.glob("*.md") if each.name != INDEX} == set(ALERTS)
    assert {each.annotations["runbook_url"] for each in ALERTS.values()} == {f"{RUNBOOKS_URL}/{name}.md" for name in ALERTS}


def test_the_index_lists_all_with_their_severity() -> None:
    rows = re.findall(r"^\| \[(\w+)\]\(\1\.md\) \| (\w+) \| (.+) \|$", (RUNBOOKS / INDEX).read_text(), re.MULTILINE)
    assert rows == [(name, each.severity, each.annotations["summary"]) for name, each in sorted(ALERTS.items())]


@pytest.mark.parametrize("rule", ALERTS.values(), ids=lambda rule: rule.name)
def test_a_page_says_what_it_means_where_to_look_and_what_to_do(rule: Rule) -> None:
    page = (RUNBOOKS / f"{rule.name}.md").read_text()
    assert page.startswith(f"# {rule.name}\n\n*{rule.severity}*: {rule.annotations['summary']}\n")
    parts = re.split(r"^## (.+)$", page, flags=re.MULTILINE)
    assert parts[1::2] == ["What it means", "Where to look", "What to do"]
    assert all(len(each.strip()) > 20 for each in parts[2::2]), "each says something"
    assert re.search(r"^1\. ", parts[6], re.MULTILINE), "what to do is in steps"


def test_pages_name_commands_and_pages_that_exist() -> None:
    known, wrong = commands(), []
    for path in RUNBOOKS.glob("*.md"):
        text = path.read_text()
        for words in re.findall(r"`consilium ([a-z][a-z ]*)", text):
            wrong += [] if any(words.strip().startswith(each) for each in known) else [f"{path.name}: consilium {words}"]
        wrong += [
            f"{path.name}: {link}" for link in re.findall(r"\]\(([^)#]+)\)", text) if not (path.parent / link).exists()
        ]
    assert wrong == []
