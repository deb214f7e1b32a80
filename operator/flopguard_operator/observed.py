"""Reduce raw Kubernetes objects to the few facts that the operator uses.

Objects arrive as JSON from a watch and partly come from tenants, so every access
tolerates what is absent or of the wrong type. Pure: no client, no clock.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from flopguard_operator import naming

Raw = Mapping[str, Any]


def at(raw: object, *path: str) -> Any:
    """Return raw[path[0]][path[1]]…, or None where anything on the way is absent."""
    for key in path:
        if not isinstance(raw, Mapping):
            return None
        raw = raw.get(key)
    return raw


def text(raw: object, *path: str) -> str:
    """Return the string at `path`, or "" where there is none."""
    value = at(raw, *path)
    return value if isinstance(value, str) else ""


def items(raw: object, *path: str) -> Iterator[Raw]:
    """Yield the objects of the list at `path`; nothing where there is none."""
    value = at(raw, *path)
    if isinstance(value, list):
        yield from (item for item in value if isinstance(item, Mapping))


@dataclass(frozen=True)
class Pod:
    """One injected pod as last seen."""

    uid: str
    namespace: str
    name: str
    run_label: str
    job_name: str
    job_uid: str
    ip: str
    created: str
    injected: bool
    ended: bool  # every main container has terminated
    last_words: str  # termination message of the sidecar, "" while it runs
    not_injected: str  # why injection left it alone, "" if it did not
    raw: Raw  # for binding, which reads the same object as the webhook
    spoke_last: bool = False  # the sidecar ended later than the main containers
    over: bool = False  # every container has terminated, the sidecar too
    gone: bool = False  # deleted from the API server


def pod(raw: Raw, *, gone: bool = False) -> Pod:
    """Return the facts of a raw pod; `gone`: this is its last state before deletion."""
    labels = at(raw, "metadata", "labels")
    return Pod(
        uid=text(raw, "metadata", "uid"),
        namespace=text(raw, "metadata", "namespace"),
        name=text(raw, "metadata", "name"),
        run_label=text(labels, naming.RUN_LABEL),
        job_name=text(labels, naming.JOB_NAME_LABEL),
        job_uid=text(labels, naming.JOB_UID_LABEL),
        ip=text(raw, "status", "podIP"),
        created=text(raw, "metadata", "creationTimestamp"),
        injected=any(
            text(c, "name") == naming.SIDECAR_CONTAINER
            for c in items(raw, "spec", "initContainers")
        ),
        ended=_mains_ended(raw),
        last_words=text(_last_state(raw), "message"),
        spoke_last=_spoke_last(raw),
        not_injected=text(
            raw, "metadata", "annotations", naming.NOT_INJECTED_ANNOTATION
        ),
        raw=raw,
        # The kubelet writes a final phase only once the last container has stopped.
        over=text(raw, "status", "phase") in ("Succeeded", "Failed"),
        gone=gone,
    )


def _mains_ended(raw: Raw) -> bool:
    """Say whether the status shows every main container of the spec terminated."""
    names = {text(c, "name") for c in items(raw, "spec", "containers")}
    ended = {
        text(status, "name")
        for status in items(raw, "status", "containerStatuses")
        if at(status, "state", "terminated") is not None
    }
    return bool(names) and names <= ended


def _last_state(raw: Raw) -> object:
    """Return how the sidecar ended the last time, None if it never has."""
    for status in items(raw, "status", "initContainerStatuses"):
        if text(status, "name") == naming.SIDECAR_CONTAINER:
            now = at(status, "state", "terminated")
            if text(now, "message"):
                return now
            return at(status, "lastState", "terminated")
    return None


def _spoke_last(raw: Raw) -> bool:
    """Say whether the sidecar has seen the end of every main container.

    One that was told to stop earlier, by whomever, wrote a final record all the same;
    if the kubelet was still waiting to start it anew, that record is all there is.
    The times have whole seconds: of two ends in one second nobody knows the order, so a
    sidecar looks for the last time once another second has begun (docs/formats.md).
    """
    spoken = text(_last_state(raw), "finishedAt")
    mains = [
        text(status, "state", "terminated", "finishedAt")
        for status in items(raw, "status", "containerStatuses")
    ]
    return bool(spoken) and all(mains) and spoken > max(mains, default="")


@dataclass(frozen=True)
class Job:
    """One batch/v1 Job as last seen."""

    uid: str
    namespace: str
    name: str
    suspended: bool
    finished: str  # "", "Complete" or "Failed"
    active: int  # pods that are pending or running
    run_label: str  # of its pod template: the run that it continues
    state: str  # our annotations
    reason: str
    raw: Raw = field(default_factory=dict, compare=False, repr=False)  # for evidence


def job(raw: Raw) -> Job:
    """Return the facts of a raw batch/v1 Job."""
    finished = [
        text(c, "type")
        for c in items(raw, "status", "conditions")
        if text(c, "type") in ("Complete", "Failed") and text(c, "status") == "True"
    ]
    active = at(raw, "status", "active")
    notes = at(raw, "metadata", "annotations")
    return Job(
        uid=text(raw, "metadata", "uid"),
        namespace=text(raw, "metadata", "namespace"),
        name=text(raw, "metadata", "name"),
        suspended=at(raw, "spec", "suspend") is True,
        finished=finished[0] if finished else "",
        active=active if isinstance(active, int) else 0,
        run_label=text(raw, "spec", "template", "metadata", "labels", naming.RUN_LABEL),
        state=text(notes, naming.STATE_ANNOTATION),
        reason=text(notes, naming.REASON_ANNOTATION),
        raw=raw,
    )
