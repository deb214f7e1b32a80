"""What the node borrows from the host, and how the host gets it back."""

import errno
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from cluster.addresses import Addresses
from cluster.processes import run
from cluster.state import Kind, State, every, machine_lock

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
CGROUP_SECONDS = 10.0
# What the node does with mounts, in namespaces that end with it.
_PROBE = """\
mount -t tmpfs tmpfs /mnt
cd /mnt
mkdir lower upper work merged
mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged
"""


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
    probe = ["unshare", "--net", "--mount", "--pid", "--fork", "sh", "-ec", _PROBE]
    tried = subprocess.run(probe, capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        return (
            "The throwaway node needs a machine, or a container, that may make "
            f"namespaces and overlay mounts; this one says: {tried.stderr.strip()}"
        )
    return None


def borrow(state: State, addresses: Addresses) -> None:
    """Record what will change on the host, then make the folders and cgroups."""
    with machine_lock():
        state.undo = _original()
        state.save()
        for path in PRIVATE_FOLDERS:
            Path(path).mkdir(parents=True, exist_ok=True)
            private_folder(state, path).mkdir(parents=True)
        for cgroup in cgroups(addresses):
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
    """Undo `borrow` and what kubelet did, under the machine's lock.

    Safe to repeat, and after a crash half-way. The node's processes are gone by now,
    and with them its mounts and its network: both were in namespaces of their own.
    """
    # The kernel removes the link with its namespace, but a moment later.
    run(["ip", "link", "delete", addresses.host_link], check=False)
    for cgroup in cgroups(addresses):
        _remove_cgroup(cgroup)
    if any(s.undo for s in every() if s.name != state.name):
        return  # another node needs the rest, and its record says what to go back to
    for path in state.undo.get("folders", []):
        if Path(path).is_dir() and not any(Path(path).iterdir()):
            Path(path).rmdir()
    for line in state.undo.get("sysctls", []):
        name, _, value = line.partition("=")
        setting = Path("/proc/sys", name)
        if setting.read_text(encoding="utf-8").strip() != value:
            setting.write_text(value, encoding="utf-8")


def changed(state: State) -> list[str]:
    """What of the host is not as the cluster found it: settings and folders."""
    now = _as_it_is()
    settings = set(state.undo["sysctls"]) - set(now["sysctls"])
    return sorted(settings | (set(state.undo["folders"]) - set(now["folders"])))


def _original() -> dict[str, list[str]]:
    """What to go back to: the host as it was before the first of several nodes."""
    for other in every():
        if other.undo:
            return other.undo
    return _as_it_is()


def _as_it_is() -> dict[str, list[str]]:
    settings = {name: Path("/proc/sys", name) for name in SYSCTLS}
    return {
        "sysctls": [
            f"{name}={path.read_text(encoding='utf-8').strip()}"
            for name, path in settings.items()
            if path.exists()
        ],
        "folders": [path for path in PRIVATE_FOLDERS if not Path(path).exists()],
    }


def cgroups(addresses: Addresses) -> Iterator[Path]:
    """The cluster's cgroup in every hierarchy (version 1), or in the only one (2)."""
    if (_CGROUPS / "cgroup.controllers").exists():
        yield _CGROUPS / addresses.cgroup
        return
    for hierarchy in _CGROUPS.iterdir():
        if (hierarchy / "cgroup.procs").exists():
            yield hierarchy.resolve() / addresses.cgroup


def _remove_cgroup(cgroup: Path) -> None:
    """Remove a cgroup; a killed process stays in it until its memory is given back."""
    deadline = time.monotonic() + CGROUP_SECONDS
    while cgroup.exists():
        try:
            for folder, _, _ in os.walk(cgroup, topdown=False):
                os.rmdir(folder)  # noqa: PTH106 - os.walk gives strings
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
