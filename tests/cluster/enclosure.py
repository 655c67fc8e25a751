"""The kernel namespaces a cluster lives in: its own network, mounts and process numbers.

Nothing of a cluster can then outlive it or meet another one's: rules of iptables, devices, mounts, sockets and containers
are in there, and all of it is gone with the first process of the enclosure, which ends with whoever made it. One pair of
network devices leads in, with the first number, and addresses by it, that no other on this machine has.
"""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster.places import TOOLS

if TYPE_CHECKING:
    from tests.cluster.places import Family, Places

COVERED = {
    "kubelet": "/var/lib/kubelet",
    "logs": "/var/log/containers",
    "cni": "/var/lib/cni",
    "nri": "/var/run/nri",
    "netns": "/var/run/netns",
}
"""Places that Kubernetes has no setting for, covered by folders of the cluster's own."""
SETUP = """
set -eu
mount --make-rshared /
ip link set lo up
ip address add {inside}/{bits} dev uplink {options}
ip link set uplink up
ip route add default via {outside}
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
"""
COVER = 'mkdir -p "{over}"; mount --bind "{folder}" "{over}"; mount --make-rshared "{over}"\n'
DEVICE, NETWORKS = "consilium", 250
WAIT_S = 10


@dataclass
class Enclosure:
    """Namespaces that are there for as long as `keeper` runs."""

    keeper: subprocess.Popen[bytes]
    family: Family
    number: int
    first: int = field(default=0)
    """The number, as this machine counts, of the process that is the first in there."""

    @staticmethod
    def create(places: Places) -> Enclosure:
        """Make the namespaces and the way in."""
        command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--mount", "--pid", "--fork", "--kill-child"]
        keeper = subprocess.Popen(
            [*command, "--mount-proc", "--propagation", "private", str(TOOLS / "pause")], start_new_session=True
        )
        made = Enclosure(keeper, places.family, _free_number())
        made.first = made._first_child()
        made._connect(places)
        return made

    @property
    def outside(self) -> str:
        """This machine's address towards the cluster."""
        return self.family.link.format(cluster=self.number, end=1)

    @property
    def inside(self) -> str:
        """The cluster's address."""
        return self.family.link.format(cluster=self.number, end=2)

    def entering(self) -> list[str]:
        """What is put before a command so that it runs in there."""
        return ["nsenter", f"--target={self.first}", "--net", "--mount", "--pid", "--"]

    def run(self, command: list[str], text: str | None = None) -> str:
        """Run a command in there. Fails with what it said."""
        done = subprocess.run([*self.entering(), *command], input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
        return done.stdout

    def remove(self) -> None:
        """End the first process; the kernel ends the others and removes the rest."""
        self.keeper.kill()
        self.keeper.wait()

    def _first_child(self) -> int:
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline and self.keeper.poll() is None:
            found = children(self.keeper.pid)
            if found and Path(f"/proc/{found[0]}/comm").read_text().strip() == "pause":
                return found[0]
            time.sleep(0.01)
        raise AssertionError("unshare made no namespaces: a cluster needs root.")

    def _connect(self, places: Places) -> None:
        host = f"{DEVICE}{self.number}"
        peer = ["peer", "name", "uplink", "netns", str(self.first)]
        _ip("link", "add", host, "type", "veth", *peer)
        # An IPv6 address may be used at once: nobody else is on this link to have it too.
        options = ["nodad"] if ":" in self.outside else []
        _ip("address", "add", f"{self.outside}/{self.family.link_bits}", "dev", host, *options)
        _ip("link", "set", host, "up")
        covers = [COVER.format(over=over, folder=places / name) for name, over in COVERED.items()]
        setup = SETUP.format(inside=self.inside, outside=self.outside, bits=self.family.link_bits, options=" ".join(options))
        self.run(["sh"], "".join([setup, *covers]))


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    try:
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
    return done.stdout


def _free_number() -> int:
    taken = _ip("-oneline", "link", "show")
    return next(number for number in range(NETWORKS) if f" {DEVICE}{number}@" not in taken)
