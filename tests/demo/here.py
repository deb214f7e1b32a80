"""The demo where no cluster can run: the same fine-tune under `flopguard run`."""

import os
import subprocess
import sys
from pathlib import Path

from demo import outcome, telling, watching
from demo.files import (
    Books,
    books_of,
    budget_of,
    model_folder,
    train_folder,
    write_reports,
)
from demo.outcome import Check
from flopguard_operator.ledger.store import export_file

PROGRAM = "support-bot"
BASE = "HuggingFaceTB/SmolLM2-135M-Instruct"
RAISED_BUDGET = "6e12"
SAVE_EVERY = 5
SPENT, STOPPED = 123, 124
FLOPGUARD = (sys.executable, "-m", "flopguard_operator.cli")


def play(out: Path, example: Path, why: str) -> int:
    """Play all acts in local mode; return the exit code.

    Args:
        out: an empty folder for what the demo leaves.
        example: with the training script and the run's manifest.
        why: no cluster can run here, in a sentence.
    """
    telling.act("Local mode: no cluster can run on this machine")
    telling.fact(why)
    budget = budget_of(example / "run.yaml")
    script = example / "train.py"
    telling.act(f"A plain training script, with a budget of {budget} FLOPs")
    limits = ("--max-flops", str(budget), "--warn-at", "50,80")
    first = _run(out, script, "attempt-1.log", *limits)
    held = _books(out, "ledger-at-hold.jsonl")
    telling.act("Somebody starts it again")
    refused = _run(out, script, "refused.log")
    telling.act(f"The budget is raised to {RAISED_BUDGET}: the program goes on")
    second = _run(out, script, "attempt-2.log", "--max-flops", RAISED_BUDGET)
    done = _books(out, "ledger.jsonl")
    telling.quote(_told("status", "--state", str(out / "state")))
    write_reports(out, out / "ledger.jsonl", f"local/{PROGRAM}")
    steps = watching.steps(out / "attempt-1.log")
    resumed = watching.steps(out / "attempt-2.log")
    begin = max(steps, default=0) // SAVE_EVERY * SAVE_EVERY + 1
    checks = [
        Check("stopped at the budget", first == STOPPED),
        *outcome.at_the_hold(held.account, held.entries, len(steps)),
        Check("not started again while the budget is spent", refused == SPENT),
        Check("the second attempt ended by itself", second == 0),
        *outcome.after_the_resume(done.account, held.account, resumed, begin),
        Check("the ledger verified", held.verified and done.verified),
    ]
    telling.act("What was seen, in local mode")
    for check in checks:
        telling.verdict(check.text, holds=check.holds)
    telling.fact(f"report, ledger and logs are in {out.name}/")
    return 0 if all(check.holds for check in checks) else 1


def _run(out: Path, script: Path, log: str, *options: str) -> int:
    """Run the script under flopguard; its own output goes to a file."""
    command = [*FLOPGUARD, "run", "--state", str(out / "state"), "--program", PROGRAM]
    command += ["--base", BASE, "--interval", "0.5", *options, "--"]
    command += [str(train_folder() / "bin" / "python"), str(script)]
    command += ["--model", str(model_folder()), "--output", str(out / "weights")]
    command += ["--steps", "40", "--save-every", str(SAVE_EVERY)]
    with (out / log).open("w", encoding="utf-8") as file:
        return subprocess.run(
            command, stdout=file, check=False, env=_plain()
        ).returncode


def _plain() -> dict[str, str]:
    """Return the environment without the path to the demo's own modules."""
    return {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}


def _books(out: Path, name: str) -> Books:
    """Export the ledger, verify it, and fold it."""
    with (out / name).open("wb") as file:
        export_file(out / "state" / "ledger.db", file)
    return books_of(out / name, PROGRAM)


def _told(*arguments: str) -> str:
    command = [*FLOPGUARD, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=True, env=_plain()
    ).stdout
