"""How an installed alliance is looked at: whether anybody is missing, how often pods were started again, who is accused."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.cluster.alliance import Alliance

BACK_S = 300
"""How many seconds a member may take to be back, on a machine that has other things to do."""


def until_attending(alliance: Alliance, seconds: float = BACK_S) -> None:
    """Wait until nobody is missing at the first member. Fails with what it says."""
    deadline = time.monotonic() + seconds
    while (told := alliance.status(alliance.members[0])).get("missing", True) or told["stall"]:
        assert time.monotonic() < deadline, told
        time.sleep(0.5)


def tombstoned(alliance: Alliance) -> list[str]:
    """The members that the ledger holds evidence against."""
    listed = alliance.ask(alliance.members[0], "member", "list")["members"]
    return [each["member"] for each in listed if each["tombstoned"]]


def all_restarts(alliance: Alliance) -> dict[str, int]:
    """How often each container of the services was started again."""
    found = {}
    for member in alliance.members:
        for pod in alliance.cluster.get("pods", f"--namespace={member.namespace}")["items"]:
            statuses = pod["status"].get("containerStatuses", [])
            found[f"{member.member_id}/{pod['metadata']['name']}"] = sum(each["restartCount"] for each in statuses)
    return found
