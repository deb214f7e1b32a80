"""Estimate a job by what people wrote down of it: training, hardware, a figure."""

from collections.abc import Iterator
from dataclasses import dataclass

from flopguard_operator.estimate.model import Bounds
from flopguard_operator.flops import display
from flopguard_operator.forecast.plan import Plan
from flopguard_operator.imports.hardware import (
    Computed,
    Used,
    of_devices,
    together,
)
from flopguard_operator.imports.job import JobError
from flopguard_operator.imports.training import Trained, of_training


@dataclass(frozen=True)
class Figure:
    """FLOPs that somebody knows already, with how."""

    flops: Bounds
    how: str


@dataclass(frozen=True)
class Written:
    """All that is written down; at least one part of it."""

    training: Plan | None = None
    hardware: tuple[Used, ...] = ()
    figure: Figure | None = None
    source: str = ""  # where it was taken from


def of_facts(written: Written) -> Trained:
    """Return the FLOPs of a job.

    The figure comes first, then the training, then the hardware; what comes later
    widens the bounds, and the peak of the hardware has to allow it.

    Raises:
        JobError: nothing is written, or what is written contradicts itself.
    """
    parts: list[Trained] = []
    if written.figure is not None:
        parts.append(Trained(written.figure.flops, written.figure.how, ()))
    if written.training is not None:
        parts.append(of_training(written.training))
    hardware = together([of_devices(used) for used in written.hardware])
    if written.hardware and (hardware.is_stated or not parts):
        own = Trained(hardware.flops, hardware.formula, hardware.assumptions)
        parts.append(own)
    if not parts:
        message = "the facts have neither training nor hardware nor flops"
        raise JobError(message)
    first, *others = parts
    checked = _checked(first, hardware) if written.hardware else ()
    source = (f"the facts are from: {written.source}",) if written.source else ()
    others_said = tuple(
        f"beside it {display(other.flops.expected)} FLOPs ({other.formula}); the "
        "bounds cover both"
        for other in others
    )
    said = [*source, *checked, *others_said, *(s for p in parts for s in p.assumptions)]
    return Trained(_covering(parts), first.formula, tuple(dict.fromkeys(said)))


def _covering(parts: list[Trained]) -> Bounds:
    return Bounds(
        min(part.flops.low for part in parts),
        parts[0].flops.expected,
        max(part.flops.high for part in parts),
    )


def _checked(first: Trained, hardware: Computed) -> Iterator[str]:
    """Yield what share of the peak the estimate needs.

    Raises:
        JobError: it needs more than there was.
    """
    share = 100 * first.flops.expected // max(1, hardware.most)
    if first.flops.low > hardware.most:
        message = (
            f"the estimate needs {share} % of what the hardware can compute in its "
            "GPU-hours: check the hours, the tokens and the model"
        )
        raise JobError(message)
    yield f"the estimate is {share} % of the hardware's peak over its GPU-hours"
