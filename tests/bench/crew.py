"""The processes of a session: one for each arm, on one core, taking turns. Shell."""

import json
import os
import random
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from bench.plan import Arm, Workload
from flopguard_hook.page import read_page

ROOT = Path(__file__).resolve().parents[2]
_LIMIT_S = 300  # for one request; compiling is the longest
_FEWEST = 2  # rounds

Block = dict[str, int]
Rounds = list[dict[str, Block]]  # of each round: arm → what its block took


class Tally(NamedTuple):
    """What a page said.

    Attributes:
        flops: Over all categories and formats.
        writes: Of the page, so far.
        errors: The flags that are set.
    """

    flops: int
    writes: int
    errors: tuple[str, ...]


class Measured(NamedTuple):
    """A workload in one session.

    Attributes:
        rounds: Of blocks.
        counted: Of each hooked arm: steps, and the FLOPs and page writes in them.
        errors: Of each hooked arm: the flags of its page.
        replay: Of each hooked arm: what its facts say of replay, since its start.
    """

    rounds: Rounds
    counted: dict[str, dict[str, int]]
    errors: dict[str, list[str]]
    replay: dict[str, Any]


class WorkerError(Exception):
    """A worker ended, or did not answer in time."""


def environment(arm: Arm, hook: Path, pages: Path) -> dict[str, str]:
    """Return the variables of an arm's process; the hook needs no other change.

    Args:
        arm: The arm.
        hook: Folder of the installed hook.
        pages: Folder for its pages.
    """
    path = str(ROOT / "tests")
    armed: dict[str, str] = {}
    if arm.hooked:
        path = f"{hook / 'bootstrap'}:{path}"
        armed = {"FLOPGUARD_DIR": str(pages), **dict(arm.environment)}
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("FLOPGUARD_")}
    single = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    quiet = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    return {**inherited, **single, **quiet, "PYTHONPATH": path, **armed}


def cores() -> tuple[int, int]:
    """Return the core of the driver and the core of what is measured."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[-1], usable[0]


class Worker:
    """A process of one arm."""

    def __init__(self, arm: Arm, hook: Path, folder: Path, core: int) -> None:
        self.arm = arm
        self._log = folder / "log"
        self._pages = folder / "pages"
        self._pages.mkdir(parents=True)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "bench.worker", arm.around],
                env=environment(arm, hook, self._pages),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        os.sched_setaffinity(self._process.pid, {core})

    def ask(self, **request: Any) -> None:
        """Send a request; another may be sent after the answer."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise WorkerError(self._trouble("ended")) from None

    def answer(self) -> Any:
        """Wait for the answer.

        Raises:
            WorkerError: The process ended, or took longer than the limit.
        """
        out = self._process.stdout
        assert out is not None
        ready, _, _ = select.select([out], [], [], _LIMIT_S)
        line = out.readline() if ready else b""
        if not line:
            raise WorkerError(self._trouble("ended" if ready else "did not answer"))
        return json.loads(line)

    def tally(self) -> Tally | None:
        """Read what the process's page says now; None if there is none.

        Between an answer and the next request nobody writes into it.
        """
        pages = [read_page(p.read_bytes()) for p in self._pages.glob("*.page")]
        if not pages:
            return None
        (page,) = pages
        flops = sum(sum(by_format.values()) for by_format in page.done.values())
        return Tally(flops, page.generation, page.errors)

    def replay(self) -> Any:
        """Return what the facts beside the page say of replay; None if nothing."""
        texts = [p.read_text() for p in self._pages.glob("*.json")]
        return json.loads(texts[0]).get("replay") if texts else None

    def end(self) -> None:
        """Let the process exit, or kill it."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
            self._process.wait(timeout=60)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()

    def _trouble(self, what: str) -> str:
        last = self._log.read_text(errors="replace")[-2000:]
        return f"the process of arm {self.arm.name!r} {what}; its last words:\n{last}"


@contextmanager
def crew(arms: Sequence[Arm], hook: Path, folder: Path) -> Iterator[list[Worker]]:
    """Start one process per arm on one core; end them all afterwards."""
    driver, measured = cores()
    before = os.sched_getaffinity(0)
    with ExitStack() as stack:
        os.sched_setaffinity(0, {driver})
        stack.callback(os.sched_setaffinity, 0, before)
        workers = []
        for arm in arms:
            workers.append(Worker(arm, hook, folder / arm.name, measured))
            stack.callback(workers[-1].end)
        yield workers


def run(
    workers: Sequence[Worker], load: Workload, settle: int, seconds: float
) -> Measured:
    """Run rounds of a workload, one process at a time, in an order drawn anew.

    Args:
        workers: Of all arms.
        load: The workload; every process builds it first.
        settle: Untimed steps after building.
        seconds: Time for the rounds; there are at least two.
    """
    for worker in workers:  # one at a time: they share a core and a compiler's cache
        worker.ask(build=load.name, settle=settle)
        worker.answer()
    before = {worker.arm.name: worker.tally() for worker in workers}
    order = random.Random(load.name)  # noqa: S311 # repeatable
    rounds: Rounds = []
    until = time.monotonic() + seconds
    while len(rounds) < _FEWEST or time.monotonic() < until:
        turn = [w for w in workers if len(rounds) % w.arm.every == 0]
        order.shuffle(turn)
        blocks: dict[str, Block] = {}
        for worker in turn:
            worker.ask(steps=load.steps, warm=load.warm)
            blocks[worker.arm.name] = worker.answer()
        rounds.append(blocks)
    return _measured(workers, load, rounds, before)


def _measured(
    workers: Sequence[Worker],
    load: Workload,
    rounds: Rounds,
    before: Mapping[str, Tally | None],
) -> Measured:
    counted, errors, replay = {}, {}, {}
    for worker in workers:
        name, after = worker.arm.name, worker.tally()
        if after is None:
            continue
        start = before[name] or Tally(0, 0, ())
        blocks = sum(name in blocks for blocks in rounds)
        counted[name] = {
            "steps": blocks * (load.steps + load.warm),
            "flops": after.flops - start.flops,
            "writes": after.writes - start.writes,
        }
        errors[name] = list(after.errors)
        replay[name] = worker.replay()
    return Measured(rounds, counted, errors, replay)
