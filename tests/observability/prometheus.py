"""A real Prometheus over a running sandbox: it reads every service over mutual TLS, with the certificate made for it."""

from __future__ import annotations

import http.client
import json
import shutil
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode

from ruamel.yaml import YAML

from consilium.kernel.membership import MONITORING, SERVICES
from consilium.runtime.names import server_name
from consilium.runtime.tls import AUTHORITIES, CERTIFICATE, KEY
from consilium.sandbox.founders import ALLIANCE
from consilium.sandbox.ports import drawn_ports
from tests.observability.rules import ALLIANCE_RULES, MEMBER_RULES, rendered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from consilium.sandbox.local import SandboxAlliance

Found = TypeVar("Found")
SCRAPE_S, EVALUATE_S = 2, 5
WINDOW = "1m"
"""What stands for Grafana's interval of rates."""
WAIT_S = 120


@dataclass(frozen=True)
class Prometheus:
    """Its HTTP interface."""

    port: int

    def ask(self, path: str, **parameters: object) -> Any:
        """What an endpoint answers; a refusal fails the test with its words."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("GET", f"/api/v1/{path}?{urlencode(parameters)}")
            answer = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        assert answer["status"] == "success", (parameters, answer)
        return answer["data"]

    def query(self, expression: str) -> list[Any]:
        """The samples an expression has now."""
        found: list[Any] = self.ask("query", query=expression)["result"]
        return found

    def lines(self, expression: str, since_s: float) -> list[Any]:
        """The lines it has drawn since then."""
        found: list[Any] = self.ask("query_range", query=expression, start=since_s, end=time.time(), step=SCRAPE_S)["result"]
        return found

    def rules(self) -> list[Any]:
        """All rules with their health and alerts."""
        return [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]

    def alerts(self) -> list[Any]:
        """What rings, or is about to."""
        found: list[Any] = self.ask("alerts")["alerts"]
        return found

    def until(self, holds: Callable[[], Found], what: str) -> Found:
        """Ask until something holds, and what that was."""
        over_s = time.monotonic() + WAIT_S
        while not (found := holds()):
            assert time.monotonic() < over_s, f"waited in vain for {what}"
            time.sleep(0.5)
        return found

    def shown(self, expression: str, holds: Callable[[list[Any]], object] = bool) -> list[Any]:
        """The samples of an expression once they are as wanted: a scrape that a busy machine was late for leaves none."""

        def wanted() -> list[Any]:
            found = self.query(expression)
            return found if holds(found) else []

        return self.until(wanted, expression)


def namespace_of(member_id: str) -> str:
    """The namespace a member would have in a cluster."""
    return f"hospital-{member_id.lower()}"


def scraping(alliance: SandboxAlliance) -> list[dict[str, Any]]:
    """A job for each service: each shows a name of its own."""
    return [_job(alliance, member_id, service) for member_id in alliance.members for service in SERVICES]


def _job(alliance: SandboxAlliance, member_id: str, service: str) -> dict[str, Any]:
    found = alliance.service(member_id, service)
    folder = alliance.member(member_id).folder / "tls" / MONITORING
    return {
        "job_name": f"{member_id}-{service}",
        "scheme": "https",
        "tls_config": {
            "ca_file": str(folder / AUTHORITIES),
            "cert_file": str(folder / CERTIFICATE),
            "key_file": str(folder / KEY),
            "server_name": server_name(ALLIANCE, member_id, service),
        },
        "static_configs": [
            {
                "targets": [f"{found.host}:{found.metrics_port}"],
                "labels": {
                    "alliance": ALLIANCE,
                    "namespace": namespace_of(member_id),
                    "member": member_id,
                    "component": service,
                },
            }
        ],
    }


@contextmanager
def watching(alliance: SandboxAlliance, folder: Path) -> Iterator[Prometheus]:
    """Prometheus at work, with every member's rules and the alliance's."""
    program = shutil.which("prometheus")
    assert program is not None, "prometheus is missing: on Debian and Ubuntu install prometheus"
    files = {f"{each}.yaml": rendered(MEMBER_RULES, namespace_of(each)) for each in alliance.members}
    # Groups of one name may come from several files.
    for name, text in {**files, "alliance.yaml": rendered(ALLIANCE_RULES)}.items():
        (folder / name).write_text(text)
    config = {
        "global": {"scrape_interval": f"{SCRAPE_S}s", "evaluation_interval": f"{EVALUATE_S}s"},
        "rule_files": [str(folder / name) for name in (*files, "alliance.yaml")],
        "scrape_configs": scraping(alliance),
    }
    with (folder / "prometheus.yaml").open("w") as file:
        YAML().dump(config, file)
    command = [
        program,
        f"--config.file={folder / 'prometheus.yaml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--log.level=warn",
    ]
    with (
        drawn_ports(1) as port,
        (folder / "log").open("wb") as log,
        subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log) as process,  # noqa: S603
    ):
        try:
            found = Prometheus(port)
            found.until(lambda: _is_ready(found, process), "Prometheus to be ready")
            yield found
        finally:
            process.terminate()


def _is_ready(found: Prometheus, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "Prometheus has ended; its log says why"
    connection = http.client.HTTPConnection("127.0.0.1", found.port, timeout=10)
    try:
        connection.request("GET", "/-/ready")
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()
