"""One member's five services in one process over real mutual TLS, on the identity it founded, and callers of every kind.

The other members exist on the chain and through their authorities; their services are down. The chain is written by a
scribe and handed to the ledger, as the others' blocks would come.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc

from consilium.api.consensus.v1 import replica_pb2
from consilium.api.storage.v1 import storage_pb2
from consilium.consensus.__main__ import service as consensus_service
from consilium.consensus.settings import ConsensusSettings
from consilium.identity.__main__ import identity_of
from consilium.kernel.encoding import encode
from consilium.kernel.manifest import StorageReceipt, StorageStatement
from consilium.kernel.transactions import Grade
from consilium.ledger.__main__ import RunningService as RunningLedger
from consilium.ledger.__main__ import service as ledger_service
from consilium.ledger.settings import LedgerSettings
from consilium.reencryption.__main__ import service as reencryption_service
from consilium.reencryption.settings import ReencryptionSettings
from consilium.runtime.background import background
from consilium.runtime.names import Role, server_name
from consilium.storage.__main__ import service as storage_service
from consilium.storage.settings import StorageSettings
from tests.alliance import GRADES, Alliance, id_of, seed_of
from tests.contract.contracts import FILES, METHODS, Method
from tests.contract.expected import ADMITTED, FOR_OTHERS
from tests.contract.story import AWAY, EXPELLED, HOME, SUSPENDED, Story, tell
from tests.identity.hospital import ALLIANCE, Hospital, bearer, hospitals, with_own_authority
from tests.runtime.authority import DAY, Authority, Issued
from tests.stores.objects import ONE_CHUNK, make_chunks, make_manifest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from consilium.ledger.core.chain import Chain
    from consilium.runtime.server import Running

MEMBERS = {"own": HOME, "other": AWAY, "suspended": SUSPENDED, "expelled": EXPELLED}
MIB = 1_048_576
MESSAGE_BYTES_MAX = {"identity": MIB, "consensus": 8 * MIB, "ledger": MIB, "storage": MIB, "reencryption": MIB}
"""Small, so that a message above the limit is cheap; 8 MiB is the least that consensus takes."""
METADATA_BYTES_MAX = 16_384


@dataclass(repr=False)
class World:
    """The running services of the home member."""

    path: Path
    home: Hospital
    story: Story
    authorities: dict[str, Authority]
    running: dict[str, Running] = field(default_factory=dict)
    ledger: RunningLedger = field(init=False)
    _channels: dict[tuple[str, str], grpc.aio.Channel] = field(default_factory=dict)

    @property
    def chain(self) -> Chain:
        return self.home.scribe.chain

    @property
    def roots(self) -> bytes:
        """The home member's authority, as its callers trust it."""
        return self.authorities[HOME].pem

    async def give_blocks(self) -> None:
        """Hand the blocks that were written to the ledger, as consensus or another member does."""
        for block in self.home.scribe.blocks[self.ledger.keeper.chain.height :]:
            await self.ledger.keeper.execute(block)
            certificate = self.chain.result_certificate(self.ledger.keeper.chain.height)
            assert certificate is not None
            await self.ledger.keeper.certify(certificate)

    def issue(self, member: str, kind: str, ends_in: dt.timedelta = DAY) -> Issued:
        """A certificate of a kind of caller, of the `own`, `other`, `suspended` or `expelled` member."""
        role = Role(kind) if kind in ("staff", "patient") else Role.SERVICE
        name = f"application.{'ab' * 16}" if kind == "application" else kind if role is Role.SERVICE else "ab" * 16
        return bearer(self.authorities[MEMBERS[member]], role, name, ends_in=ends_in)

    def channel(self, service: str, issued: Issued | None) -> grpc.aio.Channel:
        """A channel that fills nothing in and retries nothing; None for a caller without a certificate."""
        pair = (issued.key, issued.certificate) if issued else (None, None)
        options: list[tuple[str, Any]] = [
            ("grpc.ssl_target_name_override", server_name(ALLIANCE, HOME, service)),
            ("grpc.enable_retries", 0),
            ("grpc.max_send_message_length", 64 * MIB),
            ("grpc.use_local_subchannel_pool", 1),
        ]
        credentials = grpc.ssl_channel_credentials(self.roots, *pair)
        return grpc.aio.secure_channel(f"127.0.0.1:{self.running[service].port}", credentials, options)

    @asynccontextmanager
    async def channels(self, issued: Issued | None) -> AsyncIterator[dict[str, grpc.aio.Channel]]:
        """A channel to every service, of one bearer, for a while."""
        made = {name: self.channel(name, issued) for name in self.running}
        yield made
        for each in made.values():
            await each.close()

    def administrator(self) -> grpc.aio.Channel:
        """The channel to identity that the first administrator keeps, under the credential that `found` issued."""
        folder = self.home.home / "identity" / "administrator"
        key, certificate = ((folder / name).read_bytes() for name in ("tls.key", "tls.crt"))
        return self._kept("identity", "administrator", lambda: Issued(certificate, key, 0))

    def caller(self, service: str, member: str, kind: str) -> grpc.aio.Channel:
        """The channel that this kind of caller keeps to a service."""
        return self._kept(service, f"{member} {kind}", lambda: self.issue(member, kind))

    def welcome(self, method: Method) -> grpc.aio.Channel:
        """The channel of a caller whom the method is for."""
        if method.service == "identity":
            return self.administrator()
        member = "other" if method.name in FOR_OTHERS else "own"
        kinds = getattr(ADMITTED[method.name], member).split()
        return self.caller(method.service, member, "application" if "application" in kinds else kinds[0])

    def first_frame(self, name: str) -> bytes:
        """A good beginning of a stream of requests."""
        manifest = self.story.manifest
        if name == "PutObject":
            start: Any = storage_pb2.PutStart(record_id=manifest.record_id, size_class=manifest.size_class)
        elif name == "ReplicateObject":
            start = copy_start(self.home.scribe.alliance)
        else:
            return METHODS[name].message(greeting=self.greeting()).SerializeToString()
        return METHODS[name].message(start=start).SerializeToString()

    def greeting(self, incarnation: int = 1, session: str = "session") -> replica_pb2.Greeting:
        """What the other member's replica says first."""
        return replica_pb2.Greeting(
            chain_id=self.chain.chain_id, member_id=AWAY, incarnation=incarnation, session=id_of(session)
        )

    def _kept(self, service: str, name: str, issue: Callable[[], Issued]) -> grpc.aio.Channel:
        if (service, name) not in self._channels:
            self._channels[service, name] = self.channel(service, issue())
        return self._channels[service, name]

    async def close(self) -> None:
        """Close the channels that callers kept."""
        for each in self._channels.values():
            await each.close()


def copy_start(alliance: Alliance) -> storage_pb2.ReplicationStart:
    """The start of a copy of the other member's object."""
    manifest = make_manifest("copied", ONE_CHUNK, make_chunks("copied", ONE_CHUNK))
    statement = StorageStatement(AWAY, manifest.record_id, manifest.ciphertext_root)
    receipt = StorageReceipt(statement, alliance.keys[AWAY].member.sign(encode(statement, alliance.chain_id)))
    return storage_pb2.ReplicationStart(
        manifest=encode(manifest, alliance.chain_id),
        home_receipt=storage_pb2.StorageReceipt(encoded=encode(receipt, alliance.chain_id)),
    )


@asynccontextmanager
async def started(path: Path, **changed: Any) -> AsyncIterator[World]:
    """The home member at work; `changed` are settings of every service."""
    home, *others = hospitals(path, *MEMBERS.values(), alliance=Alliance.founded(GRADES | {EXPELLED: Grade.B1}))
    story = tell(home.scribe)
    authorities = {each.member_id: with_own_authority(each) for each in (home, *others)}
    world = World(path, home, story, authorities)
    async with AsyncExitStack() as stack:
        await _start(world, stack, changed)
        stack.push_async_callback(world.close)
        yield world


async def _start(world: World, stack: AsyncExitStack, changed: dict[str, Any]) -> None:
    """Start the services, the ledger with its chain first, and wait until each has read how the members stand."""
    home = world.home.home
    for name, secret in {"consensus": "anshan consensus", "reveals": "anshan reveals", "sealing": "sealing"}.items():
        (home / name).write_bytes(seed_of(secret))

    def common(name: str, *calls: str) -> dict[str, Any]:
        addresses = {f"{each}_address": f"127.0.0.1:{world.running[each].port}" for each in calls}
        return _settings(world, name) | addresses | changed

    world.ledger, _ = await ledger_service(LedgerSettings(**common("ledger"), blocks=home / "blocks"), stack)
    world.running["ledger"] = world.ledger.server
    await world.give_blocks()
    consensus, _ = await consensus_service(
        ConsensusSettings(**common("consensus", "ledger"), keys_directory=home, votes=home / "votes"), stack
    )
    world.running["consensus"] = consensus.server
    driver, identity = await stack.enter_async_context(
        identity_of(world.home.settings(**common("identity", "ledger", "consensus")))
    )
    await stack.enter_async_context(background(driver.members.follow()))
    kept: dict[str, Any] = {"member_key": home / "member", "wait_s": 0}
    proxy, _ = await reencryption_service(
        ReencryptionSettings(
            **common("reencryption", "ledger", "consensus"),
            **kept,
            state_directory=home / "fragments",
            sealing_key=home / "sealing",
        ),
        stack,
    )
    storage, _ = await storage_service(
        StorageSettings(**common("storage", "ledger"), **kept, state_directory=home / "objects", copies=0), stack
    )
    world.running |= {"identity": identity, "storage": storage.server, "reencryption": proxy.server}
    loaded = (driver.members.loaded, storage.standing.loaded, proxy.standing.loaded)
    await asyncio.gather(*(each.wait() for each in loaded), proxy.workers.start())
    assert world.running.keys() == FILES.keys()


def _settings(world: World, name: str) -> dict[str, Any]:
    """What every service is told."""
    return {
        "alliance": ALLIANCE,
        "member_id": HOME,
        "genesis": world.path / "genesis",
        "tls_directory": world.home.home / "tls" / name,
        "message_bytes_max": MESSAGE_BYTES_MAX[name],
        "metadata_bytes_max": METADATA_BYTES_MAX,
        "drain_s": 0,
        "grace_s": 0,
    }
