"""The node from below: what no user of the API can do or see, and a fault can.

Containers are killed by their process on this machine, and a container's log is kept by
a second name for its file, so that the steps of a pod that is gone can still be read.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from cluster.host import private_folder
from cluster.state import State

Object = dict[str, Any]
DYING_SECONDS = 10.0


def container_pids(status: Object) -> list[int]:
    """Return the processes of a container, given its entry of the pod's status."""
    return _pids_in(status["containerID"].removeprefix("containerd://"))


def pod_pids(pod: Object) -> list[int]:
    """Return all processes of a pod, the one that keeps its network open too."""
    return _pids_in(f"pod{pod['metadata']['uid']}")


def kill(status: Object) -> None:
    """End a container by SIGKILL, without a word to Kubernetes."""
    for pid in container_pids(status):
        os.kill(pid, signal.SIGKILL)


def root_of(status: Object) -> Path:
    """Return the root folder of a running container, as seen from this machine."""
    pids = container_pids(status)
    assert pids, f"no process of container {status['name']} on this machine"
    return Path(f"/proc/{pids[0]}/root")


def starve(status: Object) -> None:
    """Let the kernel kill a container for want of memory.

    A process joins its control group and takes memory until the limit that Kubernetes
    has set is reached; the container's own process is the one with the worse score.

    Raises:
        AssertionError: the container's process is alive all the same.
    """
    (pid,) = container_pids(status)
    group = _memory_group(pid) / "cgroup.procs"
    # It may end with the group: whoever cleans up kills all that is left in there.
    subprocess.run([sys.executable, "-c", _GLUTTON, str(pid), str(group)], check=False)
    end = time.monotonic() + DYING_SECONDS  # what is killed may yet have to be run
    while _is_alive(pid):
        assert time.monotonic() < end, f"{status['name']} outlived the want of memory"
        time.sleep(0.05)


_GLUTTON = """\
import os, sys
pid, group = sys.argv[1:]
with open(group, "w") as file:
    file.write(str(os.getpid()))
taken = []
while os.path.exists(f"/proc/{pid}") and len(taken) < 4096:
    taken.append(b"x" * (1 << 20))
"""


def _is_alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in {"X", "Z"}


def _memory_group(pid: int) -> Path:
    """Return the folder of a process's memory control group, of version 1 or 2."""
    lines = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8").splitlines()
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            return Path("/sys/fs/cgroup/memory") / path.lstrip("/")
    (path,) = (line.split(":", 2)[2] for line in lines if line.startswith("0::"))
    return Path("/sys/fs/cgroup") / path.lstrip("/")


def cut_off(pod: Object, source_ip: str, port: int) -> None:
    """Reject connections from an address to a port of a pod, until the pod ends.

    The rule lives in the pod's own network namespace and ends with it.
    """
    pids = pod_pids(pod)
    assert pids, f"no process of pod {pod['metadata']['name']} on this machine"
    rule = ["-I", "INPUT", "-s", source_ip, "-p", "tcp", "--dport", str(port)]
    command = ["nsenter", f"--target={pids[0]}", "--net", "iptables", *rule]
    subprocess.run([*command, "-j", "REJECT"], check=True)


def keep_log(state: State, pod: Object, restart: int = 0) -> Path:
    """Give the trainer's log a second name that outlives the pod.

    Args:
        state: of the cluster; the name is in its folder.
        pod: with the trainer running, or ended.
        restart: which of the container's restarts, 0 for the first start.
    """
    meta = pod["metadata"]
    of_pod = f"{meta['namespace']}_{meta['name']}_{meta['uid']}"
    log = private_folder(state, "/var/log/pods") / of_pod / "trainer"
    kept = state.folder / "kept-logs" / f"{meta['uid']}-{restart}.log"
    kept.parent.mkdir(exist_ok=True)
    kept.hardlink_to(log / f"{restart}.log")
    return kept


def steps_logged(log: Path) -> int:
    """Return the optimizer steps that a kept log tells of.

    Its lines are `<time> stdout F <what the trainer wrote>`, the format of the CRI.
    """
    lines = log.read_text(encoding="utf-8").splitlines()
    written = [line.split(" ", 3) for line in lines]
    steps = [json.loads(w[3]) for w in written if w[1] == "stdout" and w[2] == "F"]
    return len(steps)


def _pids_in(cgroup: str) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cgroup"):
        try:
            text = path.read_text(encoding="utf-8")
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
        if cgroup in text:
            found.append(int(path.parent.name))
    return found
