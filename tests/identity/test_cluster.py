"""What identity keeps in Kubernetes: Secrets made, renewed, made again; an API server that is away ends nothing."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from consilium.identity.cluster.keeping import ClusterKeeper
from consilium.identity.cluster.secrets import authority_secret, put_secrets, secrets_of
from consilium.identity.generations import Generations
from consilium.identity.settings import IdentitySettings
from consilium.kernel.errors import PermissionDenied, Unavailable
from consilium.kernel.membership import MONITORING, SERVICES
from consilium.kernel.signing import Ed25519Signer
from consilium.runtime.tls import read_material
from tests.identity.api_contract import check_config_map, check_event, check_lease, check_secret
from tests.identity.api_server import ApiServer, serving_api
from tests.identity.hospital import ALLIANCE, DEADLINE_S, HOME, hospitals, play

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

RELEASE, DAY_MS = "consilium", 86_400_000
NAMES = sorted([*(f"{RELEASE}-tls-{each}" for each in (*SERVICES, MONITORING)), f"{RELEASE}-administrator"])


@pytest.fixture
def api() -> Iterator[ApiServer]:
    yield from serving_api()


def test_the_contract_of_the_api_server(api: ApiServer) -> None:
    """tests/cluster asks the real one the same."""

    def labels(name: str) -> dict[str, str]:
        found: dict[str, str] = api.objects["secrets", name]["metadata"]["labels"]
        return found

    with closing(api.cluster()) as cluster:
        check_secret(cluster, lambda name: labels(name).update(somebody="else"), labels)
        check_config_map(cluster)
        check_lease(cluster)
        check_event(cluster, api.events)
        del api.objects["secrets", "a"]
        assert cluster.put_secret("a", {"tls.key": b"\2"}), "one that was deleted is made again"
    assert [verb for verb, plural, _ in api.asked if plural == "secrets" and verb != "get"] == ["create", "patch", "create"]


def test_pods(api: ApiServer) -> None:
    uid = api.put_pod("consilium-consensus-0", "consensus")
    waiting = {"state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}, "restartCount": 3}
    whole = {"name": "ledger", "image": "", "imageID": "", "ready": False}
    api.put_pod("consilium-ledger-0", "ledger", phase="Pending", conditions=[], containerStatuses=[whole | waiting])
    with closing(api.cluster()) as cluster:
        (consensus,) = cluster.pods("app.kubernetes.io/component=consensus")
        assert (consensus.uid, consensus.is_ready, consensus.is_leaving, consensus.reason) == (uid, True, False, "")
        (ledger,) = cluster.pods("app.kubernetes.io/component=ledger")
        assert (ledger.is_ready, ledger.restarts, ledger.reason) == (False, 3, "ImagePullBackOff: no such image")


def test_refusals_are_told_in_our_words(api: ApiServer) -> None:
    api.forbidden.add(("create", "secrets"))
    with closing(api.cluster()) as cluster:
        with pytest.raises(PermissionDenied, match="may not write Secret a; give it the Role"):
            cluster.put_secret("a", {})
        with closing(api.cluster("elsewhere")) as elsewhere, pytest.raises(Unavailable, match="KUBERNETES_REFUSED"):
            elsewhere.pods("")
        api.stop()
        with pytest.raises(Unavailable, match="KUBERNETES_UNREACHABLE"):
            cluster.secret("a")


def test_an_answer_that_cannot_be_read_is_told_in_our_words(api: ApiServer) -> None:
    """A turn that fails is tried again; an error of the library's models would have ended the service."""
    api.objects["secrets", "a"] = {"metadata": {"name": "a"}, "data": "none"}
    api.objects["secrets", "b"] = {"metadata": {"name": "b"}, "data": {"tls.key": "x"}}
    api.objects["leases", "c"] = {"metadata": {"name": "c"}, "spec": {"renewTime": "yesterday"}}
    api.objects["pods", "d"] = {"metadata": {"name": "d"}}
    with closing(api.cluster()) as cluster:
        for asked in (
            lambda: cluster.secret("a"),
            lambda: cluster.put_secret("b", {}),
            lambda: cluster.lease("c"),
            lambda: cluster.pods(""),
        ):
            with pytest.raises(Unavailable, match="KUBERNETES_UNREADABLE"):
                asked()


def test_secrets_are_what_the_folders_hold(tmp_path: Path, api: ApiServer) -> None:
    (home,) = hospitals(tmp_path, HOME)
    settings = home.settings(kubernetes_secrets=RELEASE)
    with closing(api.cluster()) as cluster:
        assert sorted(put_secrets(cluster, secrets_of(settings))) == NAMES == api.names("secrets")
        assert put_secrets(cluster, secrets_of(settings)) == []
        for service in SERVICES:
            folder = settings.services_directory / service
            assert api.data(f"{RELEASE}-tls-{service}") == {each.name: each.read_bytes() for each in folder.iterdir()}
        assert set(api.data(f"{RELEASE}-administrator")) == {"tls.crt", "tls.key", "authorities.pem", "signing.key"}
        # A folder that no service could start from is not handed out; what was stays.
        (home.home / "tls" / "ledger" / "authorities.pem").unlink()
        (home.home / "tls" / "storage" / "revoked").write_bytes(b"0" * 32 + b"\n")
        assert put_secrets(cluster, secrets_of(settings)) == [f"{RELEASE}-tls-storage"]
        assert len(api.data(f"{RELEASE}-tls-ledger")) == 4


def test_an_issuer_is_handed_the_authority_that_issues(tmp_path: Path) -> None:
    """The one announced a week ago, not the newest; and no key lies in a Secret that nobody asked for."""
    settings = IdentitySettings(kubernetes_secrets=RELEASE, kubernetes_issuer=True)
    made = Generations(tmp_path, ALLIANCE, HOME, [Ed25519Signer.from_seed(b"m" * 32)], bytes(32))
    for day in (0, 300):
        made.renew(day * DAY_MS, 365 * DAY_MS)
    old, new = made.valid(300 * DAY_MS)
    for day, issuing in ((300, old), (308, new)):
        secret = authority_secret(settings, made.issuing(day * DAY_MS))[f"{RELEASE}-authority"]
        key = load_pem_private_key(secret["tls.key"], None)
        assert secret["tls.crt"] == issuing.pem
        assert key.public_key() == issuing.certificate.public_key()
    assert authority_secret(replace(settings, kubernetes_issuer=False), old) == {}


def test_rotation_reaches_the_secrets_and_an_api_server_that_is_away_ends_nothing(tmp_path: Path, api: ApiServer) -> None:
    async def scene() -> None:
        (home,) = hospitals(tmp_path, HOME)
        async with home.serving() as served:
            settings = home.settings(kubernetes_secrets=RELEASE, interval_s=1)
            keeper = ClusterKeeper(api.cluster(), settings, served.driver)
            await keeper.keep_secrets()
            before = api.data(f"{RELEASE}-tls-ledger")
            (home.home / "tls" / "ledger" / "tls.crt").unlink()
            (home.home / "identity" / "administrator" / "tls.crt").unlink()
            old = api.data(f"{RELEASE}-administrator")
            await served.driver.keep_files()
            await keeper.keep_secrets()
            after = api.data(f"{RELEASE}-tls-ledger")
            assert before["tls.crt"] != after["tls.crt"]
            assert old["signing.key"] != api.data(f"{RELEASE}-administrator")["signing.key"]
            _fits(tmp_path / "mounted", after)
            api.stop()
            tending = asyncio.create_task(keeper.tend())
            async with asyncio.timeout(DEADLINE_S):
                await soon(lambda: keeper.failures["secrets"] >= 2)
                assert not tending.done()
                del api.objects["secrets", f"{RELEASE}-tls-ledger"]
                api.start()
                await soon(lambda: ("secrets", f"{RELEASE}-tls-ledger") in api.objects and keeper.reached_ms > 0)
            tending.cancel()
            await asyncio.wait([tending])

    play(scene)


def _fits(folder: Path, files: dict[str, bytes]) -> None:
    """A service can start from what a Secret holds."""
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    assert read_material(folder, ALLIANCE).member_id == HOME


@pytest.mark.slow
def test_the_process_keeps_secrets_and_serves_on_without_the_api_server(tmp_path: Path, api: ApiServer) -> None:
    async def scene() -> None:
        (home,) = hospitals(tmp_path, HOME)
        async with home.own_services():
            wanted = "alliance member_id genesis member_key state_directory services_directory tls_directory "
            wanted += "authorities_directory drain_s grace_s ledger_address consensus_address kubernetes_secrets interval_s"
            settings = home.settings(kubernetes_secrets=RELEASE, interval_s=1)
            environment = {name: each for name, each in os.environ.items() if not name.startswith("CONSILIUM_")}  # noqa: TID251
            environment |= {f"CONSILIUM_IDENTITY_{name.upper()}": str(getattr(settings, name)) for name in wanted.split()}
            environment["KUBECONFIG"] = str(api.kubeconfig(tmp_path / "kubeconfig"))
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "consilium.identity", env=environment, stderr=asyncio.subprocess.PIPE
            )
            assert process.stderr is not None
            seen: set[str] = set()
            async with asyncio.timeout(DEADLINE_S):
                while len(seen) < len(NAMES):
                    entry = json.loads(await process.stderr.readline())
                    seen |= {entry["kind"]} if entry["event"] == "secret_written" else set()
            assert api.names("secrets") == NAMES
            api.stop()
            async with asyncio.timeout(DEADLINE_S):
                while json.loads(await process.stderr.readline())["event"] != "kubernetes_failed":
                    pass
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(DEADLINE_S):
                assert await process.wait() == 0

    play(scene)


async def soon(holds: Callable[[], bool]) -> None:
    """Waits for it; the caller has a limit."""
    while not holds():  # noqa: ASYNC110  a thread makes it true
        await asyncio.sleep(0.05)
