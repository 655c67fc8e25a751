"""What a cluster consists of: the command line of each component, and the files it is configured by.

The settings are those of any cluster but where one machine in a container forces others: memory limits of the kernel's first
kind are accepted, the kubelet makes no groups of its own, and nobody lowers a score for running out of memory. Pods are
reached by point-to-point links, which the stock plug-ins make and which enforce no NetworkPolicy.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.cluster.places import DOMAIN, MACHINE, TOOLS

if TYPE_CHECKING:
    from tests.cluster.places import Places

PLUGINS = "/usr/lib/cni"
"""Where the distribution puts the network plug-ins."""
CONTAINERD = """version = 2
root = "{folder}/containerd"
state = "{folder}/run/containerd"
[grpc]
  address = "{folder}/run/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{plugins}"
    conf_dir = "{folder}/config/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      BinaryName = "runc"
"""


def write_configuration(places: Places) -> None:
    """The files that components read."""
    config = places / "config"
    (config / "cni").mkdir()
    network = {
        "type": "ptp",
        "ipam": {
            "type": "host-local",
            "subnet": places.family.pods,
            "dataDir": f"{places / 'run'}/addresses",
            "routes": [{"dst": f"{places.family.everywhere}/0"}],
        },
    }
    plugins = {"cniVersion": "0.4.0", "name": "pods", "plugins": [network]}
    (config / "cni" / "pods.conflist").write_text(json.dumps(plugins))
    (config / "containerd.toml").write_text(CONTAINERD.format(folder=places.folder, plugins=PLUGINS))
    (config / "resolv.conf").write_text("")
    (config / "kubelet.json").write_text(json.dumps(_kubelet(places)))


def _kubelet(places: Places) -> dict[str, object]:
    credentials = str(places / "credentials")
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "failCgroupV1": False,
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": False,
        "enforceNodeAllocatable": [],
        "failSwapOn": False,
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{credentials}/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{credentials}/kubelet-server.crt",
        "tlsPrivateKeyFile": f"{credentials}/kubelet-server.key",
        "address": places.family.everywhere,
        "clusterDNS": [places.family.dns],
        "clusterDomain": DOMAIN,
        "resolvConf": str(places / "config" / "resolv.conf"),
        "containerRuntimeEndpoint": f"unix://{places.containerd}",
        "volumePluginDir": str(places / "run" / "plugins"),
        "podLogsDir": str(places / "logs" / "pods"),
        "nodeStatusReportFrequency": "10s",
    }


def commands(places: Places, address: str) -> dict[str, list[str]]:
    """The command lines by component, in the order they are started in."""
    given = {"credentials": f"{places / 'credentials'}", "config": f"{places / 'config'}", "folder": f"{places.folder}"}
    given |= {"address": address, "machine": MACHINE, "everywhere": places.family.everywhere}
    given |= {"pods": places.family.pods, "services": places.family.services}
    return {name: [word.format(**given) for word in line] for name, line in LINES.items()}


def _tool(name: str) -> str:
    return str(TOOLS / name)


LINES = {
    "etcd": [
        "etcd", "--data-dir={folder}/etcd", "--listen-client-urls=http://127.0.0.1:2379", "--log-level=warn",
        "--advertise-client-urls=http://127.0.0.1:2379", "--listen-peer-urls=http://127.0.0.1:2380", "--logger=zap",
        "--initial-advertise-peer-urls=http://127.0.0.1:2380", "--initial-cluster=default=http://127.0.0.1:2380",
    ],
    "containerd": ["containerd", "--config={config}/containerd.toml"],
    "kube-apiserver": [
        _tool("kube-apiserver"), "--etcd-servers=http://127.0.0.1:2379", "--advertise-address={address}",
        "--bind-address={everywhere}", "--secure-port=6443", "--service-cluster-ip-range={services}",
        "--tls-cert-file={credentials}/apiserver.crt", "--tls-private-key-file={credentials}/apiserver.key",
        "--client-ca-file={credentials}/ca.crt", "--kubelet-certificate-authority={credentials}/ca.crt",
        "--kubelet-client-certificate={credentials}/apiserver-kubelet.crt",
        "--kubelet-client-key={credentials}/apiserver-kubelet.key",
        "--kubelet-preferred-address-types=InternalIP", "--service-account-issuer=https://kubernetes.default.svc",
        "--service-account-key-file={credentials}/accounts.pub",
        "--service-account-signing-key-file={credentials}/accounts.key", "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true", "--cert-dir={folder}/run",
    ],
    "kube-controller-manager": [
        _tool("kube-controller-manager"), "--kubeconfig={credentials}/controller-manager.kubeconfig",
        "--service-account-private-key-file={credentials}/accounts.key", "--root-ca-file={credentials}/ca.crt",
        "--use-service-account-credentials=true", "--leader-elect=false", "--cert-dir={folder}/run",
    ],
    "kube-scheduler": [
        _tool("kube-scheduler"), "--kubeconfig={credentials}/scheduler.kubeconfig", "--leader-elect=false",
        "--cert-dir={folder}/run",
    ],
    "kubelet": [
        _tool("kubelet"), "--kubeconfig={credentials}/kubelet.kubeconfig", "--config={config}/kubelet.json",
        "--hostname-override={machine}", "--node-ip={address}",
    ],
    "kube-proxy": [
        _tool("kube-proxy"), "--kubeconfig={credentials}/proxy.kubeconfig", "--hostname-override={machine}",
        "--proxy-mode=iptables", "--cluster-cidr={pods}", "--conntrack-max-per-core=0",
        "--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0",
    ],
}  # fmt: skip
