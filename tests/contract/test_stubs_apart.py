"""`consilium-api` builds and installs apart, imports on every runtime it promises, and calls a real service from there.

The program is the one of docs/integrate.md, as it stands on the page.
"""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.contract.story import HOME
from tests.identity.hospital import ALLIANCE
from tests.storage_service.chain_ledger import transactions

if TYPE_CHECKING:
    from tests.contract.conftest import Stage
    from tests.contract.world import World

ROOT = Path(__file__).parents[2]
PROGRAM = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
RUNTIMES = {
    "oldest": ("grpcio==1.76.0", "protobuf==6.31.1"),
    "newest": ("grpcio", "protobuf>=7,<8"),
}
IMPORT_ALL = """
import importlib, pathlib, consilium.api
root = pathlib.Path(next(iter(consilium.api.__path__)))
names = ["consilium.api." + ".".join(each.relative_to(root).with_suffix("").parts) for each in sorted(root.rglob("*.py"))]
print(len([importlib.import_module(each) for each in names]))
try:
    import consilium.kernel
except ImportError:
    print("alone")
"""
pytestmark = pytest.mark.slow


def run(*command: str | Path) -> str:
    """What a program prints, once it has ended well; without this checkout on its path."""
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd="/", timeout=120)  # noqa: S603
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the stubs, built with what the development environment holds."""
    out = tmp_path_factory.mktemp("wheel")
    uv = Path(sys.executable).parent / "uv"
    run(uv, "build", "--quiet", "--wheel", "--no-build-isolation", "--python", sys.executable, "-o", out, ROOT / "protos")
    [found] = out.glob("consilium_api-*.whl")
    return found


def test_the_wheel_holds_stubs_their_types_and_their_licence(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        [metadata] = [archive.read(each).decode() for each in names if each.endswith("/METADATA")]
        [licence] = [archive.read(each) for each in names if each.endswith("/licenses/LICENSE")]
    modules = {
        f"{path.relative_to(ROOT / 'protos').with_suffix('')}_pb2{kind}"
        for path in (ROOT / "protos" / "consilium").rglob("*.proto")
        for kind in (".py", ".pyi", "_grpc.py", "_grpc.pyi")
    }
    assert {each for each in names if "dist-info" not in each} == modules | {"consilium/api/py.typed"}
    assert "License-Expression: Apache-2.0" in metadata
    assert licence == (ROOT / "protos" / "LICENSE").read_bytes()
    assert b"Apache License" in licence
    required = {line.partition(": ")[2] for line in metadata.splitlines() if line.startswith("Requires-Dist")}
    assert {re.split(r"[<>=]", each)[0] for each in required} == {"grpcio", "protobuf"}


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_program_of_the_page_runs_on_stubs_alone(stage: Stage, wheel: Path, runtime: str, tmp_path: Path) -> None:
    uv, python = Path(sys.executable).parent / "uv", tmp_path / "venv" / "bin" / "python"
    run(uv, "venv", "--quiet", "--python", sys.executable, tmp_path / "venv")
    run(uv, "pip", "install", "--quiet", "--python", python, wheel, *RUNTIMES[runtime])
    with zipfile.ZipFile(wheel) as archive:
        count = len([each for each in archive.namelist() if each.endswith(".py")])
    assert run(python, "-c", IMPORT_ALL).split() == [str(count), "alone"]
    [text] = PROGRAM.findall((ROOT / "docs" / "integrate.md").read_text())
    (tmp_path / "follow.py").write_text(text)
    folder = credential_folder(stage.world, tmp_path / "credential")
    address = f"127.0.0.1:{stage.world.running['ledger'].port}"
    found: list[str] = []
    for number in (3, 2):
        given = (folder, address, HOME, ALLIANCE, tmp_path / "cursor", str(number))
        tip, *events = run(python, tmp_path / "follow.py", *given).splitlines()
        assert tip == f"tip {stage.world.chain.height}"
        found += events
    assert found == events_of(stage.world)[:5]


def credential_folder(world: World, folder: Path) -> Path:
    """What an application gets from its member."""
    world.issue("own", "application").write(folder)
    bundle = world.home.home / "tls" / "identity" / "authorities.pem"
    (folder / "authorities.pem").write_bytes(bundle.read_bytes())
    return folder


def events_of(world: World) -> list[str]:
    """What the program prints for every transaction of the chain, in its order."""
    chain, lines = world.chain, []
    for height in range(1, chain.height + 1):
        opened = transactions(chain, height)
        codes = chain.outcome(height).codes
        lines += [f"event {height} {code.name} {each.leaf.hex()}" for each, code in zip(opened, codes, strict=True)]
    return lines
