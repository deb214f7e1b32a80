"""Workers that run cases: each a process of its own that forks its children.

A worker reads a seed a line and answers with a verdict a line. `python -m fuzz.serving
HOOK` is one.
"""

import contextlib
import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from fuzz.cases import Verdict, is_fresh, judge

TESTS = Path(__file__).resolve().parents[1]
_ANSWER_SECONDS = 600.0  # a case runs four children at most, each with a limit


class Worker:
    """A process that runs one case at a time."""

    def __init__(self, hook: Path) -> None:
        self._hook = hook
        self.seed: int | None = None
        self.since = 0.0
        self._start()

    def _start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "fuzz.serving", str(self._hook)],
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, seed: int) -> None:
        """Give it a case."""
        assert self.process.stdin is not None
        self.seed, self.since = seed, time.monotonic()
        self.process.stdin.write(f"{seed}\n")
        self.process.stdin.flush()

    def answer(self) -> Verdict:
        """Return the verdict of its case."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        seed, self.seed = self.seed, None
        if line:
            return Verdict(**json.loads(line))
        assert seed is not None
        return self.replace(seed, "the worker died")

    def replace(self, seed: int, why: str) -> Verdict:
        """Start it anew and return a verdict about the case that it had."""
        self.stop()
        self._start()
        self.seed = None
        return Verdict(seed, "?", why, [why], [], [], [], 0, [], 0.0)

    def stop(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait(10)
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


def run_all(seeds: Iterable[int], hook: Path, workers: int) -> Iterator[Verdict]:
    """Run cases on several workers; yield verdicts as they come."""
    waiting = iter(seeds)
    pool = [Worker(hook) for _ in range(workers)]
    selector = selectors.DefaultSelector()

    def give(worker: Worker) -> None:
        seed = next(waiting, None)
        if seed is None:
            worker.stop()
            return
        worker.ask(seed)
        assert worker.process.stdout is not None
        selector.register(worker.process.stdout, selectors.EVENT_READ, worker)

    try:
        for worker in pool:
            give(worker)
        while selector.get_map():
            ready = [key.data for key, _ in selector.select(5)]
            for key in list(selector.get_map().values()):
                worker = key.data
                late = time.monotonic() - worker.since > _ANSWER_SECONDS
                if worker not in ready and not late:
                    continue
                selector.unregister(key.fileobj)
                seed = worker.seed
                yield worker.answer() if not late else worker.replace(seed, "hangs")
                give(worker)
    finally:
        for worker in pool:
            worker.stop()


def serve(hook: Path) -> None:
    """Answer seeds with verdicts until there are no more."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    sys.stdout = sys.stderr
    warm = False
    for line in sys.stdin:
        seed = int(line)
        if not warm and not is_fresh(seed):
            from fuzz.forking import warm_up

            warm_up()
            warm = True
        answers.write(json.dumps(judge(seed, hook)._asdict()) + "\n")
        answers.flush()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
