"""`make cluster`: a Kubernetes of one machine, kept until Ctrl-C or SIGTERM, with the alliance in it when asked for.

Prints what took how long, and the KUBECONFIG to reach it with. It needs root, to make namespaces of the kernel. Either
signal ends it at whichever step it is, and takes down what there is by then; a temporary folder goes with it.
"""

from __future__ import annotations

import argparse
import signal
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from tests.cluster.alliance import FOUR, Alliance
from tests.cluster.cluster import Cluster
from tests.cluster.images import all_images

if TYPE_CHECKING:
    from collections.abc import Callable

ENDINGS = (signal.SIGINT, signal.SIGTERM)
LOOK_S = 1


class Stoppable(Protocol):
    """What is kept: a cluster."""

    def stop(self) -> None:
        """Take it down; nothing of it runs on return."""


Kept = TypeVar("Kept", bound=Stoppable)


def main() -> None:
    """Bring it up, say how to reach it, wait, take it down."""
    parser = argparse.ArgumentParser(prog="make cluster")
    parser.add_argument("--folder", type=Path, help="a new or empty folder with a short path; a temporary one otherwise")
    parser.add_argument("--members", type=int, default=0, choices=range(len(FOUR) + 1), help="how many members to install")
    asked = parser.parse_args()

    def use(cluster: Cluster, folder: Path) -> None:
        if asked.members:
            _install(cluster, folder / "alliance", asked.members)
        print(f"export KUBECONFIG={cluster.places.kubeconfig}    (Ctrl-C ends the cluster)", flush=True)

    keep(asked.folder, _start, use)


def keep(folder: Path | None, start: Callable[[Path], Kept], use: Callable[[Kept, Path], None]) -> None:
    """Start something in the folder, use it, wait for a signal, and take it down; without a folder, in a temporary one."""
    for each in ENDINGS:
        signal.signal(each, _end)
    with suppress(KeyboardInterrupt), ExitStack() as left:
        place = folder or Path(left.enter_context(tempfile.TemporaryDirectory(prefix="cluster-", dir="/tmp")))
        kept = start(place)
        left.callback(kept.stop)
        use(kept, place)
        while True:
            time.sleep(LOOK_S)  # not `signal.pause`: a signal just before it would not be seen


def _end(_: int, __: object) -> None:
    """End once: a second signal does not break off the taking down. Raises KeyboardInterrupt, where the work is now."""
    for each in ENDINGS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def _start(folder: Path) -> Cluster:
    print("building images", flush=True)
    return Cluster.start(folder, all_images())


def _install(cluster: Cluster, folder: Path, members: int) -> None:
    folder.mkdir()
    alliance = Alliance(cluster, folder)
    alliance.found()
    for each in alliance.members[:members]:
        alliance.prepare(each)
        alliance.install(each)


if __name__ == "__main__":
    main()
