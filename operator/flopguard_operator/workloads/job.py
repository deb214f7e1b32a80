"""Hold and release a batch/v1 Job.

`spec.suspend: true` makes the Job controller delete the Job's active pods (SIGTERM,
then the grace period); completed indexes are kept. A finished Job cannot be suspended.
Pure: returns merge patches, sends nothing. The interface is that of Kueue's GenericJob.
"""

from dataclasses import dataclass
from typing import Any

from flopguard_operator import naming
from flopguard_operator.observed import Job

HELD = "Held"
HELD_AS_FOUND = "HeldAsFound"
"""Held, but its user had suspended it before: a release leaves it suspended."""
RUNNING = "Running"
WARNED = "Warned"

Patch = dict[str, Any]


@dataclass(frozen=True)
class Capabilities:
    """What a hold means for this kind of workload."""

    reversible: bool = True
    graceful: bool = True  # SIGTERM first
    restarts_from_scratch: bool = False  # resumes from its own saved weights


CAPABILITIES = Capabilities()


@dataclass(frozen=True)
class Notes:
    """What the annotations on the workload tell its owner."""

    state: str
    used: str
    limit: str
    reason: str

    def annotations(self) -> dict[str, str]:
        """Return the four annotations by their full names."""
        return {
            naming.STATE_ANNOTATION: self.state,
            naming.USED_ANNOTATION: self.used,
            naming.LIMIT_ANNOTATION: self.limit,
            naming.REASON_ANNOTATION: self.reason,
        }


def is_suspended(job: Job) -> bool:
    """Say whether the Job is asked to be suspended, by whomever."""
    return job.suspended


def is_active(job: Job) -> bool:
    """Say whether the Job still has pods that are pending or running."""
    return job.active > 0


def finished(job: Job) -> bool:
    """Say whether the Job is Complete or Failed: it can start nothing any more."""
    return bool(job.finished)


def pod_selector(job_name: str) -> str:
    """Return the label selector of all pods of a Job of that name."""
    return f"{naming.JOB_NAME_LABEL}={job_name}"


def annotate(notes: Notes) -> Patch:
    """Return the patch that tells the Job's owner where it stands."""
    return {"metadata": {"annotations": notes.annotations()}}


def hold(notes: Notes) -> Patch:
    """Return the patch that suspends the Job and says why."""
    return {**annotate(notes), "spec": {"suspend": True}}


def release(notes: Notes) -> Patch:
    """Return the patch that un-suspends the Job; only ever undo a hold of our own."""
    return {**annotate(notes), "spec": {"suspend": False}}


def held_by_us(job: Job) -> bool:
    """Say whether the Job is suspended by a hold of ours and by nobody else."""
    return job.suspended and job.state == HELD


def stopped(job: Job) -> bool:
    """Say whether the Job can start no pod as it stands."""
    return job.suspended or finished(job)
