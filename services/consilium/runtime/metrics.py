"""Metrics: the stock grpc_server_* names and what every server tells of itself (reference: ecosystem.md section 3a).

Names and labels are those of go-grpc-middleware's Prometheus provider, with codes in Go's spelling, so that stock dashboards
and alerts match. Labels are methods and codes only: never a patient, record, key or transaction. One registry a server, so
that two of them fit in one process.
"""

import asyncio
import contextlib
import functools
import os
import platform
import socket
import ssl
import time
from collections.abc import Iterator
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from socketserver import ThreadingMixIn
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import grpc
from prometheus_client import (
    GC_COLLECTOR,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    make_wsgi_app,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from consilium.runtime.methods import Method
from consilium.runtime.names import Role, parse_peer_uri
from consilium.runtime.tls import CERTIFICATE, KEY, Tls

METHOD = ("grpc_type", "grpc_service", "grpc_method")
HANDLING_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LAG_BUCKETS_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
LAG_INTERVAL_S = 0.5
"""How often the event loop's lag is measured."""
POLL_S = 0.05
"""How long closing the metrics port may have to wait."""
PROTOCOL = "v1"
"""The version of the contracts this server speaks."""
REASONS_MAX = 64
"""How many reasons of refusals a method counts by name; a peer that makes reasons up fills no memory."""
OTHER_REASON = "OTHER"


class MethodMetrics:
    """The stock metrics of one method, their labels looked up once; at zero from the start, so that rates can be taken."""

    def __init__(self, metrics: "Metrics", method: Method) -> None:
        labels = method.kind, method.service, method.name
        self.started = metrics.started.labels(*labels)
        self.handling = None if method.long_lived else metrics.handling.labels(*labels)
        self.received = metrics.received.labels(*labels)
        self.sent = metrics.sent.labels(*labels)
        self.handled = {code: metrics.handled.labels(*labels, go_name(code)) for code in grpc.StatusCode}
        self._refused = functools.partial(metrics.refused.labels, method.service, method.name)
        self._reasons: dict[str, Counter] = {}

    def refuse(self, reason: str) -> None:
        """Count a refusal by its reason."""
        if reason not in self._reasons and len(self._reasons) >= REASONS_MAX:
            reason = OTHER_REASON
        if reason not in self._reasons:
            self._reasons[reason] = self._refused(reason)
        self._reasons[reason].inc()


class Metrics:
    """A server's metrics; a service adds its own to `registry` under the prefix `consilium_`."""

    def __init__(self, commit: str) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = own = CollectorRegistry()
        own.register(GC_COLLECTOR)
        ProcessCollector(registry=own)
        self.started = Counter("grpc_server_started_total", "RPCs started.", METHOD, registry=own)
        self.handled = Counter("grpc_server_handled_total", "RPCs ended, by code.", (*METHOD, "grpc_code"), registry=own)
        self.handling = Histogram(
            "grpc_server_handling_seconds", "Time to handle an RPC; long-lived streams are left out.", METHOD,
            registry=own, buckets=HANDLING_BUCKETS_S,
        )  # fmt: skip
        self.received = Counter("grpc_server_msg_received_total", "Messages received.", METHOD, registry=own)
        self.sent = Counter("grpc_server_msg_sent_total", "Messages sent.", METHOD, registry=own)
        self.refused = Counter(
            "consilium_rpc_refused_total",
            "RPCs refused, by reason.",
            ("grpc_service", "grpc_method", "reason"),
            registry=own,
        )
        self.too_fast = Counter(
            "consilium_rpc_too_fast_total",
            "RPCs refused for the rate of the caller's member.",
            ("grpc_type", "peer"),
            registry=own,
        )
        self.loop_lag = Histogram(
            "consilium_event_loop_lag_seconds", "How late the event loop is.", registry=own, buckets=LAG_BUCKETS_S
        )
        build = Gauge("consilium_build_info", "What is running.", ("version", "commit", "python", "protocol"), registry=own)
        build.labels(version("consilium"), commit, platform.python_version(), PROTOCOL).set(1)

    async def watch_loop(self) -> None:
        """Observe the event loop's lag until cancelled."""
        while True:
            due = time.perf_counter() + LAG_INTERVAL_S
            await asyncio.sleep(LAG_INTERVAL_S)
            self.loop_lag.observe(max(time.perf_counter() - due, 0.0))


class TlsExpiry(Collector):
    """When the certificate shown here ends, and the newest authority of each member that is trusted here."""

    def __init__(self, tls: Tls) -> None:
        self._tls = tls

    def collect(self) -> Iterator[Metric]:
        """The ends as the files say now."""
        material = self._tls.material
        own = GaugeMetricFamily(
            "consilium_certificate_expiry_timestamp_seconds", "When a certificate in use ends.", labels=["purpose"]
        )
        own.add_metric(["server"], material.not_after)
        yield own
        help_text = "When the newest authority of a member that is trusted here ends."
        trusted = GaugeMetricFamily("consilium_authority_expiry_timestamp_seconds", help_text, labels=["peer"])
        for member_id, several in sorted(material.authorities.items()):
            trusted.add_metric([member_id], max(each.not_valid_after_utc.timestamp() for each in several))
        yield trusted


class VolumeRoom(Collector):
    """How much room the volume has on which a service keeps its state."""

    def __init__(self, state: Path) -> None:
        """`state` is a file or folder on it."""
        self._state = state

    def collect(self) -> Iterator[Metric]:
        """Size and free bytes as the file system says now; nothing where it does not answer."""
        with contextlib.suppress(OSError):
            found = os.statvfs(self._state)
            size, free = found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
            yield GaugeMetricFamily("consilium_volume_size_bytes", "The size of the volume with the service's state.", size)
            yield GaugeMetricFamily("consilium_volume_free_bytes", "How much of it is free.", free)


class _Server(ThreadingMixIn, WSGIServer):
    """Answers each connection in a thread, handshake included, so that a peer that says nothing holds up nobody."""

    daemon_threads = True
    context: ssl.SSLContext

    def get_request(self) -> tuple[ssl.SSLSocket, object]:
        """The next connection, under the certificates of now."""
        accepted, address = self.socket.accept()
        return self.context.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, request: object, client_address: object) -> None:
        """A peer without a certificate, or one that went away: nothing to tell."""


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = 10
    """Seconds a connection may stay silent."""
    connection: ssl.SSLSocket

    def parse_request(self) -> bool:
        """Whether to go on: the page is for the member's monitoring, services and staff, and for none of its patients."""
        if not super().parse_request():
            return False
        if _is_for_work(self.connection):
            return True
        self.send_error(HTTPStatus.FORBIDDEN, "For who works for the member alone")
        return False

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  as the base
        """No line for every scrape."""


def _is_for_work(connection: ssl.SSLSocket) -> bool:
    """Whether the certificate, which the member's own authority has issued, is one of a service or of staff."""
    names: Any = (connection.getpeercert() or {}).get("subjectAltName", ())
    uris = [value for kind, value in names if kind == "URI"]
    return any(parse_peer_uri(each)[2] in (Role.SERVICE, Role.STAFF) for each in uris)


class MetricsPort:
    """The port that Prometheus reads, over TLS 1.3, for who works for the member: its own authority says so."""

    def __init__(self, metrics: Metrics, host: str, port: int, tls: Tls) -> None:
        """Start to answer, in threads of its own. Raises OSError when the port is taken."""
        self._tls = tls
        server = _Server6 if ":" in host else _Server
        self._server = make_server(host, port, make_wsgi_app(metrics.registry), server, _Handler)
        self.take_up_certificate()
        self._thread = Thread(target=self._server.serve_forever, args=(POLL_S,), daemon=True)
        self._thread.start()
        self.port: int = self._server.server_port

    def take_up_certificate(self) -> None:
        """Show the certificate that the files hold now, and trust its member's authority alone."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(self._tls.directory / CERTIFICATE, self._tls.directory / KEY)
        context.load_verify_locations(cadata=self._tls.material.roots(self._tls.material.member_id).decode())
        self._server.context = context

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def go_name(code: grpc.StatusCode) -> str:
    """A status code in Go's spelling: OK, InvalidArgument, Canceled."""
    words = {"OK": "OK", "CANCELLED": "Canceled"}
    return words.get(code.name) or code.name.replace("_", " ").title().replace(" ", "")
