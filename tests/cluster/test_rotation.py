"""A member goes over to new keys as rotation.md has it, typed as it stands, while applications write (rules G3, C5).

While its pods are replaced, those of another delegate are too: two operators who know nothing of one another. The alliance's
own view lets one go at a time (ADR 23), so at a third member no write has to be tried again.
"""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tests.cluster.alliance import FOUR, KEYS, RELEASE
from tests.cluster.load import Load
from tests.cluster.looking import BACK_S, until_attending
from tests.cluster.test_life import until_rolled_out
from tests.cluster.typed import typed
from tests.docs.replaying import OPERATIONS, PROPOSAL, blocks

if TYPE_CHECKING:
    from concurrent.futures import Future

    from tests.cluster.alliance import Alliance, Member
    from tests.cluster.cluster import Cluster

HOME, ROTATED, BESIDE = FOUR[0], FOUR[2], FOUR[3]
NEW_NAME, NEXT = "consilium-keys-2", "consilium-next-keys"
"""What the page calls the Secret of the keys that are in force at its end, and that of the next ones."""
GIVEN = {"3A": ROTATED.member_id, "hospital-3a": ROTATED.namespace}
PROPOSED = "/tmp/new-keys.json"
DRAW, HOLD, DECIDED, IN_FORCE, ADOPT, PUT = blocks(OPERATIONS / "rotation.md", "A member's keys")
BORROW = blocks(OPERATIONS / "kubernetes.md", "Where `consilium` is typed")[1]


def test_g3_a_member_goes_over_to_new_keys_and_no_write_fails(cluster: Cluster, alliance: Alliance) -> None:
    """Every pod that holds the member key holds the new one at the end, whatever the kubelet has kept of the old Secret."""
    for each in FOUR:
        until_rolled_out(cluster, each)
    before = key_in(cluster, "storage")
    loads = [Load.begin(cluster, each) for each in (HOME, ROTATED)]
    with cluster.timed("a member's keys changed under load, a term and two roll-outs included"):
        typed(alliance, [*DRAW, *HOLD], GIVEN)
        decide(alliance, ROTATED)
        cluster.until("they are in force", lambda: is_in_force(alliance), BACK_S)
        reached = f"until {BORROW[-1]}; do sleep 1; done"
        typed(alliance, [*BORROW[:-1], "trap 'kill $!' EXIT", reached, *ADOPT], GIVEN)
        assert seen_missing(alliance, PUT) <= {(), (ROTATED.member_id,), (BESIDE.member_id,)}
        until_rolled_out(cluster, ROTATED)
        until_rolled_out(cluster, BESIDE)
    assert "again" not in loads[0].said()
    for load in loads:
        load.end()
    after = (alliance.keys(ROTATED) / "keys" / "member").read_bytes()
    assert after != before
    assert [key_in(cluster, each) for each in ("identity", "consensus", "storage", "reencryption")] == [after] * 4
    assert {KEYS, NEXT}.isdisjoint(secrets_of(cluster, ROTATED))
    alliance.settings.setdefault(ROTATED.member_id, {})["member"] = {
        "id": ROTATED.member_id,
        "keys": {"existingSecret": NEW_NAME},
    }
    until_attending(alliance)
    found = alliance.ask(ROTATED, "doctor")["findings"]
    assert not [each for each in found if each["state"] == "failed"]


def seen_missing(alliance: Alliance, lines: list[str]) -> set[tuple[str, ...]]:
    """Type what replaces a member's pods while another's are replaced too; who was missing at the home meanwhile."""
    again = [f"kubectl rollout restart -n {BESIDE.namespace} statefulset/{RELEASE}-consensus statefulset/{RELEASE}-ledger"]
    again.append(f"kubectl rollout status -n {BESIDE.namespace} statefulset/{RELEASE}-consensus")
    found = set()
    with ThreadPoolExecutor() as several:
        work: list[Future[str]] = [several.submit(typed, alliance, each, GIVEN) for each in (lines, again)]
        while not all(each.done() for each in work):
            if "missing" in (told := alliance.status(HOME)):  # a status that failed has seen nobody
                found.add(tuple(sorted(told["missing"])))
    for each in work:
        each.result()
    assert found, "the home told nothing meanwhile"
    return found


def decide(alliance: Alliance, member: Member) -> None:
    """The home proposes a member's next keys at its desk, where the file is handed to it; the others vote."""
    text = (alliance.keys(member) / "new-keys.json").read_text()
    alliance.desk(HOME, "sh", "-euc", f"cat > {PROPOSED}", text=text)
    proposal = alliance.ask(HOME, *DECIDED[0].split()[1:-1], PROPOSED)["proposal"]
    for each in FOUR[1:]:
        if alliance.told(each, *DECIDED[1].replace(PROPOSAL, proposal).split()[1:]).get("state") == "ADOPTED":
            return
    raise AssertionError(f"{proposal} was not adopted")


def is_in_force(alliance: Alliance) -> bool:
    """Whether the member has no next keys any more, as the home is told."""
    return alliance.told(HOME, *IN_FORCE[0].split()[1:]).get("next_keys", "not told") is None


def key_in(cluster: Cluster, service: str) -> bytes:
    """The member key that a pod of the member has mounted."""
    named = (f"--namespace={ROTATED.namespace}", f"{RELEASE}-{service}-0")
    return base64.b64decode(cluster.kubectl("exec", *named, "--", "base64", "/etc/consilium/keys/member"))


def secrets_of(cluster: Cluster, member: Member) -> set[str]:
    """The names of all Secrets of a namespace."""
    return {each["metadata"]["name"] for each in cluster.get("secrets", f"--namespace={member.namespace}")["items"]}
