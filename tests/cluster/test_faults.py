"""What an installed alliance bears: a lost control plane, a copied key, a pod moved by force (rule C5)."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

from tests.cluster.alliance import FOUR, RELEASE
from tests.cluster.looking import BACK_S, all_restarts, tombstoned, until_attending
from tests.cluster.outside import Outside

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.cluster.alliance import Alliance, Member
    from tests.cluster.cluster import Cluster

HOME, VICTIM = FOUR[0], FOUR[2]
AHEAD = 4


def test_lost_control_plane_stops_no_replica(cluster: Cluster, alliance: Alliance, tmp_path: Path) -> None:
    """Rule C5: the Lease warns, and nothing else; blocks go on without an API server, and no pod was started again."""
    outside = [Outside.of(alliance, each, tmp_path / each.member_id) for each in alliance.members]
    before, restarts = [each.status()["executed_height"] for each in outside], all_restarts(alliance)
    cluster.end("kube-apiserver")
    try:
        for each, height in zip(outside, before, strict=True):
            until_outside(each, height + AHEAD)
        assert not cluster.answers()
    finally:
        cluster.spawn("kube-apiserver")
        cluster.until("the API server is ready again", cluster.answers)
    assert all_restarts(alliance) == restarts


def test_second_pod_with_a_key_is_refused_by_the_others(cluster: Cluster, alliance: Alliance) -> None:
    """Rule C5: a copy of the consensus pod, on a volume of its own, while the first one runs."""
    cluster.apply(copied_pod(cluster, VICTIM))
    copy = ("copy", VICTIM.namespace)
    try:
        cluster.until("the copy is told", lambda: "RUNNING_ELSEWHERE" in cluster.logs(*copy), BACK_S)
        assert "key_is_running_elsewhere" in cluster.logs(*copy)
        reached = alliance.height(HOME)
        alliance.until_height(VICTIM, reached + AHEAD)
    finally:
        cluster.kubectl("delete", "pod", "copy", f"--namespace={VICTIM.namespace}", "--force", "--grace-period=0")
    until_attending(alliance)
    assert not tombstoned(alliance)


def test_forced_reschedules_make_no_conflicting_votes(
    cluster: Cluster, alliance: Alliance, pytestconfig: pytest.Config
) -> None:
    """Rule C5: killed and started again on the same votes, as often as asked; two votes for one slot would be evidence.

    The new pod waits for the old one's process to let go of the votes, and does not end and begin again meanwhile.
    """
    for number in range(1, pytestconfig.getoption("--reschedules") + 1):
        before = alliance.pod(VICTIM, "consensus")["metadata"]["uid"]
        named = (f"{RELEASE}-consensus-0", f"--namespace={VICTIM.namespace}")
        with cluster.timed(f"forced reschedule {number} of consensus, to ready"):
            cluster.kubectl("delete", "pod", *named, "--force", "--grace-period=0")
            cluster.until("another pod runs", partial(runs_another, alliance, VICTIM, before), BACK_S)
        [status] = alliance.pod(VICTIM, "consensus")["status"]["containerStatuses"]
        assert status["restartCount"] == 0, cluster.kubectl("logs", "--previous", *named)
    reached = alliance.height(HOME)
    alliance.until_height(VICTIM, reached + AHEAD)
    until_attending(alliance)
    assert not tombstoned(alliance)


def until_outside(client: Outside, height: int) -> None:
    """Wait until a member's ledger has come so far, without the API server's help."""
    deadline = time.monotonic() + BACK_S
    while ((told := client.status()).get("executed_height") or 0) < height:
        assert time.monotonic() < deadline, told
        time.sleep(0.5)


def runs_another(alliance: Alliance, member: Member, uid: str) -> bool:
    """Whether a pod other than this one runs there, and is ready."""
    named = ("pods", f"--namespace={member.namespace}", f"--field-selector=metadata.name={RELEASE}-consensus-0")
    pods = alliance.cluster.get(*named)["items"]
    conditions = [each for pod in pods if pod["metadata"]["uid"] != uid for each in pod["status"].get("conditions", [])]
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def copied_pod(cluster: Cluster, member: Member) -> dict[str, Any]:
    """The consensus pod once more, under another name and without its volume; no Service finds it."""
    template = cluster.get("statefulset", f"{RELEASE}-consensus", f"--namespace={member.namespace}")["spec"]["template"]
    spec = template["spec"]
    spec["volumes"] = [*spec["volumes"], {"name": "state", "emptyDir": {}}]
    metadata = {"name": "copy", "namespace": member.namespace, "labels": {"app": "copy"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
