"""Define what a run intends to do, and turn it into work: sequences and steps. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flopguard_operator.forecast.architecture import PlanError

FULL, LORA, QLORA, OTHER = "Full", "LoRA", "QLoRA", "Other"
METHODS = (FULL, LORA, QLORA, OTHER)
LIKELY_LENGTH, SHORT_LENGTH, LONG_LENGTH = 2_048, 64, 8_192
LIKELY_BATCH, LARGE_BATCH = 32, 1_024  # sequences in an optimizer step
_LARGEST = 10**30


@dataclass(frozen=True)
class Plan:
    """What a run intends to do; what is None is not known, and becomes a range."""

    tokens: int | None = None  # fed to the model over all epochs, padding included
    samples: int | None = None
    epochs: int = 1
    length: int | None = None  # tokens of a sample as the model gets it
    batch: int | None = None  # sequences in an optimizer step, over all workers
    steps: int | None = None  # of the optimizer, as max_steps gives them
    method: str | None = None
    rank: int | None = None
    targets: tuple[str, ...] = ()
    checkpointing: bool | None = None
    config: Mapping[str, Any] = field(default_factory=dict)  # of the model
    parameters: int | None = None  # that work on each token


@dataclass(frozen=True)
class Intent:
    """What a run says of its future: a plan, and what to do where it costs too much."""

    plan: Plan | None = None
    on_breach: str = "Annotate"  # Annotate | Hold | Nothing
    why_not: str = "the run has no spec.plan"  # "" where there is a plan


@dataclass(frozen=True)
class Workload:
    """How much is trained on, in one of the cases that a plan leaves open."""

    tokens: int
    length: int  # of a sequence
    steps: int  # of the optimizer

    @property
    def whole(self) -> int:
        """How many sequences have the full length."""
        return self.tokens // self.length

    @property
    def rest(self) -> int:
        """Tokens of the last sequence, which is shorter; 0 if there is none."""
        return self.tokens % self.length


@dataclass(frozen=True)
class Workloads:
    """The work of a plan: at least, most likely, at most; with what was assumed."""

    low: Workload
    expected: Workload
    high: Workload
    assumptions: tuple[str, ...]


def workloads(plan: Plan, seen: int = 0) -> Workloads:
    """Return how much a plan trains on.

    Args:
        plan: what is intended.
        seen: positions of a sample where the model fixes them (images, sounds), else 0.

    Raises:
        PlanError: nothing says how much is trained on.
    """
    said: list[str] = []
    lengths = _lengths(plan, seen, said)
    tokens = _tokens(plan, lengths, said, fixed=bool(seen))
    steps = _steps(plan, tokens, lengths, said)
    made = [
        Workload(*each) for each in zip(_least_one(tokens), lengths, steps, strict=True)
    ]
    return Workloads(made[0], made[1], made[2], tuple(said))


def planned_steps(plan: Plan) -> int | None:
    """Return the optimizer steps that a plan says, or that follow from it exactly."""
    if plan.steps is not None:
        return plan.steps
    if plan.batch is None:
        return None
    if plan.samples is not None:
        return -(-plan.samples // plan.batch) * plan.epochs
    if plan.tokens is not None and plan.length is not None:
        return -(-plan.tokens // (plan.length * plan.batch))
    return None


def _lengths(plan: Plan, seen: int, said: list[str]) -> tuple[int, int, int]:
    if seen:
        return seen, seen, seen
    if plan.length is not None:
        return plan.length, plan.length, plan.length
    said.append(
        f"the sequence length is not given: {LIKELY_LENGTH} tokens are expected, "
        f"{SHORT_LENGTH} to {LONG_LENGTH} covered"
    )
    return SHORT_LENGTH, LIKELY_LENGTH, LONG_LENGTH


def _tokens(
    plan: Plan, lengths: tuple[int, int, int], said: list[str], *, fixed: bool
) -> tuple[int, int, int]:
    if plan.tokens is not None:
        return plan.tokens, plan.tokens, plan.tokens
    if plan.samples is not None:
        rows = plan.samples * plan.epochs
        if fixed:
            return rows * lengths[0], rows * lengths[1], rows * lengths[2]
        said.append(
            "each sample is taken to fill the sequence length; at least, half of it"
        )
        return rows * lengths[0] // 2, rows * lengths[1], rows * lengths[2]
    if plan.steps is not None and plan.batch is not None:
        rows = plan.steps * plan.batch
        return rows * lengths[0], rows * lengths[1], rows * lengths[2]
    message = (
        "the plan does not say how much is trained on: give the training tokens, "
        "samples with epochs, or steps with the batch size"
    )
    raise PlanError(message)


def _steps(
    plan: Plan,
    tokens: tuple[int, int, int],
    lengths: tuple[int, int, int],
    said: list[str],
) -> tuple[int, int, int]:
    known = planned_steps(plan)
    if known is not None:
        return known, known, known
    low, expected, high = (-(-t // n) for t, n in zip(tokens, lengths, strict=True))
    if plan.batch is not None:
        return tuple_of(low // plan.batch, expected // plan.batch, high // plan.batch)
    said.append(
        f"the batch size is not given: a step of the optimizer is taken to see "
        f"{LIKELY_BATCH} sequences, 1 to {LARGE_BATCH} covered"
    )
    most = tokens[2] // lengths[0]  # short sequences, one in each step
    return tuple_of(low // LARGE_BATCH, expected // LIKELY_BATCH, most)


def tuple_of(low: int, expected: int, high: int) -> tuple[int, int, int]:
    """Return three counts of which each is 1 at least and no less than the last."""
    least = max(1, low)
    likely = max(least, expected)
    return least, likely, max(likely, high)


def _least_one(tokens: tuple[int, int, int]) -> tuple[int, int, int]:
    if tokens[2] > _LARGEST:
        message = "the plan trains on more than 1e30 tokens: check its figures"
        raise PlanError(message)
    return tuple_of(*tokens)
