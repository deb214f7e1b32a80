"""Define what an import says of a past job: bounds, how they were made, from what."""

import hashlib
from dataclasses import dataclass

from flopguard_operator.estimate.model import Bounds
from flopguard_operator.flops import LARGEST

TRAINER_STATE, FACTS, GPU_HOURS = "TrainerState", "Facts", "GpuHours"
ENTERED = {TRAINER_STATE: "trainer-state", FACTS: "facts", GPU_HOURS: "gpu-hours"}
"""Each method, as the ledger has it."""
MARGIN_PERCENT = 30
MARGIN_SOURCE = (
    "the error margin that Annex A.2 of the Commission's Guidelines accepts for a "
    "reported estimate"
)


class JobError(ValueError):
    """A past job cannot be estimated from this; the message says what to give."""


@dataclass(frozen=True)
class Job:
    """A past job by an estimate; never mixed up with what was measured."""

    name: str
    method: str  # TRAINER_STATE, FACTS or GPU_HOURS
    flops: Bounds
    formula: str  # how `flops.expected` was made, in words
    digest: str  # SHA-256 of what it was read from
    assumptions: tuple[str, ...] = ()
    period: str = ""  # ISO 8601: "2026-03-01/2026-03-04"


def digest(data: bytes) -> str:
    """Return what identifies a file: SHA-256, hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def with_margin(bounds: Bounds) -> tuple[Bounds, str]:
    """Return bounds at least 30 % from the estimate, with a sentence that says so.

    The estimate is taken as the reported figure, as the Guidelines do.

    Raises:
        JobError: a bound is above the largest figure, or nothing was executed.
    """
    expected = bounds.expected
    if expected < 1:
        message = "the estimate is 0 FLOPs: there is nothing to import"
        raise JobError(message)
    low = min(bounds.low, expected * (100 - MARGIN_PERCENT) // 100)
    high = max(bounds.high, -(-expected * (100 + MARGIN_PERCENT) // 100))
    if high >= LARGEST:
        message = "the estimate is above 1e30 FLOPs: check the figures"
        raise JobError(message)
    said = (
        f"each bound is at least {MARGIN_PERCENT} % from the estimate, {MARGIN_SOURCE},"
        " and further where something is not known"
    )
    return Bounds(max(1, low), expected, high), said
