"""What an operator gets by Helm: an alliance that works, in namespaces held to Pod Security, level restricted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.cluster.alliance import FOUR, RELEASE, SERVICES
from tests.cluster.conftest import INSTALL
from tests.cluster.looking import BACK_S

if TYPE_CHECKING:
    from tests.cluster.alliance import Alliance, Member
    from tests.cluster.cluster import Cluster

INSTALL_S_MAX = 180
HOME, AWAY = FOUR[0], FOUR[1]
PATIENT = """
umask 077; cd /tmp; echo 'a passphrase of the test' > passphrase
consilium patient enrol lin --passphrase-file passphrase
head -c 3000000 /dev/urandom > scan.dcm
consilium record put scan.dcm --scope imaging --passphrase-file passphrase
sha256sum < scan.dcm
"""
RECIPIENT = """
umask 077; cd /tmp; echo 'a passphrase of the test' > passphrase
consilium recipient enrol radiology --out radiology.address --passphrase-file passphrase
"""
GRANT = """
cd /tmp
consilium share grant radiology.address --scope imaging --purpose treatment --days 30 --out lin.reference \\
  --passphrase-file passphrase --json
"""
OPEN = """
cd /tmp; echo referral > why
consilium record get lin.reference --why why --out opened --as radiology --passphrase-file passphrase
sha256sum < opened
"""
AGAIN = """
cd /tmp; rm -f opened
status=0
consilium record get lin.reference --why why --out opened --as radiology --passphrase-file passphrase || status=$?
test $status = 2
"""


def test_four_members_are_final_within_three_minutes(cluster: Cluster, alliance: Alliance) -> None:
    assert cluster.seconds[INSTALL] < INSTALL_S_MAX

    def all_answer() -> bool:
        told = [alliance.status(each).get("services", {}) for each in alliance.members]
        return all(len(each) == len(SERVICES) and all(each.values()) for each in told)

    cluster.until("all services of all members answer", all_answer, BACK_S)


def test_record_is_put_granted_opened_audited_and_revoked(alliance: Alliance) -> None:
    """The main job, through installed services: the owner's home on the embedded store, the recipient's on Cassandra."""
    put = alliance.sh(HOME, PATIENT).split()
    alliance.sh(AWAY, RECIPIENT)
    alliance.hand_over("/tmp/radiology.address", AWAY, HOME)
    grant = json.loads(alliance.sh(HOME, GRANT))["grant"]
    alliance.hand_over("/tmp/lin.reference", HOME, AWAY)
    assert alliance.sh(AWAY, OPEN).split()[-2] == put[-2]
    audit = json.loads(alliance.sh(HOME, "cd /tmp; consilium audit --passphrase-file passphrase --json"))
    assert {each["member"] for each in audit["lines"]} >= {AWAY.member_id}
    alliance.sh(HOME, f"cd /tmp; consilium share revoke {grant} --passphrase-file passphrase")
    alliance.sh(AWAY, AGAIN)


@pytest.mark.parametrize("member", FOUR, ids=lambda each: each.member_id)
def test_restricted_namespace_takes_every_pod(cluster: Cluster, alliance: Alliance, member: Member) -> None:
    wanted = {f"{RELEASE}-{each}-0" for each in SERVICES}
    pods = cluster.get("pods", f"--namespace={member.namespace}", "--field-selector=status.phase=Running")["items"]
    assert wanted <= {each["metadata"]["name"] for each in pods}
    sets = cluster.get("statefulsets,deployments,jobs", f"--namespace={member.namespace}")["items"]
    assert sets
    refusals = cluster.kubectl("get", "events", f"--namespace={member.namespace}", "--field-selector=reason=FailedCreate")
    assert "violates PodSecurity" not in refusals
    assert "failed quota" not in refusals
    del alliance


def test_restricted_namespace_refuses_what_is_not(cluster: Cluster, alliance: Alliance) -> None:
    """So that the test above can fail."""
    namespace = f"--namespace={alliance.members[0].namespace}"
    with pytest.raises(AssertionError, match="violates PodSecurity"):
        cluster.kubectl("run", "root", namespace, "--image=localhost/consilium:dev", "--image-pull-policy=Never", "--", "id")


def test_a_quota_refuses_who_does_not_say_what_it_asks_for(cluster: Cluster, alliance: Alliance) -> None:
    """As above: the desk once more, without its resources."""
    namespace = alliance.members[0].namespace
    spec = cluster.get("deployment", f"{RELEASE}-desk", f"--namespace={namespace}")["spec"]["template"]["spec"]
    assert spec["containers"][0].pop("resources")
    metadata = {"name": "unmeasured", "namespace": namespace}
    with pytest.raises(AssertionError, match="failed quota"):
        cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
