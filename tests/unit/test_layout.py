"""The layout rules that keep Python itself alive in the repository root."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("folder", ["operator", "sidecar", "tests"])
def test_source_roots_are_not_packages(folder: str) -> None:
    """With an __init__.py, operator/ shadows the stdlib and python dies at the root."""
    assert not (ROOT / folder / "__init__.py").exists()


def test_no_test_folder_is_called_operator() -> None:
    """A test module operator.test_x would collide with the stdlib's operator."""
    assert not (ROOT / "tests" / "operator").exists()


def test_python_starts_in_the_repository_root() -> None:
    """`python -m` puts the root first on the path; the stdlib must still win."""
    code = "import collections, operator; print(operator.__file__)"

    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert not done.stdout.startswith(str(ROOT))
