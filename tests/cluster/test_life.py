"""What an alliance lives through on a cluster: killed pods, another build under load, a member whose namespace is gone."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from tests.cluster.alliance import FOUR, RELEASE, SERVICES
from tests.cluster.images import NEXT_BUILD
from tests.cluster.load import Load
from tests.cluster.looking import BACK_S, until_attending

if TYPE_CHECKING:
    from tests.cluster.alliance import Alliance, Member
    from tests.cluster.cluster import Cluster

HOME, FAR = FOUR[0], FOUR[3]
AHEAD = 4
LETTER = """
umask 077; cd /tmp; echo 'a passphrase of the test' > passphrase
consilium patient enrol far --passphrase-file passphrase
head -c 1000000 /dev/urandom > letter
consilium record put letter --scope letters --passphrase-file passphrase
"""


def test_killed_pods_are_missed_by_nobody(cluster: Cluster, alliance: Alliance) -> None:
    """All pods of a member at once, without notice; the others go on, and it comes back."""
    before = alliance.height(HOME)
    names = [f"{RELEASE}-{each}-0" for each in SERVICES]
    cluster.kubectl("delete", "pod", *names, f"--namespace={FAR.namespace}", "--force", "--grace-period=0")
    reached = alliance.until_height(HOME, before + AHEAD)
    alliance.until_height(FAR, reached + 1, BACK_S)
    until_attending(alliance)


def test_another_build_rolls_out_under_load_and_no_write_fails(cluster: Cluster, alliance: Alliance) -> None:
    """One member after the other: while others upgrade nobody waits; while the home does its applications wait."""
    load = Load.begin(cluster, HOME)
    with cluster.timed("rolling upgrade of four members under load"):
        for each in FOUR[1:]:
            upgrade(alliance, each)
        assert "again" not in load.said()
        upgrade(alliance, HOME)
    load.end()


def upgrade(alliance: Alliance, member: Member) -> None:
    """Bring a member to the other build, and wait until nobody is missing."""
    alliance.images[member.member_id] = NEXT_BUILD
    alliance.install(member)
    until_rolled_out(alliance.cluster, member)
    until_attending(alliance)


def test_deleted_namespace_is_installed_again_and_heals(cluster: Cluster, alliance: Alliance) -> None:
    """Volumes, certificates and votes are gone; keys and genesis are what the operator kept."""
    alliance.sh(FAR, LETTER)
    cluster.kubectl("delete", "namespace", FAR.namespace, "--timeout=180s")
    alliance.until_height(HOME, alliance.height(HOME) + 2)
    alliance.settings[FAR.member_id] = {"consensus": {"settings": {"begin_again_above": int(time.time())}}}
    with cluster.timed("reinstall of a deleted namespace, to the others' height"):
        alliance.prepare(FAR)
        alliance.install(FAR)
        alliance.until_height(FAR, alliance.height(HOME), BACK_S)
    cluster.until("its storage is healed", lambda: is_whole(alliance.told(FAR, "storage", "heal")), BACK_S)
    until_attending(alliance)


def is_whole(heal: dict[str, Any]) -> bool:
    """Whether a heal has looked after something, the letter at least, and left nothing."""
    return heal.get("objects", 0) > 0 and not (heal["failed"] or heal["lost"] or heal["unreached"])


def until_rolled_out(cluster: Cluster, member: Member) -> None:
    """Wait until every pod of a release is the new one, and ready."""
    for each in SERVICES:
        cluster.kubectl(
            "rollout", "status", f"statefulset/{RELEASE}-{each}", f"--namespace={member.namespace}", "--timeout=240s"
        )
    cluster.kubectl("rollout", "status", f"deployment/{RELEASE}-desk", f"--namespace={member.namespace}", "--timeout=120s")
