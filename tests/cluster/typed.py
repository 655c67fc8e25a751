"""A page's lines for Kubernetes, typed by an operator who has `consilium`, kubectl and Helm at hand (docs/operations)."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster.alliance import CHART, CONSILIUM
from tests.cluster.places import TOOLS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.cluster.alliance import Alliance


def typed(alliance: Alliance, lines: list[str], given: Mapping[str, str], folder: Path | None = None) -> str:
    """What the lines print, in one shell that ends at the first that fails; `given` is what differs from reader to reader.

    The folder is the one in which all members' folders lie, where no other is named. Fails with what was said.
    """
    text = "\n".join(lines)
    for each, value in {**given, "deploy/helm/consilium": str(CHART), "<release>": "consilium"}.items():
        text = text.replace(each, value)
    path = f"{TOOLS}:{Path(CONSILIUM).parent}:{os.environ['PATH']}"
    told = {**os.environ, "PATH": path, "KUBECONFIG": str(alliance.cluster.places.kubeconfig)}
    words = ["/bin/bash", "-euo", "pipefail", "-c", text]
    done = subprocess.run(words, env=told, capture_output=True, text=True, check=False, cwd=folder or alliance.folder)
    assert done.returncode == 0, f"{text}:\n{done.stdout[-2_000:]}{done.stderr[-4_000:]}"
    return done.stdout
