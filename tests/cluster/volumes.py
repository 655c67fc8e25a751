"""Gives every claim for storage a folder of this machine, and takes it away with the claim: a provisioner for one machine.

The volumes are of the kind `local`, which honours a pod's fsGroup as cloud disks do (`hostPath` does not). A thread follows
the claims, and another the volumes; one whose claim is gone is removed with what is in it. The API server ends a watch when
it likes, and when it stops: then all is listed and followed anew.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.cluster.places import TOOLS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

CLASS = "local"
"""The storage class of the manifests; the default of the cluster."""
AGAIN_S = 0.5
"""How long after a watch has ended the next one begins."""


@dataclass
class Volumes:
    """The provisioner, running until stopped."""

    kubeconfig: Path
    folder: Path
    machine: str
    threads: list[threading.Thread] = field(default_factory=list)
    watches: dict[str, subprocess.Popen[str]] = field(default_factory=dict)
    stopped: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    """No watch begins while it is held, nor after `stopped` is set under it."""

    @staticmethod
    def start(kubeconfig: Path, folder: Path, machine: str) -> Volumes:
        """Follow the claims and the volumes of a cluster."""
        made = Volumes(kubeconfig, folder, machine)
        for kind, act in (("persistentvolumeclaims", made._provide), ("persistentvolumes", made._reclaim)):
            thread = threading.Thread(target=made._follow, args=(kind, act), daemon=True)
            thread.start()
            made.threads.append(thread)
        return made

    def stop(self) -> None:
        """Follow no more."""
        with self.lock:
            self.stopped.set()
            for watch in self.watches.values():
                watch.kill()
        for thread in self.threads:
            thread.join()

    def _follow(self, kind: str, act: Callable[[dict[str, Any]], None]) -> None:
        while (watch := self._watch(kind)) is not None:
            assert watch.stdout is not None
            with watch:
                for each in _values(watch.stdout):
                    act(each)
            self.stopped.wait(AGAIN_S)

    def _watch(self, kind: str) -> subprocess.Popen[str] | None:
        """All of a kind, and every change from then on until the watch ends; None once stopped."""
        command = [*self._kubectl(), "get", kind, "--all-namespaces", "--watch", "--output=json"]
        with self.lock:
            if self.stopped.is_set():
                return None
            watch = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            self.watches[kind] = watch
        return watch

    def _kubectl(self) -> list[str]:
        return [str(TOOLS / "kubectl"), "--kubeconfig", str(self.kubeconfig)]

    def _provide(self, claim: dict[str, Any]) -> None:
        """Make the volume that a claim asks for."""
        if claim["status"].get("phase") != "Pending" or claim["spec"].get("storageClassName") != CLASS:
            return
        name = f"claim-{claim['metadata']['uid']}"
        (self.folder / name).mkdir(exist_ok=True)
        text = json.dumps(self._volume(name, claim))
        subprocess.run([*self._kubectl(), "create", "--filename=-"], input=text, capture_output=True, text=True, check=False)

    def _volume(self, name: str, claim: dict[str, Any]) -> dict[str, Any]:
        reference = {key: claim["metadata"][key] for key in ("namespace", "name", "uid")}
        here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [self.machine]}
        spec = {
            "capacity": claim["spec"]["resources"]["requests"],
            "accessModes": claim["spec"]["accessModes"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": CLASS,
            "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", **reference},
            "local": {"path": str(self.folder / name)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
        }
        return {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name}, "spec": spec}

    def _reclaim(self, volume: dict[str, Any]) -> None:
        """Remove a volume that nobody claims any more."""
        if volume["status"].get("phase") != "Released":
            return
        name = volume["metadata"]["name"]
        shutil.rmtree(self.folder / name, ignore_errors=True)
        subprocess.run(
            [*self._kubectl(), "delete", "persistentvolume", name, "--wait=false"], capture_output=True, check=False
        )


def _values(lines: Any) -> Iterator[dict[str, Any]]:
    """The objects that kubectl prints one after the other, each laid out over lines of which the last is a brace."""
    pending: list[str] = []
    for line in lines:
        pending.append(line)
        if line.rstrip("\n") == "}":
            yield json.loads("".join(pending))
            pending = []
