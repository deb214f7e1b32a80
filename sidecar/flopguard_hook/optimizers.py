"""What an optimizer's step costs: integers per element of each parameter. Core.

Every arithmetic operation of the textbook update is one FLOP, as `torch.optim` does it
one tensor at a time: additions, products, quotients, roots, comparisons. What is done
once per tensor and not per element (bias corrections) is left out. Matrix products
inside a step (Muon) are counted by the operators themselves, beside these figures.
"""

from typing import Any, Mapping, NamedTuple, Sequence

# Optimizers that only call another one: the inner one is charged.
WRAPPERS = frozenset(
    {
        "AcceleratedOptimizer",
        "HookedOptimizer",
        "PostLocalSGDOptimizer",
        "ZeroRedundancyOptimizer",
        "_NamedOptimizer",
    }
)

# Operations per element without weight decay and without the options below.
_PLAIN = {
    # m: lerp 3; v: decay, square, scale, add 4; root, divide, eps 3; update 3
    "Adam": 13,
    "AdamW": 13,
    # Adam, and the second product of the update 3
    "NAdam": 16,
    # Adam, rectified: one product more
    "RAdam": 14,
    # m 3; infinity norm: decay, absolute, eps, maximum 4; divide, scale, add 3
    "Adamax": 10,
    # sum of squares 2; root, eps 2; divide, scale, add 3
    "Adagrad": 7,
    # averages 2 of 4; root of both with eps 4, quotient 1, product 1; scale, add 2
    "Adadelta": 16,
    # average of squares 4; root, eps 2; divide, scale, add 3
    "RMSprop": 9,
    # scale, add
    "SGD": 2,
    # momentum 3, Nesterov 3, scale, add 2; its products of matrices are counted apart
    "Muon": 8,
}
# The same update under another name.
_SAME = {
    "Adam8bit": "Adam",
    "AdamW8bit": "AdamW",
    "AdamW32bit": "AdamW",
    "PagedAdam": "Adam",
    "PagedAdam8bit": "Adam",
    "PagedAdamW": "AdamW",
    "PagedAdamW8bit": "AdamW",
    "PagedAdamW32bit": "AdamW",
    "FusedAdam": "AdamW",
    "DeepSpeedCPUAdam": "AdamW",
}
# Weight decay applied to the parameter itself; elsewhere it is added to the gradient.
_DECOUPLED = frozenset({"AdamW", "Muon"})


class StepCost(NamedTuple):
    """What one element costs in one step.

    Attributes:
        per_element: FLOPs.
        known: False if the class is not in the table and was charged as AdamW.
    """

    per_element: int
    known: bool


def step_cost(class_names: Sequence[str], options: Mapping[str, Any]) -> StepCost:
    """Return the cost per element of a parameter group.

    Args:
        class_names: The optimizer's class and its bases, nearest first.
        options: The group's options, as in `torch.optim`.
    """
    if any(name in WRAPPERS for name in class_names):
        return StepCost(0, known=True)
    known = [_SAME.get(n, n) for n in class_names if n in _PLAIN or n in _SAME]
    name = known[0] if known else "AdamW"
    return StepCost(_PLAIN[name] + _of_options(name, options), known=bool(known))


def _of_options(name: str, options: Mapping[str, Any]) -> int:
    extra = 0
    if _is_set(options, "weight_decay"):
        decoupled = name in _DECOUPLED or _is_set(options, "decoupled_weight_decay")
        extra += 1 if decoupled else 2
    if _is_set(options, "amsgrad"):
        extra += 1  # a running maximum
    if name in {"SGD", "RMSprop"} and _is_set(options, "momentum"):
        extra += 3  # decay, scale, add
        if _is_set(options, "nesterov"):
            extra += 2
    if name == "RMSprop" and _is_set(options, "centered"):
        extra += 6  # average of gradients 3, its square taken off 3
    return extra


def _is_set(options: Mapping[str, Any], name: str) -> bool:
    """Say whether an option has an effect; one held in a tensor is taken to have."""
    value = options.get(name, 0)
    return bool(value) if isinstance(value, (int, float)) else value is not None
