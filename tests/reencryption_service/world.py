"""A holder's re-encryption service over real mutual TLS, with its worker process, over one chain."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from consilium.api.reencryption.v1.reencryption_pb2_grpc import ReencryptionServiceStub
from consilium.client.keys import PatientKeys, RecipientKeys
from consilium.client.patient import PatientClient
from consilium.client.recipient import RecipientClient
from consilium.client.session import Session
from consilium.client.sharing import Permission, Recipient
from consilium.kernel.errors import Unavailable
from consilium.kernel.hashing import sha256
from consilium.kernel.signing import Ed25519Verifier
from consilium.kernel.transactions import Purpose
from consilium.reencryption.__main__ import described, open_stores
from consilium.reencryption.core.admission import admitted
from consilium.reencryption.driver import Driver, Holder
from consilium.reencryption.settings import ReencryptionSettings
from consilium.reencryption.workers import Workers
from consilium.runtime.channels import Channel, Peer
from consilium.runtime.member_key import OwnSigner, read_seeds
from consilium.runtime.proven_ledger import LedgerEvent, LedgerTip
from consilium.runtime.server import serving
from consilium.runtime.standing import Standing
from consilium.runtime.tls import Tls
from tests.alliance import GRADES, next_seed_of, seed_of
from tests.client.local_member import LocalAlliance
from tests.runtime.authority import ALLIANCE, Authority, Issued
from tests.runtime.loopback import UNHURRIED
from tests.storage_service.chain_ledger import ChainLedger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import grpc

    from consilium.client.sharing import PreparedGrant, RecordReference

WHY = sha256(b"why")
PERMISSION = Permission(Purpose.TREATMENT, sha256(b"a doctor"), 0, 4_000_000_000_000)
HOME, RECIPIENT = "anshan", "benxi"
Stub = Any
"""The generated stub over grpc.aio."""


@dataclass
class Ordering:
    """The own consensus: every transaction is in the next block; or it cannot be reached."""

    local: LocalAlliance
    member_id: str
    is_down: bool = False
    submitted: list[bytes] = field(default_factory=list)

    async def submit(self, transaction: bytes) -> None:
        if self.is_down:
            raise Unavailable("UNAVAILABLE", "Consensus cannot be reached.")
        self.submitted.append(transaction)
        self.local.order(self.member_id, transaction)


@dataclass
class Station:
    """A running re-encryption service."""

    member_id: str
    address: str
    driver: Driver
    ledger: ChainLedger
    ordering: Ordering
    workers: Workers
    standing: Standing
    state: Path


@dataclass
class World:
    """Five members over one chain, a patient at the home, and a recipient; storage and the other holders are local."""

    path: Path
    local: LocalAlliance = field(default_factory=LocalAlliance)
    authorities: dict[str, Authority] = field(default_factory=lambda: {name: Authority(name) for name in GRADES})
    _stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)
    _written: int = 0

    def __post_init__(self) -> None:
        genesis, members = self.local.scribe.alliance.genesis, self.local.members
        session = Session(genesis, HOME, members, Ed25519Verifier())
        self.patient = PatientClient(session, PatientKeys(sha256(b"patient")), "imaging", 0, HOME)
        keys = RecipientKeys(sha256(b"hospital"))
        self.recipient = RecipientClient(Session(genesis, RECIPIENT, members, Ed25519Verifier()), keys)
        self.address = Recipient(RECIPIENT, keys.author.public_key, keys.receiving.public_key)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self._stack.aclose()

    def directory(self, issued: Issued) -> Path:
        """TLS files of a bearer that knows all authorities."""
        self._written += 1
        return issued.write(self.path / f"tls-{self._written}", *self.authorities.values())

    async def shared(self) -> tuple[RecordReference, PreparedGrant]:
        """A record at home, and a grant to the recipient."""
        reference = await self.patient.write(b"a letter")
        return reference, await self.patient.share(self.address, PERMISSION)

    async def request(self, reference: RecordReference, grant: PreparedGrant) -> bytes:
        """The hash of a granted request."""
        return (await self.recipient.request(grant.terms.grant_id, reference, WHY)).transaction_hash

    def capsule(self, reference: RecordReference) -> bytes:
        """The capsule of a record, as its manifest holds it."""
        return self.local.members[HOME].manifests[reference.record_id].sealed.capsule

    def settings(self, member_id: str, directory: Path, **changed: Any) -> ReencryptionSettings:
        """The settings of a member, with its files written."""
        files = {
            "member_key": seed_of(f"{member_id} member"),
            "sealing_key": b"s" * 32,
            "genesis": self.local.scribe.alliance.genesis_file,
        }
        for name, data in files.items():
            (self.path / name).write_bytes(data)
        (self.path / "next").mkdir(exist_ok=True)
        (self.path / "next" / "member_key").write_bytes(next_seed_of(member_id))
        usual: dict[str, Any] = {
            "alliance": ALLIANCE, "member_id": member_id, "tls_directory": directory, "drain_s": 0, "grace_s": 1,
            "wait_s": 0, "state_directory": self.path / f"state-{member_id}", **{each: self.path / each for each in files},
        }  # fmt: skip
        return ReencryptionSettings(**(usual | changed))

    @asynccontextmanager
    async def holder(self, member_id: str, *, starts_workers: bool = True, **changed: Any) -> AsyncIterator[Station]:
        """A member's re-encryption service; it follows the ledger only when a test says so.

        Unless told otherwise its workers are there when it is handed out: a first job that starts one may take seconds.
        """
        directory = self.directory(self.authorities[member_id].service("reencryption"))
        settings = self.settings(member_id, directory, **changed)
        alliance = self.local.scribe.alliance
        async with contextlib.AsyncExitStack() as stack:
            fragments, receipts = open_stores(settings, stack)
            seeds = read_seeds(settings.member_key)
            workers = Workers(1, settings.waiting_max, seeds)
            stack.callback(workers.close)
            ledger = ChainLedger(self.local.scribe, LedgerEvent, LedgerTip)
            ordering = Ordering(self.local, member_id)
            standing = Standing(member_id, alliance.chain_id, list(alliance.keys), ledger, directory, admitted)
            signer = OwnSigner(seeds, partial(standing.member, member_id))
            holder = Holder(member_id, signer, alliance.genesis)
            driver = Driver(holder, fragments, receipts, ledger, ordering.submit, workers, settings.wait_s)
            offered = [described(driver, alliance.chain_id)]
            tls = Tls(directory, ALLIANCE)
            running = await stack.enter_async_context(serving(settings, offered, standing.authorise, tls))
            following = asyncio.get_running_loop().create_task(standing.follow())
            stack.callback(following.cancel)
            await standing.loaded.wait()
            if starts_workers:
                await workers.start()
            address = f"127.0.0.1:{running.port}"
            yield Station(member_id, address, driver, ledger, ordering, workers, standing, settings.state_directory)

    def channel(self, station: Station, issued: Issued) -> grpc.aio.Channel:
        """A channel of the bearer of a certificate."""
        peer = Peer(station.member_id, "reencryption", station.address)
        channel = Channel(peer, Tls(self.directory(issued), ALLIANCE), UNHURRIED)
        self._stack.push_async_callback(channel.close)
        return channel

    def stub(self, station: Station, issued: Issued) -> Stub:
        """The service as the bearer calls it."""
        return ReencryptionServiceStub(self.channel(station, issued))

    def application(self, station: Station, member_id: str) -> Stub:
        """As an application of a member."""
        return self.stub(station, self.authorities[member_id].service("application.ehr"))
