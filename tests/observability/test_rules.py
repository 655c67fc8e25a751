"""Every rule under promtool: it is well-formed; each alert rings in its story, in its words, and silent just short of it."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ruamel.yaml import YAML

from tests.observability.cases import ALLIANCE as OF_THE_ALLIANCE
from tests.observability.cases import CASES, Case
from tests.observability.rules import ALERTS, ALL, ALLIANCE_RULES, MEMBER_RULES, NAMESPACE, groups_of, rendered, rules_of

if TYPE_CHECKING:
    from collections.abc import Iterable

RATIOS = {
    # A hundred calls a minute, two of which fail, and fifty that come too fast; a hundred blocks, five of which come late.
    "alliance_namespace_component:consilium_rpc_too_fast:rate": 0.8333,
    "alliance_namespace_component:grpc_server_handled:error_ratio": 0.02,
    "namespace:consilium_consensus_ordering_slow:ratio": 0.05,
}

APART = [
    ("ConsiliumMemberFallsBehind", "consilium_ledger_height", "", ""),
    ("ConsiliumEpochsApart", "consilium_consensus_epoch", "", ""),
    ("ConsiliumMixedVersions", "consilium_build_info", ',version="1",commit="a"', ',version="2",commit="b"'),
]
"""Alerts that compare members with one another: the metric, and more labels in the north and in the south."""


def promtool(*arguments: str | Path, given: str = "") -> subprocess.CompletedProcess[str]:
    """Prometheus's own tool, with something on its standard input."""
    tool = shutil.which("promtool")
    assert tool is not None, "promtool is missing: on Debian and Ubuntu it comes with prometheus"
    return subprocess.run([tool, *arguments], input=given, capture_output=True, text=True, check=False)  # noqa: S603  promtool itself


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rule files as Prometheus gets them."""
    path = tmp_path_factory.mktemp("rules")
    for each in (MEMBER_RULES, ALLIANCE_RULES):
        (path / each.name).write_text(rendered(each))
    return path


def passes(folder: Path, name: str, minutes: int, tests: Iterable[dict[str, Any]]) -> None:
    """Promtool runs these tests without a finding; long stories are looked at less often.

    What is not told it evaluates groups in an order of chance: an alert before the ratio it reads sees that of the last
    look, which in a long story is too old to count.
    """
    path, files = folder / f"{name}.test.yaml", (MEMBER_RULES, ALLIANCE_RULES)
    told = {
        "rule_files": [each.name for each in files],
        "group_eval_order": [group["name"] for each in files for group in groups_of(each)],
        "evaluation_interval": f"{max(1, minutes // 120)}m",
        "tests": list(tests),
    }
    with path.open("w") as file:
        YAML().dump(told, file)
    found = promtool("test", "rules", path)
    assert found.returncode == 0, found.stdout + found.stderr


def story(case: Case, *, rings: bool) -> dict[str, Any]:
    """A case as promtool takes it."""
    rule = ALERTS[case.alert]
    annotations = {**rule.annotations, "description": case.says}
    ringing = {"exp_labels": {**case.labels, "severity": rule.severity}, "exp_annotations": annotations}
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": loud if rings else quiet} for name, loud, quiet in case.series],
        "alert_rule_test": [
            {"eval_time": f"{case.minutes}m", "alertname": case.alert, "exp_alerts": [ringing] if rings else []}
        ],
    }


@pytest.mark.parametrize("path", [MEMBER_RULES, ALLIANCE_RULES], ids=lambda path: path.stem)
def test_rules_are_well_formed(path: Path, folder: Path) -> None:
    found = promtool("check", "rules", "--lint=all", "--lint-fatal", folder / path.name)
    assert found.returncode == 0, found.stdout + found.stderr


def test_every_alert_has_a_case() -> None:
    assert sorted(each.alert for each in CASES) == sorted(ALERTS)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.alert)
def test_an_alert_rings_with_its_words_and_not_before(case: Case, folder: Path) -> None:
    passes(folder, case.alert, case.minutes, [story(case, rings=True), story(case, rings=False)])


@pytest.mark.slow
def test_a_service_without_a_pod_rings_as_one_that_does_not_answer(folder: Path) -> None:
    """Of a pod that is gone Prometheus has no series at all."""
    [case] = [each for each in CASES if each.alert == "ConsiliumTargetDown"]
    series = tuple(each for each in case.series if "ledger" not in each[0])
    passes(folder, "gone", case.minutes, [story(replace(case, series=series, labels=NO_MEMBER), rings=True)])


def too_fast(kind: str, peer: str = "2B") -> str:
    """The ledger's counter of another member's calls that came too fast."""
    return f'consilium_rpc_too_fast_total{{namespace="{NAMESPACE}",component="ledger",grpc_type="{kind}",peer="{peer}"}}'


@pytest.mark.slow
@pytest.mark.parametrize("told", [True, False])
def test_a_member_that_floods_another_pages_nobody_there(folder: Path, told: bool) -> None:  # noqa: FBT001  a parameter
    """As many refusals for another reason would; of the other ResourceExhausted nobody says that they came too fast."""
    [case] = [each for each in CASES if each.alert == "ConsiliumAvailabilityBurnFast"]
    flooded = tuple((name.replace("Unavailable", "ResourceExhausted"), loud, quiet) for name, loud, quiet in case.series)
    [failing] = [loud for name, loud, _ in flooded if "ResourceExhausted" in name]
    series = (*flooded, (too_fast("unary" if told else "bidi_stream"), failing, failing))
    passes(folder, f"flood-{told}", case.minutes, [story(replace(case, series=series), rings=not told)])


NO_MEMBER = {"namespace": NAMESPACE, "component": "ledger"}


@pytest.mark.slow
def test_recorded_ratios_are_what_they_say(folder: Path) -> None:
    """Each of the windows, from series a promtool test makes."""
    calls = f'grpc_server_handled_total{{namespace="{NAMESPACE}",component="ledger",grpc_type="unary",grpc_code='
    late = "consilium_consensus_ordering_seconds"
    series = [
        {"series": f'{calls}"OK"}}', "values": "0+98x4400"},
        {"series": f'{calls}"Internal"}}', "values": "0+2x4400"},
        {"series": f'{calls}"ResourceExhausted"}}', "values": "0+50x4400"},
        {"series": too_fast("unary"), "values": "0+50x4400"},
        {"series": too_fast("bidi_stream"), "values": "0+50x4400"},
        {"series": f'{late}_bucket{{namespace="{NAMESPACE}",le="5.0"}}', "values": "0+95x4400"},
        {"series": f'{late}_count{{namespace="{NAMESPACE}"}}', "values": "0+100x4400"},
    ]
    recorded = [each.name for each in rules_of(MEMBER_RULES) if not each.is_alert]
    labels = {
        "alliance_namespace_component": f'{{component="ledger", namespace="{NAMESPACE}"}}',
        "namespace": f'{{namespace="{NAMESPACE}"}}',
    }
    asked = [
        {
            "expr": f"round({name}, 0.0001)",
            "eval_time": "4320m",
            "exp_samples": [{"labels": labels[name.split(":")[0]], "value": RATIOS[name.rpartition("_")[0]]}],
        }
        for name in recorded
    ]
    assert {name.rpartition("_")[0] for name in recorded} == set(RATIOS)
    passes(folder, "ratios", 4_320, [{"interval": "1m", "input_series": series, "promql_expr_test": asked}])


FIGURES: dict[str, tuple[float, float]] = {
    "consilium_consensus_height": (12, 11), "consilium_election_quorum_chance": (0.75, 0.5),
    "consilium_consensus_delegates_heard": (4, 5), "consilium_consensus_quorum": (3, 3),
    'consilium_consensus_delegate_missing{peer="3B"}': (1, 1), 'consilium_consensus_delegate_missing{peer="3A"}': (0, 0),
}  # fmt: skip
"""What two members of an alliance show."""
NORTH, SOUTH = 'alliance="north"', 'alliance="south"'


def shown(figures: dict[str, tuple[float, float]], more: str = "") -> list[dict[str, str]]:
    """The figures as series of members 1A and 2A, with more labels."""
    series = []
    for name, two in figures.items():
        for member, value in zip(("1A", "2A"), two, strict=True):
            metric, _, labels = name.partition("{")
            inside = ",".join(filter(None, (f'member="{member}"', more, labels.removesuffix("}"))))
            series.append({"series": f"{metric}{{{inside}}}", "values": f"{value}+0x10"})
    return series


@pytest.mark.slow
@pytest.mark.parametrize("named", ["", NORTH], ids=["unnamed", "named"])
def test_recorded_figures_of_the_alliance_are_what_they_say(folder: Path, named: str) -> None:
    """With the label or without it; a second alliance beside it, whose figures are others, changes none of them."""
    expected: dict[str, list[tuple[str, float]]] = {
        "alliance:consilium_consensus_height:max": [("", 12)],
        "alliance:consilium_election_quorum_chance:min": [("", 0.5)],
        "alliance:consilium_consensus_delegates_spare:min": [("", 1)],
        "alliance_peer:consilium_consensus_delegate_missing:count": [('peer="3A"', 0), ('peer="3B"', 2)],
    }
    assert set(expected) == {each.name for each in rules_of(ALLIANCE_RULES) if not each.is_alert}
    others = {name: (first * 2, second / 4) for name, (first, second) in FIGURES.items()}
    series = shown(FIGURES, named) + (shown(others, SOUTH) if named else [])
    asked = [
        {
            "expr": f"{name}{{{named}}}",
            "eval_time": "5m",
            "exp_samples": [
                {"labels": f"{name}{{{','.join(filter(None, (named, labels)))}}}", "value": value}
                for labels, value in samples
            ],
        }
        for name, samples in expected.items()
    ]
    passes(folder, "figures", 5, [{"interval": "1m", "input_series": series, "promql_expr_test": asked}])


def named(case: Case, alliance: str) -> Case:
    """A case of an alliance that has a name: its series and what rings have the label."""
    series = tuple((name.replace("{", f'{{alliance="{alliance}",', 1), loud, quiet) for name, loud, quiet in case.series)
    return replace(case, series=series, labels={**case.labels, "alliance": alliance})


@pytest.mark.slow
@pytest.mark.parametrize("case", OF_THE_ALLIANCE, ids=lambda case: case.alert)
def test_of_two_alliances_under_one_prometheus_the_right_one_rings(case: Case, folder: Path) -> None:
    """The north has its story while the south is well: one rings, in its own words; and neither while both are well."""
    north, south = (named(case, each) for each in ("north", "south"))
    loud = story(north, rings=True)
    loud["input_series"] += [{"series": name, "values": quiet} for name, _, quiet in south.series]
    quiet = story(north, rings=False)
    quiet["input_series"] += [{"series": name, "values": each} for name, _, each in south.series]
    passes(folder, f"two-{case.alert}", case.minutes, [loud, quiet])


@pytest.mark.slow
@pytest.mark.parametrize("apart", APART, ids=lambda apart: apart[0])
def test_alliances_that_differ_ring_nothing(apart: tuple[str, str, str, str], folder: Path) -> None:
    """One is a thousand blocks, an epoch or a build ahead of the other, and every member of each stands as its own do."""
    alert, metric, north, south = apart
    series = [
        {"series": f'{metric}{{alliance="{name}",namespace="{name}-{member}",member="{member}"{labels}}}', "values": values}
        for name, labels, values in (("north", north, "1000+0x2000"), ("south", south, "1+0x2000"))
        for member in ("1A", "2A")
    ]
    silent = [{"eval_time": "1500m", "alertname": alert, "exp_alerts": []}]
    passes(folder, f"apart-{alert}", 1_500, [{"interval": "1m", "input_series": series, "alert_rule_test": silent}])


def test_every_rule_has_a_severity_people_know_or_records() -> None:
    assert {each.severity for each in ALL if each.is_alert} == {"critical", "warning"}
