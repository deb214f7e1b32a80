"""Decide which FineTuneRun a pod belongs to.

The webhook asks it at admission and the operator asks it afterwards, so that both give
the same answer. A run claims a pod in one of two ways: the pod belongs to the workload
that the run names, or the pod template carries the label `flopguard.dev/run` with the
run's name (continuation jobs under another name). Pure: raw objects in and out.
"""

from collections.abc import Iterable, Mapping
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


class Claims:
    """The claims of many runs at once: each pod is compared with two runs at most.

    It answers as `claim` does among all runs of a namespace, in linear time: the oldest
    of all claimants is the oldest of those that name its workload or of those that its
    label names.
    """

    def __init__(self, runs: Iterable[Raw]) -> None:
        naming_it: dict[_Key, list[Raw]] = {}
        labelled: dict[_Key, list[Raw]] = {}
        for run in runs:
            namespace = text(run, "metadata", "namespace")
            job = text(run, "spec", "workload", "name")
            name = text(run, "metadata", "name")
            naming_it.setdefault((namespace, job), []).append(run)
            labelled.setdefault((namespace, name), []).append(run)
        self._of_job = _oldest(naming_it, naming.JOB_NAME_LABEL)
        self._of_label = _oldest(labelled, naming.RUN_LABEL)

    def of_job(self, namespace: str, name: str) -> Raw | None:
        """Return the run that claims the pods of a Job, None where none does."""
        return self._of_job.get((namespace, name))

    def of_pod(self, pod: Raw) -> Raw | None:
        """Return the run that a pod belongs to, None where no run claims it."""
        metadata = at(pod, "metadata")
        namespace, labels = text(metadata, "namespace"), at(metadata, "labels")
        claimants = (
            self._of_job.get((namespace, text(labels, naming.JOB_NAME_LABEL))),
            self._of_label.get((namespace, text(labels, naming.RUN_LABEL))),
        )
        return claim(pod, [run for run in claimants if run is not None]).run


_Key = tuple[str, str]  # namespace and name


def _oldest(runs: Mapping[_Key, list[Raw]], label: str) -> dict[_Key, Raw]:
    """Return the run that claims a pod with such a label, by the label's value."""
    found = {}
    for (namespace, name), rivals in runs.items():
        run = claim({"metadata": {"labels": {label: name}}}, rivals).run
        if run is not None:
            found[namespace, name] = run
    return found


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
