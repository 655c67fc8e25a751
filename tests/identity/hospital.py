"""Members with real identity services on loopback, and people with real credentials who call them."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from consilium.api.chain.v1 import chain_pb2
from consilium.api.identity.v1 import identity_pb2 as pb
from consilium.api.identity.v1.identity_pb2_grpc import IdentityServiceStub
from consilium.identity import founding
from consilium.identity.__main__ import identity_of
from consilium.identity.authority import open_authority, private_pem, to_pem
from consilium.identity.settings import IdentitySettings
from consilium.kernel.attestations import KeyPossession
from consilium.kernel.encoding import encode
from consilium.kernel.hashing import sha256
from consilium.kernel.membership import SERVICES
from consilium.kernel.signing import Ed25519Signer
from consilium.runtime.background import background
from consilium.runtime.channels import Channel, Peer
from consilium.runtime.names import Role, peer_uri, server_name
from consilium.runtime.server import ServerSettings, serving
from consilium.runtime.statuses import to_error
from consilium.runtime.tls import Tls
from tests.alliance import Alliance, Scribe, id_of, seed_of
from tests.identity.own_services import OwnConsensus, OwnLedger, consensus_service, ledger_service
from tests.runtime.authority import DAY, Authority, Issued
from tests.runtime.loopback import UNHURRIED

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from consilium.identity.driver import Driver
    from consilium.kernel.errors import ConsiliumError
    from consilium.runtime.names import PeerIdentity
    from consilium.runtime.server import Running

ALLIANCE = "liaoning"
HOME, AWAY = "anshan", "benxi"
DEADLINE_S = 120.0


def play(scene: Callable[[], Awaitable[None]]) -> None:
    """Runs a scene in an event loop of its own."""

    async def told() -> None:
        await scene()

    asyncio.run(told())


def allow(method: str, peer: PeerIdentity) -> None:
    """Lets everyone in: the own ledger and consensus of these tests."""


@dataclass
class Person:
    """Somebody with keys; `csr` asks for a certificate."""

    name: str
    tls_key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    signer: Ed25519Signer = field(init=False)

    def __post_init__(self) -> None:
        self.signer = Ed25519Signer.from_seed(seed_of(self.name))

    def csr(self) -> bytes:
        """A certification request that claims to be somebody, which must not count."""
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ledger")])
        names = x509.SubjectAlternativeName([x509.DNSName(f"ledger.{HOME}.{ALLIANCE}")])
        builder = x509.CertificateSigningRequestBuilder().subject_name(subject).add_extension(names, critical=False)
        return builder.sign(self.tls_key, hashes.SHA256()).public_bytes(Encoding.DER)

    def bearing(self, credential: pb.Credential) -> Issued:
        """The certificate of a credential with this person's key."""
        return Issued(to_pem(credential.certificate_chain[0]), private_pem(self.tls_key), 0)

    def request(self, kind: Any, chain_id: bytes, member_id: str = HOME, **changed: Any) -> pb.IssueCredentialRequest:
        """Asks for a credential."""
        csr = self.csr()
        statement = encode(KeyPossession(member_id, self.signer.public_key, sha256(csr)), chain_id)
        signing_key = chain_pb2.Signature(public_key=self.signer.public_key, signature=self.signer.sign(statement))
        usual: dict[str, Any] = {
            "request_id": id_of(self.name),
            "kind": kind,
            "certification_request": csr,
            "signing_key": None if kind == pb.CREDENTIAL_KIND_APPLICATION else signing_key,
            "role": "physician" if kind == pb.CREDENTIAL_KIND_STAFF else "",
        }
        return pb.IssueCredentialRequest(**(usual | changed))


@dataclass
class Hospital:
    """One member: its files, and while it runs its services."""

    path: Path
    member_id: str
    alliance: Alliance
    scribe: Scribe
    ledger: OwnLedger = field(init=False)
    consensus: OwnConsensus = field(init=False)
    addresses: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        """Where its files lie."""
        return self.path / self.member_id

    def settings(self, **changed: Any) -> IdentitySettings:
        """Its settings, with files below one folder."""
        usual: dict[str, Any] = {
            "alliance": ALLIANCE,
            "member_id": self.member_id,
            "genesis": self.path / "genesis",
            "member_key": self.home / "member",
            "state_directory": self.home / "identity",
            "services_directory": self.home / "tls",
            "tls_directory": self.home / "tls" / "identity",
            "authorities_directory": self.path / "authorities",
            "drain_s": 0,
            "grace_s": 1,
            "log_level": "error",
        } | {f"{name}_address": address for name, address in self.addresses.items()}
        return IdentitySettings(**(usual | changed))

    def found(self) -> None:
        """Its beginning."""
        self.home.mkdir(parents=True)
        (self.path / "genesis").write_bytes(self.alliance.genesis_file)
        (self.home / "member").write_bytes(self.alliance.keys[self.member_id].member.to_secret_bytes())  # type: ignore[attr-defined]
        founding.found(self.settings())

    @asynccontextmanager
    async def own_services(self) -> AsyncIterator[None]:
        """Its ledger and consensus, answering."""
        # What they do not answer is UNIMPLEMENTED.
        self.ledger = OwnLedger(self.scribe)  # type: ignore[abstract]
        self.consensus = OwnConsensus(self.ledger)  # type: ignore[abstract]
        async with AsyncExitStack() as stack:
            for service in (ledger_service(self.ledger), consensus_service(self.consensus)):
                name = {"LedgerService": "ledger", "ConsensusService": "consensus"}[service.descriptor.name]
                settings = ServerSettings(
                    alliance=ALLIANCE,
                    member_id=self.member_id,
                    tls_directory=self.home / "tls" / name,
                    drain_s=0,
                    grace_s=0,
                )
                running = await stack.enter_async_context(serving(settings, [service], allow))
                self.addresses[name] = f"127.0.0.1:{running.port}"
            yield

    @asynccontextmanager
    async def serving(self, **changed: Any) -> AsyncIterator[Served]:
        """All its services, the members followed; `tend` is left to the test."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.own_services())
            driver, running = await stack.enter_async_context(identity_of(self.settings(**changed)))
            await stack.enter_async_context(background(driver.members.follow()))
            async with asyncio.timeout(DEADLINE_S):
                await driver.members.loaded.wait()
            driver.members.changed.clear()
            await running.set_ready(ready=True)
            yield Served(self, driver, running)


@dataclass
class Served:
    """A running identity service, and how to call it."""

    hospital: Hospital
    driver: Driver
    running: Running

    def tls(self, person: Person, credential: pb.Credential, issuer: Hospital | None = None) -> Tls:
        """The files of a person, certified by its own member, who trusts whom that member trusts."""
        issuer = issuer or self.hospital
        folder = self.hospital.path / "people" / f"{issuer.member_id}-{credential.credential_id.hex()}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tls.key").write_bytes(private_pem(person.tls_key))
        (folder / "tls.crt").write_bytes(to_pem(credential.certificate_chain[0]))
        trusted = issuer.home / "tls" / "identity" / "authorities.pem"
        (folder / "authorities.pem").write_bytes(trusted.read_bytes())
        return Tls(folder, ALLIANCE)

    def channel(self, tls: Tls) -> Channel:
        """A channel to the service."""
        return Channel(Peer(self.hospital.member_id, "identity", f"127.0.0.1:{self.running.port}"), tls, UNHURRIED)

    def administrator(self) -> Channel:
        """A channel with the credential that `found` issued."""
        return self.channel(Tls(self.hospital.home / "identity" / "administrator", ALLIANCE))

    def service(self, name: str, of: Hospital | None = None) -> Channel:
        """A channel with the certificate of a member's service."""
        return self.channel(Tls((of or self.hospital).home / "tls" / name, ALLIANCE))

    async def enrolled(self, person: Person, kind: Any, **changed: Any) -> tuple[pb.Credential, Channel]:
        """A person's credential, issued by the administrator, and a channel under it."""
        async with self.administrator() as channel:
            request = person.request(kind, self.hospital.alliance.chain_id, self.hospital.member_id, **changed)
            response = await IdentityServiceStub(channel).IssueCredential(request, timeout=DEADLINE_S)
        return response.credential, self.channel(self.tls(person, response.credential))


def hospitals(path: Path, *names: str, alliance: Alliance | None = None) -> list[Hospital]:
    """Members of one alliance (the demo's, unless another is given) on one chain, founded and published."""
    alliance = alliance or Alliance.founded()
    scribe = Scribe(alliance)
    found = [Hospital(path, name, alliance, scribe) for name in names]
    for each in found:
        each.found()
    for each in found:
        founding.publish(each.settings())
    return found


async def refusal(awaited: Awaitable[object]) -> ConsiliumError:
    """The typed error a call ends with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await awaited
    return to_error(caught.value)


def bearer(authority: Authority, role: Role, name: str, member_id: str = "", ends_in: dt.timedelta = DAY) -> Issued:
    """A certificate with a URI, and a service's DNS name; no address, which no constrained authority may certify."""
    member_id = member_id or authority.member_id
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(peer_uri(ALLIANCE, member_id, role, name))]
    if name in SERVICES:
        names.append(x509.DNSName(server_name(ALLIANCE, member_id, name)))
    return authority.issue(names, ends_in)


def with_own_authority(hospital: Hospital) -> Authority:
    """The member's own authority as something that issues whatever a test wants."""
    real = open_authority(
        hospital.home / "identity" / "authority" / "1", ALLIANCE, hospital.member_id, hospital.alliance.chain_id
    )
    made = Authority(hospital.member_id, ALLIANCE, real._key)  # noqa: SLF001  the tests' way to overstep
    made.certificate = real.certificate
    return made
