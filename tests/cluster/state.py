"""What is known about each throwaway cluster: one folder, one state file.

Everything that `down` needs is written before or right after it comes to be, so that a
crash at any point leaves a record that the next start can clean up from.
"""

import fcntl
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

Kind = Literal["control-plane", "node"]
Phase = Literal["starting", "running"]

MARKER = "FLOPGUARD_CLUSTER_RUN"
LOGS_KEPT = 5
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")


class ClusterError(Exception):
    """A cluster cannot be made, found or removed; the message says what to do."""


def cache_folder() -> Path:
    """The folder of everything that is kept between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get("FLOPGUARD_CACHE") or f"{base}/flopguard")


def clusters_folder() -> Path:
    """The parent of all cluster folders."""
    folder = cache_folder() / "clusters"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@dataclass(frozen=True)
class ProcessId:
    """A process that cannot be mistaken for a later one with the same number."""

    pid: int
    started: int  # clock ticks since boot, /proc/PID/stat field 22

    @classmethod
    def of(cls, pid: int) -> "ProcessId | None":
        """The process with this number now; None if there is none, or a zombie."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
        except (FileNotFoundError, ProcessLookupError):
            return None
        # The command name may hold spaces and parentheses: split after the last one.
        fields = stat.rpartition(")")[2].split()
        return None if fields[0] in "ZX" else cls(pid, int(fields[19]))

    @classmethod
    def current(cls) -> "ProcessId":
        """This process."""
        found = cls.of(os.getpid())
        if found is None:
            message = "no /proc for this process"
            raise ClusterError(message)
        return found

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        return ProcessId.of(self.pid) == self


@dataclass
class State:
    """The record of one cluster; `save` after every change.

    `owner` is the process that the cluster must not outlive; None for a cluster that
    stays until it is taken down. `undo` holds what the host must get back.
    """

    name: str
    kind: Kind
    slot: int
    starter: ProcessId
    owner: ProcessId | None = None
    phase: Phase = "starting"
    run: str = field(default_factory=lambda: uuid.uuid4().hex)
    processes: dict[str, ProcessId] = field(default_factory=dict)
    undo: dict[str, list[str]] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The cluster's folder: kubeconfig, logs and data."""
        return clusters_folder() / self.name

    @property
    def kubeconfig(self) -> Path:
        """The admin's kubeconfig."""
        return self.folder / "kubeconfig"

    @property
    def abandoned(self) -> bool:
        """Whether nobody is left who would take it down."""
        if self.owner is not None:
            return not self.owner.alive
        return self.phase == "starting" and not self.starter.alive

    def save(self) -> None:
        """Write the state file, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        new = self.folder / "state.json.new"
        new.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")
        new.replace(self.folder / "state.json")


def load(folder: Path) -> State:
    """The state in a cluster's folder.

    Raises:
        ClusterError: if there is none, or it cannot be read.
    """
    path = folder / "state.json"
    try:
        return _read(path)
    except FileNotFoundError:
        message = f"no cluster in {folder}: start one with `make cluster-up`"
        raise ClusterError(message) from None


def _read(path: Path) -> State:
    try:
        return _decode(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError) as error:
        message = f"{path} cannot be read ({error}): remove its folder by hand"
        raise ClusterError(message) from error


def _decode(raw: dict[str, Any]) -> State:
    owner = raw["owner"]
    return State(
        **{
            **raw,
            "starter": ProcessId(**raw["starter"]),
            "owner": ProcessId(**owner) if owner else None,
            "processes": {n: ProcessId(**p) for n, p in raw["processes"].items()},
        }
    )


def find(name: str) -> State | None:
    """The cluster of this name, or None."""
    folder = clusters_folder() / check_name(name)
    return load(folder) if (folder / "state.json").exists() else None


def every() -> list[State]:
    """All clusters that have a record, by name."""
    found = []
    for path in sorted(clusters_folder().glob("*/state.json")):
        with suppress(FileNotFoundError):  # taken down meanwhile
            found.append(_read(path))
    return found


def check_name(name: str) -> str:
    """The name, if it may be one.

    Raises:
        ClusterError: if it is not a short DNS label.
    """
    if not _NAME.fullmatch(name):
        message = f"{name!r}: a cluster's name is a DNS label of at most 32 characters"
        raise ClusterError(message)
    return name


def forget(state: State) -> None:
    """Remove the cluster's folder; the logs of the last few clusters are kept."""
    kept = cache_folder() / "cluster-logs"
    kept.mkdir(parents=True, exist_ok=True)
    logs = state.folder / "logs"
    if logs.exists():
        shutil.rmtree(kept / state.name, ignore_errors=True)
        logs.rename(kept / state.name)
        (kept / state.name).touch()
    newest_first = sorted(kept.iterdir(), key=lambda p: p.stat().st_mtime, reverse=True)
    for old in newest_first[LOGS_KEPT:]:
        shutil.rmtree(old, ignore_errors=True)
    # Renamed first: half a folder under its name would be taken for a cluster's.
    trash = clusters_folder() / ".trash"
    trash.mkdir(exist_ok=True)
    state.folder.rename(trash / state.run)
    shutil.rmtree(trash)


@contextmanager
def machine_lock() -> Iterator[None]:
    """Hold the lock under which clusters are claimed and cleaned up."""
    with (clusters_folder() / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
