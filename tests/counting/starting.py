"""Starts a cell's runs: one as deployed, the references in forks."""

import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from counting.cells import Cell

TESTS = Path(__file__).resolve().parents[1]
HOOK = TESTS.parent / "sidecar" / "flopguard_hook"

# Said to every process, hooked or not: what keeps two runs alike and off the network.
STEADY = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "ACCELERATE_USE_CPU": "true",
    "GLOO_SOCKET_IFNAME": "lo",
    "PYTHONHASHSEED": "0",
}


class RunError(Exception):
    """A run failed or took too long; the message ends with its last lines."""


@dataclass(frozen=True)
class Armed:
    """Where the hook is installed and where its pages go: all that a user sets."""

    pages: Path
    hook: Path = HOOK


def environment(armed: Armed | None, **more: str) -> dict[str, str]:
    """Return an environment that arms the hook by two variables, or none."""
    ours = ("PYTHONPATH", "FLOPGUARD_")
    plain = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    two = {}
    if armed is not None:
        two["PYTHONPATH"] = str((armed.hook / "bootstrap").resolve())
        two["FLOPGUARD_DIR"] = str(armed.pages.resolve())
    # Not FLOPGUARD_MODEL: whatever begins with FLOPGUARD_ may be the hook's.
    model = os.environ.get("FLOPGUARD_MODEL", "")
    return {**plain, **STEADY, "MODEL": model, **two, **more}


def command(cell: Cell, notes: Path) -> list[str]:
    """Return the command line of a cell as its launcher has it."""
    program = ["counting.program", cell.name, "--notes", str(notes)]
    workers = str(cell.workers)
    launchers = {
        "python": ["-m"],
        "torchrun": [
            *("-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", workers, "-m"),
        ],
        "accelerate": [
            # With --cpu it starts one process; STEADY tells it to use no GPU.
            *("-m", "accelerate.commands.launch", "--multi_gpu"),
            *("--num_machines", "1"),
            *("--num_processes", workers, "--mixed_precision", "no"),
            *("--dynamo_backend", "no", "--main_process_port", "0", "-m"),
        ],
    }
    return [sys.executable, *launchers[cell.launcher], *program]


def deployed(cell: Cell, notes: Path, armed: Armed) -> None:
    """Run a cell under the hook as it is deployed.

    Raises:
        RunError: It failed or took too long.
    """
    notes.mkdir(parents=True, exist_ok=True)
    armed.pages.mkdir(parents=True, exist_ok=True)
    log = notes / "log.txt"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command(cell, notes.resolve()),
            cwd=TESTS,
            env=environment(
                armed, TORCHINDUCTOR_CACHE_DIR=str(notes.resolve() / "inductor")
            ),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(timeout=cell.limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)  # a launcher's workers too
            process.wait()
            raise RunError(_tail(log, f"ran longer than {cell.limit} s")) from None
    if code:
        raise RunError(_tail(log, f"exit code {code}"))


def _tail(log: Path, what: str) -> str:
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return "\n".join([what, *lines[-25:]])


class Forks:
    """A process with the libraries imported, in whose forks references run."""

    def __init__(self, armed: Armed | None, **more: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "counting.forking"],
            cwd=TESTS,
            env=environment(armed, **more),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._answers: dict[str, list[int | None]] = {}
        self._news = threading.Condition()
        self._ended = False
        self._errors: list[str] = []
        self._readers = [
            threading.Thread(target=task, daemon=True)
            for task in (self._listen, self._drain)
        ]
        for reader in self._readers:
            reader.start()

    def run(self, cell: Cell, count: str, notes: Path) -> None:
        """Run a cell's reference to its end.

        Raises:
            RunError: It failed or took too long.
        """
        key = str(notes.resolve())
        request = {
            "cell": cell.name,
            "count": count,
            "notes": key,
            "workers": cell.workers,
            "limit": cell.limit,
        }
        with self._news:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            self._news.wait_for(lambda: key in self._answers or self._ended)
            codes = self._answers.pop(key, None)
        if codes is None:
            raise RunError("\n".join(["the references' process ended", *self._errors]))
        if any(code != 0 for code in codes):
            raise RunError(_tail(notes / "log.txt", f"{count}: exit codes {codes}"))

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
        for reader in self._readers:
            reader.join(timeout=60)
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            answer: dict[str, Any] = json.loads(line)
            with self._news:
                if "notes" in answer:
                    self._answers[answer["notes"]] = answer["codes"]
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def _drain(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._errors = [*self._errors[-25:], line.rstrip()]
