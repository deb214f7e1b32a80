"""One arm of the benchmark: a process that runs blocks of steps when it is told to.

Requests come as JSON lines on stdin, answers go to what was stdout at the start.
"""

import contextlib
import gc
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch

from bench.workloads import BUILDERS, Step

Around = Callable[[], AbstractContextManager[Any]]


def around(name: str) -> Around:
    """Return what each block of an arm runs within."""
    if name == "counter":
        from torch.utils.flop_counter import FlopCounterMode

        return lambda: FlopCounterMode(display=False)
    if name == "profiler":
        from torch.profiler import ProfilerActivity, profile

        return lambda: profile(activities=[ProfilerActivity.CPU], with_flops=True)
    return contextlib.nullcontext


def build(name: str, settle: int) -> Step:
    """Build a workload and run it until it has settled."""
    step = BUILDERS[name]()
    for _ in range(settle):
        step()
    # What lives long is not looked at again: a full collection takes as long as a step.
    gc.collect()
    gc.freeze()
    return step


def block(step: Step, steps: int, warm: int) -> dict[str, int]:
    """Run some steps untimed, then time the others as one.

    Returns:
        Nanoseconds of wall time, and of CPU time over all threads.
    """
    for _ in range(warm):
        step()
    wall, cpu = time.perf_counter_ns(), time.process_time_ns()
    for _ in range(steps):
        step()
    spent = time.process_time_ns() - cpu
    return {"wall": time.perf_counter_ns() - wall, "cpu": spent}


def answer(request: Mapping[str, Any], built: dict[str, Step], within: Around) -> Any:
    """Do what one request asks for."""
    if "build" in request:
        built.clear()
        gc.unfreeze()
        built[request["build"]] = build(request["build"], request["settle"])
        return {"built": request["build"]}
    (step,) = built.values()
    with within():
        return block(step, request["steps"], request["warm"])


def main() -> None:
    """Answer requests until stdin ends."""
    torch.set_num_threads(1)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no answer
    within = around(sys.argv[1])
    built: dict[str, Step] = {}
    for line in sys.stdin:
        answers.write(json.dumps(answer(json.loads(line), built, within)) + "\n")


if __name__ == "__main__":
    main()
