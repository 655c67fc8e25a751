"""The dashboards in the chart are those the code makes, and nothing on them is left unsaid."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from observability import write
from observability.boards import BOARDS
from observability.panels import Board
from tests.observability.rules import CHARTS, DASHBOARDS


def test_the_committed_dashboards_are_what_the_code_writes(tmp_path: Path) -> None:
    """`make dashboards` after a change of observability/."""
    write.main(tmp_path)
    made, kept = ({each.name: each.read_text() for each in folder.glob("*")} for folder in (tmp_path, DASHBOARDS))
    assert kept == made


def test_there_is_one_for_the_alliance_and_one_for_each_service() -> None:
    assert [each.name for each in BOARDS] == ["alliance", "consensus", "ledger", "storage", "reencryption", "identity"]


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_every_panel_says_what_it_tells(board: Board) -> None:
    panels = [panel for row in board.rows for panel in row.panels]
    assert all(panel.says.endswith(".") and panel.queries for panel in panels)
    for row in board.rows:
        titles = [panel.title for panel in row.panels]
        assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_what_grafana_reads_holds_every_query_once(board: Board) -> None:
    """Under one uid a board, with the choice of data source, alliance and namespaces that every query goes by."""
    found: dict[str, Any] = json.loads((DASHBOARDS / f"{board.name}.json").read_text())
    assert found["uid"] == f"consilium-{board.name}"
    assert [each["name"] for each in found["templating"]["list"]] == ["datasource", "alliance", "namespace"]
    shown = [target["expr"] for target in targets(found)]
    assert shown == [query.expression for row in board.rows for panel in row.panels for query in panel.queries]
    assert all('{alliance="$alliance", namespace=~"$namespace"' in each for each in shown)
    assert {target["datasource"]["uid"] for target in targets(found)} == {"${datasource}"}


def targets(found: dict[str, Any]) -> list[dict[str, Any]]:
    """All queries of a dashboard, in its order, whether their row is open or folded."""
    panels = [inner for each in found["panels"] for inner in (each, *each.get("panels", []))]
    return [target for panel in panels for target in panel.get("targets", [])]


def test_the_chart_and_the_rules_agree_on_the_ratio_shown() -> None:
    """A recorded series that a board shows is one that a rule records."""
    recorded = re.findall(r"record: (\S+)", "".join(each.read_text() for each in CHARTS.glob("*/rules/*.yaml")))
    shown = {name for board in BOARDS for row in board.rows for panel in row.panels for query in panel.queries
             for name in re.findall(r"\b[a-z_]+:[a-z_]+:[a-z0-9_]+", query.text)}  # fmt: skip
    assert shown
    assert shown <= set(recorded)
