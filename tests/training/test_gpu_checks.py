"""The script for machines with a GPU: whole here, run here as far as a CPU goes."""

import os
import subprocess
import sys

import pytest
import torch

from gpu.child import CHECKS
from training.deployment import ROOT


def script(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run it as a person does."""
    return subprocess.run(
        [sys.executable, "-m", "tests.gpu", *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def test_the_page_lists_every_check() -> None:
    """By name and question, and whether the CPU answers in part."""
    lines = (ROOT / "docs" / "gpu-checks.md").read_text().splitlines()
    rows = [[c.strip() for c in li.split("|")[1:-1]] for li in lines if "| `" in li]

    assert {row[0].strip("`"): (row[1], bool(row[2])) for row in rows} == {
        check.name: (check.question, check.on_cpu) for check in CHECKS
    }
    assert len(rows) == len(CHECKS)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_machine_without_a_gpu_is_told_so() -> None:
    """Nothing checked is not success."""
    done = script()

    assert done.returncode == 2
    assert "no CUDA device" in done.stderr


def test_checks_run_on_the_cpu() -> None:
    """A program under the deployed hook, its page compared with arithmetic."""
    done = script("--cpu", "--only", "engine_threads", "--only", "custom_operator")

    assert done.returncode == 0, done.stdout
    assert "2 ok, 0 failed, 0 skipped" in done.stdout
