"""A Kubernetes of one machine: brought up, used, taken down (docs/operations/cluster.md).

All of it is real: etcd, the API server, its controllers, the scheduler, containerd with runc, the kubelet, kube-proxy and
CoreDNS. Each step's seconds are kept and printed, because a cluster that comes up slowly is one nobody tests on.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consilium.runtime.addresses import join_address
from tests.cluster.components import commands, write_configuration
from tests.cluster.credentials import CLIENTS, Credentials
from tests.cluster.enclosure import Enclosure, children
from tests.cluster.places import IPV4, MACHINE, ROOT, TOOLS, Places
from tests.cluster.volumes import Volumes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.cluster.places import Family

READY_S = 120
STOP_S = 10
MANIFESTS = Path(__file__).with_name("manifests")


@dataclass
class Cluster:
    """A cluster that runs, and the processes it was started as."""

    places: Places
    enclosure: Enclosure
    lines: dict[str, list[str]]
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    volumes: Volumes | None = None

    @staticmethod
    def start(folder: Path, images: list[Path], family: Family = IPV4) -> Cluster:
        """Bring a cluster up in a folder that is new or empty, and give it these images. Fails with the component's log."""
        places = Places(folder.resolve(), family)
        places.make()
        enclosure = Enclosure.create(places)
        made = Cluster(places, enclosure, commands(places, enclosure.inside))
        try:
            made._bring_up(images)
        except BaseException:
            made.stop()
            raise
        return made

    def stop(self) -> None:
        """Take it down, all at once; the folder stays for who wants to read logs."""
        if self.volumes is not None:
            self.volumes.stop()
        self.enclosure.remove()
        for each in self.running.values():
            each.wait()

    # --- using it ---

    def kubectl(self, *arguments: str, text: str | None = None) -> str:
        """Run kubectl. Fails with what it said."""
        return run([str(TOOLS / "kubectl"), "--kubeconfig", str(self.places.kubeconfig), *arguments], text)

    def get(self, *arguments: str) -> Any:
        """What `kubectl get` shows, as values."""
        return json.loads(self.kubectl("get", *arguments, "--output=json"))

    def find(self, *arguments: str) -> dict[str, Any]:
        """As `get`, for who waits: empty while it is not there, or the API server does not answer."""
        command = [str(TOOLS / "kubectl"), "--kubeconfig", str(self.places.kubeconfig), "get", *arguments, "--output=json"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
        return json.loads(done.stdout) if done.returncode == 0 else {}

    def logs(self, pod: str, namespace: str) -> str:
        """What a pod has said; nothing while it has not started."""
        command = [str(TOOLS / "kubectl"), "--kubeconfig", str(self.places.kubeconfig), "logs", pod]
        return subprocess.run([*command, f"--namespace={namespace}"], capture_output=True, text=True, check=False).stdout

    def helm(self, *arguments: str) -> str:
        """Run Helm. Fails with what it said."""
        return run([str(TOOLS / "helm"), "--kubeconfig", str(self.places.kubeconfig), *arguments])

    def apply(self, manifest: object) -> None:
        """Create or change an object, or a list of them."""
        objects = manifest if isinstance(manifest, list) else [manifest]
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        self.kubectl("apply", "--filename=-", text=text)

    def import_image(self, archive: Path) -> None:
        """Give the machine an image, from an archive."""
        run(["ctr", "--address", str(self.places.containerd), "--namespace=k8s.io", "images", "import", str(archive)])

    @contextlib.contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Keeps and prints how many seconds something took."""
        began = time.monotonic()
        yield
        self.seconds[what] = time.monotonic() - began
        print(f"{self.seconds[what]:7.1f} s  {what}", flush=True)

    # --- components ---

    def spawn(self, name: str) -> None:
        """Start a component."""
        with self.places.log(name).open("ab") as log:
            self.running[name] = subprocess.Popen(
                [*self.enclosure.entering(), *self.lines[name]],
                cwd=self.places.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def end(self, name: str) -> None:
        """Stop a component; gone on return."""
        process = self.running.pop(name)
        for each in children(process.pid):
            signal_to(each, signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            for each in children(process.pid):
                signal_to(each, signal.SIGKILL)
            process.wait()

    def until(self, what: str, holds: Callable[[], bool], seconds: float = READY_S, pause_s: float = 0.2) -> None:
        """Wait until something holds. Fails with the components' last words when it does not in time, or one has ended."""
        deadline = time.monotonic() + seconds
        while not holds():
            ended = [name for name, each in self.running.items() if each.poll() is not None]
            assert not ended, f"{ended} ended while waiting until {what}:\n{self.last_words(ended)}"
            assert time.monotonic() < deadline, f"In {seconds} seconds it did not come about that {what}."
            time.sleep(pause_s)

    def last_words(self, names: list[str]) -> str:
        """The ends of the logs of components."""
        return "\n".join(self.places.log(each).read_text(errors="replace")[-3_000:] for each in names)

    def answers(self) -> bool:
        """Whether the API server is ready."""
        command = [str(TOOLS / "kubectl"), "--kubeconfig", str(self.places.kubeconfig), "get", "--raw=/readyz"]
        done = subprocess.run([*command, "--request-timeout=2s"], capture_output=True, text=True, check=False)
        return done.stdout == "ok"

    # --- bringing up ---

    def _bring_up(self, images: list[Path]) -> None:
        with self.timed("certificates and configuration"):
            self._configure()
        with self.timed("etcd, containerd, API server"):
            for name in ("etcd", "containerd", "kube-apiserver"):
                self.spawn(name)
            self.until("the API server is ready", self.answers)
        with self.timed("images given to containerd"):
            for each in images:
                self.import_image(each)
        with self.timed("the other components, machine ready"):
            for name in list(self.lines)[3:]:
                self.spawn(name)
            self.until("the machine is ready", self._machine_is_ready)
        with self.timed("names (CoreDNS) and volumes"):
            self._add_ons()

    def _configure(self) -> None:
        write_configuration(self.places)
        credentials = Credentials.create(self.places / "credentials")
        credentials.issue_all(self.enclosure.inside, self.places.family.first_service)
        server = f"https://{join_address(self.enclosure.inside, 6_443)}"
        for each in CLIENTS:
            credentials.write_kubeconfig(self.places / "credentials" / f"{each}.kubeconfig", each, server)
        credentials.write_kubeconfig(self.places.kubeconfig, "admin", server)

    def _machine_is_ready(self) -> bool:
        machines = self.get("nodes")["items"]
        conditions = [each for machine in machines for each in machine["status"].get("conditions", [])]
        return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)

    def _add_ons(self) -> None:
        for each in sorted(MANIFESTS.glob("*.yaml")):
            self.kubectl("apply", "--filename=-", text=each.read_text().replace(IPV4.dns, self.places.family.dns))
        self.volumes = Volumes.start(self.places.kubeconfig, self.places / "volumes", MACHINE)
        self.kubectl("wait", "--namespace=kube-system", "--for=condition=Available", "deployment/coredns", "--timeout=120s")


def run(command: list[str], text: str | None = None) -> str:
    """Run a command and return what it printed. Fails with what it said."""
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout[-2_000:]}{done.stderr[-4_000:]}"
    return done.stdout


def signal_to(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process that may be gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
