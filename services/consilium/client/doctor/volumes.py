"""How much room is left on the volumes of the release's services: each tells it to Prometheus, and so to the doctor.

From outside no volume of a pod can be looked at, and no right to ask machines is worth this answer. The metrics port asks
for a certificate of the member's own authority, which this command has; the service has to show its own.
"""

import http.client
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from consilium.client.doctor.findings import Finding, odd
from consilium.client.doctor.local import judge_free
from consilium.kernel.membership import SERVICES
from consilium.runtime.cluster import Pod
from consilium.runtime.names import server_name
from consilium.runtime.tls import CERTIFICATE, KEY

METRICS_PORT = 9_090
"""Where the chart's pods show their metrics."""
LIMIT_S = 4.0
"""How long a connection, and an answer, may take, in seconds."""
PAGE_BYTES_MAX = 16 * 1_048_576
FREE, SIZE = "consilium_volume_free_bytes", "consilium_volume_size_bytes"
Read = Callable[[Pod], str]


def judge_volumes(pods: list[Pod], read: Read) -> list[Finding]:
    """How the volume of each service is that has a pod with an address; who does not answer is a warning."""
    own = [pod for service in SERVICES for pod in pods if pod.component == service and pod.address]
    with ThreadPoolExecutor(len(SERVICES)) as several:
        return list(several.map(lambda pod: _judge(pod, read), own))


def _judge(pod: Pod, read: Read) -> Finding:
    subject = f"volume {pod.component}"
    try:
        page = read(pod)
        return judge_free(subject, _value(page, SIZE), _value(page, FREE))
    except (OSError, http.client.HTTPException, ValueError) as error:
        advice = "Ask from within the cluster (helm test); else see kubelet_volume_stats_available_bytes."
        return odd("disk", subject, f"{pod.name} does not tell how full it is ({error}).", advice)


def _value(page: str, name: str) -> int:
    """A gauge without labels. Raises ValueError where there is none."""
    found = [line.split()[1] for line in page.splitlines() if line.startswith(f"{name} ")]
    if len(found) != 1:
        raise ValueError(f"its metrics have no {name}")
    return int(float(found[0]))


@dataclass(frozen=True, slots=True)
class MetricsPages:
    """The way to the metrics of one member's services, under a credential of that member."""

    alliance: str
    member_id: str
    credential: Path
    authorities: bytes
    port: int = METRICS_PORT

    def read(self, pod: Pod) -> str:
        """A service's metrics as they are now. Raises OSError and HTTPException."""
        context = ssl.create_default_context(cadata=self.authorities.decode())
        context.load_cert_chain(self.credential / CERTIFICATE, self.credential / KEY)
        named = server_name(self.alliance, self.member_id, pod.component)
        connection = http.client.HTTPConnection(pod.address, self.port, timeout=LIMIT_S)
        with socket.create_connection((pod.address, self.port), LIMIT_S) as plain:
            connection.sock = context.wrap_socket(plain, server_hostname=named)
            try:
                connection.request("GET", "/metrics")
                return connection.getresponse().read(PAGE_BYTES_MAX).decode()
            finally:
                connection.close()
