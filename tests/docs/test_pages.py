"""Pages cannot rot: what they tell people to type is understood by what it is typed at.

A `consilium` line is parsed by the command itself and not run; a line of helm is rendered, so that the chart's schema judges
its values; what kubectl is to find is rendered by the chart, or made by identity or a ceremony.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
from dataclasses import fields
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer
from ruamel.yaml import YAML

from consilium.backup.restoring import Member
from consilium.ceremony.manifests import GENESIS_MAP, KEYS_SECRET, NEXT_SECRET
from consilium.client.cli import app
from consilium.client.settings import ClientSettings
from tests.docs.pages import PAGES, Typed, commands, fenced, inline, mentioned, name_of
from tests.helm.make import SETTINGS
from tests.helm.matrix import CASSANDRA, EVERYTHING
from tests.helm.rendering import CHART, LEAST, Object, helm, least, of_kind, rendered, template
from tests.house.source import ROOT, SERVICES

KINDS = {
    "deploy": "Deployment", "deployment": "Deployment", "statefulset": "StatefulSet", "service": "Service",
    "configmap": "ConfigMap", "secret": "Secret", "cronjob": "CronJob", "lease": "Lease", "pvc": "PersistentVolumeClaim",
}  # fmt: skip
OTHERS = {"consilium-api", "consilium-observability"}
"""A distribution and a chart."""
OPERATIONS = ROOT / "docs" / "operations"
INSTALL = OPERATIONS / "install.md"
FILES = ("crt", "key", "pem", "db", "log", "py", "md", "toml", "yaml")
"""How names end that look like a chart's value and are a file's."""


# --- consilium ---


def resolved(words: list[str]) -> tuple[Any, list[str]]:
    """The command or group that the words begin with, and the rest of them."""
    command: Any = typer.main.get_command(app)
    while words and words[0] in getattr(command, "commands", {}):
        command, words = command.commands[words[0]], words[1:]
    return command, words


def refusal(words: list[str]) -> str:
    """Why the command line is refused before it is run; empty when it is not."""
    command, rest = resolved(words)
    if hasattr(command, "commands"):
        return f"no command {rest[:1]}"
    try:
        command.make_context(command.name, rest)
    except typer.TyperException as error:
        return error.format_message()
    return ""


def test_every_line_of_consilium_is_understood() -> None:
    typed = commands("consilium")
    assert len(typed) > 100, "pages are found"
    assert {str(each): told for each in typed if (told := refusal(each.words))} == {}


def test_what_the_text_names_of_consilium_exists() -> None:
    wrong = []
    for each in mentioned("consilium"):
        command, rest = resolved(each.words)
        known = {name for parameter in getattr(command, "params", []) for name in parameter.opts} | {"--help"}
        options = {word.partition("=")[0] for word in rest if word.startswith("--")}
        wrong += [str(each)] if command.name == app.info.name or not options <= known else []
        wrong += [str(each)] if hasattr(command, "commands") and rest else []
    assert wrong == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("recovery sgin --lost 3A", "no command"),
        ("keys draw", "Missing argument"),
        ("drain --holds 3", "No such option"),
        ("plan x.yaml --committee many", "valid integer"),
    ],
)
def test_a_line_that_has_rotted_is_told(words: str, told: str) -> None:
    assert told in refusal(words.split())


# --- helm ---


def given(words: list[str], *options: str) -> list[str]:
    """What follows these options."""
    return [after for option, after in pairwise(words) if option in options]


@cache
def options_of(subcommand: str) -> set[str]:
    """The options of a command of helm, long and short."""
    told = helm(subcommand, "--help").out
    return set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", told))


def misrendered(typed: Typed) -> str:
    """What is wrong with a line of helm; empty when nothing is."""
    subcommand, *rest = [each.strip("`") for each in typed.words]
    wrong = {each.partition("=")[0] for each in rest if each.startswith("-")} - options_of(subcommand)
    if wrong or subcommand not in {"install", "upgrade"}:
        return ", ".join(sorted(wrong))
    chart = next((each for each in rest if each.startswith("deploy/")), str(CHART))
    files = [each for each in given(rest, "-f", "--values") if each.startswith("deploy/")]
    sets = [f"--set={each}" for each in given(rest, "--set")]
    named = [f"--values={each}" for each in files]
    values = LEAST if chart.endswith("/consilium") else None
    run = helm("template", "consilium", chart, *named, *sets, values=values)
    return run.error if run.code else ""


def test_every_line_of_helm_renders() -> None:
    typed = [*commands("helm"), *mentioned("helm")]
    assert len(typed) > 10
    assert {str(each): told for each in typed if (told := misrendered(each))} == {}
    assert "additional properties" in misrendered(Typed("", "helm", ["upgrade", "x", "--set", "member.keys.secret=a"]))


def test_the_example_of_the_installation_is_one() -> None:
    """install.md: the values of a founder, and the chart's own for a small cluster."""
    [text] = fenced(INSTALL, "yaml")
    run = template(YAML(typ="safe").load(text), "values-dev.yaml")
    assert run.code == 0, run.error


def test_a_change_of_keys_ends_with_new_pods_of_every_service_that_holds_them() -> None:
    """rotation.md: under the old name a kubelet hands what it has of an immutable Secret to new pods as well (G3)."""
    last = [each for each in commands("helm") if each.page.endswith("rotation.md")][-1]
    told = dict(each.split("=") for each in given(last.words, "--set"))
    assert told["member.keys.existingSecret"] not in {KEYS_SECRET, ""}
    assert told["member.keys.nextSecret"] == ""
    before, after = (
        of_kind(rendered(least({"member": {"keys": {"existingSecret": name}}})), "StatefulSet")
        for name in (KEYS_SECRET, told["member.keys.existingSecret"])
    )
    changed = {name for name, each in after.items() if each["spec"]["template"] != before[name]["spec"]["template"]}
    assert changed == {f"consilium-{each}" for each in ("identity", "consensus", "storage", "reencryption")}


@cache
def schema() -> Any:
    """The schema of the chart's values."""
    return YAML(typ="safe").load((CHART / "values.schema.json").read_text())


def is_value(path: str) -> bool:
    """Whether the schema knows a value of this dotted name."""
    place = schema()
    for part in path.split("."):
        place = schema()["definitions"][place["$ref"].rpartition("/")[2]] if "$ref" in place else place
        if part not in place.get("properties", {}):
            return place.get("type") == "object" and "properties" not in place
        place = place["properties"][part]
    return True


def test_values_that_pages_name_are_the_charts() -> None:
    named = {
        (name_of(page), code)
        for page in PAGES
        for code in inline(page)
        if re.fullmatch(r"[a-z]+(\.[A-Za-z_]+)+", code) and code.rpartition(".")[2] not in FILES
    }
    ours = {(page, name) for page, name in named if name.partition(".")[0] in schema()["properties"]}
    assert len(ours) > 10
    assert sorted(each for each in ours if not is_value(each[1])) == []
    assert not is_value("drain.seconds")


def test_what_an_egress_is_told_is_one() -> None:
    """watching.md, backup.md: rules that open the way to a collector and to a store."""
    rules = [code for page in PAGES for code in inline(page) if code.startswith("[{to:")]
    assert len(rules) > 1
    for each in rules:
        run = template(least({"networkPolicy": {"egress": YAML(typ="safe").load(each)}}))
        assert run.code == 0, run.error


# --- kubectl ---


@cache
def objects() -> dict[str, set[str]]:
    """The names of all objects of a member, by kind: rendered, made by identity (its Role names them), made by people."""
    found: dict[str, set[str]] = {"Secret": {KEYS_SECRET, NEXT_SECRET}, "ConfigMap": {GENESIS_MAP}}
    plain = least(CASSANDRA, {"desk": {"enabled": True}})
    for each in [*rendered(EVERYTHING), *rendered(plain)]:
        found.setdefault(each["kind"], set()).add(each["metadata"]["name"])
        claims = each.get("spec", {}).get("volumeClaimTemplates", [])
        mounted = {f"{claim['metadata']['name']}-{each['metadata']['name']}-0" for claim in claims}
        found.setdefault("PersistentVolumeClaim", set()).update(mounted)
    for role in of_kind(rendered(EVERYTHING), "Role").values():
        for rule in role["rules"]:
            for resource in rule["resources"]:
                found.setdefault(KINDS.get(resource.rstrip("s"), resource), set()).update(rule.get("resourceNames", ()))
    return found


def unknown(typed: Typed) -> list[str]:
    """The objects that a line of kubectl names and no member has."""
    pairs = [(*each.split("/", 1),) for each in typed.words if each.split("/")[0] in KINDS and "/" in each]
    pairs += [(kind, name) for kind, name in pairwise(typed.words) if kind in KINDS and name[0] != "-"]
    return [f"{kind} {name}" for kind, name in pairs if name not in objects().get(KINDS[kind], ())]


def test_what_kubectl_is_to_find_is_there() -> None:
    typed = [*commands("kubectl"), *mentioned("kubectl")]
    assert len(typed) > 10
    assert {str(each): names for each in typed if (names := unknown(each))} == {}
    assert unknown(Typed("", "kubectl", ["exec", "deploy/consilium-desks"])) == ["deploy consilium-desks"]


def test_the_drill_turned_into_a_restore_works_on_the_services_own_volumes(tmp_path: Path) -> None:
    """backup.md, "In Kubernetes": its patch fits the drill's Job; state is put aside, and settings lead to the volumes."""
    [text] = fenced(OPERATIONS / "backup.md", "yaml")
    patch = YAML(typ="safe").load(text)["spec"]["template"]["spec"]
    drill = of_kind(rendered(EVERYTHING), "CronJob")["consilium-drill"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    [ours], [theirs] = patch["containers"], drill["containers"]
    assert ours["name"] == theirs["name"]
    claims = [each["persistentVolumeClaim"]["claimName"] for each in patch["volumes"]]
    assert set(claims) <= objects()["PersistentVolumeClaim"]
    assert [each["name"] for each in ours["volumeMounts"]] == [each["name"] for each in patch["volumes"]]

    maps = of_kind(rendered(EVERYTHING), "ConfigMap")
    (tmp_path / "drill").write_text(maps["consilium-drill"]["data"]["settings.toml"])
    for name in ("ledger", "storage", "consensus"):
        (tmp_path / "volumes" / name / name).mkdir(parents=True)
    script = ours["args"][0].replace("/volumes", f"{tmp_path}/volumes").replace("consilium restore", "true")
    script = script.replace("/etc/consilium/drill/settings.toml", f"{tmp_path}/drill").replace("> /tmp/", f"> {tmp_path}/")
    assert subprocess.run(["/bin/sh", "-euc", script], check=False).returncode == 0  # noqa: S603  the page's own words
    member = Member.of(tmp_path / "settings.toml")
    assert member.ledger.blocks == tmp_path / "volumes" / "ledger" / _below("ledger", "BLOCKS")
    assert member.storage.state_directory == tmp_path / "volumes" / "storage" / _below("storage", "STATE_DIRECTORY")
    assert member.consensus.votes == tmp_path / "volumes" / "consensus" / _below("consensus", "VOTES")
    assert [each.name[:7] for each in (tmp_path / "volumes").glob("*/*")] == ["before-"] * 3


def _below(service: str, name: str) -> Path:
    """Where a service's state lies on its volume, as the chart sets it."""
    stateful = of_kind(rendered(LEAST), "StatefulSet")[f"consilium-{service}"]["spec"]["template"]["spec"]
    [container] = stateful["containers"]
    [found] = [each["value"] for each in container["env"] if each["name"] == f"CONSILIUM_{service.upper()}_{name}"]
    [mount] = [each["mountPath"] for each in container["volumeMounts"] if each["name"] == "state"]
    return Path(found).relative_to(mount)


def test_objects_that_the_text_names_are_there() -> None:
    known = {name for names in objects().values() for name in names}
    named = {code for page in PAGES for code in inline(page) if re.fullmatch(r"consilium-[a-z-]+", code)}
    assert len(named) > 3
    assert sorted(named - known - OTHERS) == []


def test_addresses_of_services_are_the_charts() -> None:
    services: dict[str, Object] = of_kind(rendered(LEAST), "Service")
    for page in PAGES:
        for name, port in re.findall(r"\b(consilium-[a-z]+)\.hospital-\w+\.svc (\d+)", page.read_text()):
            assert int(port) in {each["port"] for each in services[name]["spec"]["ports"]}, name_of(page)


# --- what else they name ---


def test_programs_and_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    wrong = [str(each) for each in [*commands("make"), *mentioned("make")] if not {*each.words[:1]} <= targets]
    for each in [*commands("python"), *mentioned("python")]:
        module, *rest = given(each.words, "-m") + [word for word in each.words[2:] if word[0] != "-"]
        found = importlib.util.find_spec(f"{module}.__main__")
        text = Path(found.origin or "").read_text() if found else ""
        wrong += [] if found and all(f'"{word}"' in text for word in rest) else [str(each)]
    assert wrong == []


def test_settings_exist() -> None:
    """Each by its variable."""
    kinds: dict[str, Any] = {**SETTINGS, "client": ClientSettings}
    known = {f"CONSILIUM_{section}_{each.name}".upper() for section, kind in kinds.items() for each in fields(kind)}
    variable = re.compile(rf"CONSILIUM_(?:{'|'.join(kinds).upper()})_[A-Z_]*[A-Z]")
    named = {name for page in PAGES for name in variable.findall(page.read_text())}
    assert len(named) > 10
    assert sorted(named - known) == []


def test_reasons_and_words_in_capitals_stand_in_the_sources() -> None:
    """What a page says that a refusal is called, the refusal is called."""
    sources = [
        *SERVICES.rglob("*.py"),
        *(ROOT / "deploy").rglob("*.tpl"),
        ROOT / "Makefile",
        *(ROOT / "protos").rglob("*.proto"),
    ]
    text = "\n".join(each.read_text() for each in sources)
    pages = [*(ROOT / "docs" / "operations").rglob("*.md"), ROOT / "docs" / "cli.md", ROOT / "docs" / "sandbox.md"]
    named = {(name_of(page), word) for page in pages for word in re.findall(r"\b[A-Z]+(?:_[A-Z0-9]+)+\b", page.read_text())}
    ours = {(page, word) for page, word in named if not word.startswith(("AWS_", "CONSILIUM_"))}
    assert sorted((page, word) for page, word in ours if word not in text and word.lower() not in text) == []


def test_links_lead_somewhere() -> None:
    links = [(page, link) for page in PAGES for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())]
    inside = [each for each in links if not each[1].startswith("http")]
    assert [(name_of(page), link) for page, link in inside if not (page.parent / link).exists()] == []
