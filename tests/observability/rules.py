"""The rule files as a Prometheus reads them, and where everything about watching lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[2]
CHARTS = ROOT / "deploy" / "helm"
MEMBER_RULES = CHARTS / "consilium" / "rules" / "member.yaml"
ALLIANCE_RULES = CHARTS / "consilium-observability" / "rules" / "alliance.yaml"
DASHBOARDS = CHARTS / "consilium-observability" / "dashboards"
RUNBOOKS = ROOT / "docs" / "operations" / "runbooks"
NAMESPACE = "hospital-1a"
RUNBOOKS_URL = "runbooks"


@dataclass(frozen=True)
class Rule:
    """One rule of a file."""

    name: str
    expression: str
    is_alert: bool
    annotations: dict[str, str]
    severity: str


def rendered(path: Path, namespace: str = NAMESPACE) -> str:
    """A rule file as the chart hands it over."""
    return path.read_text().replace("@NAMESPACE@", namespace).replace("@RUNBOOKS@", RUNBOOKS_URL)


def groups_of(path: Path) -> list[Any]:
    """All groups of a file."""
    groups: list[Any] = YAML(typ="safe").load(rendered(path))["groups"]
    return groups


def rules_of(path: Path) -> list[Rule]:
    """All rules of a file."""
    return [_rule(each) for group in groups_of(path) for each in group["rules"]]


def _rule(each: Any) -> Rule:
    is_alert = "alert" in each
    name = each["alert"] if is_alert else each["record"]
    return Rule(name, each["expr"], is_alert, each.get("annotations", {}), each.get("labels", {}).get("severity", ""))


ALL = [*rules_of(MEMBER_RULES), *rules_of(ALLIANCE_RULES)]
ALERTS = {each.name: each for each in ALL if each.is_alert}
"""Every alert by its name."""
