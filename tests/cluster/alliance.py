"""Four members founded by files and installed by Helm, each in its namespace, as their operators would do it.

Two keep objects in the embedded store, two in a Cassandra of their own beside the release. Namespaces are held to Pod
Security, level restricted. What is asked of the alliance is asked by the command line, in a pod of the member's: the chart's
desk.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.cluster import databases
from tests.cluster.cluster import run
from tests.cluster.images import PRODUCT
from tests.cluster.places import ROOT, TOOLS

if TYPE_CHECKING:
    from tests.cluster.cluster import Cluster

CHART, RELEASE = ROOT / "deploy" / "helm" / "consilium", "consilium"
SERVICES = ("identity", "consensus", "ledger", "storage", "reencryption")
KEYS, GENESIS = "consilium-keys", "consilium-genesis"
CONSILIUM = str(Path(sys.executable).with_name("consilium"))
FINAL_S = 400
TERM_BLOCKS, HEARTBEAT_MS = 40, 2_000
"""A term of a minute or so: a delegate whose vote log was lost is silent until one ends (C5)."""
QUOTA = {"requests.cpu": "8", "requests.memory": "16Gi", "limits.memory": "64Gi"}
"""More than a member takes: what a quota refuses is a container that does not say what it asks for."""
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


@dataclass(frozen=True, slots=True)
class Member:
    """A member: its id and grade, whose it is, and where its objects lie."""

    member_id: str
    grade: str
    owner: str
    has_cassandra: bool = False

    @property
    def namespace(self) -> str:
        """The namespace of its one release."""
        return f"hospital-{self.member_id.lower()}"


FOUR = (
    Member("1A", "A1", "community"),
    Member("2A", "A2", "county-east", has_cassandra=True),
    Member("3A", "A3", "university", has_cassandra=True),
    Member("3B", "B3", "city"),
)
FIFTH = Member("2B", "B2", "county-west")


@dataclass
class Alliance:
    """The members on a cluster; `folder` holds what each drew, and what all of them signed."""

    cluster: Cluster
    folder: Path
    members: tuple[Member, ...] = FOUR
    images: dict[str, str] = field(default_factory=dict)
    """The image by member, where it is not the usual one."""
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    """More values by member."""
    joined: list[Member] = field(default_factory=list)
    """Who came later, and is a peer of all from its next installation on."""

    # --- founding and installing ---

    def found(self) -> None:
        """Draw keys, draft, sign, seal: every step by the command line, each member's in its own folder."""
        for each in self.members:
            named = ("--member", each.member_id, "--grade", each.grade, "--owner", each.owner)
            consilium("founding", "prepare", str(self.keys(each)), *named)
        cards = [str(self.keys(each) / f"{each.member_id}.founder") for each in self.members]
        draft = str(self.folder / "genesis-draft")
        numbers = self.folder / "numbers.toml"
        numbers.write_text(f"term_blocks = {TERM_BLOCKS}\nheartbeat_ms = {HEARTBEAT_MS}\n")
        drafted = consilium("founding", "draft", *cards, "--output", draft, "--parameters", str(numbers), "--json")
        fingerprint = json.loads(drafted)["fingerprint"]
        for each in self.members:
            consilium("founding", "sign", draft, str(self.keys(each)), "--fingerprint", fingerprint)
        consents = [str(self.keys(each) / f"{each.member_id}.consent") for each in self.members]
        consilium("founding", "seal", draft, *consents, "--output", str(self.folder / "alliance"))

    def keys(self, member: Member) -> Path:
        """The folder that a member keeps for itself."""
        return self.folder / member.member_id

    def prepare(self, member: Member) -> None:
        """Its namespace, the Secret with its keys, the genesis, and its database where it has one."""
        self.make_namespace(member)
        if member.has_cassandra:
            databases.install(self.cluster, member.namespace)

    def make_namespace(self, member: Member) -> None:
        """A restricted namespace, with a quota where the release is alone in it, the member's keys and the genesis."""
        self.cluster.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": member.namespace, "labels": RESTRICTED}}
        )
        if not member.has_cassandra:
            metadata = {"name": "quota", "namespace": member.namespace}
            self.cluster.apply({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": {"hard": QUOTA}})
        text = consilium("founding", "kubernetes", str(self.folder / "alliance"), str(self.keys(member)))
        self.cluster.kubectl("apply", f"--namespace={member.namespace}", "--filename=-", text=text)

    def install(self, member: Member) -> None:
        """Install its release, or bring it to what it should be now."""
        path = self.folder / f"{member.member_id}.json"
        path.write_text(json.dumps(self.values(member)))
        self.cluster.helm("upgrade", "--install", RELEASE, str(CHART), f"--namespace={member.namespace}", f"--values={path}")

    def values(self, member: Member) -> dict[str, Any]:
        """What the release is told."""
        repository, _, tag = self.images.get(member.member_id, PRODUCT).rpartition(":")
        everybody = [*self.members, *self.joined]
        others = [{"member": each.member_id, "namespace": each.namespace} for each in everybody if each != member]
        return {
            "member": {"id": member.member_id, "keys": {"existingSecret": KEYS}},
            "alliance": {"peers": others},
            "genesis": {"existingConfigMap": GENESIS},
            "image": {"repository": repository, "tag": tag, "pullPolicy": "Never"},
            "listenOn": self.cluster.places.family.everywhere,
            "desk": {"enabled": True},
            **(databases.values() if member.has_cassandra else {}),
            **self.settings.get(member.member_id, {}),
        }

    # --- asking ---

    def desk(self, member: Member, *command: str, text: str | None = None) -> str:
        """Run a command in the member's desk. Fails with what it said."""
        return self.cluster.kubectl(*self._at_desk(member, *([] if text is None else ["--stdin"])), *command, text=text)

    def ask(self, member: Member, *words: str) -> dict[str, Any]:
        """What the command line answers in the member's desk, as values."""
        told: dict[str, Any] = json.loads(self.desk(member, "consilium", *words, "--json"))
        return told

    def sh(self, member: Member, script: str) -> str:
        """Run a script of the shell in the member's desk, that ends at the first command that fails."""
        return self.desk(member, "sh", "-euc", script)

    def hand_over(self, path: str, giver: Member, taker: Member) -> None:
        """Carry a file from one desk to another, as people do."""
        self.desk(taker, "sh", "-euc", f"cat > {path}", text=self.desk(giver, "cat", path))

    def install_all(self) -> None:
        """All members at once, as operators who agreed on an hour: who comes after blocks were made is a late joiner."""
        with ThreadPoolExecutor() as several:
            list(several.map(self.install, self.members))

    def status(self, member: Member) -> dict[str, Any]:
        """What `consilium status` tells there; empty while it tells nothing."""
        return self.told(member, "status")

    def told(self, member: Member, *words: str) -> dict[str, Any]:
        """As `ask`, for who waits: whatever the exit code is, and empty while nothing is told."""
        command = [str(TOOLS / "kubectl"), "--kubeconfig", str(self.cluster.places.kubeconfig), *self._at_desk(member)]
        done = subprocess.run([*command, "consilium", *words, "--json"], capture_output=True, text=True, check=False)
        try:
            told: dict[str, Any] = json.loads(done.stdout)
        except ValueError:
            return {}
        return told

    def height(self, member: Member) -> int:
        """The height that its ledger has executed under a result certificate; 0 while there is none."""
        return self.status(member).get("executed_height") or 0

    def until_height(self, member: Member, height: int, seconds: float = FINAL_S) -> int:
        """Wait until its ledger has come so far. Fails with how it stands when that takes too long."""
        deadline = time.monotonic() + seconds
        while (reached := self.height(member)) < height:
            assert time.monotonic() < deadline, f"{member.member_id} is not at {height}: {self.standing(member)}"
            time.sleep(0.5)
        return reached

    def standing(self, member: Member) -> str:
        """How a member's pods stand and what they said last, for who has to find out what went wrong."""
        pods = self.cluster.kubectl("get", "pods", f"--namespace={member.namespace}")
        events = self.cluster.kubectl("get", "events", f"--namespace={member.namespace}", "--sort-by=.lastTimestamp")
        return f"{self.status(member)}\n{pods}\n{events[-2_000:]}"

    def pod(self, member: Member, service: str) -> dict[str, Any]:
        """The pod of a service, as the API server shows it."""
        shown: dict[str, Any] = self.cluster.get("pod", f"{RELEASE}-{service}-0", f"--namespace={member.namespace}")
        return shown

    def _at_desk(self, member: Member, *options: str) -> list[str]:
        return ["exec", f"--namespace={member.namespace}", *options, f"deployment/{RELEASE}-desk", "--"]


def consilium(*arguments: str) -> str:
    """Run the command line of this checkout. Fails with what it said."""
    return run([CONSILIUM, *arguments])
