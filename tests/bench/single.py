"""Start, memory and imports: measured in processes that run one at a time. Shell."""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bench.crew import ROOT, cores

_LIMIT_S = 600
_TORCH = "import torch"
# What the hook's start and torch both import: it is no cost where torch follows.
_SHARED = "import contextlib, importlib.util, threading, typing, warnings"


class Deployed(NamedTuple):
    """Environments of a start.

    Attributes:
        without: No hook.
        with_: The hook, its byte code cached from an earlier start.
        uncached: The hook where Python cannot keep its byte code: every start compiles.
    """

    without: dict[str, str]
    with_: dict[str, str]
    uncached: dict[str, str]


def starts(deployed: Deployed, code: str, count: int) -> dict[str, list[float]]:
    """Start `python -c CODE` in each environment, in turn.

    Returns:
        Milliseconds of CPU time of each process, by the environment's name.
    """
    found: dict[str, list[float]] = {name: [] for name in Deployed._fields}
    for variables in deployed:
        _start(code, variables)  # fills the caches
    for number in range(count):
        names = list(found)
        turned = itertools.islice(itertools.cycle(names), number, number + len(names))
        for name in turned:
            variables = getattr(deployed, name)
            found[name].append(_start(code, variables))
    return found


def _start(code: str, variables: Mapping[str, str]) -> float:
    process = subprocess.Popen([sys.executable, "-c", code], env=variables)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        msg = f"`python -c {code!r}` exited with {process.returncode}"
        raise RuntimeError(msg)
    return 1000 * (usage.ru_utime + usage.ru_stime)


def program(name: str, folder: Path, variables: Mapping[str, str], **more: str) -> Any:
    """Run one of `bench.programs` and return what it printed.

    Raises:
        RuntimeError: It failed.
    """
    folder.mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-m", "bench.programs", name, str(folder)],
        env={**variables, **more},
        capture_output=True,
        text=True,
        check=False,
        timeout=_LIMIT_S,
    )
    if done.returncode:
        msg = f"bench.programs {name} failed:\n{done.stderr[-2000:]}"
        raise RuntimeError(msg)
    return json.loads(done.stdout.splitlines()[-1])


def measure(
    deployed: Deployed, folder: Path, *, count: int, steps: int
) -> dict[str, Any]:
    """Measure start, page writes, imports and memory.

    Args:
        deployed: The environments.
        folder: For pages; the hook is installed in its `installed`.
        count: Starts of each kind.
        steps: Training steps of the memory program.

    Returns:
        Raw figures by name.
    """
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cores()[1]})  # the processes inherit it
    try:
        beside = {**deployed.without, "PYTHONPATH": f"{ROOT}/tests:{folder}/installed"}
        return {
            "python_ms": starts(deployed, "pass", 2 * count),
            "shared_ms": starts(deployed, _SHARED, 2 * count),
            "torch_ms": starts(deployed, _TORCH, count),
            "attach_ns": [
                program("attach", folder / f"attach-{n}", beside)
                for n in range(count // 2)
            ],
            "write_ns": program("writes", folder / "writes", beside),
            "modules": {
                "without": program("modules", folder / "bare", deployed.without),
                "with": program("modules", folder / "hooked", deployed.with_),
            },
            "memory_bytes": program(
                "memory", folder / "memory", beside, BENCH_STEPS=str(steps)
            ),
        }
    finally:
        os.sched_setaffinity(0, before)
