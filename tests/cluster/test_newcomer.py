"""A fifth member joins an installed alliance: one file, one command, typed as join.md has them (rules G2, L5)."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from tests.cluster.alliance import FIFTH, FOUR, RESTRICTED
from tests.cluster.looking import until_attending
from tests.cluster.test_life import until_rolled_out
from tests.cluster.typed import typed
from tests.docs.replaying import OPERATIONS, blocks

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cluster.alliance import Alliance, Member
    from tests.cluster.cluster import Cluster

INVITER, PAGE = FOUR[0], OPERATIONS / "join.md"
JOIN = "join of a fifth member: one command, the vote, the others' height"
JOIN_S_MAX = 120
INVITATION, REQUEST = "/tmp/fifth.invitation", "/tmp/fifth.request"
COMPARED = "5f0c-21ab-93de-0c4e-77f1"
"""The fingerprint that the page has."""


def test_fifth_member_joins_within_two_minutes(cluster: Cluster, alliance: Alliance, tmp_path: Path) -> None:
    """The invitation is one file, what the newcomer runs is one command; then the members vote, and it follows the chain."""
    words = ("invite", "create", FIFTH.member_id, "--owner", FIFTH.owner, "--output", INVITATION)
    invited = alliance.ask(INVITER, *words)
    (tmp_path / f"{FIFTH.member_id}.invitation").write_bytes(fetched(alliance, INVITER, INVITATION))
    labels = {"name": FIFTH.namespace, "labels": RESTRICTED}
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": labels})
    with cluster.timed(JOIN):
        prepared = joined(alliance, tmp_path, invited["fingerprint"])
        request = tmp_path / FIFTH.member_id / f"{FIFTH.member_id}.request"
        admit(alliance, request.read_bytes(), prepared["fingerprint"])
        alliance.until_height(FIFTH, alliance.height(INVITER))
    assert cluster.seconds[JOIN] < JOIN_S_MAX
    listed = alliance.ask(FIFTH, "member", "list")["members"]
    assert {each["member"]: each["state"] for each in listed}[FIFTH.member_id] == "ACTIVE"


def test_the_others_name_its_address(cluster: Cluster, alliance: Alliance) -> None:
    """One after the other; it may have a seat from the next term on, and nobody is missing then."""
    alliance.joined.append(FIFTH)
    [upgrade] = blocks(PAGE, "4. The others name its address")[0]
    for each in FOUR:
        values = alliance.folder / f"{each.member_id}.json"
        values.write_text(json.dumps(alliance.values(each)))
        typed(alliance, [upgrade], {"hospital-1a": each.namespace, "1a.yaml": values.name})
        until_rolled_out(cluster, each)
        until_attending(alliance)


def joined(alliance: Alliance, folder: Path, fingerprint: str) -> dict[str, str]:
    """The newcomer's command, which installs too; this machine is not in the members' network, hence --offline."""
    told = alliance.values(FIFTH)
    (folder / "mine.yaml").write_text(json.dumps({"image": told["image"], "desk": told["desk"]}))
    [command] = blocks(PAGE, "2. The coming member prepares: one command")[0]
    given = {"4A": FIFTH.member_id, "hospital-4a": FIFTH.namespace, COMPARED: fingerprint}
    prepared: dict[str, str] = json.loads(typed(alliance, [f"{command} --offline --json"], given, folder))
    return prepared


def admit(alliance: Alliance, request: bytes, fingerprint: str) -> None:
    """The inviter proposes what the request says, the others vote."""
    told = handed_in(alliance, request, fingerprint)
    assert "proposal" in told, told
    for each in FOUR[1:3]:
        alliance.ask(each, "member", "vote", told["proposal"], "yes")


def handed_in(alliance: Alliance, request: bytes, fingerprint: str) -> dict[str, Any]:
    """What the inviter is told when it proposes what the request says."""
    alliance.desk(INVITER, "sh", "-euc", f"base64 -d > {REQUEST}", text=base64.b64encode(request).decode())
    return alliance.told(INVITER, "member", "propose", "admit", "--request", REQUEST, "--fingerprint", fingerprint)


def fetched(alliance: Alliance, member: Member, path: str) -> bytes:
    """A file of a desk."""
    return base64.b64decode(alliance.desk(member, "base64", path))
