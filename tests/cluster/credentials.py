"""The certificates a cluster's components know one another by, and the files they read them from.

One authority for all: kubectl as system:masters, the kubelet as system:node, the others by their well-known names, so that
RBAC and the node authoriser work as they do anywhere. Made anew with each cluster, and good for as long as one may live.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.cluster.places import DOMAIN, MACHINE

if TYPE_CHECKING:
    from pathlib import Path

LIFE = dt.timedelta(days=30)
CLIENTS = {
    "admin": ("admin", "system:masters"),
    "controller-manager": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
    "proxy": ("system:kube-proxy", ""),
    "kubelet": (f"system:node:{MACHINE}", "system:nodes"),
    "apiserver-kubelet": ("apiserver-kubelet", "system:masters"),
}
"""Name and group by component."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """An authority whose certificates lie in a folder as NAME.crt and NAME.key."""

    folder: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @staticmethod
    def create(folder: Path) -> Credentials:
        """Draw the authority and write it as ca.crt."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("consilium-tests", "")
        builder = _builder(name, name, key.public_key()).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        certificate = builder.sign(key, hashes.SHA256())
        (folder / "ca.crt").write_bytes(certificate.public_bytes(Encoding.PEM))
        return Credentials(folder, key, certificate)

    def issue_all(self, address: str, first_service: str) -> None:
        """Everybody's certificates, the servers' for the address that the cluster is reached at, and by its own Service."""
        for each, (name, group) in CLIENTS.items():
            self._issue(each, name, group, [])
        inside = [
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            f"kubernetes.default.svc.{DOMAIN}",
            "localhost",
        ]
        self._issue("apiserver", "kube-apiserver", "", _names(inside, address, first_service, "127.0.0.1"))
        self._issue("kubelet-server", MACHINE, "", _names([MACHINE], address, "127.0.0.1"))
        self._service_accounts()

    def write_kubeconfig(self, path: Path, client: str, server: str) -> None:
        """What a client reaches the API server with; JSON is YAML."""
        user = {"client-certificate": f"{self.folder}/{client}.crt", "client-key": f"{self.folder}/{client}.key"}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "it", "cluster": {"server": server, "certificate-authority": f"{self.folder}/ca.crt"}}],
            "users": [{"name": client, "user": user}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": client}}],
            "current-context": "it",
        }
        path.write_text(json.dumps(config, indent=1))

    def _issue(self, file: str, name: str, group: str, names: list[x509.GeneralName]) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        usage = ExtendedKeyUsageOID.SERVER_AUTH if names else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = _builder(_name(name, group), self.certificate.subject, key.public_key())
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        (self.folder / f"{file}.crt").write_bytes(builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM))
        _write_key(self.folder / f"{file}.key", key)

    def _service_accounts(self) -> None:
        """The pair that service accounts' tokens are signed and judged with."""
        key = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
        _write_key(self.folder / "accounts.key", key)
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (self.folder / "accounts.pub").write_bytes(public)


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - dt.timedelta(minutes=5)).not_valid_after(now + LIFE)


def _name(name: str, group: str) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
    return x509.Name([*parts, x509.NameAttribute(NameOID.ORGANIZATION_NAME, group)] if group else parts)


def _names(names: list[str], *addresses: str) -> list[x509.GeneralName]:
    numbers = [x509.IPAddress(ipaddress.ip_address(each)) for each in addresses]
    return [*map(x509.DNSName, names), *numbers]
