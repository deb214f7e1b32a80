"""What the node borrows from the host, and how the host gets it back."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from cluster.addresses import Addresses
from cluster.processes import run
from cluster.state import Kind, State, every

# kubelet sets these for the whole machine; see its --protect-kernel-defaults.
SYSCTLS = (
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
)
# Bound to the cluster's folder inside the node's mount namespace, so the paths that
# kubelet and containerd have built in are the cluster's own there.
PRIVATE_FOLDERS = (
    "/var/lib/cni",
    "/var/lib/containerd",
    "/var/lib/kubelet",
    "/var/log/containers",
    "/var/log/pods",
)
_CGROUPS = Path("/sys/fs/cgroup")


def unsupported_reason(kind: Kind = "node") -> str | None:
    """Why this machine cannot run such a cluster, in a sentence; None if it can."""
    if sys.platform != "linux":
        return (
            "The throwaway cluster needs Linux: kubelet and etcd run on this machine."
        )
    if kind == "control-plane":
        return None
    if os.geteuid() != 0:
        return (
            "The throwaway node needs root: it makes namespaces, cgroups and mounts "
            "(all of them are removed again). Run it as root on a Debian 12 machine."
        )
    for path in ("/usr/bin/apt-get", "/dev/kmsg", "/sys/fs/cgroup"):
        if not Path(path).exists():
            return f"The throwaway node needs a Debian machine: {path} is not here."
    return None


def borrow(state: State, addresses: Addresses) -> None:
    """Record what will change on the host, then make the folders and cgroups."""
    state.undo = {
        "sysctls": [f"{name}={value}" for name, value in _sysctls().items()],
        "folders": [path for path in PRIVATE_FOLDERS if not Path(path).exists()],
    }
    state.save()
    for path in PRIVATE_FOLDERS:
        Path(path).mkdir(parents=True, exist_ok=True)
        private_folder(state, path).mkdir(parents=True)
    for cgroup in _cgroups(addresses):
        cgroup.mkdir(exist_ok=True)


def private_folder(state: State, path: str) -> Path:
    """The cluster's own folder that the node sees at `path`."""
    return state.folder / "node" / path.strip("/").replace("/", "-")


def occupied(addresses: Addresses) -> bool:
    """Whether the slot's link is there already: another user's cluster has it."""
    return Path("/sys/class/net", addresses.host_link).exists()


def connect(addresses: Addresses, node_pid: int) -> None:
    """Link the network namespace of a process to the host's.

    The link, its address and its route end with that namespace.
    """
    a = addresses
    inside = f"nsenter --target={node_pid} --net ip"
    for command in (
        f"ip link add {a.host_link} type veth peer name {a.node_link} netns {node_pid}",
        f"ip address add {a.host}/30 dev {a.host_link}",
        f"ip link set {a.host_link} up",
        f"{inside} link set lo up",
        f"{inside} address add {a.node}/30 dev {a.node_link}",
        f"{inside} link set {a.node_link} up",
        f"{inside} route add default via {a.host}",
        f"ip route add {a.pods} via {a.node}",
    ):
        run(command.split())


def restore(state: State, addresses: Addresses) -> None:
    """Undo `borrow` and what kubelet did; safe to repeat, and after a crash half-way.

    The node's processes are gone by now, and with them its mounts and its network: both
    were in namespaces of their own.
    """
    # The kernel removes the link with its namespace, but a moment later.
    run(["ip", "link", "delete", addresses.host_link], check=False)
    for cgroup in _cgroups(addresses):
        _remove_cgroup(cgroup)
    for path in state.undo.get("folders", []):
        if Path(path).is_dir() and not any(Path(path).iterdir()):
            Path(path).rmdir()
    others = [s for s in every() if s.kind == "node" and s.name != state.name]
    if others:
        return  # they need the settings, and hold what to go back to
    for line in state.undo.get("sysctls", []):
        name, _, value = line.partition("=")
        setting = Path("/proc/sys", name)
        if setting.read_text(encoding="utf-8").strip() != value:
            setting.write_text(value, encoding="utf-8")


def _sysctls() -> dict[str, str]:
    """The settings to go back to: those from before the first of several nodes."""
    for other in every():
        if other.undo.get("sysctls"):
            return dict(line.split("=", 1) for line in other.undo["sysctls"])
    paths = {name: Path("/proc/sys", name) for name in SYSCTLS}
    return {
        name: path.read_text(encoding="utf-8").strip()
        for name, path in paths.items()
        if path.exists()
    }


def _cgroups(addresses: Addresses) -> Iterator[Path]:
    """The cluster's cgroup in every hierarchy (version 1), or in the only one (2)."""
    if (_CGROUPS / "cgroup.controllers").exists():
        yield _CGROUPS / addresses.cgroup
        return
    for hierarchy in _CGROUPS.iterdir():
        if (hierarchy / "cgroup.procs").exists():
            yield hierarchy.resolve() / addresses.cgroup


def _remove_cgroup(cgroup: Path) -> None:
    if not cgroup.exists():
        return
    for folder, _, _ in os.walk(cgroup, topdown=False):
        os.rmdir(folder)  # noqa: PTH106 - os.walk gives strings
