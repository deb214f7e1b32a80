"""Two ways to run under the hook: as deployed, in a subprocess; or attached right here.

The second is for tables of small programs: starting torch takes seconds.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "sidecar"))

from flopguard_hook.page import CATEGORIES, Page, read_page  # noqa: E402 # the path above

Flops = dict[str, int]


def total(counters: dict[str, dict[str, int]]) -> Flops:
    """Return the FLOPs of each category, over all formats."""
    return {category: sum(counters[category].values()) for category in CATEGORIES}


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


@pytest.fixture
def deployed(tmp_path: Path) -> Deployment:
    """Return a deployment with an empty folder of pages."""
    folder = tmp_path / "pages"
    folder.mkdir()
    return Deployment(folder)


@pytest.fixture(scope="session")
def attached(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Attach the hook to this process's torch; return the folder of its page."""
    from flopguard_hook.attaching import attach

    folder = tmp_path_factory.mktemp("attached")
    session = attach(str(folder))
    yield folder
    assert session.armed, "the hook disarmed itself during the tests"


@pytest.fixture
def counted(attached: Path) -> Callable[[Callable[[], object]], Flops]:
    """Return a function that runs a program and returns its cost, zeros left out."""

    def now() -> Flops:
        paths = list(attached.glob("*.page"))
        if not paths:
            return dict.fromkeys(CATEGORIES, 0)
        page = read_page(paths[0].read_bytes())
        assert page.done == page.begun, "something begun was never finished"
        return total(page.done)

    def cost(program: Callable[[], object]) -> Flops:
        before = now()
        program()
        after = now()
        spent = {category: after[category] - before[category] for category in after}
        return {category: flops for category, flops in spent.items() if flops}

    return cost
