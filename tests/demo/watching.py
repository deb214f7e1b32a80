"""Follow objects and logs with long-lived kubectl processes; each line has its time."""

import json
import queue
import subprocess
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from cluster.kubectl import Kubectl

END_SECONDS = 5


class Stream:
    """The lines of one kubectl command as they come, with the time they came."""

    def __init__(
        self, kubectl: Kubectl, *arguments: str, copy: Path | None = None
    ) -> None:
        self.lines: queue.Queue[tuple[float, str]] = queue.Queue()
        self._copy = copy
        self._process = subprocess.Popen(
            kubectl.command(*arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        if self._process.stdout is None:
            return
        for line in self._process.stdout:
            self.lines.put((time.time(), line.rstrip("\n")))
            if self._copy is not None:
                with self._copy.open("a", encoding="utf-8") as file:
                    file.write(line)

    def drain(self) -> list[tuple[float, str]]:
        """Return what has come since the last call; never waits."""
        found = []
        while True:
            try:
                found.append(self.lines.get_nowait())
            except queue.Empty:
                return found

    def join(self, seconds: float) -> None:
        """Wait until the command has ended by itself, at most so long."""
        self._thread.join(seconds)

    def __enter__(self) -> Self:
        """Return the stream; it ends with the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End kubectl."""
        self._process.terminate()
        self._process.wait(END_SECONDS)


def objects(kubectl: Kubectl, kind: str, name: str, path: str) -> Stream:
    """Stream the JSON at `path` of one object, a line per change."""
    template = "jsonpath={" + path + "}{'\\n'}"
    return Stream(kubectl, "get", kind, name, "--watch", "-o", template)


def log(kubectl: Kubectl, pod: str, container: str, copy: Path) -> Stream:
    """Stream a container's log, and keep it in a file: the pod will be gone."""
    return Stream(kubectl, "logs", "--follow", pod, "-c", container, copy=copy)


def steps(file: Path) -> list[int]:
    """Return the steps that a training log says were finished."""
    found = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            found.append(int(json.loads(line)["step"]))
        except (ValueError, KeyError, TypeError):
            continue  # a warning of a library
    return found
