"""What a cluster is given: the Secret with a member's keys, and the ConfigMap with the genesis (design section 8).

YAML for `kubectl apply -f -`, names and keys as the chart expects them. The Secret's text holds the member's secrets: it
goes through a pipe and into no repository. `join prepare` alone writes it to a file, for its owner only, beside the keys.
"""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from consilium.ceremony.keys import FILES
from consilium.kernel.errors import DataLoss

KEYS_SECRET, NEXT_SECRET, GENESIS_MAP = "consilium-keys", "consilium-next-keys", "consilium-genesis"
"""What they are called unless somebody says otherwise."""


def keys_secret(folder: Path, name: str = KEYS_SECRET, files: Sequence[str] = FILES) -> dict[str, Any]:
    """The Secret with all files of a keys folder. Raises DataLoss: BAD_KEYS."""
    try:
        data = {each: _base64((folder / each).read_bytes()) for each in files}
    except OSError as error:
        raise DataLoss("BAD_KEYS", f"{folder} holds no member's keys: {error}") from error
    kind = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}}
    return {**kind, "type": "Opaque", "immutable": True, "data": data}


def genesis_map(files: dict[str, bytes], name: str = GENESIS_MAP) -> dict[str, Any]:
    """The ConfigMap with the genesis and the authorities, by file name."""
    kind = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}
    return {**kind, "binaryData": {each: _base64(data) for each, data in files.items()}}


def as_yaml(*manifests: dict[str, Any]) -> str:
    """Manifests as one stream of documents."""
    yaml, out = YAML(), io.StringIO()
    yaml.width = 1_000_000
    yaml.dump_all(manifests, out)
    return out.getvalue()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
