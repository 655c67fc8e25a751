"""Makes what of the chart is written down twice: settings of the services in its schema, the table of values in its README.

Run by `make chart` from the top of the checkout. The schema is kept by hand but for `settings of <service>`, which repeats
what the services declare, without what the chart decides itself; the table repeats the `# --` comments of values.yaml. A
test makes both again and compares.
"""

from __future__ import annotations

import json
import re
import typing
from dataclasses import fields
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from consilium.consensus.settings import ConsensusSettings
from consilium.identity.settings import IdentitySettings
from consilium.ledger.settings import LedgerSettings
from consilium.reencryption.settings import ReencryptionSettings
from consilium.storage.settings import StorageSettings

if typing.TYPE_CHECKING:
    from consilium.runtime.settings import Settings

CHART = Path("deploy/helm/consilium")
SCHEMA, README, VALUES = CHART / "values.schema.json", CHART / "README.md", CHART / "values.yaml"
SETTINGS: dict[str, type[Settings]] = {
    "identity": IdentitySettings,
    "consensus": ConsensusSettings,
    "ledger": LedgerSettings,
    "storage": StorageSettings,
    "reencryption": ReencryptionSettings,
}
PLACES = {"alliance", "member_id", "host", "port", "health_port", "metrics_port", "genesis", "tls_directory", "lock_s"}
"""What the chart decides for every service."""
LEFT = {"commit", "services", "cassandra_grant_to"}
"""What nobody sets there: the image says its commit, identity issues for all, and the migration alone lets roles in."""
STATE = {"member_key", "state_directory", "ledger_address"}
DATABASE = {"hosts", "port", "datacenter", "keyspace", "replication", "consistency", "user", "password_file"}
DECIDED = {
    "identity": STATE
    | {"consensus_address", "services_directory", "authorities_directory", "kubernetes_secrets", "kubernetes_issuer"},
    "consensus": {"ledger_address", "peers", "keys_directory", "votes"},
    "ledger": {"peers", "blocks"},
    "storage": STATE
    | {"peers", "objects", "cassandra_tls_directory", "cassandra_check_names"}
    | {f"cassandra_{each}" for each in DATABASE},
    "reencryption": STATE | {"consensus_address", "sealing_key"},
}
"""And for each of them."""
BEGIN, END = "<!-- values: made by `make chart` -->", "<!-- end of values -->"


def schema() -> str:
    """The schema, with the services' settings as they are declared now."""
    made = json.loads(SCHEMA.read_text())
    for service, kind in SETTINGS.items():
        made["definitions"][f"settings of {service}"] = settings_of(service, kind)
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def settings_of(service: str, kind: type[Settings]) -> dict[str, Any]:
    """What people may set of a service, as a schema."""
    kinds = typing.get_type_hints(kind)
    free = [each for each in fields(kind) if each.name not in PLACES | LEFT | DECIDED[service]]
    properties = {each.name: _property(kinds[each.name], each.metadata["rule"]) for each in free}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _property(kind: object, rule: Any) -> dict[str, Any]:
    """One setting: its type, its limits and its sentence."""
    names = {int: "integer", bool: "boolean", tuple[str, ...]: "array"}
    made: dict[str, Any] = {"description": rule.says, "type": names.get(typing.cast("type", kind), "string")}
    if kind == tuple[str, ...]:
        made["items"] = {"type": "string"}
    limits = {"minimum": rule.least, "maximum": rule.most, "enum": list(rule.choices) or None}
    return made | {name: limit for name, limit in limits.items() if limit is not None}


def readme() -> str:
    """The README, with the table of values as they are commented now."""
    head, _, rest = README.read_text().partition(BEGIN)
    _, _, tail = rest.partition(END)
    rows = [f"| `{name}` | `{default}` | {says} |" for name, default, says in values()]
    return "\n".join([head + BEGIN, "", "| value | default | meaning |", "|---|---|---|", *rows, "", END + tail])


def values() -> list[tuple[str, str, str]]:
    """Every commented value of values.yaml, in its order: dotted name, default, meaning."""
    defaults = YAML(typ="safe").load(VALUES.read_text())
    path: list[tuple[int, str]] = []
    found, says = list[tuple[str, str, str]](), ""
    for line in VALUES.read_text().splitlines():
        text = line.strip()
        if text.startswith("# -- ") or (says and text.startswith("# ")):
            says = f"{says} {text.removeprefix('# -- ').removeprefix('# ')}".strip()
        elif key := re.match(r"( *)([A-Za-z0-9]+):", line):
            path = [each for each in path if each[0] < len(key[1])] + [(len(key[1]), key[2])]
            names = [name for _, name in path]
            if says:
                found.append((".".join(names), _default(defaults, names), says.replace("|", "\\|")))
            says = ""
    return found


def _default(defaults: Any, names: list[str]) -> str:
    """A value's default as JSON, which is YAML too."""
    for each in names:
        defaults = defaults[each]
    return json.dumps(defaults, ensure_ascii=False)


if __name__ == "__main__":
    SCHEMA.write_text(schema())
    README.write_text(readme())
