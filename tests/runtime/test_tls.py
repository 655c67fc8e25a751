"""TLS: names, files that fit, and certificates that change without a restart (design section 8)."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from consilium.api.ledger.v1.ledger_pb2 import StreamBlocksRequest
from consilium.api.ledger.v1.ledger_pb2_grpc import LedgerServiceStub
from consilium.kernel.errors import InvalidArgument, Unauthenticated, Unavailable
from consilium.kernel.membership import revocation_list
from consilium.runtime import channels
from consilium.runtime.channels import Channel
from consilium.runtime.names import (
    PeerIdentity,
    Role,
    authority_uri,
    member_of_authority,
    parse_peer_uri,
    peer_uri,
)
from consilium.runtime.revocations import REVOKED, Revocations
from consilium.runtime.server import serving
from consilium.runtime.tls import AUTHORITIES, CERTIFICATE, KEY, Tls, identify, read_material
from tests.runtime.authority import ALLIANCE, DAY, Authority, Issued
from tests.runtime.loopback import Loopback, Scripted, allow, call, services


@pytest.mark.parametrize("role", list(Role))
def test_names_are_read_back(role: Role) -> None:
    assert parse_peer_uri(peer_uri(ALLIANCE, "1A", role, "a.b_c-1")) == (ALLIANCE, "1A", role, "a.b_c-1")
    assert member_of_authority(authority_uri(ALLIANCE, "1A"), ALLIANCE) == "1A"


@pytest.mark.parametrize(
    ("alliance", "member_id", "name"),
    [("Upper", "1A", "x"), (ALLIANCE, "", "x"), (ALLIANCE, "a/b", "x"), (ALLIANCE, "a.b", "x"), (ALLIANCE, "1A", "x/y"),
     (ALLIANCE, "-a", "x"), (ALLIANCE, "a" * 64, "x"), (ALLIANCE, "1A", ""), (ALLIANCE, "1A", "x" * 65),
     (ALLIANCE, "1A\n", "x")],
)  # fmt: skip
def test_names_that_could_be_mistaken_are_not_made(alliance: str, member_id: str, name: str) -> None:
    with pytest.raises(InvalidArgument, match="BAD_NAME"):
        peer_uri(alliance, member_id, Role.STAFF, name)
    with pytest.raises(Unauthenticated, match="BAD_IDENTITY"):
        parse_peer_uri(f"spiffe://{alliance}/member/{member_id}/staff/{name}")


def test_an_identity_ends_with_its_certificate() -> None:
    peer = PeerIdentity("1A", Role.STAFF, "x", 1, 1_000)
    peer.verify_valid_at(1_000)
    with pytest.raises(Unauthenticated, match="CERTIFICATE_EXPIRED"):
        peer.verify_valid_at(1_001)


def test_an_identity_carries_serial_and_end(tmp_path: Path) -> None:
    home = Authority("1A")
    issued = home.person(Role.STAFF, "dr-who")
    tls = Tls(home.service().write(tmp_path / "tls", home), ALLIANCE)
    uri = peer_uri(ALLIANCE, "1A", Role.STAFF, "dr-who").encode()
    peer = tls.identify({"x509_pem_cert": [issued.certificate], "peer_spiffe_id": [uri]})
    assert peer == PeerIdentity("1A", Role.STAFF, "dr-who", issued.serial, peer.not_after)
    with pytest.raises(Unauthenticated, match="NO_CERTIFICATE"):
        identify({}, tls.material)


def spoilt(tmp_path: Path, name: str, content: bytes | None) -> Path:
    """A directory that was right before one file was changed."""
    home = Authority("1A")
    directory = home.service().write(tmp_path / "tls", home)
    read_material(directory, ALLIANCE)
    if content is None:
        (directory / name).unlink()
    else:
        (directory / name).write_bytes(content)
    return directory


def of_no_version(pem: bytes) -> bytes:
    """A certificate of X.509's fifth version, of which there are three."""
    der = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
    return ssl.DER_cert_to_PEM_cert(der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x04", 1)).encode()


@pytest.mark.parametrize("name", [CERTIFICATE, KEY, AUTHORITIES])
@pytest.mark.parametrize(
    "content",
    [None, b"", b"-----BEGIN NONSENSE-----", Authority("1A", alliance="others").pem, of_no_version(Authority("1A").pem)],
)
def test_files_that_do_not_fit_are_refused(tmp_path: Path, name: str, content: bytes | None) -> None:
    directory = spoilt(tmp_path, name, content)
    with pytest.raises(InvalidArgument, match="BAD_TLS_FILES") as caught:
        Tls(directory, ALLIANCE)
    assert str(directory) in caught.value.sentence


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="not the certificate of"):
        Tls(spoilt(tmp_path, KEY, Authority("1A").service().key), ALLIANCE)


def replace_files(directory: Path, issued: Issued, *authorities: Authority) -> None:
    """New files, each moved into place, as a cluster's secrets and most tools do."""
    fresh = issued.write(directory.parent / "fresh", *authorities)
    for name in (KEY, AUTHORITIES, CERTIFICATE):
        os.replace(fresh / name, directory / name)  # noqa: PTH105  as it is called


def test_changed_files_are_taken_up_once_they_fit(tmp_path: Path) -> None:
    home = Authority("1A")
    tls = Tls(home.service().write(tmp_path / "tls", home), ALLIANCE)
    before, fresh = tls.material, home.service()
    assert not tls.refresh()
    (tls.directory / KEY).write_bytes(fresh.key)
    assert not tls.refresh()
    assert tls.material is before
    (tls.directory / CERTIFICATE).write_bytes(fresh.certificate)
    assert tls.refresh()
    assert tls.material.certificate_chain == fresh.certificate
    (tls.directory / CERTIFICATE).unlink()
    assert not tls.refresh()
    assert tls.material.certificate_chain == fresh.certificate


def test_a_mounted_secret_that_is_swapped_as_a_whole_is_taken_up(tmp_path: Path) -> None:
    """As the kubelet does it: every file is a link through `..data`, which is renamed to another folder."""
    home, mount = Authority("1A"), tmp_path / "tls"
    mount.mkdir()
    _swap(mount, "..1", home.service(), home, b"")
    for name in (KEY, CERTIFICATE, AUTHORITIES, REVOKED):
        (mount / name).symlink_to(Path("..data") / name)
    tls, revoked, fresh = Tls(mount, ALLIANCE), Revocations(mount), home.service()
    assert (tls.refresh(), 7 in revoked) == (False, False)
    _swap(mount, "..2", fresh, home, revocation_list([7]))
    assert (tls.refresh(), tls.material.certificate_chain, 7 in revoked) == (True, fresh.certificate, True)


def _swap(mount: Path, version: str, issued: Issued, home: Authority, revoked: bytes) -> None:
    (issued.write(mount / version, home) / REVOKED).write_bytes(revoked)
    (mount / "..data_tmp").symlink_to(version)
    (mount / "..data_tmp").rename(mount / "..data")


def test_learned_authorities_stay_beside_the_files(tmp_path: Path) -> None:
    """Those in the files win; nothing is unlearned by a changed file or by learning of others; what has ended is dropped."""
    home, away, third = Authority("1A"), Authority("2B"), Authority("3C")
    newer, ended = Authority("2B"), Authority("3C", ends_in=-DAY)
    tls = Tls(home.service().write(tmp_path / "files", home), ALLIANCE)
    tls.learn({"2B": (away.certificate,), "1A": (away.certificate,)})
    assert (tls.material.roots("1A"), tls.material.roots("2B")) == (home.pem, away.pem)
    replace_files(tls.directory, home.service(), home)
    assert tls.refresh()
    assert tls.material.roots("2B") == away.pem
    tls.learn({"3C": (third.certificate,)})
    assert [tls.material.roots(each) for each in ("1A", "2B", "3C")] == [home.pem, away.pem, third.pem]
    tls.learn({"2B": (newer.certificate,), "3C": (ended.certificate,)})
    assert tls.material.roots("2B") == newer.pem
    with pytest.raises(InvalidArgument, match="UNKNOWN_MEMBER"):
        tls.material.roots("3C")


def test_a_server_shows_new_certificates_without_a_restart(tmp_path: Path) -> None:
    """The issue, item 2: certificates reload without restart; a channel follows its own as well."""

    async def scene() -> None:
        loopback = Loopback(tmp_path)
        scripted = Scripted()
        async with loopback.serve(scripted) as running:
            tls = loopback.client_tls()
            async with loopback.channel(running, tls) as channel:
                await call("unary", channel)
                # The first member's authority is replaced: old certificates are nobody's any more.
                loopback.home = Authority("1A")
                replace_files(running.tls.directory, loopback.home.service(), loopback.home, loopback.away)
                replace_files(tls.directory, loopback.away.service("consensus"), loopback.home, loopback.away)
                assert tls.refresh()
                await call("unary", channel)
                assert running.tls.material.roots("1A") == loopback.home.pem
            async with loopback.channel(running, loopback.client_tls("late")) as channel:
                await call("unary", channel)
        assert len(scripted.seen) == 3

    asyncio.run(scene())


@dataclass
class Waiting(Scripted):
    """Streams blocks that never come; `asked` counts who waits for them."""

    asked: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    async def StreamBlocks(self, request: Any, context: Any) -> AsyncIterator[Any]:
        self.asked.release()
        await asyncio.Event().wait()
        yield


def test_a_stream_that_outlasts_its_certificates_fails_and_cancels_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that follows its ledger would otherwise end without a word half a minute after every change of trust."""
    monkeypatch.setattr(channels, "CLOSING_GRACE_S", 0)

    async def follow(channel: Channel) -> str:
        try:
            with channels.typed():
                async for _ in LedgerServiceStub(channel).StreamBlocks(StreamBlocksRequest()):
                    pass
        except Unavailable as error:
            return error.reason
        return "ended"

    async def scene() -> None:
        loopback, scripted = Loopback(tmp_path), Waiting()
        async with loopback.serve(scripted) as running:
            tls = loopback.client_tls()
            async with loopback.channel(running, tls) as channel:
                following = asyncio.create_task(follow(channel))
                await scripted.asked.acquire()
                replace_files(tls.directory, loopback.away.service("consensus"), loopback.home, loopback.away)
                assert tls.refresh()
                await call("unary", channel)
                assert await following == "CONNECTION_RENEWED"
                stopped = asyncio.create_task(follow(channel))
                await scripted.asked.acquire()
                stopped.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await stopped

    asyncio.run(scene())


def test_a_removed_authority_is_turned_down_on_open_connections(tmp_path: Path) -> None:
    async def scene() -> None:
        loopback = Loopback(tmp_path)
        async with loopback.serve(Scripted()) as running, loopback.channel(running) as channel:
            await call("unary", channel)
            replace_files(running.tls.directory, loopback.home.service(), loopback.home)
            assert running.tls.refresh()
            with pytest.raises(grpc.aio.AioRpcError, match="No authority of member 2B"):
                await call("unary", channel)

    asyncio.run(scene())


def test_two_authorities_of_one_member_serve_a_change(tmp_path: Path) -> None:
    """While a member changes its authority, what either of them issued is accepted."""

    async def scene() -> None:
        loopback = Loopback(tmp_path)
        old, new = loopback.away, Authority("2B")
        settings = loopback.settings()
        loopback.home.service().write(settings.tls_directory, loopback.home, old, new)
        async with serving(settings, services(scripted := Scripted()), allow) as running:
            for each in (old, new):
                files = each.service("consensus").write(tmp_path / str(each is old), each, loopback.home)
                async with loopback.channel(running, Tls(files, ALLIANCE)) as channel:
                    await call("unary", channel)
        assert len(scripted.seen) == 2

    asyncio.run(scene())
