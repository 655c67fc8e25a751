"""Certificates from elsewhere say what a service's own would say, and a Secret's mount is followed (design section 8).

What cert-manager's Certificates ask for is issued on the spot here, by the member's authority; in tests/cluster cert-manager
issues it.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from consilium.api.ledger.v1 import ledger_pb2
from consilium.api.ledger.v1.ledger_pb2_grpc import LedgerServiceStub
from consilium.runtime.channels import Channel, Peer
from consilium.runtime.names import PeerIdentity, Role, server_name
from consilium.runtime.server import ServerSettings, serving
from consilium.runtime.tls import Tls
from tests.helm.matrix import EVERYTHING, ROUTED
from tests.helm.rendering import SERVICES, Object, environment, least, of_kind, rendered
from tests.runtime.authority import DAY, Authority, Issued
from tests.runtime.loopback import Scripted, services

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ALLIANCE = "consilium"
ISSUED = {each for each in SERVICES if each != "identity"}


def issue(authority: Authority, service: str) -> Issued:
    """What the service's Certificate asks for."""
    spec = of_kind(rendered(EVERYTHING), "Certificate")[f"consilium-{service}"]["spec"]
    assert spec["usages"] == ["digital signature", "server auth", "client auth"]
    uris = [x509.UniformResourceIdentifier(each) for each in spec["uris"]]
    return authority.issue([*uris, *(x509.DNSName(each) for each in spec["dnsNames"])], DAY)


def test_services_reach_one_another_with_what_cert_manager_issues(tmp_path: Path) -> None:
    home = Authority("1A", ALLIANCE)
    folders = {each: issue(home, each).write(tmp_path / each, home) for each in ISSUED}
    assert asyncio.run(callers_of_a_ledger(folders)) == [(Role.SERVICE, each) for each in sorted(ISSUED)]


async def callers_of_a_ledger(folders: Mapping[str, Path]) -> list[tuple[Role, str]]:
    """A ledger under such a certificate hears these services call, each under its own."""
    callers = list[PeerIdentity]()
    settings = ServerSettings(alliance=ALLIANCE, member_id="1A", tls_directory=folders["ledger"], drain_s=0, grace_s=1)
    async with serving(settings, services(Scripted()), lambda _, peer: callers.append(peer)) as running:
        await running.set_ready(ready=True)
        for each in sorted(ISSUED):
            peer = Peer("1A", "ledger", f"127.0.0.1:{running.port}")
            async with Channel(peer, Tls(folders[each], ALLIANCE)) as channel:
                await LedgerServiceStub(channel).GetTip(ledger_pb2.GetTipRequest())
    return [(each.role, each.name) for each in callers]


def test_identity_keeps_the_issuers_authority_current() -> None:
    """An Issuer over the first authority would end with it: identity takes the next one after eight months."""
    identity = of_kind(rendered(EVERYTHING), "StatefulSet")["consilium-identity"]["spec"]["template"]
    assert environment(identity)["CONSILIUM_IDENTITY_KUBERNETES_ISSUER"] == "true"
    [patched] = [each for each in of_kind(rendered(EVERYTHING), "Role")["consilium-identity"]["rules"] if _is_patched(each)]
    assert "consilium-authority" in patched["resourceNames"]
    [plain] = [each for each in of_kind(rendered(least()), "Role")["consilium-identity"]["rules"] if _is_patched(each)]
    assert "consilium-authority" not in plain["resourceNames"]


def _is_patched(rule: Object) -> bool:
    return rule["resources"] == ["secrets"] and "patch" in rule["verbs"]


def test_routes_pass_on_the_name_that_peers_ask_for() -> None:
    """A gRPC client sends the name it checks as the handshake's server name: by it a route tells services apart."""
    routes = of_kind(rendered(least(ROUTED)), "TLSRoute")
    asked = {each: server_name(ALLIANCE, "1A", each).lower() for each in SERVICES}
    assert {name.removeprefix("consilium-"): each["spec"]["hostnames"] for name, each in routes.items()} == {
        each: [name] for each, name in asked.items()
    }


def mount(folder: Path, files: Path, version: str) -> None:
    """Put files where a kubelet would: links to a folder of this version, which change all at once."""
    (folder / version).mkdir(parents=True)
    for each in files.iterdir():
        (folder / version / each.name).write_bytes(each.read_bytes())
        if not (folder / each.name).is_symlink():
            (folder / each.name).symlink_to(f"..data/{each.name}")
    (folder / "..data_tmp").symlink_to(version)
    os.replace(folder / "..data_tmp", folder / "..data")  # noqa: PTH105  as the kubelet calls it


@pytest.mark.parametrize("again", [1, 3])
def test_a_changed_secret_is_taken_up_from_its_mount(tmp_path: Path, again: int) -> None:
    home, folder = Authority("1A", ALLIANCE), tmp_path / "mount"
    mount(folder, home.service().write(tmp_path / "first", home), "..0")
    tls = Tls(folder, ALLIANCE)
    for count in range(1, again + 1):
        fresh = home.service()
        assert not tls.refresh()
        mount(folder, fresh.write(tmp_path / f"next{count}", home), f"..{count}")
        assert tls.refresh()
        assert tls.material.certificate_chain == fresh.certificate
