"""Renders the chart with the real Helm, and hands out what came of it.

Helm stands at `.tools/bin/helm`, which `make test` builds. What it says on standard error is the refusal that people read.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

from tests.house.source import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

HELM = ROOT / ".tools" / "bin" / "helm"
CHART = ROOT / "deploy" / "helm" / "consilium"
SERVICES = ("identity", "consensus", "ledger", "storage", "reencryption")
Object = dict[str, Any]
LEAST: Object = {"member": {"id": "1A", "keys": {"existingSecret": "keys"}}, "genesis": {"existingConfigMap": "genesis"}}
"""What an install has to name; everything else has a default."""


@dataclass(frozen=True, slots=True)
class Helm:
    """What Helm said: its exit code, and its two streams."""

    code: int
    out: str
    error: str


def helm(*arguments: str, values: Object | None = None) -> Helm:
    """Run Helm, with values on its standard input when there are any."""
    given = [] if values is None else ["--values", "-"]
    command = [str(HELM), *arguments, *given]
    text = "" if values is None else json.dumps(values)
    run = subprocess.run(command, cwd=ROOT, input=text, capture_output=True, text=True, check=False)  # noqa: S603 (our Helm)
    return Helm(run.returncode, run.stdout, run.stderr)


def template(values: Object, *files: str, namespace: str = "hospital-1a") -> Helm:
    """Render, with the chart's own files of values below these."""
    return _template(json.dumps(values), files, namespace)


@cache
def _template(values: str, files: tuple[str, ...], namespace: str) -> Helm:
    """Once for each combination: the chart stays as it is while tests run."""
    named = [each for name in files for each in ("--values", str(CHART / name))]
    return helm("template", "consilium", str(CHART), "--namespace", namespace, *named, values=json.loads(values))


def rendered(values: Object, *files: str, namespace: str = "hospital-1a") -> list[Object]:
    """The objects that come of it, which must be some."""
    run = template(values, *files, namespace=namespace)
    assert run.code == 0, run.error
    return _read(run.out)


@cache
def _read(text: str) -> list[Object]:
    """The documents of a rendered chart; tests leave them as they are."""
    return [each for each in YAML(typ="safe").load_all(text) if each]


def least(*changes: Object) -> Object:
    """The least values with others laid over them, as Helm lays them."""
    made = LEAST
    for each in changes:
        made = _over(made, each)
    return made


def _over(below: Object, above: Object) -> Object:
    both = {name: _over(below[name], above[name]) for name in above if _are_maps(below.get(name), above[name])}
    return {**below, **above, **both}


def _are_maps(*each: object) -> bool:
    return all(isinstance(one, dict) for one in each)


def of_kind(objects: list[Object], kind: str) -> dict[str, Object]:
    """Those of one kind, by name."""
    return {each["metadata"]["name"]: each for each in objects if each["kind"] == kind}


def pods(objects: list[Object]) -> Iterator[tuple[str, Object]]:
    """Every pod that the objects would start: its metadata's owner by kind and name, and the pod itself."""
    for each in objects:
        name = f"{each['kind']} {each['metadata']['name']}"
        match each["kind"]:
            case "Pod":
                yield name, each
            case "StatefulSet" | "Deployment" | "Job":
                yield name, each["spec"]["template"]
            case "CronJob":
                yield name, each["spec"]["jobTemplate"]["spec"]["template"]


def containers(pod: Object) -> list[Object]:
    """All containers of a pod, those before it included."""
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def environment(pod: Object) -> dict[str, str]:
    """What the last container of a pod is told."""
    return {each["name"]: each["value"] for each in containers(pod)[-1]["env"] if "value" in each}
