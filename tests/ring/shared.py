"""The ring that all tests of a session share, and all its workers: started once, when first asked for (`keeper`)."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
from pathlib import Path

from tests.ring.instance import CQL_PORT, ROOT, listens
from tests.ring.keeper import DESCRIPTION
from tests.ring.ring import Ring

FOLDERS = ROOT / "build" / "rings"
KEEPERS: list[subprocess.Popen[bytes]] = []
"""Held, so that nobody takes them for forgotten."""


def shared_ring(session: int) -> Ring:
    """The ring of the session that runs in the process of this number."""
    FOLDERS.mkdir(parents=True, exist_ok=True)
    folder = FOLDERS / str(session)
    with (FOLDERS / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_up(folder):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            _start_keeper(folder, session)
    return Ring(folder, tuple(json.loads((folder / DESCRIPTION).read_text())))


def _is_up(folder: Path) -> bool:
    """Whether a ring is kept there; a folder may be left of another session whose process had this number."""
    description = folder / DESCRIPTION
    return description.exists() and listens(json.loads(description.read_text())[0], CQL_PORT)


def _start_keeper(folder: Path, session: int) -> None:
    command = [sys.executable, "-m", "tests.ring.keeper", str(folder), str(session)]
    with (FOLDERS / f"{session}.log").open("w") as log:
        keeper = subprocess.Popen(  # noqa: S603
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, start_new_session=True
        )
    KEEPERS.append(keeper)
    assert keeper.stdout is not None
    with keeper.stdout as stdout:
        said = stdout.readline()
    assert said == b"up\n", f"the ring did not start: {(FOLDERS / f'{session}.log').read_text()[-3_000:]}"
