"""What the charts render for others' operators, before a real API server that holds their real definitions.

Dry, but strict: a field that no definition has is refused, as is a value against its pattern or its rules.
"""

from __future__ import annotations

import json
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.operators import DEFINED, OLDER, define
from tests.cluster.test_rendered import OURS
from tests.helm.matrix import MATRIX, PEERS, ROUTED
from tests.helm.rendering import CHART, Object, helm, least, rendered
from tests.observability.test_chart import objects as watching

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cluster.cluster import Cluster

NAMESPACE = "default"
UNSEEN = {"K8ssandraCluster"}
"""Kinds whose definitions are in no module: tests/helm looks at what is rendered of them, and nobody else does."""
ROUTES = {"gateway.networking.k8s.io/v1alpha2", "gateway.networking.k8s.io/v1alpha3"}


def of_others(objects: list[Object]) -> list[Object]:
    """Those that only an operator's cluster knows."""
    return [each for each in objects if each["apiVersion"].partition("/")[0] not in OURS]


ALL = {name: of_others(rendered(values, *files, namespace=NAMESPACE)) for name, (values, files) in MATRIX.items()}
ALL["observability"] = of_others(watching({"rules": {"enabled": True, "labels": {"release": "prometheus"}}}))
JUDGED = {name: [each for each in several if each["kind"] not in UNSEEN] for name, several in ALL.items()}


@pytest.fixture(scope="module")
def defined(cluster: Cluster) -> Cluster:
    """The cluster, with the definitions."""
    define(cluster)
    return cluster


def judge(cluster: Cluster, *objects: Object) -> str:
    """Have the API server take these, dry and strictly. Fails with what it said."""
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    told = ("--dry-run=server", "--validate=strict", "--warnings-as-errors", "--filename=-")
    return cluster.kubectl("create", *told, text=text)


def test_every_kind_of_others_is_judged_or_named() -> None:
    kinds = {each["kind"]: each["apiVersion"].partition("/")[0] for several in ALL.values() for each in several}
    assert kinds == DEFINED | dict.fromkeys(UNSEEN, "k8ssandra.io")


@pytest.mark.parametrize("name", [each for each, several in JUDGED.items() if several])
def test_definitions_take_what_is_rendered(defined: Cluster, name: str) -> None:
    # A chart is rendered for its release's namespace, which is not there for all; where an object lies changes no verdict.
    here = [{**each, "metadata": {**each["metadata"], "namespace": NAMESPACE}} for each in JUDGED[name]]
    assert judge(defined, *here).count("(server dry run)") == len(here)


def test_helm_renders_routes_as_the_cluster_serves_them(defined: Cluster, tmp_path: Path) -> None:
    """With a cluster at hand Helm asks it which versions it knows; the definition of today serves v1 alone."""
    values = tmp_path / "values.json"
    values.write_text(json.dumps(least(PEERS, ROUTED)))
    text = defined.helm("template", "consilium", str(CHART), f"--values={values}", "--validate")
    assert text.count("apiVersion: gateway.networking.k8s.io/v1\n") == 5
    known = defined.get("customresourcedefinition", "tlsroutes.gateway.networking.k8s.io")["spec"]["versions"]
    assert [each["name"] for each in known if each["served"]] == ["v1"]


@pytest.mark.parametrize("version", sorted(ROUTES))
def test_routes_of_older_gateways_are_taken(defined: Cluster, version: str) -> None:
    defined.kubectl("apply", "--server-side", f"--filename={OLDER}")
    run = helm("template", "consilium", str(CHART), "--api-versions", f"{version}/TLSRoute", values=least(PEERS, ROUTED))
    assert run.code == 0, run.error
    text = "\n---\n".join(each for each in run.out.split("\n---\n") if "kind: TLSRoute" in each)
    assert text.count(f"apiVersion: {version}\n") == 5
    told = ("--dry-run=server", "--validate=strict", f"--namespace={NAMESPACE}", "--filename=-")
    # A version of before v1 says so in a warning.
    defined.until("the version is served", lambda: version in defined.kubectl("api-versions"))
    assert defined.kubectl("create", *told, text=text).count("(server dry run)") == 5


BROKEN: dict[str, tuple[str, tuple[str, ...], Any]] = {
    "an unknown field": ("ServiceMonitor", ("spec", "endpoints", "0", "tlsConfig", "server"), "ledger"),
    "a wrong interval": ("ServiceMonitor", ("spec", "endpoints", "0", "interval"), "30 seconds"),
    "an unknown usage": ("Certificate", ("spec", "usages"), ["everything"]),
    "no issuer": ("Certificate", ("spec", "issuerRef"), None),
    "an address for a name": ("TLSRoute", ("spec", "hostnames"), ["10.0.0.1"]),
    "a rule that is no text": ("PrometheusRule", ("spec", "groups", "0", "rules", "0", "expr"), {"a": 1}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_definitions_refuse_what_is_broken(defined: Cluster, name: str) -> None:
    """So the tests above tell something."""
    kind, path, value = BROKEN[name]
    whole = next(each for several in JUDGED.values() for each in several if each["kind"] == kind)
    broken = deepcopy(whole)
    inside: Any = broken
    for each in path[:-1]:
        inside = inside[int(each) if each.isdecimal() else each]
    inside[path[-1]] = value
    with pytest.raises(AssertionError, match=kind):
        judge(defined, broken)
