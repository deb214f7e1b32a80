"""The real sidecar as a process, run by tests on a folder of pages."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flopguard_sidecar.final import FinalRecord, decode

COMMAND = [sys.executable, "-m", "flopguard_sidecar"]

LIMIT_SECONDS = 20.0


def wait_for(what: str, question: Callable[[], object]) -> None:
    """Poll until the answer is true.

    Raises:
        AssertionError: It did not become true within the limit.
    """
    end = time.monotonic() + LIMIT_SECONDS
    while not question():
        assert time.monotonic() < end, f"waited {LIMIT_SECONDS:.0f} s for {what}"
        time.sleep(0.01)


@dataclass
class Running:
    """A sidecar that runs."""

    process: subprocess.Popen[bytes]
    port: int
    pages: Path
    termination_log: Path
    errors: Path

    def get(self, path: str) -> bytes:
        """Return the body of a page of the sidecar."""
        address = f"http://127.0.0.1:{self.port}{path}"
        with urllib.request.urlopen(address, timeout=10) as answer:
            return bytes(answer.read())

    def record(self) -> FinalRecord:
        """Return what the kubelet would read now."""
        return decode(self.termination_log.read_bytes())

    def events(self) -> list[dict[str, object]]:
        """Return the log so far."""
        return [json.loads(line) for line in self.errors.read_text().splitlines()]


@contextmanager
def sidecar(tmp_path: Path, **environment: str) -> Iterator[Running]:
    """Run a sidecar on `tmp_path/pages`; kill it at the end if it still runs."""
    pages, log = tmp_path / "pages", tmp_path / "termination-log"
    pages.mkdir(exist_ok=True)
    log.touch()
    errors = tmp_path / "stderr"
    command = [*COMMAND, "serve", "--interval", "0.02", "--termination-log", str(log)]
    variables = {
        "FLOPGUARD_DIR": str(pages),
        "FLOPGUARD_PORT": "0",
        "FLOPGUARD_POD_UID": "uid-1",
    }
    with errors.open("wb") as file:
        process = subprocess.Popen(
            command, stderr=file, env=os.environ | variables | environment
        )
    try:
        running = Running(process, 0, pages, log, errors)
        wait_for("the sidecar to serve", lambda: "serving" in errors.read_text())
        ports = re.findall(r'"port": (\d+)', errors.read_text())
        running.port = int(ports[0])
        yield running
    finally:
        process.kill()
        process.wait()
