"""Estimate a job by what it trained on: closed forms, else 6 FLOPs per parameter."""

from dataclasses import dataclass, replace

from flopguard_operator.estimate.model import Bounds
from flopguard_operator.flops import display
from flopguard_operator.forecast.architecture import PlanError
from flopguard_operator.forecast.plan import Plan
from flopguard_operator.forecast.planned import CLOSED_FORM, of_plan
from flopguard_operator.imports.job import JobError


@dataclass(frozen=True)
class Trained:
    """FLOPs by what was trained on, before any margin."""

    flops: Bounds
    formula: str
    assumptions: tuple[str, ...]


def of_training(plan: Plan, tokens: Bounds | None = None) -> Trained:
    """Return the FLOPs of a job that did what a plan says.

    Args:
        plan: what was trained, on what.
        tokens: where they are not in the plan: at least, most likely, at most.

    Raises:
        JobError: the plan says too little, or contradicts itself.
    """
    try:
        if tokens is None:
            cases = [of_plan(plan)] * 3
        else:
            sizes = (tokens.low, tokens.expected, tokens.high)
            cases = [of_plan(replace(plan, tokens=size)) for size in sizes]
    except PlanError as error:
        message = str(error).replace("the plan does", "the facts do")
        raise JobError(message) from error
    low, likely, high = cases
    formula = (
        "closed form of the model's matrix products"
        if likely.basis == CLOSED_FORM
        else "rule of thumb for parameters and tokens (6PD; 4PD with frozen weights)"
    )
    if tokens is not None:
        formula += f", {display(tokens.expected)} tokens"
    flops = Bounds(low.total.low, likely.total.expected, high.total.high)
    return Trained(flops, formula, likely.assumptions)
