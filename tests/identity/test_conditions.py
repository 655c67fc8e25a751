"""The Lease of the seat and the conditions: what an operator reads with kubectl, and what wakes one."""

from __future__ import annotations

import asyncio
import json
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from prometheus_client import CollectorRegistry

from consilium.api.consensus.v1 import consensus_pb2 as pb
from consilium.identity.cluster.conditions import FALSE, TRUE, UNKNOWN, Observed, carried, conditions, status_data
from consilium.identity.cluster.counters import ClusterCounters
from consilium.identity.cluster.keeping import ClusterKeeper
from consilium.identity.cluster.lease import HELD_ELSEWHERE, LEASE_MS, MANY_PODS, SeatSeen, keep_lease
from consilium.kernel.membership import SERVICES
from consilium.runtime.cluster import Lease, Pod
from consilium.runtime.proven_ledger import LedgerTip
from tests.identity.api_server import ApiServer, serving_api
from tests.identity.hospital import HOME, hospitals, play

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME, POD, NOW = "consilium-consensus", "consilium-consensus-0", 1_800_000_000_000


@pytest.fixture
def api() -> Iterator[ApiServer]:
    yield from serving_api()


# --- the Lease ---


def test_the_lease_is_held_for_the_pod_that_runs(api: ApiServer) -> None:
    with closing(api.cluster()) as cluster:
        assert not keep_lease(cluster, NAME, SeatSeen(), NOW).is_held, "nothing runs yet"
        uid = api.put_pod(POD, "consensus")
        first = keep_lease(cluster, NAME, SeatSeen(), NOW)
        later = keep_lease(cluster, NAME, first, NOW + 10_000)
        assert (first.is_held, later.is_held, first.warning, later.warning) == (True, True, "", "")
        found = cluster.lease(NAME)
        assert found is not None
        assert (found.holder, found.until_ms, found.transitions) == (uid, NOW + 10_000 + LEASE_MS, 0)


def test_a_new_pod_takes_over_when_the_lease_of_the_old_has_lapsed(api: ApiServer) -> None:
    with closing(api.cluster()) as cluster:
        api.put_pod(POD, "consensus")
        seen = keep_lease(cluster, NAME, SeatSeen(), NOW)
        uid = api.put_pod(POD, "consensus")
        seen = keep_lease(cluster, NAME, seen, NOW + 10_000)
        assert (seen.is_held, seen.warning) == (False, ""), "an ordinary restart wakes nobody"
        seen = keep_lease(cluster, NAME, seen, NOW + LEASE_MS)
        found = cluster.lease(NAME)
        assert found is not None
        assert (seen.is_held, found.holder, found.transitions) == (True, uid, 1)


def test_two_pods_are_told(api: ApiServer) -> None:
    with closing(api.cluster()) as cluster:
        first = api.put_pod(POD, "consensus")
        seen = keep_lease(cluster, NAME, SeatSeen(), NOW)
        api.put_pod("a-copy", "consensus")
        seen = keep_lease(cluster, NAME, seen, NOW + 10_000)
        assert (seen.warning, seen.is_held) == (MANY_PODS, True), "who has it keeps it"
        assert seen.lease is not None
        assert (seen.lease.holder, "a-copy, consilium-consensus-0" in seen.note) == (first, True)


def test_a_lease_that_another_renews_is_told(api: ApiServer) -> None:
    with closing(api.cluster()) as cluster:
        api.put_pod(POD, "consensus")
        cluster.put_lease(NAME, Lease("foreign", NOW + LEASE_MS, 0), NOW)
        seen = keep_lease(cluster, NAME, SeatSeen(), NOW + 1_000)
        assert (seen.warning, seen.is_held) == ("", False)
        held = cluster.lease(NAME)
        assert held is not None
        cluster.put_lease(NAME, replace(held, until_ms=NOW + 40_000), NOW + 10_000)
        seen = keep_lease(cluster, NAME, seen, NOW + 11_000)
        assert (seen.warning, seen.is_held) == (HELD_ELSEWHERE, False)
        assert "Stop one of the two" in seen.note


# --- the conditions ---


def pod(component: str, *, ready: bool = True, reason: str = "") -> Pod:
    phase = "Running" if ready else "Pending"
    return Pod(f"consilium-{component}-0", component, component, phase, ready, is_leaving=False, restarts=0, reason=reason)


WELL = Observed(
    HOME,
    [pod(each) for each in SERVICES],
    LedgerTip(10, 10, 1_000, 1),
    10_000,
    pb.GetReplicaStateResponse(
        state=pb.REPLICA_STATE_ORDERING, peers=[pb.PeerState(member_id=each, connected=True) for each in ("2A", "3A", "3B")]
    ),
    (),
)
CUT_OFF = pb.GetReplicaStateResponse(state=pb.REPLICA_STATE_ORDERING, peers=[pb.PeerState(member_id="3B")])


def test_all_is_well() -> None:
    found = conditions(WELL)
    assert {each.type: each.status for each in found} == {
        "Ready": TRUE, "InCommittee": TRUE, "CaughtUp": TRUE, "PeersReachable": TRUE, "CertificatesFresh": TRUE,
        "UpgradeNeeded": FALSE,
    }  # fmt: skip
    assert all(each.is_well for each in found)


@pytest.mark.parametrize(
    ("seen", "kind", "status", "reason", "says"),
    [
        (replace(WELL, pods=None), "Ready", UNKNOWN, "NotAsked", "The Kubernetes API does not answer"),
        (
            replace(WELL, pods=[*map(pod, SERVICES[1:]), pod("consensus", ready=False, reason="CrashLoopBackOff")]),
            "Ready", FALSE, "NotReady", "consensus (CrashLoopBackOff)",
        ),
        (replace(WELL, replica=None), "InCommittee", UNKNOWN, "NotAsked", "Consensus does not answer"),
        (
            replace(WELL, replica=pb.GetReplicaStateResponse(state=pb.REPLICA_STATE_SILENT)),
            "InCommittee", FALSE, "Silent", "(C5)",
        ),
        (
            replace(WELL, replica=pb.GetReplicaStateResponse(state=pb.REPLICA_STATE_STOPPED)),
            "InCommittee", FALSE, "Stopped", "consilium recovery status",
        ),
        (
            replace(WELL, replica=pb.GetReplicaStateResponse(state=pb.REPLICA_STATE_CATCHING_UP)),
            "CaughtUp", FALSE, "Behind", "fetches blocks",
        ),
        (replace(WELL, tip=LedgerTip(10, 10, 11_000, 1)), "CaughtUp", FALSE, "TipOld", "consilium status"),
        (replace(WELL, replica=CUT_OFF), "PeersReachable", FALSE, "NotConnected", "No stream opens to 3B"),
        (replace(WELL, stale=("ledger",)), "CertificatesFresh", FALSE, "NotRenewed", "due: ledger."),
        (
            replace(WELL, tip=LedgerTip(10, 10, 1_000, 1, 2, 500)),
            "UpgradeNeeded", TRUE, "BuildTooOld", "From height 500 on the alliance goes by version 2",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_what_to_do(seen: Observed, kind: str, status: str, reason: str, says: str) -> None:
    found = {each.type: each for each in conditions(seen)}[kind]
    assert (found.status, found.reason, says in found.message) == (status, reason, True), found
    assert not found.is_well


def test_following_is_no_fault() -> None:
    seen = replace(WELL, replica=pb.GetReplicaStateResponse(state=pb.REPLICA_STATE_FOLLOWING))
    found = {each.type: each for each in conditions(seen)}["InCommittee"]
    assert (found.status, found.is_well) == (FALSE, True)


def test_a_condition_keeps_its_time_while_its_status_stays() -> None:
    morning, noon = datetime(2026, 1, 2, 8, tzinfo=UTC), datetime(2026, 1, 2, 12, tzinfo=UTC)
    held = status_data(carried(conditions(WELL), None, morning))
    assert status_data(carried(conditions(WELL), held, noon)) == held
    changed = carried(conditions(replace(WELL, replica=CUT_OFF)), held, noon)
    since = {each.type: each.since for each in changed}
    assert (since["Ready"], since["PeersReachable"]) == ("2026-01-02T08:00:00Z", "2026-01-02T12:00:00Z")
    assert carried(conditions(WELL), {"conditions.json": "no json"}, noon)[0].since == "2026-01-02T12:00:00Z"


def held_by_metric(keeper: ClusterKeeper) -> float | None:
    registry = CollectorRegistry()
    registry.register(ClusterCounters(keeper))
    return registry.get_sample_value("consilium_identity_kubernetes_lease_held")


def test_the_status_is_written_and_a_warning_told_once(tmp_path: Path, api: ApiServer) -> None:
    """Consensus of these tests does not tell how it stands; the ledger does."""

    async def scene() -> None:
        (home,) = hospitals(tmp_path, HOME)
        async with home.serving() as served:
            keeper = ClusterKeeper(api.cluster(), home.settings(kubernetes_secrets="consilium"), served.driver)
            for each in SERVICES:
                api.put_pod(f"consilium-{each}-0", each)
            await keeper.keep_conditions()
            await keeper.keep_conditions()
            held = api.objects["configmaps", "consilium-status"]["data"]
            listed = {each["type"]: each["status"] for each in json.loads(held["conditions.json"])}
            assert (listed["Ready"], listed["PeersReachable"], listed["CertificatesFresh"]) == (TRUE, UNKNOWN, TRUE)
            assert "PeersReachable     Unknown  since 20" in held["summary"]
            told = [each for each in api.events() if each[1] == "NotAsked"]
            assert len(told) == len({message for _, _, message in told}) == 2, "once for each condition"
            assert [verb for verb, plural, _ in api.asked if plural == "configmaps" and verb != "get"] == ["create"]
            del api.objects["pods", "consilium-storage-0"]
            await keeper.keep_conditions()
            assert api.events()[-1][:2] == ("Warning", "NotReady")
            api.put_pod("consilium-storage-0", "storage")
            await keeper.keep_conditions()
            assert api.events()[-1][:2] == ("Normal", "NotReadyOver")
            assert held_by_metric(keeper) == 0
            await keeper.keep_lease()
            assert (keeper.seat.is_held, held_by_metric(keeper)) == (True, 1)
            keeper.cluster.close()

    play(scene)


def test_without_the_api_server_the_turns_fail_alone(tmp_path: Path, api: ApiServer) -> None:
    async def scene() -> None:
        (home,) = hospitals(tmp_path, HOME)
        async with home.serving() as served:
            settings = home.settings(kubernetes_secrets="consilium", interval_s=1)
            keeper = ClusterKeeper(api.cluster(), settings, served.driver)
            api.forbidden |= {("get", "leases"), ("list", "pods")}
            tending = asyncio.create_task(keeper.tend())
            async with asyncio.timeout(30):
                while not (keeper.failures["lease"] and api.names("configmaps") and keeper.reached_ms):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            assert (keeper.failures["secrets"], tending.done()) == (0, False)
            tending.cancel()
            await asyncio.wait([tending])

    play(scene)
