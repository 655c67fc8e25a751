"""The alliance's chart: dashboards and rules as they lie in it, and values that are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.helm.rendering import Helm, helm
from tests.observability.rules import ALLIANCE_RULES, CHARTS, DASHBOARDS, MEMBER_RULES

CHART = CHARTS / "consilium-observability"
RUNBOOKS = "https://example.invalid/runbooks"


def made(values: dict[str, Any]) -> Helm:
    """The chart rendered with values."""
    return helm("template", "watch", str(CHART), "--namespace", "monitoring", values=values)


def objects(values: dict[str, Any]) -> list[dict[str, Any]]:
    """What it renders to."""
    found = made(values)
    assert found.code == 0, found.error
    return [each for each in YAML(typ="safe").load_all(found.out) if each]


def test_the_chart_lints() -> None:
    found = helm("lint", "--strict", str(CHART), values={"rules": {"enabled": True}})
    assert found.code == 0, found.out + found.error


def test_every_dashboard_goes_into_a_config_map_of_its_own() -> None:
    maps = objects({})
    assert {each["kind"] for each in maps} == {"ConfigMap"}
    assert all(each["metadata"]["labels"]["grafana_dashboard"] == "1" for each in maps)
    shown = {name.removeprefix("consilium-"): json.loads(text) for each in maps for name, text in each["data"].items()}
    assert shown == {each.name: json.loads(each.read_text()) for each in DASHBOARDS.glob("*.json")}
    other = objects({"dashboards": {"label": "mine", "labelValue": "yes", "annotations": {"folder": "Consilium"}}})
    assert {each["metadata"]["labels"]["mine"] for each in other} == {"yes"}
    assert {each["metadata"]["annotations"]["folder"] for each in other} == {"Consilium"}


def test_the_rules_are_the_file_with_the_runbooks_address() -> None:
    values = {
        "dashboards": {"enabled": False},
        "rules": {"enabled": True, "labels": {"release": "p"}, "runbookUrl": RUNBOOKS},
    }
    [rule] = objects(values)
    assert (rule["kind"], rule["metadata"]["labels"]["release"]) == ("PrometheusRule", "p")
    assert rule["spec"] == YAML(typ="safe").load(ALLIANCE_RULES.read_text().replace("@RUNBOOKS@", RUNBOOKS))


def test_a_members_chart_carries_its_rules_for_its_own_namespace() -> None:
    values = {
        "member": {"id": "1A", "keys": {"existingSecret": "keys"}},
        "genesis": {"existingConfigMap": "genesis"},
        "metrics": {"prometheusRule": {"enabled": True, "runbookUrl": RUNBOOKS}},
    }
    found = helm("template", "consilium", str(CHARTS / "consilium"), "--namespace", "hospital-1a", values=values)
    assert found.code == 0, found.error
    [rule] = [each for each in YAML(typ="safe").load_all(found.out) if each and each["kind"] == "PrometheusRule"]
    text = MEMBER_RULES.read_text().replace("@NAMESPACE@", "hospital-1a").replace("@RUNBOOKS@", RUNBOOKS)
    assert rule["spec"] == YAML(typ="safe").load(text)


@pytest.mark.parametrize(
    "values",
    [
        {"dashbords": {}},
        {"dashboards": {"label": ""}},
        {"rules": {"enabled": "yes"}},
        {"rules": {"runbookUrl": "runbooks"}},
        {"rules": {"runbookUrl": f"{RUNBOOKS}/"}},
    ],
    ids=["unknown", "no label", "not a boolean", "no address", "a slash too many"],
)
def test_bad_values_are_refused(values: dict[str, Any]) -> None:
    assert made(values).code != 0
