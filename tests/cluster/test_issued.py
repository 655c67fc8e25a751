"""Services that show what cert-manager issues (design section 8; the chart's `tls.mode: certManager`).

First the Certificates alone, over an authority as identity draws it: what comes of them opens every door that a service's
own does. Then a member of the alliance goes over: identity hands its authority to the Issuer, pods take up what cert-manager
wrote, and the member votes and stores as before.
"""

from __future__ import annotations

import asyncio
import base64
import time
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from consilium.identity.authority import draw_authority, private_pem
from consilium.runtime.names import Role, peer_uri, server_name
from consilium.runtime.tls import AUTHORITIES, CERTIFICATE, KEY, read_material
from tests.cluster.alliance import FOUR, RELEASE
from tests.cluster.looking import BACK_S, until_attending
from tests.cluster.operators import define, issuing
from tests.cluster.test_life import LETTER, until_rolled_out
from tests.helm.matrix import EVERYTHING
from tests.helm.rendering import Object, of_kind, rendered
from tests.helm.test_certificates import ALLIANCE, ISSUED, callers_of_a_ledger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cluster.alliance import Alliance
    from tests.cluster.cluster import Cluster

OWN, NAMESPACE, DAY_MS = FOUR[3], "issued", 86_400_000
ISSUER = "authority"
"""As the values of `EVERYTHING` name it."""
OVER = "a member over to cert-manager: its upgrade, until nobody is missing"


def issuer(namespace: str) -> Object:
    """The Issuer that the chart's README asks for."""
    spec = {"ca": {"secretName": f"{RELEASE}-authority"}}
    metadata = {"name": ISSUER, "namespace": namespace}
    return {"apiVersion": "cert-manager.io/v1", "kind": "Issuer", "metadata": metadata, "spec": spec}


@pytest.fixture(scope="module")
def cert_manager(cluster: Cluster) -> Iterator[None]:
    """Its definitions, and its controllers at work."""
    define(cluster)
    with issuing(cluster):
        yield


@pytest.fixture(scope="module")
def authority(cluster: Cluster, cert_manager: None) -> bytes:
    """A namespace in which cert-manager has issued what the chart asks for; the authority's certificate."""
    del cert_manager
    key, certificate = draw_authority(ALLIANCE, "1A", time.time_ns() // 1_000_000, 365 * DAY_MS)
    pem = certificate.public_bytes(Encoding.PEM)
    metadata = {"name": f"{RELEASE}-authority", "namespace": NAMESPACE}
    data = {name: base64.b64encode(each).decode() for name, each in ((CERTIFICATE, pem), (KEY, private_pem(key)))}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}
    asked = of_kind(rendered(EVERYTHING, namespace=NAMESPACE), "Certificate")
    here = [{**each, "metadata": {**each["metadata"], "namespace": NAMESPACE}} for each in asked.values()]
    ready = ("wait", "--for=condition=Ready", "certificates", "--all", "--timeout=60s")
    with cluster.timed("certificates of four services by cert-manager"):
        cluster.kubectl("create", "namespace", NAMESPACE)
        cluster.apply([secret, issuer(NAMESPACE), *here])
        cluster.kubectl(*ready, f"--namespace={NAMESPACE}")
    return pem


def issued(cluster: Cluster, namespace: str, service: str) -> dict[str, bytes]:
    """What cert-manager wrote for a service."""
    found: dict[str, Any] = cluster.find("secret", f"{RELEASE}-certificate-{service}", f"--namespace={namespace}")
    return {name: base64.b64decode(each) for name, each in found.get("data", {}).items()}


@pytest.fixture
def folders(cluster: Cluster, authority: bytes, tmp_path: Path) -> dict[str, Path]:
    """The TLS files of each service, as the chart mounts them: two are cert-manager's, whom to trust is identity's word."""
    found = {each: tmp_path / each for each in ISSUED}
    for service, folder in found.items():
        folder.mkdir()
        files = issued(cluster, NAMESPACE, service)
        for name, content in ((CERTIFICATE, files[CERTIFICATE]), (KEY, files[KEY]), (AUTHORITIES, authority)):
            (folder / name).write_bytes(content)
    return found


def test_it_says_what_a_services_own_says(folders: dict[str, Path]) -> None:
    for service, folder in folders.items():
        material = read_material(folder, ALLIANCE)
        [leaf] = x509.load_pem_x509_certificates(material.certificate_chain)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uses = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        usage = leaf.extensions.get_extension_for_class(x509.KeyUsage).value
        public = leaf.public_key()
        uri = peer_uri(ALLIANCE, "1A", Role.SERVICE, service)
        assert [each.value for each in names] == [server_name(ALLIANCE, "1A", service), uri]
        assert set(uses) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
        assert (usage.digital_signature, usage.key_encipherment, usage.key_cert_sign) == (True, False, False)
        assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        assert isinstance(public, ec.EllipticCurvePublicKey)
        assert (public.curve.name, material.member_id) == ("secp256r1", "1A")
        assert (leaf.not_valid_after_utc - leaf.not_valid_before_utc).total_seconds() == 720 * 3_600


def test_services_reach_one_another_with_it(folders: dict[str, Path]) -> None:
    callers = asyncio.run(callers_of_a_ledger(folders))
    assert callers == [(Role.SERVICE, each) for each in sorted(ISSUED)]


def test_a_lost_certificate_is_issued_anew_with_another_key(cluster: Cluster, authority: bytes) -> None:
    assert authority
    before = issued(cluster, NAMESPACE, "ledger")
    cluster.kubectl("delete", "secret", f"{RELEASE}-certificate-ledger", f"--namespace={NAMESPACE}")
    cluster.until("there is another", lambda: KEY in issued(cluster, NAMESPACE, "ledger"))
    assert issued(cluster, NAMESPACE, "ledger")[KEY] != before[KEY]


def test_a_member_goes_over_to_it(cluster: Cluster, alliance: Alliance, cert_manager: None) -> None:
    """By one upgrade, as the README says: no other member does anything."""
    del cert_manager
    cluster.apply(issuer(OWN.namespace))
    mode = {"tls": {"mode": "certManager", "certManager": {"issuerRef": {"name": ISSUER}}}}
    alliance.settings[OWN.member_id] = {**alliance.settings.get(OWN.member_id, {}), **mode}
    with cluster.timed(OVER):
        alliance.install(OWN)
        until_rolled_out(cluster, OWN)
        until_attending(alliance)
    for service in sorted(ISSUED):
        pod = (f"{RELEASE}-{service}-0", f"--namespace={OWN.namespace}")
        shown = cluster.kubectl("exec", *pod, "--", "cat", f"/etc/consilium/tls/{CERTIFICATE}")
        assert shown.encode() == issued(cluster, OWN.namespace, service)[CERTIFICATE]
    alliance.sh(OWN, LETTER)
    alliance.until_height(OWN, alliance.height(FOUR[0]) + 2, BACK_S)
    told = alliance.ask(OWN, "doctor")
    assert {each["state"] for each in told["findings"] if each["check"] == "certificate"} == {"ok"}
