"""Every import contract breaks when its rule is broken (design section 3)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING

import pytest

from tests.house.source import ROOT

if TYPE_CHECKING:
    from pathlib import Path

# Contract name -> a module that breaks it, and its content.
BREACHES = {
    "The kernel and every core are pure": ("ledger/core/breach.py", "import time\n"),
    "The kernel imports nothing of ours": ("kernel/breach.py", "import consilium.api.chain.v1.chain_pb2\n"),
    "The runtime imports only the kernel and the contracts": ("runtime/breach.py", "import consilium.ledger\n"),
    "A core imports only the kernel and itself": ("ledger/core/breach.py", "import consilium.runtime\n"),
    "No service imports another": ("storage/breach.py", "import consilium.ledger.core\n"),
    "No service imports the client or the sandbox": ("identity/breach.py", "import consilium.client\n"),
    "Inside a service imports point down": (
        "identity/core/breach.py",
        "import consilium.identity.servicer\n",
    ),
    "The client imports no service": ("client/breach.py", "import consilium.storage\n"),
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copies the packages' outlines: every package of ours, empty, with the configuration beside them."""
    root = tmp_path_factory.mktemp("house")
    shutil.copy(ROOT / "pyproject.toml", root)
    services = ROOT / "services"
    for init in services.glob("consilium/**/__init__.py"):
        empty = root / init.relative_to(services)
        empty.parent.mkdir(parents=True, exist_ok=True)
        empty.write_text("")
    (root / "consilium/identity/servicer.py").write_text("")
    for name in ("identity", "consensus", "ledger", "storage", "reencryption"):
        (root / f"consilium/{name}/core").mkdir(exist_ok=True)
    stubs = root / "consilium/api/chain/v1"
    stubs.mkdir(parents=True)
    (stubs / "chain_pb2.py").write_text("")
    return root


def broken_contracts(house: Path) -> list[str]:
    """Runs import-linter on the copy and returns the names of the broken contracts."""
    run = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command as c; c()",
            "--no-cache",
            "--no-logo",
        ],
        cwd=house,
        env={"PYTHONPATH": str(house), "PATH": os.defpath, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Contracts:" in run.stdout, run.stdout + run.stderr
    return [line.removesuffix(" BROKEN") for line in run.stdout.splitlines() if line.endswith(" BROKEN")]


def test_the_demo_command_may_start_the_sandbox(house: Path) -> None:
    command = house / "consilium/client/cli.py"
    command.write_text("def demo():\n    from consilium import sandbox\n    import consilium.sandbox.story\n")
    (house / "consilium/sandbox/story.py").write_text("import consilium.ledger\n")
    try:
        assert broken_contracts(house) == []
    finally:
        command.unlink()


def test_every_contract_has_its_breach() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert [contract["name"] for contract in config["tool"]["importlinter"]["contracts"]] == list(BREACHES)


def test_the_outline_itself_breaks_nothing(house: Path) -> None:
    assert broken_contracts(house) == []


@pytest.mark.parametrize("contract", BREACHES)
def test_a_breach_is_found(house: Path, contract: str) -> None:
    name, content = BREACHES[contract]
    breach = house / "consilium" / name
    breach.write_text(content)
    try:
        assert contract in broken_contracts(house)
    finally:
        breach.unlink()
