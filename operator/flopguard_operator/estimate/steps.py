"""Estimate calls, steps and whole runs: the entry of status and forecast."""

from flopguard_operator.estimate.counting import Assumed, Counting, Passes, options
from flopguard_operator.estimate.model import (
    BACKWARD,
    FORWARD,
    NO_GRAD,
    NON_REENTRANT,
    OPTIMIZER,
    RECOMPUTE,
    Architecture,
    Bounds,
    Call,
    Estimate,
    Method,
    Work,
)

_KERNEL = "whether attention runs in one fused kernel is not known"
_INPUTS = "whether the first block's input needs a gradient is not known"
_STOPS = "where recomputation stops within a block depends on the model's code"
_WINDOW = "whether the attention kernel skips what lies outside of its window is open"


def of_call(architecture: Architecture, method: Method, call: Call) -> Estimate:
    """Return the FLOPs of one call of the model: with its backward if it trains."""
    found = [
        Counting(architecture, method, call, assumed).passes()
        for assumed in options(architecture, method)
    ]
    if not call.training:
        return Estimate({NO_GRAD: _bounds([each.forward for each in found])})
    flops = {
        FORWARD: _bounds([each.forward for each in found]),
        BACKWARD: _bounds([each.backward for each in found]),
        RECOMPUTE: _bounds([each.recompute for each in found]),
    }
    return Estimate(flops, _doubts(architecture, method, found))


def of_step(
    architecture: Architecture, method: Method, call: Call, accumulation: int = 1
) -> Estimate:
    """Return the FLOPs of one optimizer step of one process."""
    work = Work(((call, accumulation),), 1)
    return of_work(architecture, method, work)


def of_work(architecture: Architecture, method: Method, work: Work) -> Estimate:
    """Return the FLOPs of a run, or of what one process did of it."""
    total = Estimate()
    for call, count in work.calls:
        total += of_call(architecture, method, call).times(count)
    update = work.steps * method.elements * method.per_element
    return total + Estimate({OPTIMIZER: Bounds(update, update, update)})


def _bounds(found: list[int]) -> Bounds:
    """Return the likeliest figure, and what all the other answers add up to."""
    likely = found[0]
    less = sum(max(0, likely - each) for each in found)
    more = sum(max(0, each - likely) for each in found)
    return Bounds(max(0, likely - less), likely, likely + more)


def _doubts(
    architecture: Architecture, method: Method, found: list[Passes]
) -> tuple[str, ...]:
    """Return a sentence for each open question that matters to the figure."""
    asked = list(options(architecture, method))
    questions = {
        _KERNEL: "fused_attention",
        _INPUTS: "input_gradient",
        _STOPS: "stops_early",
        _WINDOW: "windowed",
    }
    if method.checkpointing != NON_REENTRANT:
        del questions[_STOPS]
    return tuple(
        sentence for sentence, name in questions.items() if _matters(name, asked, found)
    )


def _matters(name: str, asked: list[Assumed], found: list[Passes]) -> bool:
    """Say whether the likeliest answer and its contrary give different figures."""
    first = asked[0]
    return any(
        each != found[0]
        for assumed, each in zip(asked, found, strict=True)
        if getattr(assumed, name) != getattr(first, name)
    )
