"""Time the ledger: appends against the disk's own syncs, verification, the start."""

import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from bench_ledger.making import AT, RUNS, Progress, key, make, settlement
from flopguard_operator.ledger.store import SqliteStore

BLOCK = bytes(4096)
SIZES = (1, 10, 100, 1000)  # marks in a transaction
CHILD = """
import json, resource, sys, time
from pathlib import Path
from bench_ledger.making import key
from flopguard_operator.books import Books
from flopguard_operator.ledger.store import SqliteStore

began = time.perf_counter()
store = SqliteStore(Path(sys.argv[1]), key())
opened = time.perf_counter() - began
books = Books(lambda: store)
books._load()
print(json.dumps({
    "open_s": opened,
    "seconds": time.perf_counter() - began,
    "hashed_from": store.hashed_from,
    "runs": len(books.accounts),
    "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
}))
"""


def syncs(folder: Path, seconds: float) -> float:
    """Return how many 4 KiB appends per second the disk makes durable one by one."""
    path = folder / "bare"
    with path.open("wb", buffering=0) as file:
        count, until = 0, time.perf_counter() + seconds
        began = time.perf_counter()
        while time.perf_counter() < until:
            file.write(BLOCK)
            os.fdatasync(file.fileno())
            count += 1
        rate = count / (time.perf_counter() - began)
    path.unlink()
    return rate


def appends(folder: Path, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Return appends per second by marks per transaction, and the syncs between them.

    Rounds take turns, so that what else the disk does falls on all of them.
    """
    found: dict[int, list[float]] = {size: [] for size in SIZES}
    bare: list[float] = []
    for turn in range(rounds):
        bare.append(syncs(folder, seconds))
        for size in SIZES:
            path = folder / f"append-{turn}-{size}.db"
            with closing(SqliteStore(path, key())) as store:
                found[size].append(_appended(store, size, seconds))
    middle = statistics.median(bare)
    return [
        {
            "marks": size,
            "appends_per_s": statistics.median(rates),
            "commits_per_s": statistics.median(rates) / size,
            "syncs_per_s": middle,
            "share_of_syncs": statistics.median(rates) / size / middle,
        }
        for size, rates in found.items()
    ]


def _appended(store: SqliteStore, size: int, seconds: float) -> float:
    """Commit for some seconds; return settlements per second."""
    rounds = itertools.count(1)
    count, began = 0, time.perf_counter()
    until = began + seconds
    while time.perf_counter() < until:
        place = next(rounds)
        events = [settlement(run, place) for run in _some(size, place)]
        store.commit(events, [], AT)
        count += size
    return count / (time.perf_counter() - began)


def _some(size: int, place: int) -> Iterator[int]:
    return ((place * size + offset) % RUNS for offset in range(size))


def made(path: Path, entries: int, progress: Progress) -> dict[str, Any]:
    """Make a large ledger through the store; return its size on the disk."""
    began = time.perf_counter()
    make(path, entries, progress)
    size = sum(each.stat().st_size for each in path.parent.glob(f"{path.name}*"))
    return {
        "entries": entries,
        "bytes": size,
        "bytes_per_entry": size / entries,
        "made_in_s": time.perf_counter() - began,
    }


def started(path: Path, times: int) -> dict[str, Any]:
    """Return the median start of the operator on a ledger, each in a new process."""
    command = [sys.executable, "-c", CHILD, str(path)]
    runs = [
        json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        for _ in range(times)
    ]
    return dict(sorted(runs, key=lambda run: run["seconds"])[len(runs) // 2])


def verified(path: Path, times: int) -> dict[str, Any]:
    """Return the median verification of an export, each in a new process."""
    command = [sys.executable, "-m", "flopguard_operator.cli", "verify", str(path)]
    walls, used = [], []
    for _ in range(times):
        before = _used()
        began = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        walls.append(time.perf_counter() - began)
        used.append(_used() - before)
        assert "The ledger verifies." in done.stdout
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    seconds, cpu = statistics.median(walls), statistics.median(used)
    return {"seconds": seconds, "cpu_s": cpu, "peak_mb": peak}


def _used() -> float:
    """Return the processor time of all processes that have ended, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
