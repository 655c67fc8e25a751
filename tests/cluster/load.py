"""Applications at a member that write one record after the other, while something is done to the alliance.

Whoever cannot be reached (exit code 3) has taken nothing on, and is asked again, as applications do; any other end of a
write is a failure. Whether anybody was asked again tells whether the application had to wait.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.cluster.alliance import RELEASE
from tests.cluster.looking import BACK_S

if TYPE_CHECKING:
    from tests.cluster.alliance import Member
    from tests.cluster.cluster import Cluster

WRITES_MIN = 20
SCRIPT = """
umask 077; cd /tmp; echo 'a passphrase of the test' > passphrase
consilium patient enrol busy --passphrase-file passphrase
n=0
while [ ! -e stop ]; do
  head -c 20000 /dev/urandom > letter-$n
  tries=0 status=3
  while [ $status = 3 ] && [ $tries -lt 60 ]; do
    status=0
    consilium record put letter-$n --scope load --passphrase-file passphrase > said 2>&1 || status=$?
    [ $status != 3 ] || { tries=$((tries+1)); echo "again $n: $(cat said)"; sleep 1; }
  done
  if [ $status = 0 ]; then echo "written $n"; else echo "failed $n with $status: $(cat said)"; fi
  n=$((n+1))
done
consilium record list --passphrase-file passphrase --json > listed
echo ended
sleep 600
"""


@dataclass(frozen=True, slots=True)
class Load:
    """The pod that writes: the member's desk once more."""

    cluster: Cluster
    member: Member

    @staticmethod
    def begin(cluster: Cluster, member: Member) -> Load:
        """Have it write; the first record is written on return."""
        made = Load(cluster, member)
        cluster.apply(_pod(cluster, member))
        cluster.until("the load writes", lambda: "written 0" in made.said(), BACK_S)
        return made

    def said(self) -> str:
        """What it has said so far."""
        return self.cluster.logs("load", self.member.namespace)

    def until_more(self) -> None:
        """Wait until it has written more than by now."""
        written = self.said().count("written")
        self.cluster.until("more is written", lambda: self.said().count("written") > written, BACK_S)

    def end(self) -> None:
        """Stop it. Fails where a write failed, or where what it has written is not what the ledger lists."""
        named = ("load", f"--namespace={self.member.namespace}")
        self.until_more()
        self.cluster.kubectl("exec", *named, "--", "touch", "/tmp/stop")
        self.cluster.until("the load has ended", lambda: "ended" in self.said(), BACK_S)
        said, listed = self.said(), json.loads(self.cluster.kubectl("exec", *named, "--", "cat", "/tmp/listed"))["records"]
        self.cluster.kubectl("delete", "pod", *named, "--force", "--grace-period=0")
        failed = [line for line in said.splitlines() if line.startswith("failed ")]
        assert not failed, failed
        assert said.count("written") >= WRITES_MIN
        assert sorted(each["label"] for each in listed if each["registered"]) == sorted(_labels(said))


def _labels(said: str) -> list[str]:
    """What the load says it has written."""
    return [f"letter-{line.split()[1]}" for line in said.splitlines() if line.startswith("written ")]


def _pod(cluster: Cluster, member: Member) -> dict[str, Any]:
    template = cluster.get("deployment", f"{RELEASE}-desk", f"--namespace={member.namespace}")["spec"]["template"]
    spec = template["spec"]
    spec["containers"][0]["command"] = ["sh", "-euc", SCRIPT]
    labels = {"consilium.io/client": "true", "app": "load"}
    metadata = {"name": "load", "namespace": member.namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {**spec, "restartPolicy": "Never"}}
