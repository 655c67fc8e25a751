"""`make cluster`: a Kubernetes of one machine, kept until Ctrl-C, with the alliance in it when asked for.

Prints what took how long, and the KUBECONFIG to reach it with. It needs root, to make namespaces of the kernel.
"""

from __future__ import annotations

import argparse
import signal
import tempfile
from pathlib import Path

from tests.cluster.alliance import FOUR, Alliance
from tests.cluster.cluster import Cluster
from tests.cluster.images import all_images


def main() -> None:
    """Bring it up, say how to reach it, wait, take it down."""
    parser = argparse.ArgumentParser(prog="make cluster")
    parser.add_argument("--folder", type=Path, help="a new or empty folder with a short path; a temporary one otherwise")
    parser.add_argument("--members", type=int, default=0, choices=range(len(FOUR) + 1), help="how many members to install")
    asked = parser.parse_args()
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="cluster-", dir="/tmp"))
    print("building images", flush=True)
    images = all_images()
    cluster = Cluster.start(folder, images)
    try:
        if asked.members:
            _install(cluster, folder / "alliance", asked.members)
        print(f"export KUBECONFIG={cluster.places.kubeconfig}    (Ctrl-C ends the cluster)", flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})
    finally:
        cluster.stop()


def _install(cluster: Cluster, folder: Path, members: int) -> None:
    folder.mkdir()
    alliance = Alliance(cluster, folder)
    alliance.found()
    for each in alliance.members[:members]:
        alliance.prepare(each)
        alliance.install(each)


if __name__ == "__main__":
    main()
