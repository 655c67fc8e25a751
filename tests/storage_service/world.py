"""Storage services of a small alliance over real mutual TLS, and the people who use them."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import grpc

from consilium.api.storage.v1 import storage_pb2 as pb
from consilium.api.storage.v1.storage_pb2_grpc import StorageServiceStub
from consilium.client.alliance import StoredManifest
from consilium.client.keys import PatientKeys, RecipientKeys
from consilium.client.patient import PatientClient
from consilium.client.recipient import RecipientClient
from consilium.client.session import Session
from consilium.client.sharing import Permission, Recipient
from consilium.kernel.encoding import encode
from consilium.kernel.hashing import sha256
from consilium.kernel.manifest import Manifest, StorageReceipt
from consilium.kernel.sealing import CHUNK_BYTES
from consilium.kernel.signing import Ed25519Verifier
from consilium.kernel.transactions import Purpose
from consilium.runtime.channels import Channel, Peer, typed
from consilium.runtime.member_key import OwnSigner
from consilium.runtime.names import Role
from consilium.runtime.proven_ledger import LedgerEvent, LedgerTip
from consilium.runtime.server import serving
from consilium.runtime.standing import Standing
from consilium.runtime.tls import Tls
from consilium.storage import wire
from consilium.storage.__main__ import described, limits_of, open_stores
from consilium.storage.core.admission import admitted
from consilium.storage.core.escrow import escrow_key
from consilium.storage.driver import Driver, MemberKeys
from consilium.storage.parts import Parts
from consilium.storage.peers import GrpcStorages
from consilium.storage.settings import StorageSettings
from tests.alliance import GRADES, next_seed_of, seed_of
from tests.client.local_member import LocalAlliance, LocalMember
from tests.runtime.authority import ALLIANCE, Authority, Issued
from tests.runtime.loopback import UNHURRIED
from tests.storage_service.chain_ledger import ChainLedger

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
    from pathlib import Path

    from consilium.client.sharing import PreparedGrant, RecordReference
    from consilium.kernel.retention import ErasureCertificate, SignedErasureOrder
    from consilium.kernel.transactions import RetentionAct

WHY = sha256(b"why")
PERMISSION = Permission(Purpose.TREATMENT, sha256(b"a doctor"), 0, 4_000_000_000_000)
HOME, RECIPIENT, STRANGER, KEEPER = "anshan", "benxi", "chaoyang", "dalian"
Stub = Any
"""The generated stub over grpc.aio."""


@dataclass
class Station:
    """A running storage service."""

    member_id: str
    address: str
    parts: Parts
    standing: Standing

    @property
    def driver(self) -> Driver:
        """What all parts work with."""
        return self.parts.driver


@dataclass
class World:
    """The five founders of the demo, their authorities, and one chain."""

    path: Path
    local: LocalAlliance = field(default_factory=LocalAlliance)
    authorities: dict[str, Authority] = field(default_factory=lambda: {name: Authority(name) for name in GRADES})
    _stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)
    _written: int = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self._stack.aclose()

    def directory(self, issued: Issued) -> Path:
        """TLS files of a bearer that knows all authorities."""
        self._written += 1
        return issued.write(self.path / f"tls-{self._written}", *self.authorities.values())

    def ledger(self) -> ChainLedger:
        """The own ledger of a member."""
        return ChainLedger(self.local.scribe, LedgerEvent, LedgerTip)

    @asynccontextmanager
    async def storage(self, member_id: str, others: dict[str, str] | None = None, **changed: Any) -> AsyncIterator[Station]:
        """A member's storage service; without others it keeps no copies."""
        directory = self.directory(self.authorities[member_id].service("storage"))
        usual: dict[str, Any] = {
            "alliance": ALLIANCE, "member_id": member_id, "tls_directory": directory, "drain_s": 0, "grace_s": 1,
            "copies": 1 if others else 0, "wait_s": 0, "scrub_chunks_per_s": 100_000,
            "state_directory": self.path / f"state-{member_id}",
        }  # fmt: skip
        settings = StorageSettings(**(usual | changed))
        keys, chain_id = self.local.scribe.alliance.keys, self.local.scribe.alliance.chain_id
        async with contextlib.AsyncExitStack() as stack:
            tls, ledger = Tls(directory, ALLIANCE), self.ledger()
            stores = open_stores(settings, chain_id, stack)
            storages = GrpcStorages(others or {}, tls, chain_id)
            stack.push_async_callback(storages.close)
            standing = Standing(member_id, chain_id, list(keys), ledger, directory, admitted)
            seeds = seed_of(f"{member_id} member"), next_seed_of(member_id)
            signer = OwnSigner(seeds, partial(standing.member, member_id))
            member_keys = MemberKeys(signer, escrow_key(seeds[0]))
            driver = Driver(member_id, member_keys, chain_id, stores, ledger, storages, standing.member, limits_of(settings))
            parts = Parts.of(driver, settings.scrub_chunks_per_s)
            offered = [described(parts)]
            running = await stack.enter_async_context(serving(settings, offered, standing.authorise, tls))
            for each in (standing.follow(), parts.erasing.follow()):
                stack.callback(asyncio.get_running_loop().create_task(each).cancel)
            await standing.loaded.wait()
            yield Station(member_id, f"127.0.0.1:{running.port}", parts, standing)

    def stub(self, station: Station, issued: Issued) -> Stub:
        """The service as the bearer of a certificate calls it."""
        tls = Tls(self.directory(issued), ALLIANCE)
        channel: grpc.aio.Channel = Channel(Peer(station.member_id, "storage", station.address), tls, UNHURRIED)
        self._stack.push_async_callback(channel.close)
        return StorageServiceStub(channel)

    def application(self, station: Station, member_id: str = HOME) -> Stub:
        """As an application of a member."""
        return self.stub(station, self.authorities[member_id].service("application.ehr"))

    def person(self, station: Station, role: Role, member_id: str = HOME) -> Stub:
        """As a person."""
        return self.stub(station, self.authorities[member_id].person(role, "someone"))

    def sharing(self, station: Station) -> Sharing:
        """A patient at the home, whose objects go to this station, and a recipient elsewhere."""
        member = WireMember(self.local, HOME, self.application(station), self.application(station, RECIPIENT))
        self.local.members[HOME] = member
        return Sharing(self.local)


class WireMember(LocalMember):
    """A member whose storage is a service: the home's application writes, the recipient's reads."""

    def __init__(self, local: LocalAlliance, name: str, writer: Stub, reader: Stub) -> None:
        super().__init__(local, name)
        self._writer, self._reader, self._chain_id = writer, reader, local.scribe.alliance.chain_id

    async def complete_object(self, manifest: Manifest, shred_secret: bytes) -> StorageReceipt:
        chunks = [self.chunks[manifest.record_id, index] for index in range(len(manifest.chunk_hashes))]
        with typed():
            response = await self._writer.PutObject(frames(manifest, chunks, shred_secret, self._chain_id))
        return wire.receipt(response.receipt, self._chain_id)

    async def sign_retention(
        self, record_id: bytes, act: RetentionAct, order: SignedErasureOrder | None, evidence: bytes
    ) -> bytes:
        encoded = b"" if order is None else encode(order, self._chain_id)
        request = pb.SignRetentionRequest(
            record_id=record_id, act=pb.RetentionAct.ValueType(act), order=encoded, evidence_digest=evidence
        )
        with typed():
            return bytes((await self._writer.SignRetention(request)).transaction.encoded)

    async def erase_object(self, record_id: bytes, height: int) -> tuple[ErasureCertificate, list[ErasureCertificate]]:
        with typed():
            response = await self._writer.EraseObject(pb.EraseObjectRequest(record_id=record_id, erased_height=height))
        copies = [wire.erasure(each, self._chain_id) for each in response.copies]
        return wire.erasure(response.encoded, self._chain_id), copies

    async def get_manifest(self, record_id: bytes, request_hash: bytes) -> StoredManifest:
        request = pb.GetManifestRequest(record_id=record_id, access_request_hash=request_hash)
        with typed():
            response = await self._reader.GetManifest(request)
        manifest = wire.manifest(response.manifest, self._chain_id)
        return StoredManifest(manifest, wire.sealed(response.sealed_shred_secret))

    async def get_object(
        self, record_id: bytes, request_hash: bytes, first: int, count: int = 0
    ) -> AsyncGenerator[bytes, None]:
        offset, length = first * CHUNK_BYTES, count * CHUNK_BYTES
        wanted = pb.GetObjectRequest(record_id=record_id, access_request_hash=request_hash, offset=offset, length=length)
        with typed():
            async for each in self._reader.GetObject(wanted):
                yield each.chunk.data


class Sharing:
    """A patient who writes and shares, a recipient who reads."""

    def __init__(self, local: LocalAlliance) -> None:
        genesis, members = local.scribe.alliance.genesis, local.members
        session = Session(genesis, HOME, members, Ed25519Verifier())
        self.patient = PatientClient(session, PatientKeys(sha256(b"patient")), "imaging", 0, HOME)
        self.keys = RecipientKeys(sha256(b"hospital"))
        self.recipient = RecipientClient(Session(genesis, RECIPIENT, members, Ed25519Verifier()), self.keys)
        self.address = Recipient(RECIPIENT, self.keys.author.public_key, self.keys.receiving.public_key)

    async def shared(self, data: bytes) -> tuple[RecordReference, PreparedGrant]:
        """A record at home, and a grant to the recipient."""
        reference = await self.patient.write(data, media_class=2)
        return reference, await self.patient.share(self.address, PERMISSION)

    async def request(self, reference: RecordReference, grant: PreparedGrant) -> bytes:
        """The hash of a granted request."""
        return (await self.recipient.request(grant.terms.grant_id, reference, WHY)).transaction_hash

    async def read(self, reference: RecordReference, grant: PreparedGrant) -> bytes:
        """What the recipient gets."""
        opened = await self.recipient.open(grant.terms.grant_id, reference, WHY)
        return b"".join([piece async for piece in self.recipient.read(opened)])


def start(record_id: bytes, size_class: int) -> pb.PutObjectRequest:
    """The first frame of a put."""
    return pb.PutObjectRequest(start=pb.PutStart(record_id=record_id, size_class=size_class))


def chunk(index: int, data: bytes) -> pb.PutObjectRequest:
    """A chunk's frame."""
    return pb.PutObjectRequest(chunk=pb.Chunk(offset=index * CHUNK_BYTES, data=data))


def finish(manifest: Manifest, shred_secret: bytes, chain_id: bytes) -> pb.PutObjectRequest:
    """The last frame of a put."""
    return pb.PutObjectRequest(finish=pb.PutFinish(manifest=encode(manifest, chain_id), shred_secret=shred_secret))


def frames(
    manifest: Manifest, chunks: Iterable[bytes], shred_secret: bytes, chain_id: bytes
) -> Iterator[pb.PutObjectRequest]:
    """A whole put."""
    yield start(manifest.record_id, manifest.size_class)
    for index, data in enumerate(chunks):
        yield chunk(index, data)
    yield finish(manifest, shred_secret, chain_id)
