"""Pods that compute on a virtual clock, as the API server and their sidecars tell.

The truth is in `Pod.computing`; everything else is what somebody says of it: the raw
object, the sidecar's answer, the final record, the series in Prometheus.
"""

import json
import math
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from flopguard_operator import naming
from flopguard_operator.naming import CATEGORIES
from standins import objects
from standins.computing import Computing, Counted

Raw = dict[str, Any]
PEAK = 1_979_000 * 10**6  # FLOPs per millisecond of one H100, in its fastest format
PRODUCT = "NVIDIA-H100-80GB-HBM3"
EPOCH = datetime(2026, 11, 22, tzinfo=UTC)


def when(now: int, *, precise: bool = False) -> str:
    """Return the time of a millisecond; the API server knows seconds only."""
    time = EPOCH + timedelta(milliseconds=now)
    unit = "milliseconds" if precise else "seconds"
    return time.isoformat(timespec=unit).replace("+00:00", "Z")


def age(now: int) -> int:
    """Return how old a sidecar's reading is: it reads once a second."""
    return now % 1000


def split(flops: int) -> dict[str, int]:
    """Return FLOPs by category, as training has them: one part forward, two back."""
    forward = flops // 3
    return {"forward": forward, "backward": flops - forward}


@dataclass
class Pod:
    """One pod with an accelerator and, unless nobody injected it, a sidecar."""

    uid: str
    node: str
    created: int
    job: str = "train"
    job_uid: str = "job-1"
    run: str = "sft"
    injected: bool = True
    computing: Computing = field(default_factory=lambda: Computing(PEAK))
    removed: set[int] = field(default_factory=set)  # processes whose pages are gone
    started: int | None = None
    ended: int | None = None  # main container
    speaks: bool = True  # the sidecar runs and can be reached
    words: str = ""  # of the sidecar's end
    spoke: int | None = None  # when it ended
    over: bool = False
    hooked: bool = True  # a process writes a page
    deleting: int | None = None  # since when the API server asks it to end

    @property
    def name(self) -> str:
        """The name of the object."""
        return f"train-{self.uid}"

    @property
    def alive(self) -> bool:
        """Whether its main container runs."""
        return self.started is not None and self.ended is None

    def counted(self, now: int) -> Counted:
        """Return what its pages say."""
        return self.computing.counted(now, self.removed) if self.hooked else Counted()

    def end(self, now: int, *, spoke: int | None, final: bool, words: bool) -> None:
        """End the pod.

        Args:
            now: when its main container is killed.
            spoke: when its sidecar ended; None: in the second after the main container.
            final: whether the sidecar was told to stop, and had time.
            words: whether it left a record at all.
        """
        self.computing.kill(now)
        self.ended = now
        self.spoke = now // 1000 * 1000 + 1000 if spoke is None else spoke
        said = self.counted(self.spoke)
        self.words = record(said, final=final) if words and self.injected else ""
        self.over, self.speaks = True, False

    def raw(self) -> Raw:
        """Return the object as the kubelet has written it last."""
        labels = {
            naming.JOB_NAME_LABEL: self.job,
            naming.JOB_UID_LABEL: self.job_uid,
        }
        if self.injected:
            labels[naming.RUN_LABEL] = self.run
        began = {} if self.started is None else {"startedAt": when(self.started)}
        state: Raw = {"running": began} if began else {"waiting": {}}
        side: Raw = {"running": began} if began else {"waiting": {}}
        if self.ended is not None:
            state = {
                "terminated": {"exitCode": 0, "finishedAt": when(self.ended), **began}
            }
        if self.over and self.spoke is not None:
            at_end = {"finishedAt": when(self.spoke), **began}
            side = {"terminated": {"message": self.words, **at_end}}
        phase = "Failed" if self.over else "Running" if began else "Pending"
        sidecar = naming.SIDECAR_CONTAINER
        metadata = {
            "name": self.name,
            "namespace": "ml",
            "uid": self.uid,
            "creationTimestamp": when(self.created),
            "labels": labels,
        }
        limits = {"limits": {"nvidia.com/gpu": "1"}}
        return {
            "metadata": metadata,
            "spec": {
                "nodeName": self.node,
                "containers": [{"name": "trainer", "resources": limits}],
                "initContainers": [{"name": sidecar}] if self.injected else [],
            },
            "status": {
                "phase": phase,
                "podIP": "10.0.0.1",
                "containerStatuses": [{"name": "trainer", "state": state}],
                "initContainerStatuses": [{"name": sidecar, "state": side}],
            },
        }

    def marks(self, now: int) -> Raw:
        """Return the sidecar's answer, from pages that it has read at `now`."""
        said = self.counted(now)
        zero = dict.fromkeys(CATEGORIES, 0)
        done, begun = (zero | split(n) for n in (said.done, said.begun))
        return {
            "schema": 1,
            "done": {c: str(n) for c, n in done.items()},
            "begun": {c: str(n) for c, n in begun.items()},
            "steps": said.steps,
            "pages": [{} for _ in range(said.pages)],
        }


def record(said: Counted, *, final: bool) -> str:
    """Return the sidecar's last line."""
    made = objects.final_record(said.done, said.begun, final=final)
    body = json.loads(made)
    body |= {"steps": f"{said.steps:024d}", "pages": f"{said.pages:04d}"}
    zero = dict.fromkeys(CATEGORIES, 0)
    body["done"] = {c: f"{n:044d}" for c, n in (zero | split(said.done)).items()}
    return objects.sealed(body)


def rounded(said: Counted) -> tuple[dict[str, float], float]:
    """Return done by category and begun as a sidecar exposes them: as float64."""
    done = {c: _below(n) for c, n in split(said.done).items()}
    return done, _above(said.begun)


def _below(number: int) -> float:
    close = float(number)
    return close if int(close) <= number else math.nextafter(close, 0.0)


def _above(number: int) -> float:
    close = float(number)
    return close if int(close) >= number else math.nextafter(close, math.inf)


def start(pod: Pod, now: int, rng: random.Random) -> None:
    """Start the pod's main container with one or two processes."""
    if pod.started is None:
        pod.started = now
    for _ in range(rng.randint(1, 2)):
        spare = pod.computing.peak - sum(p.rate for p in pod.computing.running())
        rate = rng.choice((spare, spare // 2, spare // 5))
        if rate:
            pod.computing.start(now, rate, rng.choice((90, 700, 4_000, 21_000)))
