"""An alliance's ledgers and consensus services on loopback over mutual TLS, in this process or as processes of their own."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc

from consilium.api.chain.v1 import chain_pb2
from consilium.api.consensus.v1 import consensus_pb2 as pb
from consilium.api.consensus.v1.consensus_pb2_grpc import ConsensusServiceStub
from consilium.api.ledger.v1 import ledger_pb2
from consilium.api.ledger.v1.ledger_pb2_grpc import LedgerServiceStub
from consilium.consensus.__main__ import RunningService
from consilium.consensus.__main__ import service as consensus_service
from consilium.consensus.settings import ConsensusSettings
from consilium.consensus.store import FileVoteLog
from consilium.kernel.parameters import Parameters
from consilium.kernel.transactions import Grade
from consilium.ledger.__main__ import RunningService as RunningLedger
from consilium.ledger.__main__ import service as ledger_service
from consilium.ledger.settings import LedgerSettings
from consilium.runtime.channels import Channel, Peer
from consilium.runtime.disk import OsDisk
from consilium.runtime.names import Role
from consilium.runtime.server import ServerSettings
from consilium.runtime.tls import Tls
from consilium.sandbox.ports import drawn_ports
from tests.alliance import GRADES, Alliance, id_of, record_body, seed_of
from tests.runtime.authority import ALLIANCE, Authority, Issued

if TYPE_CHECKING:
    from consilium.api.consensus.v1.consensus_pb2_grpc import ConsensusServiceAsyncStub
    from consilium.api.ledger.v1.ledger_pb2_grpc import LedgerServiceAsyncStub

PARAMETERS = Parameters(term_blocks=8, expiry_blocks_max=300, heartbeat_ms=300, view_timeout_ms=2_000)
"""Short terms, so that a few seconds cross an epoch."""
FOUR = {name: GRADES[name] for name in ("anshan", "benxi", "chaoyang", "dalian")}
ROOT = Path(__file__).parents[2]


@dataclass
class Member:
    """One member's two services, running in this process."""

    ledger: RunningLedger
    consensus: RunningService


@dataclass
class Alliances:
    """Four members' files and addresses; a test starts and ends what it likes."""

    path: Path
    first_port: int
    parameters: Parameters = PARAMETERS
    grades: dict[str, Grade] = field(default_factory=lambda: FOUR)

    def __post_init__(self) -> None:
        """Every member's keys, vote log, authority and ports, and the genesis file."""
        self.alliance = Alliance.founded(self.grades, self.parameters)
        self.authorities = {name: Authority(name) for name in self.grades}
        doors = [(name, service) for name in self.grades for service in ("ledger", "consensus")]
        self.ports = {door: self.first_port + place for place, door in enumerate(doors)}
        (self.path / "genesis").write_bytes(self.alliance.genesis_file)
        for name in self.grades:
            folder = self.path / name / "keys"
            folder.mkdir(parents=True)
            for key in ("member", "consensus", "reveals"):
                (folder / key).write_bytes(seed_of(f"{name} {key}"))
            FileVoteLog.create(OsDisk(), self.path / name / "votes", incarnation=0).close()
            for service in ("ledger", "consensus"):
                self.tls_folder(f"{name}/tls-{service}", self.authorities[name].service(service))

    def tls_folder(self, name: str, issued: Issued) -> Path:
        """A folder of TLS files that trusts all members."""
        return issued.write(self.path / name, *self.authorities.values())

    def _common(self, name: str, service: str) -> dict[str, Any]:
        others = [each for each in self.grades if each != name]
        return {
            "alliance": ALLIANCE,
            "member_id": name,
            "genesis": self.path / "genesis",
            "port": self.ports[name, service],
            "tls_directory": self.path / name / f"tls-{service}",
            "peers": tuple(f"{each}=127.0.0.1:{self.ports[each, service]}" for each in others),
            "drain_s": 0,
            "grace_s": 0,
        }

    def ledger_settings(self, name: str) -> LedgerSettings:
        """A member's ledger settings."""
        return LedgerSettings(**self._common(name, "ledger"), blocks=self.path / name / "blocks")

    def consensus_settings(self, name: str, **changed: Any) -> ConsensusSettings:
        """A member's consensus settings."""
        usual = self._common(name, "consensus") | {
            "keys_directory": self.path / name / "keys",
            "votes": self.path / name / "votes",
            "ledger_address": f"127.0.0.1:{self.ports[name, 'ledger']}",
        }
        return ConsensusSettings(**(usual | changed))

    @contextlib.asynccontextmanager
    async def member(self, name: str, **changed: Any) -> AsyncIterator[Member]:
        """A member's services within this process."""
        async with contextlib.AsyncExitStack() as stack:
            ledger, _ = await ledger_service(self.ledger_settings(name), stack)
            consensus, _ = await consensus_service(self.consensus_settings(name, **changed), stack)
            yield Member(ledger, consensus)

    @contextlib.asynccontextmanager
    async def members(self, *names: str) -> AsyncIterator[dict[str, Member]]:
        """Several members' services within this process."""
        async with contextlib.AsyncExitStack() as stack:
            yield {name: await stack.enter_async_context(self.member(name)) for name in names}

    async def start_process(self, name: str, service: str) -> asyncio.subprocess.Process:
        """A member's service as a container would run it."""
        settings = self.ledger_settings(name) if service == "ledger" else self.consensus_settings(name)
        log = (self.path / name / f"{service}.log").open("ab")
        with log:
            return await asyncio.create_subprocess_exec(
                sys.executable, "-m", f"consilium.{service}", env=environment(service, settings), stderr=log, cwd=ROOT
            )

    # --- calling ---

    @contextlib.asynccontextmanager
    async def channel(self, name: str, service: str, issued: Issued, folder: str = "caller") -> AsyncIterator[Channel]:
        """A channel to a member's service with a certificate."""
        tls = Tls(self.tls_folder(folder, issued), ALLIANCE)
        async with Channel(Peer(name, service, f"127.0.0.1:{self.ports[name, service]}"), tls) as channel:
            yield channel

    @contextlib.asynccontextmanager
    async def application(self, name: str) -> AsyncIterator[ConsensusServiceAsyncStub]:
        """A member's own application, calling its consensus."""
        issued = self.authorities[name].service("application.ward")
        async with self.channel(name, "consensus", issued, f"{name}-application") as channel:
            yield ConsensusServiceStub(channel)

    @contextlib.asynccontextmanager
    async def reader(self, name: str) -> AsyncIterator[LedgerServiceAsyncStub]:
        """A member's clinician, reading its ledger."""
        issued = self.authorities[name].person(Role.STAFF, "s1")
        async with self.channel(name, "ledger", issued, f"{name}-reader") as channel:
            yield LedgerServiceStub(channel)

    def registration(self, name: str, holder: str, expiry_height: int = 200) -> bytes:
        """A record whose ids all come from `name`, for its holder's batch to vouch for."""
        return self.alliance.registration(holder, record_body(name, holder), id_of(f"{name} request"), expiry_height)


@contextlib.asynccontextmanager
async def founded(path: Path, parameters: Parameters = PARAMETERS) -> AsyncIterator[Alliances]:
    """Four members' files, and ports that are theirs within."""
    with drawn_ports(len(FOUR) * 2) as first_port:
        yield Alliances(path, first_port, parameters)


async def register(stub: ConsensusServiceAsyncStub, *registrations: bytes) -> list[bytes]:
    """Hand registrations over; their hashes."""
    carried = [chain_pb2.Transaction(encoded=each) for each in registrations]
    response = await stub.SubmitRegistrations(pb.SubmitRegistrationsRequest(registrations=carried), timeout=10)
    return list(response.transaction_hashes)


async def final(stub: LedgerServiceAsyncStub, transaction_hash: bytes) -> bytes:
    """Wait for a transaction's proof."""
    async for _ in stub.StreamTips(ledger_pb2.StreamTipsRequest()):
        with contextlib.suppress(grpc.aio.AioRpcError):
            request = ledger_pb2.GetTransactionProofRequest(transaction_hash=transaction_hash)
            return bytes((await stub.GetTransactionProof(request)).proof.encoded)
    raise AssertionError("the stream of tips has ended")


def kill(process: asyncio.subprocess.Process) -> None:
    """As a power cut for one process."""
    process.send_signal(signal.SIGKILL)


def environment(service: str, settings: ServerSettings) -> dict[str, str]:
    """Settings as a process reads them."""
    written = {each.name: getattr(settings, each.name) for each in fields(settings)}
    texts = {name: ",".join(value) if isinstance(value, tuple) else str(value) for name, value in written.items()}
    return {f"CONSILIUM_{service}_{name}".upper(): text for name, text in texts.items()}
