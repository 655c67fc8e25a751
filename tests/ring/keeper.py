"""Keeps one ring for a whole test session: `python -m tests.ring.keeper FOLDER PID`.

It is started by the first test that wants a ring, in whatever worker that runs, says on standard output that the ring is up,
and ends, with the ring, when the process of that number does: the one that runs the session.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import sys
from pathlib import Path

from tests.ring.ring import Ring

DESCRIPTION = "ring.json"


def main() -> None:
    """Keep the ring until the session ends."""
    folder, session = Path(sys.argv[1]), os.pidfd_open(int(sys.argv[2]))
    ring = Ring.start(folder)
    (folder / DESCRIPTION).write_text(json.dumps(ring.addresses))
    sys.stdout.write("up\n")
    sys.stdout.close()
    select.select([session], [], [])
    ring.kill()
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
