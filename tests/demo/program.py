"""The acts about a whole program: a second run, a decision, an import, the gate.

The line that the program nears is made up: no demo spends 3.3e22 FLOPs. The base figure
is set so low that a third of it, the Commission's criterion, is just above what the
first run has spent.
"""

import json
import math
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from cluster.kubectl import Kubectl, KubectlError
from demo import telling
from demo.outcome import Check
from stage import release

PROGRAM, RUN = "support-bot", "support-dpo"
HEADROOM = 1.08  # of the line, above what the first run has spent
SPRING = {"global_step": 6, "epoch": 1.0, "total_flos": 6e9, "log_history": []}
WAIT_SECONDS, TRAIN_SECONDS = 60.0, 240.0
Object = dict[str, Any]


def play(kubectl: Kubectl, ml: Kubectl, example: Path, out: Path) -> list[Check]:
    """Play the acts; return what has to hold.

    Args:
        kubectl: of the cluster.
        ml: within the namespace of the runs.
        example: folder of the first run's manifests.
        out: folder of the demo's files.
    """
    spent = _spent(kubectl)
    _draw_the_line(kubectl, spent)
    refused = _second_run(ml, example)
    before = _gate(kubectl, out)
    _decide(kubectl, "Proceed", f"--to-flops={math.floor(spent * 1.07)}")
    _let_it_train(ml, example)
    imported = _import(kubectl, out)
    after = _gate(kubectl, out)
    total = kubectl.get_json("ftp", PROGRAM)["status"]
    _report(out)
    return [
        Check("the second run was held for what the first had spent", refused),
        Check("the gate was closed before the decision", before == 1),
        Check("the gate is open after it", after == 0),
        Check(
            "the imported job counts, and stands apart",
            int(total["imported"]) == imported
            and int(total["upper"]) >= int(total["measured"]) + imported,
        ),
    ]


def _spent(kubectl: Kubectl) -> int:
    return int(kubectl.get_json("ftp", PROGRAM)["status"]["upper"])


def _draw_the_line(kubectl: Kubectl, spent: int) -> None:
    telling.act("Legal looks at the program: owners, a roll-back plan, a stricter rule")
    base = math.ceil(3 * HEADROOM * spent)
    spec = {
        "policy": "commission-guidelines-2025",
        "owners": {"compliance": "dana", "model": "sam", "product": "pat"},
        "rollbackPlan": "go back to the weights of step 25",
        "baseModel": {
            "name": "HuggingFaceTB/SmolLM2-135M-Instruct",
            "pretrainingFlops": str(base),
            "source": "made up, so that this demo comes near a line of the law",
        },
    }
    patch = json.dumps({"spec": spec})
    kubectl.run("patch", "ftp", PROGRAM, "--type=merge", f"-p={patch}")

    def held() -> Object | None:
        status: Object = kubectl.get_json("ftp", PROGRAM).get("status", {})
        return status if status.get("state") == "Held" else None

    status = kubectl.wait_for(held, WAIT_SECONDS, "the program to be due for review")
    used, limit = status["usedDisplay"], status["limitDisplay"]
    percent = status["percentOfThreshold"]
    telling.fact(f"{used} of {limit} FLOPs, {percent} % of the line: a review is due")


def _second_run(ml: Kubectl, example: Path) -> bool:
    """Apply a second run and its Job; return whether both were kept from starting."""
    telling.act("A second run of the same program is applied")
    ml.apply(_run(example))

    def hold() -> Object | None:
        holds = ml.get_json("ftr", RUN).get("status", {}).get("holds", [])
        return holds[0] if holds else None

    found = ml.wait_for(hold, WAIT_SECONDS, "the second run to be held")
    telling.fact(found["message"])
    said = ml.wait_for(lambda: _refusal(ml, example), WAIT_SECONDS, "the lock")
    telling.quote(said)
    spent = int(ml.get_json("ftr", RUN)["status"]["flops"]["upper"])
    about = found["reason"] == "ProgramThresholdApproached"
    return about and PROGRAM in found["message"] and spent == 0


def _refusal(ml: Kubectl, example: Path) -> str:
    """Try to make the Job; return what the API server said against it."""
    try:
        ml.apply(_job(example))
    except KubectlError as error:
        return error.stderr.strip().splitlines()[-1][:300]
    ml.run("delete", "job", RUN, "--wait=true")  # the lock has not seen the hold yet
    return ""


def _decide(kubectl: Kubectl, kind: str, *options: str) -> None:
    telling.act("A person decides, in their own name")
    words = [kind, PROGRAM, *options, f"--by={_user(kubectl)}"]
    words += ["--reason=reviewed with legal"]
    telling.quote(f"$ flopguard decide {shlex.join(words)} | kubectl create -f -")
    kubectl.run("create", "-f", "-", stdin=_flopguard("decide", *words).stdout)


def _let_it_train(ml: Kubectl, example: Path) -> None:
    """Wait until the hold is lifted, then let the second run's Job train to its end."""

    def lifted() -> bool:
        return not ml.get_json("ftr", RUN)["status"].get("holds")

    ml.wait_for(lifted, WAIT_SECONDS, "the second run to be released")
    telling.fact("released: the Job may start")

    def made() -> bool:
        try:
            ml.apply(_job(example))
        except KubectlError:
            return False
        return True

    ml.wait_for(made, WAIT_SECONDS, "the lock to see that the hold is lifted")

    def counted() -> str | None:
        run = ml.get_json("ftr", RUN)["status"]
        done = run.get("state") == "Completed" and run["attempts"][-1]["final"]
        return str(run["usedDisplay"]) if done else None

    used = ml.wait_for(counted, TRAIN_SECONDS, "the second run to be complete")
    telling.fact(f"the second run has trained: {used} FLOPs more for the program")


def _import(kubectl: Kubectl, out: Path) -> int:
    """Bring in a job that nobody metered; return the high estimate, which counts."""
    telling.act("A job of last spring is imported, from what its Trainer left")
    left = out / "support-sft-spring" / "trainer_state.json"
    left.parent.mkdir(parents=True, exist_ok=True)
    left.write_text(json.dumps(SPRING), encoding="utf-8")
    words = [
        *("import", PROGRAM, "--from", str(left), "--period=2026-04-01/2026-04-02"),
        *("--reason=found on the old disk", f"--decided-by={_user(kubectl)}"),
    ]
    telling.quote(f"$ flopguard {shlex.join(words)} | kubectl create -f -")
    done = _flopguard(*words)
    telling.quote(done.stderr.splitlines()[0])
    kubectl.run("create", "-f", "-", stdin=done.stdout)
    high = int(yaml.safe_load(done.stdout)["spec"]["imported"]["high"])

    def counts() -> bool:
        status = kubectl.get_json("ftp", PROGRAM)["status"]
        return bool(status.get("imported") == str(high))

    kubectl.wait_for(counts, WAIT_SECONDS, "the import to count")
    telling.fact(
        "it counts for the program, and is never mixed up with what was metered"
    )
    return high


def _user(kubectl: Kubectl) -> str:
    """Return what the cluster calls whoever plays the demo."""
    user = json.loads(kubectl.run("auth", "whoami", "-o", "json"))
    return str(user["status"]["userInfo"]["username"])


def _gate(kubectl: Kubectl, out: Path) -> int:
    """Ask the release pipeline's question; return the exit code."""
    telling.act(f"May it be released? flopguard gate {PROGRAM}")
    ledger = out / "ledger.jsonl"
    ledger.write_text(release.ledger(kubectl), encoding="utf-8")
    done = _flopguard("gate", PROGRAM, "--ledger", str(ledger))
    telling.quote(done.stdout + done.stderr)
    return done.returncode


def _report(out: Path) -> None:
    done = _flopguard(
        *("report", "--ledger", str(out / "ledger.jsonl"), "--format", "html"),
        *("-o", str(out / "program.html")),
    )
    telling.quote(done.stderr)


def _flopguard(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flopguard_operator.cli", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _run(example: Path) -> str:
    """Return the manifest of the second run: without a budget of its own."""
    lines = (example / "run.yaml").read_text(encoding="utf-8").splitlines()
    start = lines.index("  budget:")
    kept = lines[:start] + lines[start + 3 :]
    return "\n".join(kept).replace("support-sft", RUN)


def _job(example: Path) -> str:
    """Return the manifest of the second Job: two steps, states of its own."""
    text = (example / "job.yaml").read_text(encoding="utf-8")
    text = text.replace("support-sft", RUN).replace("--steps=40", "--steps=2")
    return text.replace("value: /output}", f"value: /output/{RUN}}}")
