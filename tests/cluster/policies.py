"""Enforces NetworkPolicies for as long as a test asks for it: an agent of the Kubernetes project, and packets given to it.

The stock network plug-ins enforce none. The agent (tools/policies) judges the first packet of every connection in a
netfilter queue. The rules that queue packets are iptables' here: the agent's own are nftables', with an expression that not
every kernel has. They stand where the agent's would, after a Service's address has become a pod's, and leave alone what this
machine itself sends, such as the kubelet's probes.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tests.cluster.places import IPV4, MACHINE, TOOLS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.cluster import Cluster

AGENT, QUEUE = "network-policies", 100
RULES = f"""
iptables --table mangle --new-chain POLICIES
iptables --table mangle --append POLICIES --match conntrack --ctstate ESTABLISHED,RELATED --jump RETURN
iptables --table mangle --append POLICIES --match owner --uid-owner 0 --jump RETURN
iptables --table mangle --append POLICIES --source {IPV4.pods} --jump NFQUEUE --queue-num {QUEUE}
iptables --table mangle --append POLICIES --destination {IPV4.pods} --jump NFQUEUE --queue-num {QUEUE}
iptables --table mangle --append POSTROUTING --jump POLICIES
"""
NO_RULES = """
iptables --table mangle --delete POSTROUTING --jump POLICIES
iptables --table mangle --flush POLICIES
iptables --table mangle --delete-chain POLICIES
"""


@contextlib.contextmanager
def enforced(cluster: Cluster) -> Iterator[None]:
    """Connections that begin within are judged."""
    told = [f"--kubeconfig={cluster.places.kubeconfig}", f"--machine={MACHINE}", f"--queue={QUEUE}"]
    cluster.lines[AGENT] = [str(TOOLS / AGENT), *told]
    cluster.spawn(AGENT)
    try:
        cluster.until("somebody judges what is queued", lambda: _has_queue(cluster))
        cluster.enclosure.run(["sh", "-eu"], RULES)
        try:
            yield
        finally:
            cluster.enclosure.run(["sh", "-u"], NO_RULES)
    finally:
        cluster.end(AGENT)


def _has_queue(cluster: Cluster) -> bool:
    """Whether a program has bound the queue: the first column is its number."""
    bound = cluster.enclosure.run(["cat", "/proc/self/net/netfilter/nfnetlink_queue"])
    return any(line.split()[0] == str(QUEUE) for line in bound.splitlines())
