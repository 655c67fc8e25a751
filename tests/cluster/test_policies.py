"""NetworkPolicies as an agent enforces them: who reaches whom is what the rendered policies say, and the alliance works."""

from __future__ import annotations

import contextlib
import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.alliance import FOUR, RELEASE, SERVICES
from tests.cluster.looking import BACK_S, until_attending
from tests.cluster.policies import enforced
from tests.cluster.test_life import LETTER
from tests.helm.network import Network, Place, edges

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.cluster.alliance import Alliance, Member
    from tests.cluster.cluster import Cluster

OWN, OTHER = FOUR[0], FOUR[1]
STRANGER, PORT = "stranger", 8443
REACHED = """
import concurrent.futures, json, socket, sys
def reached(place):
    try:
        socket.create_connection((place, %d), 5).close()
    except OSError:
        return False
    return True
places = sys.argv[1:]
with concurrent.futures.ThreadPoolExecutor(len(places)) as several:
    print(json.dumps(list(several.map(reached, places))))
"""
"""Run in a pod: to which of these addresses a connection comes about; a packet that is dropped is told by nobody."""


@pytest.fixture(scope="module")
def stranger(cluster: Cluster, alliance: Alliance) -> Iterator[None]:
    """A pod of the member's namespace that is nobody's client: the desk's image, without its labels."""
    named = ("deployment", f"{RELEASE}-desk", f"--namespace={OWN.namespace}")
    spec = cluster.get(*named)["spec"]["template"]["spec"]
    metadata = {"name": STRANGER, "namespace": OWN.namespace, "labels": {"app": STRANGER}}
    cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    cluster.kubectl("wait", "--for=condition=Ready", f"pod/{STRANGER}", f"--namespace={OWN.namespace}", "--timeout=120s")
    yield
    cluster.kubectl("delete", "pod", STRANGER, f"--namespace={OWN.namespace}", "--force", "--grace-period=0")
    assert alliance.members


@pytest.fixture
def policies(cluster: Cluster, stranger: None) -> Iterator[None]:
    """All of them, enforced."""
    del stranger
    with enforced(cluster):
        yield


def test_nothing_is_enforced_without_an_agent(cluster: Cluster, alliance: Alliance, stranger: None) -> None:
    """So that the tests below can fail: where nobody enforces, a stranger reaches a ledger's port."""
    del stranger, alliance
    found = pods(cluster, OWN)
    assert reached(cluster, found[STRANGER], [found["ledger"].address]) == [True]


def test_every_edge_is_there_and_no_other(cluster: Cluster, alliance: Alliance, policies: None) -> None:
    """Every service, the desk and the stranger, towards every service of the own member and of another."""
    del policies, alliance
    network = Network({each.namespace: policies_of(cluster, each) for each in (OWN, OTHER)})
    own, other = pods(cluster, OWN), pods(cluster, OTHER)
    for theirs in (own, other):
        wanted = edges(network, placed(own), placed(theirs), PORT)
        assert connected(cluster, own, theirs) == wanted
        assert ("desk", "ledger") in wanted
        assert (STRANGER, "ledger") not in wanted


def test_the_alliance_works_where_policies_are_enforced(cluster: Cluster, alliance: Alliance, policies: None) -> None:
    """All pods of a member are new, so that every connection of theirs is judged; then a record is written."""
    del policies
    names = [f"{RELEASE}-{each}-0" for each in SERVICES]
    cluster.kubectl("delete", "pod", *names, f"--namespace={OTHER.namespace}", "--force", "--grace-period=0")
    alliance.until_height(OTHER, alliance.height(OWN) + 2, BACK_S)
    until_attending(alliance)
    cluster.until("all its services answer", lambda: all(answering(alliance, OTHER)), BACK_S)
    alliance.sh(OTHER, LETTER)


def test_the_doctor_sees_how_full_volumes_are_where_policies_are_enforced(
    cluster: Cluster, alliance: Alliance, policies: None
) -> None:
    """Through the one edge to metrics that is not Prometheus' own; what else the doctor finds, `test_rendered` asks."""
    del policies, alliance
    doctor = f"{RELEASE}-test-doctor"
    with contextlib.suppress(AssertionError):
        cluster.helm("test", RELEASE, f"--namespace={OWN.namespace}", f"--filter=name={doctor}", "--timeout=5m")
    said = " ".join(cluster.logs(doctor, OWN.namespace).split())
    assert [each for each in SERVICES if not re.search(rf"volume {each} \d+ MiB of \d+ are free", said)] == []


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod that runs: its name, what policies select it by, and where it is reached."""

    name: str
    place: Place
    address: str


def pods(cluster: Cluster, member: Member) -> dict[str, Pod]:
    """A member's services, its desk, and the stranger if it is in that namespace."""
    listed = cluster.get("pods", f"--namespace={member.namespace}", "--field-selector=status.phase=Running")["items"]
    found = {}
    for each in listed:
        labels = each["metadata"]["labels"]
        place = Place(member.namespace, labels)
        component = labels.get("app.kubernetes.io/component", labels.get("app", ""))
        found[component] = Pod(each["metadata"]["name"], place, each["status"]["podIP"])
    return {name: pod for name, pod in found.items() if name in (*SERVICES, "desk", STRANGER)}


def placed(found: Mapping[str, Pod]) -> dict[str, Place]:
    """What policies see of pods."""
    return {name: each.place for name, each in found.items()}


def policies_of(cluster: Cluster, member: Member) -> list[dict[str, Any]]:
    """The policies of a namespace, as the API server has them."""
    found: list[dict[str, Any]] = cluster.get("networkpolicies", f"--namespace={member.namespace}")["items"]
    return found


def connected(cluster: Cluster, own: Mapping[str, Pod], others: Mapping[str, Pod]) -> set[tuple[str, str]]:
    """Who of these gets a connection to which services of those, as tried."""

    def found(source: str) -> set[tuple[str, str]]:
        targets = [each for each in SERVICES if others[each] != own[source]]
        answers = reached(cluster, own[source], [others[each].address for each in targets])
        return {(source, target) for target, answer in zip(targets, answers, strict=True) if answer}

    with ThreadPoolExecutor(len(own)) as several:
        return set().union(*several.map(found, own))


def reached(cluster: Cluster, pod: Pod, addresses: list[str]) -> list[bool]:
    """To which addresses a pod gets a connection."""
    where = (f"--namespace={pod.place.namespace}", pod.name)
    answers: list[bool] = json.loads(cluster.kubectl("exec", *where, "--", "python", "-c", REACHED % PORT, *addresses))
    return answers


def answering(alliance: Alliance, member: Member) -> list[bool]:
    """Which of its own services a member's desk reaches."""
    told = alliance.status(member).get("services", {})
    return [bool(told.get(each)) for each in SERVICES]
