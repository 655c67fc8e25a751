"""The whole examination, one matter after the other; what one cannot learn, the next says so and goes on without."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

from cryptography import x509

from consilium.api.consensus.v1 import consensus_pb2
from consilium.api.consensus.v1.consensus_pb2_grpc import ConsensusServiceStub
from consilium.api.ledger.v1 import ledger_pb2
from consilium.api.ledger.v1.ledger_pb2_grpc import LedgerServiceStub
from consilium.client.commands.status import parameters_in_force
from consilium.client.doctor.asking import judge_clock, judge_headers, judge_heights, judge_quorum, judge_versions, utc
from consilium.client.doctor.findings import Finding, odd, wrong
from consilium.client.doctor.local import judge_credential, judge_room
from consilium.client.doctor.reaching import reach
from consilium.client.remote import Alliance
from consilium.client.settings import ClientSettings
from consilium.kernel.errors import ConsiliumError
from consilium.runtime.channels import typed
from consilium.runtime.clock import wall_ms

Answer = TypeVar("Answer")
ASKING_S = 5.0
"""How long a service may take to answer, in seconds."""


@dataclass(frozen=True, slots=True)
class Examination:
    """One look at everything. `release` is "" outside Kubernetes; `now_ms` is this machine's clock."""

    settings: ClientSettings
    alliance: Alliance
    folders: tuple[Path, ...] = ()
    release: str = ""
    now_ms: Callable[[], int] = wall_ms

    async def findings(self) -> list[Finding]:
        """All that was found, in the order in which to read it. Raises InvalidArgument: BAD_TLS_FILES and NO_KUBERNETES."""
        found = judge_credential(self.settings, self.alliance.tls.material, self.now_ms())
        found += [judge_room(each) for each in self.folders]
        found += await self._network()
        found += await self._alliance()
        if self.release:
            found += await asyncio.to_thread(self._kubernetes)
        return found

    async def _network(self) -> list[Finding]:
        """Names, ports, certificates."""
        found, home = [], self.settings.member_id
        try:
            await self.alliance.learn_authorities()
        except ConsiliumError as error:
            advice = "What is wrong with the home member's services stands below; other members' issuers were not looked at."
            found.append(odd("authorities", home, f"The other members' authorities cannot be learned: {error}", advice))
        for name, fault in self.alliance.faults.items():
            told = f"Its authority is not known: {fault}"
            advice = "Its binding must reach this member's identity service: see both identity services' logs."
            found.append(wrong("authorities", name, told, advice))
        ways = [each for services in self.alliance.peers.values() for each in services.values()]
        known: Mapping[str, tuple[x509.Certificate, ...]] = self.alliance.tls.material.authorities
        place = self.settings.credential, self.settings.alliance
        return found + await reach(ways, *place, known, self.now_ms())

    async def _alliance(self) -> list[Finding]:
        """Clock, versions, heights, quorum."""
        home, names = self.settings.member_id, list(self.alliance.peers)
        heard = _there(names, await asyncio.gather(*(_answer(self._tip(each)) for each in names)))
        tips = {name: tip for name, (tip, _) in heard.items()}
        replicas = _there(names, await asyncio.gather(*(_answer(self._replica(each)) for each in names)))
        committee = await _answer(self._committee())
        parameters = await parameters_in_force(self.alliance.session) or self.alliance.genesis.parameters
        found = [judge_clock(heard, self.alliance.genesis.chain_id, parameters)]
        found += judge_versions(tips, home, version("consilium")) + judge_heights(tips)
        found += judge_headers(tips, self.alliance.genesis.chain_id)
        return found + judge_quorum(home, replicas, committee, parameters, utc(self.now_ms()))

    async def _tip(self, member_id: str) -> tuple[ledger_pb2.GetTipResponse, int]:
        """A member's tip, and what this machine's clock showed when it came."""
        stub = LedgerServiceStub(self.alliance.channel(member_id, "ledger"))
        with typed():
            return await stub.GetTip(ledger_pb2.GetTipRequest(), timeout=ASKING_S), self.now_ms()

    async def _replica(self, member_id: str) -> consensus_pb2.GetReplicaStateResponse:
        stub = ConsensusServiceStub(self.alliance.channel(member_id, "consensus"))
        with typed():
            return await stub.GetReplicaState(consensus_pb2.GetReplicaStateRequest(), timeout=ASKING_S)

    async def _committee(self) -> consensus_pb2.GetCommitteeResponse:
        stub = ConsensusServiceStub(self.alliance.channel(self.settings.member_id, "consensus"))
        with typed():
            return await stub.GetCommittee(consensus_pb2.GetCommitteeRequest(), timeout=ASKING_S)

    def _kubernetes(self) -> list[Finding]:
        from consilium.client.doctor.cluster import examine_release
        from consilium.client.doctor.volumes import MetricsPages
        from consilium.runtime.cluster import Cluster

        cluster, own = Cluster.found(), self.settings
        pages = MetricsPages(own.alliance, own.member_id, own.credential, self.alliance.tls.material.roots(own.member_id))
        try:
            return examine_release(cluster, self.release, self.now_ms(), pages.read)
        finally:
            cluster.close()


def _there(names: list[str], answers: list[Answer | None]) -> dict[str, Answer]:
    """The answers there were, by member."""
    return {name: each for name, each in zip(names, answers, strict=True) if each is not None}


async def _answer(question: Awaitable[Answer]) -> Answer | None:
    """What was answered, None where there was no answer."""
    try:
        return await question
    except ConsiliumError:
        return None
