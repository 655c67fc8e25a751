"""Where a cluster's files lie and its programs come from.

Everything a cluster writes is below one folder, but for what the kernel keeps for it; the programs are built by the Makefile
(`.tools/bin`) or come with the distribution (`packages.py`). The folder's path is short: sockets lie in it, whose names the
kernel limits to 108 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / ".tools" / "bin"
"""Links to what is built once for all checkouts."""
PATH_MAX = 60
"""How long the folder's path may be, in characters."""
DOMAIN = "cluster.local"
MACHINE = "machine"
"""The name of the one machine there is."""
STATE = ("kubelet", "etcd", "containerd", "run", "logs", "volumes", "credentials", "cni", "config", "nri", "netns")


@dataclass(frozen=True, slots=True)
class Family:
    """The addresses of a cluster: those within its own network namespace are the same in all.

    `link` is the way in, of one cluster and one of its ends; `everywhere` any address, to listen on and to route to.
    """

    pods: str
    services: str
    first_service: str
    dns: str
    link: str
    link_bits: int
    everywhere: str


IPV4 = Family("10.244.0.0/16", "10.96.0.0/16", "10.96.0.1", "10.96.0.10", "10.213.{cluster}.{end}", 30, "0.0.0.0")  # noqa: S104
IPV6 = Family(
    "fd00:10:244::/64", "fd00:10:96::/112", "fd00:10:96::1", "fd00:10:96::a", "fd00:213:a{cluster}::{end}", 64, "::"
)
"""Pods then have no other address; the machine keeps 127.0.0.1 for what its own components say to one another."""


@dataclass(frozen=True, slots=True)
class Places:
    """The folder of one cluster, and the addresses within."""

    folder: Path
    family: Family = IPV4

    def make(self) -> None:
        """Make the folder, which must be new or empty, and those in it."""
        assert len(str(self.folder)) <= PATH_MAX, f"{self.folder} is too long a path for sockets; name a shorter one."
        self.folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        assert not any(self.folder.iterdir()), f"{self.folder} is not empty; name a folder that is."
        for each in STATE:
            (self.folder / each).mkdir(mode=0o755)

    def __truediv__(self, name: str) -> Path:
        """A path below the folder."""
        return self.folder / name

    @property
    def kubeconfig(self) -> Path:
        """What people and tests reach the cluster with."""
        return self.folder / "kubeconfig"

    @property
    def containerd(self) -> Path:
        """The socket of containerd."""
        return self.folder / "run" / "containerd.sock"

    def log(self, name: str) -> Path:
        """What a component says."""
        return self.folder / "logs" / f"{name}.log"
