"""The hook as it is deployed: a subprocess and two environment variables."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flopguard_hook.page import CATEGORIES, Page, read_page

ROOT = Path(__file__).resolve().parents[2]
Flops = dict[str, int]


def total(counters: dict[str, dict[str, int]]) -> Flops:
    """Return the FLOPs of each category, over all formats."""
    return {category: sum(counters[category].values()) for category in CATEGORIES}


def printed(mark: str, *arguments: str, timeout: float, cwd: Path | None = None) -> Any:
    """Run `python ARGUMENTS` without the hook; return what the marked line holds.

    Args:
        mark: First word of the one line that is looked for; JSON follows it.
        arguments: Of Python.
        timeout: Seconds.
        cwd: Where to run.
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *arguments],
        cwd=cwd,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    (line,) = [x for x in done.stdout.splitlines() if x.startswith(mark + " ")]
    return json.loads(line.removeprefix(mark + " "))


@dataclass(frozen=True)
class Run:
    """A program that ran under the hook."""

    steps: list[dict[str, Any]]
    stdout: str
    stderr: str
    code: int
    pages: list[Page]
    facts: list[dict[str, Any]]

    @property
    def page(self) -> Page:
        """Return the only page."""
        (page,) = self.pages
        return page


@dataclass(frozen=True)
class Deployment:
    """The hook as it is deployed: two environment variables."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """Return an environment that arms it."""
        bootstrap = ROOT / "sidecar" / "flopguard_hook" / "bootstrap"
        armed = {"PYTHONPATH": str(bootstrap), "FLOPGUARD_DIR": str(self.folder)}
        return {**os.environ, **armed, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "2"}

    def run(self, *arguments: str, timeout: float = 240, **environment: str) -> Run:
        """Run `python ARGUMENTS` to its end."""
        done = subprocess.run(
            [sys.executable, *arguments],
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
        return self.result(done.stdout, done.stderr, done.returncode)

    def result(self, stdout: str, stderr: str, code: int) -> Run:
        """Read what a program printed and the pages that it left."""
        paths = sorted(self.folder.glob("*.page"))
        return Run(
            [json.loads(line) for line in stdout.splitlines() if line[:1] == "{"],
            stdout,
            stderr,
            code,
            [read_page(path.read_bytes()) for path in paths],
            [json.loads(path.with_suffix(".json").read_text()) for path in paths],
        )
