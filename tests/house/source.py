"""Reads the sources that the house rules are about."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ROOT / "services" / "consilium"


def modules(folder: Path = SERVICES) -> dict[str, ast.Module]:
    """Returns the syntax trees of every hand-written module below folder, by path."""
    paths = sorted(path for path in folder.rglob("*.py") if SERVICES / "api" not in path.parents)
    return {str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in paths}


def pure_modules() -> dict[str, ast.Module]:
    """Returns the modules whose results every replica must reproduce: the kernel and the cores."""
    return {path: tree for path, tree in modules().items() if "/kernel/" in path or "/core/" in path}
