"""What identity does in the real Kubernetes: the API server's contract, the chart's Role, Secrets, Lease and conditions."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from kubernetes import client, config

from consilium.kernel.errors import PermissionDenied
from consilium.runtime.cluster import Cluster as Api
from tests.cluster.alliance import FOUR, RELEASE, SERVICES
from tests.identity.api_contract import check_config_map, check_event, check_lease, check_secret

if TYPE_CHECKING:
    from tests.cluster.alliance import Alliance, Member
    from tests.cluster.cluster import Cluster

NAMESPACE = "api-contract"
SECRETS = {*(f"{RELEASE}-tls-{each}" for each in (*SERVICES, "monitoring")), f"{RELEASE}-administrator"}


def api(cluster: Cluster, namespace: str, token: str = "") -> Api:
    """The product's own client of the cluster, as its administrator or as a service account."""
    configuration = client.Configuration()
    config.load_kube_config(str(cluster.places.kubeconfig), client_configuration=configuration)  # type: ignore[no-untyped-call]
    if token:
        configuration.cert_file = configuration.key_file = None
        configuration.api_key = {"authorization": f"Bearer {token}"}
    return Api(namespace, configuration)


def test_the_contract_of_the_api_server(cluster: Cluster) -> None:
    """The small one of tests/identity/api_server.py is asked the same."""
    place = f"--namespace={NAMESPACE}"

    def label(name: str) -> None:
        cluster.kubectl("label", "secret", name, "somebody=else", place)

    def labels(name: str) -> dict[str, str]:
        found: dict[str, str] = cluster.get("secret", name, place)["metadata"]["labels"]
        return found

    def events() -> list[tuple[str, str, str]]:
        return [(each["type"], each["reason"], each["message"]) for each in cluster.get("events", place)["items"]]

    cluster.kubectl("create", "namespace", NAMESPACE)
    try:
        with closing(api(cluster, NAMESPACE)) as found:
            check_secret(found, label, labels)
            check_config_map(found)
            check_lease(found)
            check_event(found, events)
    finally:
        cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


@pytest.mark.parametrize("member", FOUR, ids=lambda each: each.member_id)
def test_identity_keeps_secrets_lease_and_conditions(cluster: Cluster, alliance: Alliance, member: Member) -> None:
    place = f"--namespace={member.namespace}"
    names = {each["metadata"]["name"] for each in cluster.get("secrets", place)["items"]}
    assert names >= SECRETS
    uid = alliance.pod(member, "consensus")["metadata"]["uid"]
    cluster.until("the Lease names the pod", lambda: _holder(cluster, place) == uid)

    def conditions() -> dict[str, str]:
        data = cluster.find("configmap", f"{RELEASE}-status", place).get("data", {})
        return {each["type"]: each["status"] for each in json.loads(data.get("conditions.json", "[]"))}

    wanted = {"Ready": "True", "CaughtUp": "True", "PeersReachable": "True", "CertificatesFresh": "True"}
    cluster.until("all conditions are well", lambda: conditions().items() >= (wanted | {"UpgradeNeeded": "False"}).items())


def test_a_deleted_secret_is_made_again(cluster: Cluster, alliance: Alliance) -> None:
    place, name = f"--namespace={alliance.members[0].namespace}", f"{RELEASE}-tls-storage"
    before = cluster.get("secret", name, place)
    cluster.kubectl("delete", "secret", name, place)
    cluster.until("it is there again", lambda: name in cluster.kubectl("get", "secrets", place))
    after = cluster.get("secret", name, place)
    assert (after["data"], after["metadata"]["uid"] != before["metadata"]["uid"]) == (before["data"], True)


def test_the_role_is_no_wider_than_that(cluster: Cluster, alliance: Alliance) -> None:
    """Identity's account may keep its own objects, and read no other Secret of the namespace: not even its keys'."""
    namespace = alliance.members[0].namespace
    token = cluster.kubectl("create", "token", f"{RELEASE}-identity", f"--namespace={namespace}").strip()
    with closing(api(cluster, namespace, token)) as found:
        for name in sorted(SECRETS):
            held = found.secret(name)
            assert held is not None
            assert not found.put_secret(name, held)
        assert len(found.pods("app.kubernetes.io/name=consilium")) >= len(SERVICES)
        for look in (
            lambda: found.secret("consilium-keys"),
            lambda: found.config_map("consilium-genesis"),
            lambda: found.lease("another"),
        ):
            with pytest.raises(PermissionDenied, match="KUBERNETES_FORBIDDEN"):
                look()


def _holder(cluster: Cluster, place: str) -> str:
    holder: str = cluster.find("lease", f"{RELEASE}-consensus", place).get("spec", {}).get("holderIdentity", "")
    return holder
