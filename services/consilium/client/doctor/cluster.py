"""What Kubernetes says of the member's release: its pods and their volumes, the Lease of consensus, identity's conditions.

The calls block and are few. What this service account may not look at is a warning, not a fault of the member.
"""

import json
from collections.abc import Callable

from consilium.client.doctor.findings import Finding, State, odd, well, wrong
from consilium.client.doctor.volumes import Read, judge_volumes
from consilium.kernel.errors import ConsiliumError
from consilium.kernel.membership import SERVICES
from consilium.runtime.cluster import PODS, Cluster, Lease, Pod

CHECK = "kubernetes"
RESTARTS_MANY = 5
_WANTED = {"InCommittee": ("True", "False"), "UpgradeNeeded": ("False",)}
"""The statuses of a condition that are well, where they are not True alone."""


def examine_release(cluster: Cluster, release: str, now_ms: int, read: Read) -> list[Finding]:
    """All that is to be said of a release; `read` is how a pod's metrics are read."""
    return [
        *_looked("pods", lambda: judge_pods(cluster.pods(PODS), lambda pod: _warning(cluster, pod))),
        *_looked("volumes", lambda: judge_volumes(cluster.pods(PODS), read)),
        *_looked("lease", lambda: [judge_lease(cluster.lease(f"{release}-consensus"), cluster.pods(PODS), now_ms)]),
        *_looked("conditions", lambda: judge_conditions(cluster.config_map(f"{release}-status"), release)),
    ]


def judge_pods(pods: list[Pod], warning: Callable[[str], str]) -> list[Finding]:
    """Whether each service has a pod that is ready, and which restart for ever; `warning` is the last of a pod's events."""
    findings = []
    for service in SERVICES:
        own = [each for each in pods if each.component == service]
        unready = next((each for each in own if not each.is_ready), None)
        if not own:
            findings.append(
                wrong(CHECK, f"pod {service}", "There is none.", "See kubectl get statefulset,deployment,events.")
            )
        elif not any(each.is_ready for each in own) and unready is not None:
            why = "; ".join(filter(None, (unready.reason or unready.phase, warning(unready.name))))
            told = f"{unready.name} is not ready ({why})."
            findings.append(
                wrong(CHECK, f"pod {service}", told, f"kubectl describe pod {unready.name}; kubectl logs {unready.name}")
            )
        elif (restarts := max(each.restarts for each in own)) >= RESTARTS_MANY:
            told = f"{own[0].name} has been started {restarts} times again."
            findings.append(odd(CHECK, f"pod {service}", told, f"kubectl logs --previous {own[0].name}"))
    return findings or [well(CHECK, "pods", "A pod of each service is ready.")]


def judge_lease(lease: Lease | None, pods: list[Pod], now_ms: int) -> Finding:
    """Whether the seat's Lease is held for the pod that runs; nothing depends on it (C5)."""
    running = {each.uid for each in pods if each.component == "consensus" and each.phase == "Running"}
    advice = "See identity's log for kubernetes_failed; replicas run on without it."
    if lease is None or lease.until_ms < now_ms:
        return odd(CHECK, "lease", "Nobody holds the Lease of the consensus seat.", advice)
    if lease.holder not in running:
        told = f"It is held for pod {lease.holder}, which does not run here."
        return odd(CHECK, "lease", told, "Look again in half a minute; if it stays so, the release runs twice: stop one.")
    return well(CHECK, "lease", "It is held for the consensus pod that runs.")


def judge_conditions(data: dict[str, str] | None, release: str) -> list[Finding]:
    """The conditions that are not as wanted."""
    if data is None:
        advice = "Set CONSILIUM_IDENTITY_KUBERNETES_SECRETS to the release, and see identity's log."
        return [odd(CHECK, "conditions", f"There is no ConfigMap {release}-status.", advice)]
    try:
        listed = json.loads(data.get("conditions.json", "[]"))
    except ValueError:
        listed = []
    bad = [each for each in listed if each["status"] not in _WANTED.get(each["type"], ("True",))]
    found = [
        odd(CHECK, each["type"], f"{each['status']} since {each['lastTransitionTime']}.", each["message"]) for each in bad
    ]
    return found or [well(CHECK, "conditions", "All conditions are as they should be.")]


def _warning(cluster: Cluster, pod: str) -> str:
    """What the last event of a pod warns of, such as a Secret that is missing; nothing where events may not be read."""
    try:
        return cluster.last_warning(pod)
    except ConsiliumError:
        return ""


def _looked(what: str, judge: Callable[[], list[Finding]]) -> list[Finding]:
    try:
        return judge()
    except ConsiliumError as error:
        return [Finding(CHECK, what, State.WARNING, error.sentence, "Look with kubectl, or give this account the right to.")]
