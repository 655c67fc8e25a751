"""What production brings and a bare cluster has not: the definitions of others' resources, and cert-manager's controllers.

The definitions are those that cert-manager, the Gateway API and the Prometheus operator ship, out of the modules that
tools/operators pins (`make .tools/bin/definitions`). K8ssandra's are in no module that can be had: what is rendered for
it is judged by nobody here. cert-manager is a process beside the API server, without its webhook, which only refuses early.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tests.cluster.places import TOOLS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.cluster import Cluster

ISSUER = "cert-manager"
DEFINITIONS = (TOOLS / "definitions").resolve()
"""kubectl follows no link to a folder."""
OLDER = DEFINITIONS / "older"
"""TLSRoute as clusters have it that still serve its versions of before v1."""
DEFINED = {
    "Certificate": "cert-manager.io",
    "TLSRoute": "gateway.networking.k8s.io",
    "ServiceMonitor": "monitoring.coreos.com",
    "PrometheusRule": "monitoring.coreos.com",
}
"""What the charts render of them: kinds, with their groups."""


def define(cluster: Cluster) -> None:
    """Have the API server know all of them; done when it serves them."""
    with cluster.timed("definitions of cert-manager, the Gateway API and the Prometheus operator"):
        cluster.kubectl("apply", "--server-side", f"--filename={DEFINITIONS}")
        cluster.kubectl("wait", "--for=condition=Established", f"--filename={DEFINITIONS}", "--timeout=60s")


@contextlib.contextmanager
def issuing(cluster: Cluster) -> Iterator[None]:
    """Within, cert-manager issues what Certificates ask for."""
    cluster.lines[ISSUER] = [str(TOOLS / ISSUER), f"--kubeconfig={cluster.places.kubeconfig}"]
    cluster.spawn(ISSUER)
    try:
        yield
    finally:
        cluster.end(ISSUER)
