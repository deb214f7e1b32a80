"""Run the sidecar on this machine and ask it, as the operator asks a pod's.

Operator and sidecar meet on the wire here too: it is a process of its own, asked for
`/marks` on the loopback address, or to `read` a folder of pages once.
"""

import contextlib
import http.client
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from flopguard_operator import heard
from flopguard_operator.heard import Heard
from flopguard_operator.observed import Raw

LOOPBACK = "127.0.0.1"
MAX_ANSWER_BYTES = 8 * 1024 * 1024
UID_HEADER = "X-Flopguard-Pod-Uid"
_ASK_SECONDS, _READ_SECONDS, _END_SECONDS = 2.0, 60.0, 5.0
_PORT = re.compile(rb'"port": (\d{1,5}),[^\n]*"event": "serving"')
# -P: a module of the user's in this folder must not take the place of another.
_SIDECAR = (sys.executable, "-P", "-m", "flopguard_sidecar")


class SidecarError(Exception):
    """The sidecar is missing or does not answer; the message says what to do."""


def hook() -> Path:
    """Return the folder of the installed hook.

    Raises:
        SidecarError: hook or sidecar are not installed beside this package.
    """
    for name in ("flopguard_sidecar", "flopguard_hook", "prometheus_client"):
        found = importlib.util.find_spec(name)
        if found is None or found.origin is None:
            message = f"{name} is not installed: pip install 'flopguard[local]'"
            raise SidecarError(message)
        if name == "flopguard_hook":
            folder = Path(found.origin).parent
    return folder


class Sidecar:
    """The sidecar of one start; it ends with this process, however that ends."""

    def __init__(self, uid: str, pages: Path, log: Path, interval: float) -> None:
        self.uid, self.pages, self._log = uid, pages, log
        self._interval = interval
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it serves a moment later.

        Raises:
            OSError: it cannot be started.
        """
        command = [*_SIDECAR, "serve", "--attached", "--address", LOOPBACK]
        command += ["--dir", str(self.pages), "--pod-uid", self.uid, "--port", "0"]
        command += ["--interval", str(self._interval), "--termination-log", os.devnull]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                process_group=0,  # Ctrl-C is not meant for it
            )

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def ask(self, *, whole: bool) -> Heard | None:
        """Return what it tells now; one that has died is replaced."""
        if not self.is_running:
            with contextlib.suppress(SidecarError, OSError):
                told = read(self.pages, self.uid)
                self.start()
                return told
            return None
        return ask(self._log, self.uid, whole=whole)

    def stop(self) -> None:
        """End it."""
        if self._process is None:
            return
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.terminate()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def ask(log: Path, uid: str, *, whole: bool) -> Heard | None:
    """Return what the sidecar of a start tells; None where it does not answer.

    Args:
        log: of the sidecar; it says the port.
        uid: of the start.
        whole: with the processes and their facts.
    """
    try:
        ports = _PORT.findall(log.read_bytes())
        if not ports:
            return None
        raw = _get(int(ports[-1]), uid)
    except (OSError, ValueError, http.client.HTTPException):
        return None
    return _parsed(raw, uid, whole=whole)


def _get(port: int, uid: str) -> Raw | None:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=_ASK_SECONDS)
    with contextlib.closing(connection):
        connection.request("GET", "/marks")
        answer = connection.getresponse()
        if answer.status != http.HTTPStatus.OK or answer.headers[UID_HEADER] != uid:
            return None  # the port is another's by now
        return _json(answer.read(MAX_ANSWER_BYTES + 1))


def read(pages: Path, uid: str) -> Heard:
    """Return what the pages of a start say, with the processes behind them.

    Raises:
        SidecarError: they cannot be read.
    """
    try:
        done = subprocess.run(  # noqa: S603 - our own module
            [*_SIDECAR, "read", str(pages)],
            capture_output=True,
            check=False,
            timeout=_READ_SECONDS,
            process_group=0,
        )
        told = _parsed(_json(done.stdout), uid, whole=True)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        message = f"the pages in {pages} cannot be read: {error}"
        raise SidecarError(message) from error
    if done.returncode or told is None:
        why = done.stderr.decode(errors="replace").strip()[-200:]
        message = f"the pages in {pages} cannot be read: {why}"
        raise SidecarError(message)
    return told


def _json(data: bytes) -> Raw | None:
    """Return the object in some bytes.

    Raises:
        ValueError: they are no JSON, or nested too deeply.
    """
    try:
        raw = json.loads(data) if len(data) <= MAX_ANSWER_BYTES else None
    except RecursionError as error:
        message = "nested too deeply"
        raise ValueError(message) from error
    return raw if isinstance(raw, dict) else None


def _parsed(raw: Raw | None, uid: str, *, whole: bool) -> Heard | None:
    return (heard.parse_whole if whole else heard.parse_mark)(raw, uid)
