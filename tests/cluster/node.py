"""The node: containerd, kubelet, kube-proxy and DNS in namespaces of their own.

All of it, pods included, runs in one PID namespace. Killing its process 1 ends the
whole node at once, and the node's mounts end with its mount namespace.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cluster import debian, dns, nodeconfig, tools
from cluster.addresses import Addresses
from cluster.host import PRIVATE_FOLDERS, connect, private_folder
from cluster.kubectl import Kubectl, KubectlError
from cluster.processes import log_tail, spawn, wait_until
from cluster.progress import step
from cluster.state import ClusterError, ProcessId, State

READY_SECONDS = 60.0

# The node sees a /run of its own, and the cluster's folders where kubelet, containerd
# and CNI have paths built in.
_ENTER = """\
set -e
mount --make-rshared /
mount -t tmpfs tmpfs /run
{binds}
touch {ready}
exec {pause}
"""


def install_packages() -> None:
    """Install what the node needs from Debian."""
    debian.install()


def open_namespaces(state: State, addresses: Addresses) -> None:
    """Make the node's namespaces: mounts, processes and a network linked to the host.

    Raises:
        ClusterError: if the machine does not allow it.
    """
    nodeconfig.write(state, addresses)
    binds = "\n".join(
        f"mount --bind {private_folder(state, path)} {path}" for path in PRIVATE_FOLDERS
    )
    ready = state.folder / "node" / "ready"
    script = _ENTER.format(binds=binds, ready=ready, pause=tools.path_of("pause"))
    enter = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child"]
    enter += ["--mount-proc", "--propagation=private", "sh", "-c", script]
    parent = spawn(state, "node", enter)
    wait_until(ready.exists, "the node's namespaces", 10, state, "node")
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    first = ProcessId.of(int(children.read_text(encoding="utf-8")))
    if first is None:
        message = f"the node's first process ended: {log_tail(state, 'node')}"
        raise ClusterError(message)
    state.processes["node-init"] = first
    state.save()
    connect(addresses, first.pid)


def start_runtime(state: State) -> None:
    """Start containerd in the node."""
    containerd = tools.path_of("containerd")
    config = f"--config={state.folder / 'node' / 'containerd.toml'}"
    # The shim is looked up on the PATH.
    path = f"{containerd.parent}:/usr/sbin:/usr/bin:/sbin:/bin"
    command = inside(state, [str(containerd), config])
    spawn(state, "containerd", command, {"PATH": path})


def inside(state: State, command: Sequence[str]) -> list[str]:
    """The command line that runs a command inside the node."""
    target = f"--target={state.processes['node-init'].pid}"
    return ["nsenter", target, "--net", "--mount", "--pid", "--", *command]


def wait_for_runtime(state: State) -> None:
    """Return once containerd serves.

    Raises:
        ClusterError: if it does not within a minute, with the end of its log.
    """
    socket = Path(f"/proc/{state.processes['node-init'].pid}/root/run/containerd")
    ready = (socket / "containerd.sock").exists
    wait_until(ready, "containerd's socket", READY_SECONDS, state, "containerd")


def join(state: State, addresses: Addresses) -> None:
    """Start kubelet, kube-proxy and DNS, and return once the node is Ready.

    Raises:
        ClusterError: if it is not within a minute.
    """
    wait_for_runtime(state)
    start_kubelet(state, addresses)
    config = state.folder / "node" / "proxy.json"
    proxy = [str(tools.path_of("kube-proxy")), f"--config={config}"]
    spawn(state, "kube-proxy", inside(state, proxy))
    kubectl = Kubectl(state.kubeconfig)
    kubectl.apply(*nodeconfig.manifests(), *dns.manifests(addresses))
    spawn(state, "coredns", inside(state, dns.command(state)))
    with step("node Ready"):
        wait_until_ready(state)


def start_kubelet(state: State, addresses: Addresses) -> None:
    """Start the kubelet; it makes the Node object if there is none."""
    config = state.folder / "node" / "kubelet.json"
    kubelet = [str(tools.path_of("kubelet")), f"--config={config}"]
    kubelet += [f"--kubeconfig={state.folder / 'pki' / 'kubelet.kubeconfig'}"]
    kubelet += ["--hostname-override=node1", f"--node-ip={addresses.node}"]
    spawn(state, "kubelet", inside(state, kubelet))


def wait_until_ready(state: State) -> None:
    """Return once the API server has the node as Ready.

    Raises:
        ClusterError: if it has not within a minute.
    """
    kubectl = Kubectl(state.kubeconfig)

    def ready() -> bool:
        try:
            node = kubectl.get_json("node", "node1")
        except KubectlError:
            return False
        return _condition(node, "Ready") == "True"

    wait_until(ready, "node Ready", READY_SECONDS, state, "kubelet")


def _condition(thing: dict[str, Any], kind: str) -> str:
    conditions = thing["status"].get("conditions", [])
    return next((c["status"] for c in conditions if c["type"] == kind), "Unknown")
