"""Starts a member's identity service: `python -m consilium.identity`.

`python -m consilium.identity found` makes what it stands on, once; `publish` writes the services' TLS files without serving;
`administer` issues an administrator's credential to whoever may read this member's files.
"""

import contextlib
import sys
from collections.abc import AsyncIterator, Coroutine

from consilium.api.identity.v1 import identity_pb2
from consilium.api.identity.v1.identity_pb2_grpc import add_IdentityServiceServicer_to_server
from consilium.identity import founding
from consilium.identity.counters import IdentityCounters
from consilium.identity.driver import Driver, Members
from consilium.identity.servicer import IdentityServicer
from consilium.identity.settings import IdentitySettings
from consilium.kernel.signing import Ed25519Verifier
from consilium.runtime.background import background, until_stopped
from consilium.runtime.channels import Channel, Peer
from consilium.runtime.genesis_file import read_genesis
from consilium.runtime.methods import Service
from consilium.runtime.metrics import VolumeRoom
from consilium.runtime.own_consensus import OwnConsensus
from consilium.runtime.process import run
from consilium.runtime.proven_ledger import ProvenLedger
from consilium.runtime.server import Running, serving
from consilium.runtime.tls import Tls


async def serve(settings: IdentitySettings) -> None:
    """Serve until told to stop; ready once the ledger has been read. Raises as `identity_of`."""
    async with (
        identity_of(settings) as (driver, running),
        in_cluster(settings, driver, running) as tending,
        background(
            driver.members.follow(),
            driver.tend(settings.interval_s),
            running.ready_after(driver.members.loaded.wait()),
            *tending,
        ) as ended,
    ):
        await until_stopped(ended)


@contextlib.asynccontextmanager
async def in_cluster(
    settings: IdentitySettings, driver: Driver, running: Running
) -> AsyncIterator[list[Coroutine[None, None, None]]]:
    """What is to be kept in Kubernetes, where the settings name a release. Raises InvalidArgument: NO_KUBERNETES."""
    if not settings.kubernetes_secrets:
        yield []
        return
    from consilium.identity.cluster.counters import ClusterCounters
    from consilium.identity.cluster.keeping import ClusterKeeper
    from consilium.runtime.cluster import Cluster

    with contextlib.closing(Cluster.found()) as cluster:
        keeper = ClusterKeeper(cluster, settings, driver)
        running.metrics.registry.register(ClusterCounters(keeper))
        yield [keeper.tend()]


@contextlib.asynccontextmanager
async def identity_of(settings: IdentitySettings) -> AsyncIterator[tuple[Driver, Running]]:
    """The service within: it answers, and does nothing by itself. Raises what `founding` and `serving` do."""
    genesis, verifier = read_genesis(settings.genesis), Ed25519Verifier()
    async with contextlib.AsyncExitStack() as stack:
        store = stack.enter_context(founding.opened(settings))
        keeper = founding.file_keeper(settings, genesis, store)
        # This service's own certificate may have run out while it stood still.
        keeper.keep(None)
        tls = Tls(settings.tls_directory, settings.alliance)
        ledger_peer = Peer(settings.member_id, "ledger", settings.ledger_address)
        consensus_peer = Peer(settings.member_id, "consensus", settings.consensus_address)
        ledger = ProvenLedger(await stack.enter_async_context(Channel(ledger_peer, tls)), genesis, verifier)
        consensus = OwnConsensus(await stack.enter_async_context(Channel(consensus_peer, tls)))
        driver = Driver(genesis, Members(genesis, ledger, store), keeper, ledger, consensus)
        await driver.keep_files()
        tls.refresh()
        running = await stack.enter_async_context(serving(settings, [described(driver)], driver.authorise, tls))
        running.metrics.registry.register(IdentityCounters(driver))
        running.metrics.registry.register(VolumeRoom(settings.state_directory))
        yield driver, running


def described(driver: Driver) -> Service:
    """The contract with its servicer."""
    contract = identity_pb2.DESCRIPTOR.services_by_name["IdentityService"]
    return Service(contract, add_IdentityServiceServicer_to_server, IdentityServicer(driver))


def main() -> int:
    """Do what the first argument says, or else serve; the exit code."""
    act = COMMANDS.get(next(iter(sys.argv[1:]), ""), serve)
    return run(IdentitySettings, act)


async def _found(settings: IdentitySettings) -> None:
    founding.found(settings)


async def _publish(settings: IdentitySettings) -> None:
    founding.publish(settings)


async def _administer(settings: IdentitySettings) -> None:
    founding.administer(settings)


COMMANDS = {"found": _found, "publish": _publish, "administer": _administer}

if __name__ == "__main__":
    sys.exit(main())
