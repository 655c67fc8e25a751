"""Bad input to an installed alliance is refused before anything has changed, and what is said names the way out.

By the chart, with the cluster at hand; by the coming member's one command; and by the members, for a name or a key that is
somebody's already. A second process with a key that runs is tried in `test_faults`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from consilium.kernel.encoding import decode, encode
from consilium.kernel.hashing import ZERO_DIGEST
from consilium.kernel.invitations import InvitationFile, SignedInvitation
from consilium.kernel.signing import Ed25519Signer
from tests.cluster.alliance import CHART, CONSILIUM, FOUR, RELEASE, RESTRICTED
from tests.cluster.places import TOOLS
from tests.cluster.test_newcomer import fetched, handed_in
from tests.cluster.volumes import CLASS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cluster.alliance import Alliance
    from tests.cluster.cluster import Cluster

HOME, OTHER = FOUR[0], FOUR[1]
EMPTY, COMING = "hospital-nobody", "4C"
UPGRADES = {
    "an unknown value": ("gateway.enabled=true", "additional properties 'gateway' not allowed"),
    "a wrong value": ("storage.objects=mongo", "at '/storage/objects': value must be one of 'embedded', 'cassandra'"),
    "two consensus replicas": ("consensus.replicas=2", "at '/consensus/replicas': value must be 1"),
    "a member's name twice": ("alliance.peers[0].member=3A", "alliance.peers names 3A twice: name each member once"),
    "its own name": ("alliance.peers[0].member=1A", "names 1A, which is this member itself: leave it out"),
    "a missing Secret": ("member.keys.existingSecret=lost", "no Secret lost in namespace hospital-1a: make it first"),
    "half a Secret": ("member.keys.existingSecret=half", "Secret half has no key consensus: make it again, whole"),
    "a missing genesis": ("genesis.existingConfigMap=lost", "no ConfigMap lost in namespace hospital-1a: make it first"),
}
"""What a release that runs is to become, and what Helm says."""


@pytest.fixture(scope="module")
def half(cluster: Cluster, alliance: Alliance) -> Iterator[None]:
    """A Secret with one of a member's keys."""
    place = f"--namespace={HOME.namespace}"
    cluster.kubectl("create", "secret", "generic", "half", place, "--from-literal=member=a")
    yield
    cluster.kubectl("delete", "secret", "half", place)
    assert alliance.members


@pytest.fixture(scope="module")
def empty(cluster: Cluster) -> Iterator[str]:
    """A namespace with nothing in it."""
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": EMPTY, "labels": RESTRICTED}})
    yield EMPTY
    cluster.kubectl("delete", "namespace", EMPTY, "--wait=false")


# --- the chart ---


@pytest.mark.parametrize("name", UPGRADES)
def test_an_upgrade_that_cannot_be_is_refused_whole(cluster: Cluster, alliance: Alliance, half: None, name: str) -> None:
    del half
    changed, says = UPGRADES[name]
    before, values = standing(cluster, HOME.namespace), alliance.folder / f"{HOME.member_id}.json"
    place = (f"--namespace={HOME.namespace}", f"--values={values}")
    with pytest.raises(AssertionError, match=re.escape(says)):
        cluster.helm("upgrade", RELEASE, str(CHART), *place, "--set", changed)
    assert standing(cluster, HOME.namespace) == before


def test_an_install_without_its_secret_makes_nothing(cluster: Cluster, alliance: Alliance, empty: str) -> None:
    values = alliance.folder / f"{HOME.member_id}.json"
    with pytest.raises(AssertionError, match="make it first; `consilium founding kubernetes` or the join prints it"):
        cluster.helm("install", RELEASE, str(CHART), f"--namespace={empty}", f"--values={values}")
    assert standing(cluster, empty) == ([], {})


# --- the invitation, the name, the keys ---


@dataclass(frozen=True, slots=True)
class Guest:
    """Somebody invited: where the invitation lies, and where the coming member's own files do."""

    invitation: Path
    folder: Path

    @staticmethod
    def of(alliance: Alliance, folder: Path) -> Guest:
        """Whom the first member has invited."""
        path = f"/tmp/{COMING}.invitation"
        alliance.ask(HOME, "invite", "create", COMING, "--owner", "elsewhere", "--output", path)
        (folder / "invitation").write_bytes(fetched(alliance, HOME, path))
        return Guest(folder / "invitation", folder / "member")

    @property
    def file(self) -> InvitationFile:
        """What it was given."""
        return decode(InvitationFile, self.invitation.read_bytes(), ZERO_DIGEST)

    @property
    def request(self) -> Path:
        """What it answers."""
        return self.folder / f"{COMING}.request"

    def prepare(self, cluster: Cluster, *more: str) -> dict[str, Any]:
        """The coming member's command; what it tells, a refusal too."""
        words = [CONSILIUM, "join", "prepare", str(self.invitation), str(self.folder), "--offline", "--json"]
        named = ["--fingerprint", self.file.fingerprint, "--namespace", EMPTY, *more]
        path = {"PATH": f"{TOOLS}:{os.environ['PATH']}", "KUBECONFIG": str(cluster.places.kubeconfig)}
        done = subprocess.run([*words, *named], env={**os.environ, **path}, capture_output=True, text=True, check=False)
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    def forge(self, *, by_a_thief: bool) -> None:
        """Put another invitation in its place: nobody's signature, or that of a key no member has."""
        file, thief = self.file, Ed25519Signer.from_seed(b"t" * 32)
        said = replace(file.signed.invitation, inviter_key=thief.public_key)
        signature = thief.sign(encode(said, file.chain_id)) if by_a_thief else file.signed.signature
        forged = replace(file, signed=SignedInvitation(said, signature))
        self.invitation.write_bytes(encode(forged, ZERO_DIGEST))


def test_an_invitation_nobody_signed_draws_and_installs_nothing(
    cluster: Cluster, alliance: Alliance, empty: str, tmp_path: Path
) -> None:
    guest = Guest.of(alliance, tmp_path)
    guest.forge(by_a_thief=False)
    error = guest.prepare(cluster, "--install", str(CHART))["error"]
    assert (error["reason"], "ask for another" in error["sentence"]) == ("FOREIGN_INVITATION", True)
    assert not guest.folder.exists()
    assert standing(cluster, empty) == ([], {})


def test_a_join_is_not_installed_where_its_pods_could_not_start(
    cluster: Cluster, alliance: Alliance, empty: str, tmp_path: Path
) -> None:
    """No namespace, or no class of volumes that claims take; `test_newcomer` goes on where both are there."""
    guest = Guest.of(alliance, tmp_path)
    error = guest.prepare(cluster, "--install", str(CHART), "--namespace", "hospital-nowhere")["error"]
    assert (error["reason"], "kubectl create namespace hospital-nowhere" in error["sentence"]) == ("NO_NAMESPACE", True)
    with no_default_class(cluster):
        error = guest.prepare(cluster, "--install", str(CHART))["error"]
    assert (error["reason"], "name one in a file of --values" in error["sentence"]) == ("NO_STORAGE_CLASS", True)
    assert not guest.folder.exists()
    assert standing(cluster, empty) == ([], {})


@contextmanager
def no_default_class(cluster: Cluster) -> Iterator[None]:
    """The cluster's class of volumes is one that claims have to name."""
    named = ("annotate", "--overwrite", "storageclass", CLASS)
    cluster.kubectl(*named, "storageclass.kubernetes.io/is-default-class=false")
    try:
        yield
    finally:
        cluster.kubectl(*named, "storageclass.kubernetes.io/is-default-class=true")


def test_a_strangers_invitation_is_not_proposed(cluster: Cluster, alliance: Alliance, tmp_path: Path) -> None:
    """It looks like one to whoever knows no ledger; the members know the ledger."""
    guest = Guest.of(alliance, tmp_path)
    guest.forge(by_a_thief=True)
    fingerprint = guest.prepare(cluster)["fingerprint"]
    assert refused(alliance, guest, fingerprint)["reason"] == "FOREIGN_INVITATION"


def test_a_members_name_invites_nobody(alliance: Alliance) -> None:
    words = ("invite", "create", OTHER.member_id, "--owner", "elsewhere", "--output", "/tmp/second.invitation")
    error = alliance.told(HOME, *words)["error"]
    assert (error["reason"], "choose another name" in error["sentence"]) == ("MEMBER_EXISTS", True)


def test_a_key_that_runs_elsewhere_is_not_proposed(cluster: Cluster, alliance: Alliance, tmp_path: Path) -> None:
    """Rule C5: somebody has copied a member's consensus key into the new member's folder."""
    guest = Guest.of(alliance, tmp_path)
    guest.prepare(cluster)
    guest.request.unlink()
    shutil.copy(alliance.keys(OTHER) / "keys" / "consensus", guest.folder / "keys" / "consensus")
    fingerprint = guest.prepare(cluster)["fingerprint"]
    error = refused(alliance, guest, fingerprint)
    assert (error["reason"], "draw fresh ones" in error["sentence"]) == ("KEY_IN_USE", True)


def refused(alliance: Alliance, guest: Guest, fingerprint: str) -> dict[str, Any]:
    """What the first member says when it is to propose this request; nothing is proposed."""
    before = alliance.ask(HOME, "member", "proposals")["proposals"]
    error: dict[str, Any] = handed_in(alliance, guest.request.read_bytes(), fingerprint)["error"]
    assert alliance.ask(HOME, "member", "proposals")["proposals"] == before
    return error


def standing(cluster: Cluster, namespace: str) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The releases of a namespace, and its pods by name with what identifies each."""
    place = f"--namespace={namespace}"
    releases: list[dict[str, Any]] = json.loads(cluster.helm("list", place, "--all", "--output=json"))
    metadata = [each["metadata"] for each in cluster.get("pods", place)["items"]]
    return releases, {each["name"]: each["uid"] for each in metadata}
