"""Runs reference counts in forks of one process that has imported the libraries.

Importing them takes ten seconds, and a reference needs no fresh interpreter: only the
hook's own run is started as deployed. Reads requests as lines of JSON on stdin, answers
each by a line on stdout; `{"cell", "count", "notes", "workers", "limit"}` becomes
`{"notes", "codes"}`, with the exit code of each worker, None where the limit was hit.
"""

import json
import os
import select
import signal
import socket
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from counting.cells import cells
from counting.program import play

LIBRARIES = ("torch", "transformers", "peft", "datasets", "accelerate", "trl")


@dataclass
class Job:
    """The workers of one request."""

    notes: str
    deadline: float
    alive: set[int]
    codes: list[int | None]


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _start(request: dict[str, Any]) -> Job:
    workers, port = int(request["workers"]), _free_port()
    place = {"WORLD_SIZE": str(workers), "LOCAL_WORLD_SIZE": str(workers)}
    if workers > 1:
        place |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    alive = set()
    for rank in range(workers):
        child = os.fork()
        if child == 0:
            if workers > 1:
                os.environ |= {**place, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            _work(request)
        alive.add(child)
    return Job(request["notes"], time.monotonic() + request["limit"], alive, [])


def _work(request: dict[str, Any]) -> None:
    """Play the cell in this fork and end it."""
    code = 1
    try:
        folder = Path(request["notes"])
        folder.mkdir(parents=True, exist_ok=True)
        log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for stream in (1, 2):
            os.dup2(log, stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        (cell,) = [cell for cell in cells() if cell.name == request["cell"]]
        play(cell, request["count"], folder)
        code = 0
    except BaseException:  # noqa: BLE001 # it ends in the log and in the exit code
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _collect(job: Job) -> None:
    """Take the exit codes of workers that ended; end those that run too long."""
    for child in sorted(job.alive):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            job.alive.discard(child)
            job.codes.append(os.waitstatus_to_exitcode(status))
    if time.monotonic() > job.deadline:
        for child in job.alive:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            job.codes.append(None)
        job.alive.clear()


def serve() -> None:
    """Answer requests until stdin is closed."""
    import importlib

    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for name in LIBRARIES:
        importlib.import_module(name)
    answers.write(json.dumps({"ready": True}) + "\n")
    jobs: list[Job] = []
    buffered = b""
    while True:
        if select.select([0], [], [], 0.05)[0]:
            read = os.read(0, 65536)
            if not read:
                return
            buffered += read
            *lines, buffered = buffered.split(b"\n")
            jobs += [_start(json.loads(line)) for line in lines]
        for job in jobs:
            _collect(job)
            if not job.alive:
                answer = {"notes": job.notes, "codes": job.codes}
                answers.write(json.dumps(answer) + "\n")
        jobs = [job for job in jobs if job.alive]


if __name__ == "__main__":
    serve()
