"""Programs that are run one at a time, named on the command line; each prints JSON."""

import json
import os
import sys
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

_BATCHES = 10
_WRITES = 2000
_STEPS = int(os.environ.get("BENCH_STEPS", "1000"))
_LENGTHS = range(8, 72, 3)


def attach(folder: str) -> Any:
    """Attach the hook to a torch that is there: nanoseconds of CPU time."""
    before = time.process_time_ns()
    from flopguard_hook.attaching import attach as attach_hook

    attach_hook(folder)
    return time.process_time_ns() - before


def writes(folder: str) -> Any:
    """Write a page again and again: nanoseconds of CPU time of one, in batches."""
    from flopguard_hook.session import Session, charge

    session = Session(folder)
    work = [charge(name, "bf16", 10**17) for name in ("forward", "backward")]
    session.begin(work)
    figures = []
    for _ in range(_BATCHES):
        before = time.process_time_ns()
        for _ in range(_WRITES):
            session.finish(())
        figures.append((time.process_time_ns() - before) / _WRITES)
    return figures


def modules(_folder: str) -> Any:
    """Train a layer; return the names of all modules that are loaded then."""
    layer = nn.Linear(2, 2)
    optimizer = torch.optim.SGD(layer.parameters())
    for _ in range(4):
        layer(torch.ones(2, 2)).sum().backward()
        optimizer.step()
    return sorted(sys.modules)


def memory(folder: str) -> Any:
    """Train on varying shapes; return the bytes that the hook holds, thrice.

    After attaching, after a fifth of the steps and after all; code included.
    """
    from bench.workloads import llama

    model = llama(1, 32, 64, 64)
    optimizer = torch.optim.SGD(model.parameters())
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    from flopguard_hook import attaching

    attaching.attach(folder)
    after, _ = tracemalloc.get_traced_memory()
    attached, start = after - before, _held()
    figures = [attached]
    for number in range(1, _STEPS + 1):
        length = _LENGTHS[number % len(_LENGTHS)]
        tokens = torch.ones(1 + number % 4, length, dtype=torch.long)
        model(input_ids=tokens, labels=tokens).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if number in {_STEPS // 5, _STEPS}:
            figures.append(attached + _held() - start)
    return figures


def _held() -> int:
    """Return the bytes that lines of the hook allocated and still hold."""
    kept = tracemalloc.take_snapshot().filter_traces(
        [tracemalloc.Filter(inclusive=True, filename_pattern="*/flopguard_hook/*")]
    )
    return sum(trace.size for trace in kept.traces)


PROGRAMS: dict[str, Callable[[str], Any]] = {
    program.__name__: program for program in (attach, writes, modules, memory)
}

if __name__ == "__main__":
    sys.stdout.write(json.dumps(PROGRAMS[sys.argv[1]](sys.argv[2])) + "\n")
