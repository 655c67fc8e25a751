"""Pages for operators in Kubernetes, typed as they stand: a member is restored."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.cluster.alliance import FOUR
from tests.cluster.looking import BACK_S, until_attending
from tests.cluster.test_backup import keep
from tests.cluster.test_life import LETTER, is_whole, until_rolled_out
from tests.cluster.typed import typed
from tests.docs.pages import fenced
from tests.docs.replaying import OPERATIONS, blocks

if TYPE_CHECKING:
    from tests.cluster.alliance import Alliance
    from tests.cluster.cluster import Cluster

RESTORED = FOUR[3]


def test_a_member_is_restored_by_the_drills_job(cluster: Cluster, alliance: Alliance) -> None:
    """backup.md: backed up by hand, stopped, restored onto its own volumes, started, healed; silent for a term (C5)."""
    page, given = OPERATIONS / "backup.md", {"hospital-3a": RESTORED.namespace}
    keep(cluster, alliance, RESTORED)
    until_rolled_out(cluster, RESTORED)
    alliance.sh(RESTORED, LETTER)
    begin, _, show = blocks(page, "Before anything happens")[3]
    taken = told(typed(alliance, [begin, show], given))
    [patch] = fenced(page, "yaml")
    place = f"/backup/{RESTORED.member_id}"
    (alliance.folder / "restore.yaml").write_text(patch.replace("s3://store.example:9000/bucket/3A", place))
    with cluster.timed("restore of a member by the drill's Job"):
        restored = told(typed(alliance, blocks(page, "A member is gone")[7], given))
    assert (restored["drill"], restored["snapshot_height"], restored["damaged"]) == (False, taken["height"], 0)
    assert restored["objects"] == taken["objects"] > 0
    cluster.until("it is healed", lambda: is_whole(alliance.told(RESTORED, "storage", "heal")), BACK_S)
    until_attending(alliance, 2 * BACK_S)


def told(said: str) -> dict[str, Any]:
    """What a Job says last, as values."""
    found: dict[str, Any] = json.loads([line for line in said.splitlines() if line.startswith("{")][-1])
    return found
