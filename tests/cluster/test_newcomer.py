"""A fifth member joins an installed alliance: one file, one command (rules G2, L5; docs/operations/join.md)."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

from tests.cluster.alliance import CHART, CONSILIUM, FIFTH, FOUR, RESTRICTED
from tests.cluster.places import TOOLS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cluster.alliance import Alliance, Member
    from tests.cluster.cluster import Cluster

INVITER = FOUR[0]
JOIN = "join of a fifth member: one command, the vote, the others' height"
JOIN_S_MAX = 120
INVITATION, REQUEST = "/tmp/fifth.invitation", "/tmp/fifth.request"


def test_fifth_member_joins_within_two_minutes(cluster: Cluster, alliance: Alliance, tmp_path: Path) -> None:
    """The invitation is one file, what the newcomer runs is one command; then the members vote, and it follows the chain."""
    words = ("invite", "create", FIFTH.member_id, "--owner", FIFTH.owner, "--output", INVITATION)
    invited = alliance.ask(INVITER, *words)
    (tmp_path / "invitation").write_bytes(fetched(alliance, INVITER, INVITATION))
    labels = {"name": FIFTH.namespace, "labels": RESTRICTED}
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": labels})
    with cluster.timed(JOIN):
        prepared = joined(alliance, tmp_path, invited["fingerprint"])
        admit(alliance, (tmp_path / "member" / f"{FIFTH.member_id}.request").read_bytes(), prepared["fingerprint"])
        alliance.until_height(FIFTH, alliance.height(INVITER))
    assert cluster.seconds[JOIN] < JOIN_S_MAX
    listed = alliance.ask(FIFTH, "member", "list")["members"]
    assert {each["member"]: each["state"] for each in listed}[FIFTH.member_id] == "ACTIVE"


def joined(alliance: Alliance, folder: Path, fingerprint: str) -> dict[str, str]:
    """The newcomer's command, which installs too; this machine is not in the members' network, hence --offline."""
    values = folder / "mine.json"
    told = alliance.values(FIFTH)
    values.write_text(json.dumps({"image": told["image"], "desk": told["desk"]}))
    command = [
        CONSILIUM,
        "join",
        "prepare",
        str(folder / "invitation"),
        str(folder / "member"),
        "--fingerprint",
        fingerprint,
    ]
    more = ["--namespace", FIFTH.namespace, "--install", str(CHART), "--values", str(values), "--offline", "--json"]
    path = {"PATH": f"{TOOLS}:{os.environ['PATH']}", "KUBECONFIG": str(alliance.cluster.places.kubeconfig)}
    done = subprocess.run([*command, *more], env={**os.environ, **path}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    prepared: dict[str, str] = json.loads(done.stdout)
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
