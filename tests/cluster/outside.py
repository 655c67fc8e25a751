"""A client of a member that needs no API server: the command line here, at the addresses of the member's Services.

It runs in the cluster's network, where kube-proxy's rules go on working whatever becomes of the control plane.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.cluster.alliance import CONSILIUM, RELEASE, SERVICES

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cluster.alliance import Alliance, Member
    from tests.cluster.enclosure import Enclosure

PORT = 8443


@dataclass(frozen=True, slots=True)
class Outside:
    """What it has to know, learned while the API server was there."""

    enclosure: Enclosure
    environment: dict[str, str]

    @staticmethod
    def of(alliance: Alliance, member: Member, folder: Path) -> Outside:
        """Learn the addresses, and take the administrator's credential into a folder."""
        cluster = alliance.cluster
        held = cluster.get("secret", f"{RELEASE}-administrator", f"--namespace={member.namespace}")["data"]
        folder.mkdir(mode=0o700)
        for name, content in held.items():
            (folder / name).touch(mode=0o600)
            (folder / name).write_bytes(base64.b64decode(content))
        ways = []
        for each in SERVICES:
            service = cluster.get("service", f"{RELEASE}-{each}", f"--namespace={member.namespace}")
            ways.append(f"{member.member_id}/{each}={service['spec']['clusterIP']}:{PORT}")
        told = {"GENESIS": str(alliance.folder / "alliance" / "genesis"), "MEMBER_ID": member.member_id}
        told |= {"CREDENTIAL": str(folder), "KEYSTORE": str(folder / "keystore"), "SERVICES": ",".join(ways)}
        named = {f"CONSILIUM_CLIENT_{key}": value for key, value in told.items()}
        return Outside(cluster.enclosure, {**os.environ, **named})

    def status(self) -> dict[str, Any]:
        """How the alliance stands, as `consilium status` tells it; empty while it tells nothing."""
        command = [*self.enclosure.entering(), CONSILIUM, "status", "--json"]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        try:
            told: dict[str, Any] = json.loads(done.stdout)
        except ValueError:
            return {}
        return told
