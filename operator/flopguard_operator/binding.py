"""Decide which FineTuneRun a pod belongs to.

The webhook asks it at admission and the operator asks it afterwards, so that both give
the same answer. A run claims a pod in one of two ways: the pod belongs to the workload
that the run names, or the pod template carries the label `flopguard.dev/run` with the
run's name (continuation jobs under another name). Pure: raw objects in and out.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from flopguard_operator import naming
from flopguard_operator.observed import Raw, at, text


@dataclass(frozen=True)
class Claim:
    """The answer for one pod.

    Attributes:
        run: The raw run that the pod belongs to; None where no run claims it.
        losers: Younger runs that claim it too, oldest first (`WorkloadConflict`).
    """

    run: Raw | None
    losers: tuple[Raw, ...] = ()


def claim(pod: Raw, runs: Iterable[Raw]) -> Claim:
    """Return the claim on `pod` among the runs of its namespace.

    The older run wins (creation time, then UID: two runs of one second still have an
    order that every reader finds again).
    """
    claimants = sorted((r for r in runs if _claims(r, pod)), key=_age)
    return Claim(claimants[0], tuple(claimants[1:])) if claimants else Claim(None)


def _age(run: Raw) -> tuple[str, str]:
    # RFC 3339 in UTC, as the API server writes it, sorts as text.
    return text(run, "metadata", "creationTimestamp"), text(run, "metadata", "uid")


def _claims(run: Raw, pod: Raw) -> bool:
    return not _leaving(run) and (_names_workload(run, pod) or _is_labelled(run, pod))


def _leaving(run: Raw) -> bool:
    """A run being deleted claims nothing more, unless it still holds its workload."""
    deleted = at(run, "metadata", "deletionTimestamp") is not None
    return deleted and not at(run, "status", "holds")


def _names_workload(run: Raw, pod: Raw) -> bool:
    workload = at(run, "spec", "workload")
    name = text(workload, "name")
    kind = (text(workload, "apiVersion"), text(workload, "kind"))
    job = text(pod, "metadata", "labels", naming.JOB_NAME_LABEL)
    return bool(name) and kind == ("batch/v1", "Job") and name == job


def _is_labelled(run: Raw, pod: Raw) -> bool:
    name = text(run, "metadata", "name")
    return bool(name) and name == text(pod, "metadata", "labels", naming.RUN_LABEL)
