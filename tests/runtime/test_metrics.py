"""Metrics: stock names and labels, nothing of persons, and a port of their own over mutual TLS."""

from __future__ import annotations

import asyncio
import http.client
import shutil
import socket
import ssl
from pathlib import Path

import grpc
import pytest

from consilium.kernel.errors import Conflict
from consilium.kernel.membership import MONITORING
from consilium.runtime import methods
from consilium.runtime.metrics import (
    OTHER_REASON,
    REASONS_MAX,
    MethodMetrics,
    Metrics,
    MetricsPort,
    TlsExpiry,
    VolumeRoom,
    go_name,
)
from consilium.runtime.names import Role
from consilium.runtime.tls import CERTIFICATE, KEY, Tls
from tests.runtime.authority import ALLIANCE, Authority, Issued
from tests.runtime.loopback import FORMS, Loopback, Scripted, call

STOCK = 'grpc_type="{}",grpc_service="consilium.api.{}",grpc_method="{}"'
LABELS = {
    "unary": ("unary", "ledger.v1.LedgerService", "GetTip", 1, 1),
    "write": ("unary", "consensus.v1.ConsensusService", "SubmitTransaction", 1, 1),
    "server_stream": ("server_stream", "ledger.v1.LedgerService", "StreamBlocks", 1, 3),
    "client_stream": ("client_stream", "storage.v1.StorageService", "PutObject", 2, 1),
    "bidi_stream": ("bidi_stream", "consensus.v1.ReplicaService", "Exchange", 2, 2),
}


def scrape(
    port: int,
    files: Path,
    trusted: bytes,
    host: str = "127.0.0.1",
    most: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED,
) -> str:
    """What Prometheus reads."""
    context = ssl.create_default_context(cadata=trusted.decode())
    context.maximum_version = most
    context.load_cert_chain(files / CERTIFICATE, files / KEY)
    connection = http.client.HTTPSConnection(host, port, context=context, timeout=10)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def sample(text: str, name: str) -> float | None:
    """The value of one sample by its name with labels, whatever their order."""
    for line in text.splitlines():
        labelled, _, value = line.rpartition(" ")
        if ordered(labelled) == ordered(name):
            return float(value)
    return None


def ordered(labelled: str) -> tuple[str, list[str]]:
    """A sample's name and its sorted labels."""
    name, _, labels = labelled.partition("{")
    return name, sorted(labels.rstrip("}").split(","))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_counted_under_the_stock_names(tmp_path: Path, form: str) -> None:
    async def scene() -> str:
        loopback = Loopback(tmp_path)
        own = loopback.home.service(MONITORING).write(tmp_path / "monitoring", loopback.home)
        scripted = Scripted()

        def refuse() -> object:
            raise Conflict("ANY", "Any.")

        async with loopback.serve(scripted) as running, loopback.channel(running) as channel:
            await call(form, channel)
            scripted.act = refuse
            with pytest.raises(grpc.aio.AioRpcError):
                await call(form, channel)
            return await asyncio.to_thread(scrape, running.metrics_port, own, loopback.home.pem)

    text = asyncio.run(scene())
    kind, service, method, received, sent = LABELS[form]
    labels = STOCK.format(kind, service, method)
    assert sample(text, f"grpc_server_started_total{{{labels}}}") == 2
    assert sample(text, f'grpc_server_handled_total{{{labels},grpc_code="OK"}}') == 1
    assert sample(text, f'grpc_server_handled_total{{{labels},grpc_code="AlreadyExists"}}') == 1
    refusal = f'grpc_service="consilium.api.{service}",grpc_method="{method}",reason="ANY"'
    assert sample(text, f"consilium_rpc_refused_total{{{refusal}}}") == 1
    assert sample(text, f"grpc_server_msg_sent_total{{{labels}}}") == sent
    assert (sample(text, f"grpc_server_msg_received_total{{{labels}}}") or 0) >= received
    handling = sample(text, f"grpc_server_handling_seconds_count{{{labels}}}")
    assert handling == (None if form == "bidi_stream" else 2), "long-lived streams have no latency"


def test_a_server_tells_what_it_is_and_when_its_certificate_ends(tmp_path: Path) -> None:
    async def scene() -> tuple[str, int]:
        loopback = Loopback(tmp_path)
        own = loopback.home.service(MONITORING).write(tmp_path / "monitoring", loopback.home)
        async with loopback.serve(Scripted(), commit="abc") as running:
            text = await asyncio.to_thread(scrape, running.metrics_port, own, loopback.home.pem)
            return text, running.tls.material.not_after

    text, not_after = asyncio.run(scene())
    assert 'commit="abc"' in text
    assert sample(text, 'consilium_certificate_expiry_timestamp_seconds{purpose="server"}') == not_after
    assert "consilium_event_loop_lag_seconds_bucket" in text
    assert "process_resident_memory_bytes" in text
    assert "_created" not in text


def test_reasons_that_a_peer_makes_up_fill_no_memory() -> None:
    metrics = Metrics("unknown")
    method = MethodMetrics(metrics, methods.foreign_method("/any.Service/Method", methods.UNARY))
    for number in range(2 * REASONS_MAX):
        method.refuse(f"REASON_{number}")
    samples = [each for family in metrics.refused.collect() for each in family.samples]
    assert len(samples) == REASONS_MAX + 1
    other = [each.value for each in samples if each.labels["reason"] == OTHER_REASON]
    assert other == [REASONS_MAX]


def test_it_is_told_when_the_authorities_end(tmp_path: Path) -> None:
    home, away = Authority("1A"), Authority("2B")
    tls = Tls(home.service().write(tmp_path / "tls", home, away), ALLIANCE)
    _, trusted = TlsExpiry(tls).collect()
    ends = {each.labels["peer"]: each.value for each in trusted.samples}
    assert ends == {name: max(a.not_valid_after_utc.timestamp() for a in tls.material.authorities[name]) for name in ends}
    assert list(ends) == ["1A", "2B"]


def test_the_room_of_the_state_is_told(tmp_path: Path) -> None:
    """As `df` says; where the file system does not answer nothing is said, and the rest of the page stays."""
    size, free = (each.samples[0].value for each in VolumeRoom(tmp_path).collect())
    assert size == shutil.disk_usage(tmp_path).total
    assert 0 < free <= size
    assert list(VolumeRoom(tmp_path / "gone").collect()) == []


def test_only_who_works_for_the_member_may_read(tmp_path: Path) -> None:
    home, away = Authority("1A"), Authority("2B")
    tls = Tls(home.service().write(tmp_path / "tls", home, away), ALLIANCE)
    port = MetricsPort(Metrics("unknown"), "127.0.0.1", 0, tls)
    stranger = away.service(MONITORING).write(tmp_path / "stranger", away)
    try:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            scrape(port.port, stranger, home.pem)
        # One that connects and says nothing holds up nobody.
        with socket.create_connection(("127.0.0.1", port.port)):
            own = home.service(MONITORING).write(tmp_path / "own", home)
            assert "consilium_build_info" in scrape(port.port, own, home.pem)
        for issued, may in ((home.person(Role.STAFF, "chief"), True), (home.person(Role.PATIENT, "lin"), False)):
            page = scrape(port.port, issued.write(tmp_path / "other", home), home.pem)
            assert ("consilium_build_info" in page, "For who works for the member alone" in page) == (may, not may)
        with pytest.raises(ssl.SSLError):
            scrape(port.port, own, home.pem, most=ssl.TLSVersion.TLSv1_2)
    finally:
        port.close()


def test_the_port_takes_up_a_new_certificate(tmp_path: Path) -> None:
    old, new = Authority("1A"), Authority("1A")
    tls = Tls(old.service().write(tmp_path / "tls", old), ALLIANCE)
    port = MetricsPort(Metrics("unknown"), "127.0.0.1", 0, tls)
    try:
        fresh: Issued = new.service()
        fresh.write(tmp_path / "tls", new)
        assert tls.refresh()
        port.take_up_certificate()
        own = new.service(MONITORING).write(tmp_path / "own", new)
        assert "consilium_build_info" in scrape(port.port, own, new.pem)
    finally:
        port.close()


@pytest.mark.parametrize(
    ("code", "name"),
    [("OK", "OK"), ("CANCELLED", "Canceled"), ("INVALID_ARGUMENT", "InvalidArgument"), ("DATA_LOSS", "DataLoss")],
)
def test_codes_are_spelt_as_in_go(code: str, name: str) -> None:
    assert go_name(grpc.StatusCode[code]) == name
