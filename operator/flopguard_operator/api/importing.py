"""Read what people wrote down of a past job: the file of `flopguard import --facts`."""

from typing import Annotated

import pydantic
from pydantic import Field

from flopguard_operator.api.fields import Flops, Line, read
from flopguard_operator.api.finetunerun import PlanSpec
from flopguard_operator.api.resolve import intent
from flopguard_operator.api.rulesetfile import Exact, Part
from flopguard_operator.api.rulesets import document
from flopguard_operator.estimate.model import Bounds
from flopguard_operator.imports.facts import Figure, Written
from flopguard_operator.imports.hardware import Used
from flopguard_operator.imports.job import JobError

MOST_BYTES = 65_536 + 32_768  # a model's configuration, and the rest


class Training(PlanSpec):
    """What was trained on what: the fields of a run's `spec.plan`."""

    model_config = pydantic.ConfigDict(extra="forbid")


class Devices(Part):
    """Devices of one name, and for how long."""

    gpu: Line
    """As nvidia-smi names it, "NVIDIA H100 80GB HBM3"."""
    gpu_hours: Exact
    """Summed over the devices, quoted: "512"."""
    precision: Annotated[str, Field(max_length=20)] = ""
    """Numeric format, "bf16"."""
    utilisation: Annotated[tuple[Exact, ...], Field(min_length=1, max_length=2)] = ()
    """Share of the peak, quoted: ["0.4"], or at least and at most: ["0.3", "0.5"]."""


class Known(Part):
    """FLOPs that somebody knows already."""

    low: Flops | None = None
    estimate: Flops
    high: Flops | None = None
    how: Annotated[str, Field(min_length=1, max_length=500)]
    """How the figure was made."""


class JobFacts(Part):
    """A past job."""

    name: Line | None = None
    """Of the job, or of its output folder."""
    period: Annotated[str, Field(max_length=64)] = ""
    """ISO 8601: "2026-03-01/2026-03-04"."""
    source: Annotated[str, Field(max_length=500)] = ""
    """Where the facts were taken from."""
    training: Training | None = None
    hardware: Annotated[tuple[Devices, ...], Field(max_length=32)] = ()
    flops: Known | None = None


def load(text: str) -> tuple[JobFacts, Written]:
    """Return what a facts file says, as it stands and for the estimate.

    Raises:
        JobError: it is no facts file; the message says where and what to write.
    """
    if len(text) > MOST_BYTES:
        message = f"a facts file has at most {MOST_BYTES} bytes"
        raise JobError(message)
    try:
        facts = read(JobFacts, document(text, "a facts file"), "facts")
    except ValueError as error:  # SpecError
        raise JobError(str(error)) from error
    return facts, _written(facts)


def _written(facts: JobFacts) -> Written:
    plan = None
    if facts.training is not None:
        told = intent(facts.training)
        if told.plan is None:
            raise JobError(told.why_not.replace("spec.plan", "training"))
        plan = told.plan
    return Written(
        training=plan,
        hardware=tuple(_used(one) for one in facts.hardware),
        figure=_figure(facts.flops) if facts.flops else None,
        source=facts.source,
    )


def _used(devices: Devices) -> Used:
    shares = devices.utilisation
    stated = (shares[0], shares[-1]) if shares else None
    return Used(devices.gpu, devices.gpu_hours, devices.precision, stated)


def _figure(known: Known) -> Figure:
    low = known.estimate if known.low is None else known.low
    high = known.estimate if known.high is None else known.high
    if not low <= known.estimate <= high:
        message = "flops: the estimate lies between low and high"
        raise JobError(message)
    return Figure(Bounds(low, known.estimate, high), known.how)
