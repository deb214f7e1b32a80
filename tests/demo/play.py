"""`make demo`: a real LoRA fine-tune is metered, warned, held, and resumed.

Everything is real: Kubernetes (thrown away afterwards), torch, Prometheus, helm.
Everything that is claimed is checked; the exit code is 0 only if all of it held.
Where the cluster cannot run, `here` shows local mode instead, and says so.
"""

import contextlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from cluster import lifecycle, volumes
from cluster.host import unsupported_reason
from cluster.kubectl import Kubectl, KubectlError
from cluster.state import ClusterError, load
from demo import here, outcome, program, telling, watching
from demo.files import (
    Books,
    budget_of,
    model_folder,
    read_books,
    train_folder,
    write_pack,
    write_reports,
)
from demo.outcome import Check, Times
from flopguard_operator.ledger.entries import Crossing, Event, HoldProven
from stage import prometheus, release

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLE = REPOSITORY / "examples" / "smollm2-lora"
OUT = REPOSITORY / "out" / "demo"
NAMESPACE, RUN, JOB = "ml", "support-sft", "support-sft"
RAISED_BUDGET = "6e12"
SAVE_EVERY = 5
START_SECONDS, HOLD_SECONDS, RESUME_SECONDS = 180.0, 420.0, 420.0
Status = dict[str, Any]


def main() -> int:
    """Play all acts; return the exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that clean-up runs
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    why_not = None if os.environ.get("FLOPGUARD_CLUSTER") else unsupported_reason()
    if why_not is not None:
        return here.play(OUT, EXAMPLE, why_not)
    try:
        with _cluster() as kubectl:
            checks = _play(kubectl)
    except (ClusterError, KubectlError, release.InstallError, AssertionError) as error:
        telling.act("The demo stopped")
        telling.fact(str(error))
        return 1
    telling.act("What was seen")
    for check in checks:
        telling.verdict(check.text, holds=check.holds)
    folder = OUT.relative_to(REPOSITORY)
    telling.fact(f"summary, report, ledger and evidence pack are in {folder}/")
    return 0 if all(check.holds for check in checks) else 1


@contextlib.contextmanager
def _cluster() -> Iterator[Kubectl]:
    """A cluster of our own, or the one that FLOPGUARD_CLUSTER names."""
    telling.act("A Kubernetes cluster: etcd, API server, kubelet, containerd")
    given = os.environ.get("FLOPGUARD_CLUSTER")
    if given:
        yield Kubectl(load(Path(given)).kubeconfig)
        return
    with lifecycle.borrowed("demo", "node") as state:
        yield Kubectl(state.kubeconfig)


def _play(kubectl: Kubectl) -> list[Check]:
    telling.act("flopguard by helm, and a Prometheus that scrapes the sidecars")
    kubectl.apply(*prometheus.manifests())
    release.install(kubectl, prometheus.URL)
    release.wait_for_lock(kubectl)
    telling.fact("installed; the API server's lock is in force")
    ml = _apply(kubectl)
    first = _until_held(ml)
    refused = _try_to_unsuspend(ml)
    held = read_books(kubectl, OUT / "ledger-at-hold.jsonl", RUN)
    budget = budget_of(EXAMPLE / "run.yaml")
    times = Times(
        crossing=_when(held, lambda e: isinstance(e, Crossing) and e.action == "Hold"),
        suspended=first.suspended,
        pods_gone=_when(held, lambda e: isinstance(e, HoldProven)),
    )
    _write_summary(outcome.summary(held.account, times, budget, held.ledger))
    write_reports(OUT, OUT / "ledger-at-hold.jsonl", f"{NAMESPACE}/{RUN}")
    telling.fact(f"ledger of {held.ledger['size']} entries verified offline")
    steps = watching.steps(first.log)
    checks = outcome.at_the_hold(held.account, held.entries, len(steps))
    second = _resume(ml)
    done = read_books(kubectl, OUT / "ledger.jsonl", RUN)
    packed = write_pack(kubectl, OUT / "pack.tar", f"{NAMESPACE}/{RUN}")
    resumed = watching.steps(second)
    begin = max(steps) // SAVE_EVERY * SAVE_EVERY + 1
    whole = program.play(kubectl, ml, EXAMPLE, OUT)
    return [
        *checks,
        Check("un-suspending was refused by the API server", refused),
        Check("the ledger verified while held", held.verified),
        *outcome.after_the_resume(done.account, held.account, resumed, begin),
        Check("the ledger verified at the end", done.verified),
        Check("the evidence pack verified by the verifier that lies in it", packed),
        *whole,
    ]


def _apply(kubectl: Kubectl) -> Kubectl:
    """Make the namespace with what the Job needs; apply program, run and Job."""
    telling.act("A program, a run with a budget, and a Job that knows nothing of it")
    with contextlib.suppress(KubectlError):
        kubectl.run("create", "namespace", NAMESPACE)
    kubectl.run(
        *("label", "namespace", NAMESPACE, "--overwrite"),
        "pod-security.kubernetes.io/enforce=restricted",
    )
    ml = kubectl.within(NAMESPACE)
    ml.run(
        *("create", "configmap", "train-script"),
        f"--from-file={EXAMPLE / 'train.py'}",
    )
    volumes.shared_folder(ml, "train", train_folder())
    volumes.shared_folder(ml, "model", model_folder())
    volumes.local_volume(ml, "output")
    for name in ("program", "run", "job"):
        telling.quote(ml.run("apply", "-f", str(EXAMPLE / f"{name}.yaml")))
    return ml


class Attempt:
    """The first attempt: its log, and when it was seen suspended."""

    def __init__(self, log: Path) -> None:
        self.log = log
        self.suspended = 0.0


def _pod(ml: Kubectl) -> str:
    """Wait for the trainer of the newest pod to run; return the pod's name."""

    def running() -> str | None:
        pods = ml.get_json("pods", "-l", f"batch.kubernetes.io/job-name={JOB}")
        for pod in pods["items"]:
            statuses = pod["status"].get("containerStatuses", [])
            if any("running" in one["state"] for one in statuses):
                return str(pod["metadata"]["name"])
        return None

    return ml.wait_for(running, START_SECONDS, f"the trainer of Job {JOB} to run")


def _until_held(ml: Kubectl) -> Attempt:
    """Follow the first attempt until no pod of the Job is left."""
    pod = _pod(ml)
    telling.fact(f"pod {pod} was admitted with the hook and the sidecar")
    telling.act("The fine-tune runs; flopguard counts")
    attempt = Attempt(OUT / "attempt-1.log")
    attempt.log.touch()
    follower = Follower(ml, attempt.log)
    with (
        watching.log(ml, pod, "trainer", attempt.log) as log,
        watching.objects(ml, "job", JOB, ".spec.suspend") as suspended,
        watching.objects(ml, "ftr", RUN, ".status") as run,
    ):
        deadline = time.monotonic() + HOLD_SECONDS
        while not follower.status.get("overshoot"):
            _require(deadline, f"the run to be held (last: {follower.status})")
            follower.take(run)
            for at, line in suspended.drain():
                if line == "true" and not attempt.suspended:
                    attempt.suspended = at
                    telling.act("The budget is spent: the Job is suspended")
            time.sleep(0.1)
        log.join(5)
    return attempt


class Follower:
    """Shows a run's status as it changes: the meter, and each new warning."""

    def __init__(self, ml: Kubectl, log: Path) -> None:
        self.ml = ml
        self.log = log
        self.status: Status = {}
        self._told: set[str] = set()

    def take(self, run: watching.Stream) -> None:
        """Show what came since the last call."""
        for _, line in run.drain():
            if not line:
                continue
            before, self.status = self.status, json.loads(line)
            if self.status.get("usedDisplay") != before.get("usedDisplay"):
                done = watching.steps(self.log)
                telling.meter(self.status, max(done, default=0))
            for condition in self.status.get("conditions", []):
                self._tell(condition)

    def _tell(self, condition: dict[str, str]) -> None:
        about, reason = condition["type"], condition["reason"]
        message = condition["message"]
        key = f"{about} {reason} {message.rsplit(':', 1)[-1][:24]}"
        if about in ("Warned", "Held") and condition["status"] == "True":
            if key not in self._told:
                telling.fact(f"{about}: {message}")
            self._told.add(key)


def _require(deadline: float, what: str) -> None:
    if time.monotonic() > deadline:
        message = f"waited too long for {what}"
        raise AssertionError(message)


def _try_to_unsuspend(ml: Kubectl) -> bool:
    """Do what a scientist in a hurry would; return whether it was refused."""
    telling.act("Somebody un-suspends the Job by hand")
    patch = ("patch", "job", JOB, "--type=merge", '-p={"spec":{"suspend":false}}')
    telling.quote("$ kubectl " + " ".join(patch))
    try:
        telling.quote(ml.run(*patch))
    except KubectlError as error:
        telling.quote(error.stderr)
        return "holds this workload" in error.stderr
    return False


def _resume(ml: Kubectl) -> Path:
    """Raise the budget, follow the second attempt to its end; return its log."""
    telling.act(f"The budget is raised to {RAISED_BUDGET}: the Job goes on")
    patch = f'{{"spec":{{"budget":{{"maxFlops":"{RAISED_BUDGET}"}}}}}}'
    ml.run("patch", "ftr", RUN, "--type=merge", f"-p={patch}")
    pod = _pod(ml)
    file = OUT / "attempt-2.log"
    file.touch()
    follower = Follower(ml, file)
    with (
        watching.log(ml, pod, "trainer", file) as log,
        watching.objects(ml, "ftr", RUN, ".status") as run,
    ):
        deadline = time.monotonic() + RESUME_SECONDS
        while not _finished(follower.status):
            _require(deadline, f"the resumed run to end (last: {follower.status})")
            follower.take(run)
            time.sleep(0.2)
        log.join(5)
    telling.act("Second opinions on the count")
    telling.opinions(follower.status.get("estimates", []))
    return file


def _finished(status: Status) -> bool:
    """Say whether the Job completed and its last pod's final record is in."""
    attempts = status.get("attempts", [])
    last = attempts[-1] if attempts else {}
    return status.get("state") == "Completed" and bool(last.get("final"))


def _when(books: Books, wanted: Callable[[Event], bool]) -> float:
    """Return when the ledger took in the first event of a kind."""
    for entry in books.entries:
        if wanted(entry.event):
            return datetime.fromisoformat(entry.at).timestamp()
    message = "the ledger lacks the crossing that holds, or the proof of the hold"
    raise AssertionError(message)


def _write_summary(figures: dict[str, Any]) -> None:
    text = json.dumps(figures, indent=2)
    (OUT / "summary.json").write_text(text + "\n", encoding="utf-8")
    telling.quote(text)


if __name__ == "__main__":
    sys.exit(main())
