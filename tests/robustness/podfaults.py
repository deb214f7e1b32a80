"""Faults of single pods: their clock, their memory, and the volume of their pages.

The Jobs of some are injected by hand, as a template might be: then the webhook leaves
them as they are, and the volume, the mount and the sidecar can be made to fail.
"""

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from shutil import copyfile
from typing import Any

from cluster import debian
from flopguard_operator import injected, naming
from flopguard_operator.injected import Images
from robustness.clusterfaults import Fault, Stage
from robustness.crew import CLAIM, CLOCK, FEAST, Crew, measured, upper
from stage import nodeside
from stage.scene import Object, sidecar, trainer

_IMAGES = Images("localhost/flopguard-sidecar:dev", "Never")
_PLAIN = {"spec": {"containers": [{"name": "trainer"}]}}
_PAGES = naming.PAGES_PATH.lstrip("/")
_YEAR = 365 * 24 * 3600
_LIBRARY = "faketime.so"
_MOVED = ".moved"  # ends the name of a file: how far a pod's clocks are off
_RUN = {"fieldRef": {"fieldPath": f"metadata.labels['{naming.JOB_NAME_LABEL}']"}}
_OVER_THE_LIMIT = 300 << 20  # bytes; of an emptyDir limited to 256 Mi

Changes = tuple[tuple[str, Any], ...]


def by_hand(
    *,
    volume: Object | None = None,
    read_only: bool = False,
    env: tuple[Object, ...] = (),
    mounts: tuple[Object, ...] = (),
) -> Changes:
    """Return the changes of a Job whose pods are injected before they are admitted.

    Args:
        volume: of the pages; the usual one if None.
        read_only: whether the trainer may not write into it.
        env: variables of trainer and sidecar.
        mounts: further mounts of the sidecar.
    """
    meter = injected.sidecar(_PLAIN, _IMAGES)
    meter["env"] = [*meter["env"], *env]
    meter["volumeMounts"] = [*meter["volumeMounts"], *mounts]
    armed = (
        {"name": "FLOPGUARD_DIR", "value": naming.PAGES_PATH},
        {"name": "PYTHONPATH", "value": f"{naming.HOOK_PATH}/bootstrap"},
    )
    return (
        ("initContainers", [injected.install(_PLAIN, _IMAGES), meter]),
        ("volumes", [volume or injected.volume()]),
        ("env", [*armed, *env]),
        ("mounts", [injected.mount() | ({"readOnly": True} if read_only else {})]),
    )


# A clock that moves


def lay_library(truth: Path) -> None:
    """Put the library that lies about the time beside the truth, once."""
    if (truth / _LIBRARY).exists():
        return  # pods run on it
    debian.install({"libfaketime": str(debian.FAKETIME)})
    copyfile(debian.FAKETIME, truth / _LIBRARY)
    (truth / _LIBRARY).chmod(0o644)


def _put(path: Path, text: str, mode: int) -> None:
    """Write a file that a pod reads or writes: it appears whole, with its mode."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(text)
    part.chmod(mode)
    part.rename(path)


def _move(crew: Crew, name: str, by: str) -> None:
    """Move the clocks of trainer and sidecar; the monotonic ones go on as they were."""
    pod = crew.pods()[name]
    for status in (trainer(pod), sidecar(pod)):
        (pid,) = nodeside.container_pids(status)
        mapped = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")
        assert _LIBRARY in mapped, f"{status['name']} has a clock of its own"
    _put(crew.truth / name / CLOCK, "", 0o666)
    _put(crew.truth / f"{name}{_MOVED}", f"{by}\n", 0o644)


def move_clock_forward(_stage: Stage, crew: Crew, name: str) -> None:
    """Move the clocks of the pod a year on."""
    _move(crew, name, "+1y")


def move_clock_back(_stage: Stage, crew: Crew, name: str) -> None:
    """Move the clocks of the pod a year back."""
    _move(crew, name, "-1y")


def _moved_by(seconds: int) -> Callable[[Crew], bool]:
    """Return what says whether every trainer has seen its clock move so far."""

    def moved(crew: Crew) -> bool:
        shown = [(crew.truth / name / CLOCK).read_text() for name in crew.names]
        off = [int(text or 0) - time.time() - seconds for text in shown]
        return all(abs(each) < _YEAR / 10 for each in off)

    return moved


_FAKED = by_hand(
    env=(
        {"name": "LD_PRELOAD", "value": f"/{CLAIM}/{_LIBRARY}"},
        {"name": "RUN", "valueFrom": _RUN},
        {"name": "FAKETIME_TIMESTAMP_FILE", "value": f"/{CLAIM}/$(RUN){_MOVED}"},
        {"name": "FAKETIME_NO_CACHE", "value": "1"},
        {"name": "FAKETIME_DONT_FAKE_MONOTONIC", "value": "1"},
    ),
    mounts=({"name": CLAIM, "mountPath": f"/{CLAIM}"},),
)

# A volume that is full, or read-only


def fill_volume(_stage: Stage, crew: Crew, name: str) -> None:
    """Fill the volume of the pages to the last byte; kill the trainer.

    The next process finds no room for its page.
    """
    pod = crew.pods()[name]
    path = nodeside.root_of(trainer(pod)) / _PAGES / "filler"
    file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        while True:
            os.write(file, bytes(4096))
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
    finally:
        os.close(file)
    nodeside.kill(trainer(pod))


def fill_volume_over_limit(_stage: Stage, crew: Crew, name: str) -> None:
    """Write more into the volume of the pages than its limit: the kubelet evicts."""
    path = nodeside.root_of(trainer(crew.pods()[name])) / _PAGES / "filler"
    file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        os.posix_fallocate(file, 0, _OVER_THE_LIMIT)
    finally:
        os.close(file)


def mount_read_only(_stage: Stage, crew: Crew, name: str) -> None:
    """Assert that a pod with a read-only mount trains, and is said to be unmetered.

    The mount was so from the start: nothing is left to be done to it.
    """
    status = crew.statuses()[name]
    said = {c["type"]: c["reason"] for c in status["conditions"]}
    assert said["MeteringIncomplete"] == "NotMetered", f"{name}: {said}"
    assert not measured(status), f"{name} has a page"
    assert crew.finished(name), f"{name} does not train"


def is_charged(status: Object) -> bool:
    """Say whether a run is charged for something."""
    return upper(status) > measured(status)


def _all_charged(crew: Crew) -> bool:
    statuses = crew.statuses()
    return _started_anew(crew) and all(is_charged(statuses[n]) for n in crew.names)


_SMALL = by_hand(
    volume={
        "name": naming.VOLUME,
        "emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"},
    }
)
_READ_ONLY = (*by_hand(read_only=True), ("counted", is_charged))

# Memory that does not suffice


def starve_trainer(_stage: Stage, crew: Crew, name: str) -> None:
    """Let the trainer take more memory than its limit."""
    (crew.truth / name / FEAST).touch()


def starve_sidecar(_stage: Stage, crew: Crew, name: str) -> None:
    """Reach the sidecar's memory limit: the kernel kills it."""
    nodeside.starve(sidecar(crew.pods()[name]))


def _started_anew(crew: Crew) -> bool:
    """Say whether a second process of every run has done a step."""
    done = [[finished for _, finished in crew.steps(n) if finished] for n in crew.names]
    return all(len(each) > 1 for each in done)


def _trainers_starved(crew: Crew) -> bool:
    """Say whether the kernel killed every trainer, and another one counts."""
    pods = crew.pods()
    last = [trainer(pods[n]).get("lastState", {}) for n in crew.names]
    return _started_anew(crew) and all(map(_is_out_of_memory, last))


def _sidecars_starved(crew: Crew) -> bool:
    """Say whether the kernel killed every sidecar, and another one runs."""
    pods = crew.pods()
    found = [sidecar(pods[n]) for n in crew.names]
    return all(
        "running" in each["state"] and _is_out_of_memory(each.get("lastState", {}))
        for each in found
    )


def _is_out_of_memory(state: Object) -> bool:
    return bool(state.get("terminated", {}).get("reason") == "OOMKilled")


_FRUGAL = (("resources", {"limits": {"memory": "64Mi"}}),)

FAULTS: tuple[Fault, ...] = (
    Fault(
        "a pod's clock a year on",
        move_clock_forward,
        changes=(*_FAKED, ("lay", lay_library)),
        until=_moved_by(_YEAR),
    ),
    Fault(
        "a pod's clock a year back",
        move_clock_back,
        changes=(*_FAKED, ("lay", lay_library)),
        until=_moved_by(-_YEAR),
    ),
    Fault("emptyDir full", fill_volume, changes=_SMALL, until=_all_charged),
    Fault("emptyDir over its limit", fill_volume_over_limit, until=_started_anew),
    Fault("emptyDir read-only", mount_read_only, changes=_READ_ONLY),
    Fault(
        "OOM kill of the trainer",
        starve_trainer,
        changes=_FRUGAL,
        until=_trainers_starved,
    ),
    Fault("OOM kill of the sidecar", starve_sidecar, until=_sidecars_starved),
)
