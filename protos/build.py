"""Compiles the contracts into Python: messages, gRPC stubs and their types.

`python protos/build.py services` writes services/consilium/api; building consilium-api writes into its wheel.
Generated code is never committed: it refuses runtimes older than its generator, whose version is therefore
pinned.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from importlib import resources
from pathlib import Path
from typing import Any

from grpc_tools import protoc
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parent


def plugin(name: str) -> str:
    """Returns protoc's argument for a plug-in installed beside this Python, or else on the PATH."""
    path = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    assert path is not None, f"{name} is missing: install mypy-protobuf"
    return f"--plugin={name}={path}"


def build(target: Path) -> None:
    """Writes the package consilium.api below target; raises RuntimeError when a contract does not compile."""
    outputs = [f"--{kind}_out={target}" for kind in ("python", "grpc_python")]
    # `quiet` keeps the plug-ins from naming every file.
    types = [f"--{kind}_out=quiet:{target}" for kind in ("mypy", "mypy_grpc")]
    plugins = [plugin("protoc-gen-mypy"), plugin("protoc-gen-mypy_grpc")]
    include = [f"-I{ROOT}", f"-I{resources.files('grpc_tools') / '_proto'}"]
    sources = [str(path) for path in sorted(ROOT.glob("consilium/api/*/v1/*.proto"))]
    if protoc.main(["protoc", *include, *plugins, *outputs, *types, *sources]) != 0:
        message = "protoc refused a contract"
        raise RuntimeError(message)
    (target / "consilium" / "api" / "py.typed").touch()


class StubsHook(BuildHookInterface):  # type: ignore[type-arg]
    """Puts freshly compiled stubs into the wheel of consilium-api."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compiles into a temporary folder, kept until the wheel is written."""
        del version
        self.folder = tempfile.TemporaryDirectory()
        build(Path(self.folder.name))
        build_data["force_include"][f"{self.folder.name}/consilium/api"] = "consilium/api"


if __name__ == "__main__":
    build(Path(sys.argv[1]))
