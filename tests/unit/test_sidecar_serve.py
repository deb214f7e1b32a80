"""The sidecar as a process: its signals, its termination log, its two addresses."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from flopguard_sidecar.final import RECORD_BYTES, FinalRecord, decode
from standins.pages import forward, nonce, put

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


def serve_command(pages: Path, port: int, log: Path) -> list[str]:
    """Return a command line that says everything by options."""
    options = {"--dir": pages, "--port": port, "--termination-log": log}
    return [*COMMAND, "serve", "--interval", "0.02"] + [
        str(word) for option in options.items() for word in option
    ]


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


def test_marks_say_whose_they_are(tmp_path: Path) -> None:
    """An address is used again by another pod; the operator checks whom it reached."""
    with sidecar(tmp_path) as running:
        address = f"http://127.0.0.1:{running.port}/marks"
        with urllib.request.urlopen(address, timeout=10) as answer:
            assert answer.headers["X-Flopguard-Pod-Uid"] == "uid-1"


def test_marks_are_what_the_command_reads_and_what_the_record_digests(
    tmp_path: Path,
) -> None:
    """One document, three ways to it."""
    with sidecar(tmp_path) as running:
        put(running.pages, forward(10**20, nonce=nonce(2)), facts='{"rank": 1}')
        put(running.pages, forward(7, nonce=nonce(1), steps=3))
        wait_for("both pages", lambda: running.get("/marks").count(b'"nonce"') == 2)
        wait_for("the facts", lambda: b'"rank"' in running.get("/marks"))
        marks = running.get("/marks")

        read = subprocess.run(
            [*COMMAND, "read", str(running.pages)],
            capture_output=True,
            check=True,
            timeout=60,
        )
        digest = hashlib.sha256(marks).hexdigest()
        wait_for("the record", lambda: running.record().digest == digest)
        record = running.record()

    assert read.stdout == marks
    assert json.loads(marks)["done"]["forward"] == str(10**20 + 7)
    assert record.done["forward"] == record.begun == 10**20 + 7
    assert (record.pages, record.steps, record.final) == (2, 3, False)


def test_metrics_are_served_with_the_pod_uid(tmp_path: Path) -> None:
    """The operator counts a series only if it belongs to that pod."""
    with sidecar(tmp_path) as running:
        page = running.get("/metrics").decode()
        health = running.get("/healthz")

    families = {f.name: f for f in text_string_to_metric_families(page)}
    assert families["flopguard_pod_pages"].samples[0].labels == {"pod_uid": "uid-1"}
    assert not [name for name in families if not name.startswith("flopguard_")]
    assert health == b"ok\n"


def test_sigterm_is_followed_by_one_last_scan_and_final(tmp_path: Path) -> None:
    """The interval is a minute: only the last scan can have seen the page."""
    with sidecar(tmp_path) as running:
        running.process.send_signal(signal.SIGSTOP)
        put(running.pages, forward(41, generation=0))
        put(running.pages, forward(42, generation=1, closed=True))
        running.process.send_signal(signal.SIGTERM)
        started = time.monotonic()
        running.process.send_signal(signal.SIGCONT)

        assert running.process.wait(timeout=LIMIT_SECONDS) == 0
        seconds = time.monotonic() - started

    record = running.record()
    assert record.final
    assert record.begun == 42
    assert seconds < 2  # what the kubelet leaves when the grace period is used up


def test_a_killed_sidecar_leaves_a_whole_record_that_is_not_final(
    tmp_path: Path,
) -> None:
    """Only SIGTERM and a last scan close a stream."""
    with sidecar(tmp_path) as running:
        put(running.pages, forward(42))
        wait_for("the mark", lambda: running.record().begun == 42)
        running.process.kill()
        running.process.wait(timeout=LIMIT_SECONDS)

    record = running.record()
    assert not record.final
    assert record.done["forward"] == 42


def test_a_sidecar_killed_at_random_moments_always_leaves_a_whole_record(
    tmp_path: Path,
) -> None:
    """The page changes before every scan, so it is killed while it writes."""
    for attempt in range(5):
        with sidecar(tmp_path) as running:
            end = time.monotonic() + 0.05 * (attempt + 1)
            generation = 0
            while time.monotonic() < end:
                put(running.pages, forward(generation, generation=generation))
                generation += 1
            running.process.kill()
            running.process.wait(timeout=LIMIT_SECONDS)
        assert not running.record().final


def test_a_restarted_sidecar_finds_the_same_mark(tmp_path: Path) -> None:
    """It has no state of its own: the pages are the state."""
    with sidecar(tmp_path) as running:
        put(running.pages, forward(42))
        wait_for("the mark", lambda: running.record().begun == 42)
        before = running.get("/marks")
    with sidecar(tmp_path) as running:
        assert running.get("/marks") == before


def test_the_record_is_written_when_the_mark_changed_and_only_then(
    tmp_path: Path,
) -> None:
    """The sequence counts the writes; the file never has another length."""
    with sidecar(tmp_path) as running:
        for generation in range(5):
            put(running.pages, forward(generation + 1, generation=generation))
            wait_for("a record", lambda: running.record().begun == generation + 1)  # noqa: B023 - called at once
            assert running.termination_log.stat().st_size == RECORD_BYTES
        sequence = running.record().sequence
        age = age_of_mark(running)
        wait_for("a later scan", lambda: age_of_mark(running) <= age)

        assert running.record().sequence == sequence == 6  # the first one was empty


def age_of_mark(running: Running) -> float:
    """Return the age that the sidecar states."""
    page = running.get("/metrics").decode()
    families = {f.name: f for f in text_string_to_metric_families(page)}
    return float(families["flopguard_mark_age_seconds"].samples[0].value)


def test_errors_are_counted_once_and_logged(tmp_path: Path) -> None:
    """An error that stays is not a new one at every scan."""
    with sidecar(tmp_path) as running:
        put(running.pages, forward(1, errors=("hook_failed", "unknown_operator")))
        wait_for("the errors", lambda: running.get("/metrics").count(b"errors_total{"))
        wait_for(
            "two errors",
            lambda: b'errors_total{pod_uid="uid-1"} 2.0' in running.get("/metrics"),
        )
        put(running.pages, forward(2, generation=1, errors=("hook_failed",)))
        wait_for("the mark", lambda: running.record().begun == 2)
        assert running.record().errors == 2
        problems = [e["problem"] for e in running.events() if "problem" in e]

    assert sorted(map(str, problems)) == ["hook_failed", "unknown_operator"]


def test_a_folder_that_cannot_be_read_leaves_the_mark_and_is_never_final(
    tmp_path: Path,
) -> None:
    """The last scan is what `final` vouches for; without it there is none."""
    with sidecar(tmp_path) as running:
        put(running.pages, forward(42))
        wait_for("the mark", lambda: running.record().begun == 42)
        running.pages.rename(tmp_path / "elsewhere")
        running.pages.symlink_to(tmp_path / "elsewhere")
        wait_for("the log", lambda: "cannot be read" in running.errors.read_text())

        assert json.loads(running.get("/marks"))["done"]["forward"] == "42"
        running.process.terminate()
        assert running.process.wait(timeout=LIMIT_SECONDS) == 0

    assert not running.record().final
    assert running.record().begun == 42


def test_without_a_termination_log_the_sidecar_serves_all_the_same(
    tmp_path: Path,
) -> None:
    """On a laptop there is no kubelet."""
    log = tmp_path / "absent"
    process = subprocess.Popen(
        [
            *COMMAND,
            "serve",
            "--dir",
            str(tmp_path),
            "--port",
            "0",
            "--termination-log",
            log,
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    first = json.loads(process.stderr.readline())
    process.terminate()
    process.stderr.close()

    assert process.wait(timeout=LIMIT_SECONDS) == 0
    assert first["event"].startswith("no termination log")
    assert not log.exists()


def test_a_taken_port_costs_the_addresses_but_not_the_record(tmp_path: Path) -> None:
    """On the host's network somebody else may have it; the kubelet still carries."""
    with sidecar(tmp_path) as first:
        (tmp_path / "b").mkdir()
        (tmp_path / "b" / "log").touch()
        process = subprocess.Popen(
            [
                *COMMAND,
                "serve",
                "--dir",
                str(first.pages),
                "--interval",
                "0.02",
                "--port",
                str(first.port),
                "--termination-log",
                str(tmp_path / "b" / "log"),
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        put(first.pages, forward(42))
        lines = process.stderr
        assert any("the port is taken" in line for line in iter(lines.readline, ""))
        process.terminate()
        lines.close()

        assert process.wait(timeout=LIMIT_SECONDS) == 0

    assert decode((tmp_path / "b" / "log").read_bytes()).begun == 42


def test_sigterm_during_the_slow_imports_is_not_lost(tmp_path: Path) -> None:
    """To process 1 of a container, an uncaught SIGTERM does nothing at all."""
    log = tmp_path / "log"
    log.touch()
    slow = tmp_path / "structlog.py"
    slow.write_text(
        "import os, signal, sys\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        f"sys.path.remove({str(tmp_path)!r})\n"
        "del sys.modules['structlog']\n"
        "import structlog\n"
        "sys.modules['structlog'] = structlog\n"
    )
    put(tmp_path, forward(42))

    done = subprocess.run(
        [
            *COMMAND,
            "serve",
            "--dir",
            str(tmp_path),
            "--port",
            "0",
            "--termination-log",
            str(log),
        ],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, decode(log.read_bytes()).final) == (0, True), done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param([], "COMMAND", id="no command"),
        pytest.param(["serve"], "--dir", id="serve without a folder"),
        pytest.param(
            ["serve", "--dir", "x", "--interval", "0"], "between", id="no interval"
        ),
        pytest.param(
            ["serve", "--dir", "x", "--port", "http"], "--port", id="a named port"
        ),
        pytest.param(["read", "/absent"], "/absent", id="read a folder that is not"),
    ],
)
def test_a_wrong_command_line_is_explained(arguments: list[str], message: str) -> None:
    """In a line, not in a traceback."""
    variables = {k: v for k, v in os.environ.items() if not k.startswith("FLOPGUARD_")}
    done = subprocess.run(
        [*COMMAND, *arguments],
        env=variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode in (1, 2)
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_help_shows_how_to_use_it() -> None:
    """The three commands, and the way to try the hook on a laptop."""
    done = subprocess.run(
        [*COMMAND, "--help"], capture_output=True, text=True, timeout=60, check=True
    )

    for words in ("serve", "read", "install", "PYTHONPATH=", "FLOPGUARD_DIR="):
        assert words in done.stdout
