"""Does the sidecar start where something is missing, and explain what it cannot do?"""

import json
import os
import subprocess
from pathlib import Path

import pytest

from flopguard_sidecar.final import decode
from standins.pages import forward, put
from standins.sidecars import COMMAND, LIMIT_SECONDS, sidecar


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
