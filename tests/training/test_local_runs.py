"""`flopguard run` on real torch, against the closed formula: the chain, fast."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from training.deployment import ROOT
from truth.closed_formula import mlp_step_flops

# flopguard's own environment has no torch, and the trainer's has no flopguard.
PYTHON = ROOT / ".venv" / "bin" / "python"
TRAINER = [sys.executable, str(ROOT / "tests" / "e2e" / "trainer.py")]
STEP = sum(mlp_step_flops(8, [64, 128, 10]).values())
FIRST_STEPS = 6
BUDGET = 20 * STEP + STEP // 2

pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason="made by `make install`")


def flopguard(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the command line from these sources."""
    path = os.pathsep.join(str(ROOT / root) for root in ("operator", "sidecar"))
    return subprocess.run(
        [str(PYTHON), "-m", "flopguard_operator.cli", *arguments],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def test_a_program_is_counted_exactly_stopped_at_its_budget_and_not_started_again(
    tmp_path: Path,
) -> None:
    """One start that ends by itself, one that is stopped, one that is refused."""
    state = ["--state", str(tmp_path)]
    begin = ["run", *state, "--interval", "0.1", "--program", "p"]

    def standing() -> dict[str, Any]:
        (one,) = json.loads(flopguard("status", *state, "--json").stdout)["programs"]
        return dict(one)

    first = flopguard(*begin, "--", *TRAINER, "--steps", str(FIRST_STEPS))
    assert first.returncode == 0, first.stderr
    exact = standing()
    assert exact["measured"] == exact["upper"] == str(FIRST_STEPS * STEP)
    assert exact["state"] == "Idle"

    endless = [*TRAINER, "--steps", "1000000", "--sleep", "0.01"]
    second = flopguard(*begin, "--max-flops", str(BUDGET), "--", *endless)
    assert second.returncode == 124, second.stderr
    steps = FIRST_STEPS + len(second.stdout.splitlines())
    held = standing()
    measured, upper = int(held["measured"]), int(held["upper"])
    assert steps * STEP <= measured <= upper <= (steps + 1) * STEP
    assert upper >= BUDGET
    assert (held["state"], held["starts"]) == ("Held", 2)

    third = flopguard(*begin, "--", *endless)
    assert (third.returncode, third.stdout) == (123, "")
    verified = flopguard("verify", str(tmp_path / "ledger.db"))
    assert verified.returncode == 0, verified.stdout
