"""The configuration files of the node's parts. A core module but for `write`."""

import json
from typing import Any

from cluster.addresses import DNS_SERVICE, Addresses
from cluster.state import State

PAUSE_IMAGE = "localhost/flopguard-pause:dev"


def write(state: State, addresses: Addresses) -> None:
    """Write all of them into the cluster's `node` folder."""
    folder = state.folder / "node"
    (folder / "cni").mkdir(parents=True, exist_ok=True)
    # A pod of the host's network, or with dnsPolicy Default, asks CoreDNS directly.
    resolver = f"nameserver {addresses.node}\n"
    files = {
        "containerd.toml": _containerd(f"{folder}/cni"),
        "cni/10-flopguard.conflist": json.dumps(_network(addresses), indent=1),
        "kubelet.json": json.dumps(_kubelet(state, addresses), indent=1),
        "proxy.json": json.dumps(_proxy(state, addresses), indent=1),
        "resolv.conf": resolver,
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


def manifests() -> list[dict[str, Any]]:
    """What kube-proxy may read: the role is built in, its binding is not."""
    group = "rbac.authorization.k8s.io"
    role = {"apiGroup": group, "kind": "ClusterRole", "name": "system:node-proxier"}
    user = {"apiGroup": group, "kind": "User", "name": "system:kube-proxy"}
    metadata = {"name": "flopguard:proxy"}
    binding = {"metadata": metadata, "roleRef": role, "subjects": [user]}
    return [{"apiVersion": f"{group}/v1", "kind": "ClusterRoleBinding", **binding}]


def _containerd(cni_folder: str) -> str:
    return f"""\
version = 3
disabled_plugins = ["io.containerd.nri.v1.nri"]

[plugins.'io.containerd.cri.v1.runtime']
  # Without CAP_SYS_RESOURCE no score may be lowered, and every sandbox would fail.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true

[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ["/usr/lib/cni"]
  conf_dir = "{cni_folder}"

[plugins.'io.containerd.cri.v1.runtime'.containerd]
  default_runtime_name = "runc"

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  BinaryName = "/usr/sbin/runc"
  SystemdCgroup = false

[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = "{PAUSE_IMAGE}"
"""


def _network(addresses: Addresses) -> dict[str, Any]:
    """A routed link for each pod: without a bridge nothing needs br_netfilter."""
    ranges = {"type": "host-local", "subnet": addresses.pods}
    routes = [{"dst": "0.0.0.0/0"}]
    return {
        "cniVersion": "1.0.0",
        "name": "flopguard",
        "plugins": [
            {"type": "ptp", "ipMasq": False, "ipam": {**ranges, "routes": routes}},
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def _kubelet(state: State, addresses: Addresses) -> dict[str, Any]:
    pki = state.folder / "pki"
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": addresses.node,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(pki / "kubelet.crt"),
        "tlsPrivateKeyFile": str(pki / "kubelet.key"),
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{addresses.cgroup}",
        "failCgroupV1": False,  # some machines have version 1 only
        "failSwapOn": False,
        "maxOpenFiles": 20000,  # a hard limit may not be raised everywhere
        "clusterDomain": "cluster.local",
        "clusterDNS": [DNS_SERVICE],
        "resolvConf": str(state.folder / "node" / "resolv.conf"),
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
        # There is no registry to pull a collected image from again.
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1Gi"},
        "serializeImagePulls": False,
        # KEP-4603: what is killed on purpose comes back at once, not after minutes.
        "featureGates": {"KubeletCrashLoopBackOffMax": True},
        "crashLoopBackOff": {"maxContainerRestartPeriod": "2s"},
        "logging": {"verbosity": 2},
    }


def _proxy(state: State, addresses: Addresses) -> dict[str, Any]:
    kubeconfig = state.folder / "pki" / "proxy.kubeconfig"
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "mode": "iptables",
        "clusterCIDR": addresses.pods,
        "hostnameOverride": "node1",
        "healthzBindAddress": "127.0.0.1:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        # Connection tracking is set for the whole machine: leave it.
        "conntrack": {"maxPerCore": 0, "min": 0},
        "iptables": {"minSyncPeriod": "100ms", "syncPeriod": "30s"},
    }
