"""What an optimizer's step costs: integers per element of each parameter. Core.

Every arithmetic operation of the textbook update is one FLOP, as `torch.optim` does it
one tensor at a time: additions, products, quotients, roots, comparisons. What is done
once per tensor and not per element (bias corrections) is left out. Matrix products
inside a step (Muon, SOAP, projections, the dot products of L-BFGS) are counted by the
operators themselves, beside these figures. Where a step does less than it may (fewer
iterations, a smaller space, sparse gradients) the figure is an upper bound.
"""

import re
from typing import Any, Mapping, NamedTuple, Sequence

# Optimizers that only call another one: the inner one is charged.
WRAPPERS = frozenset(
    {
        "AcceleratedOptimizer",
        "CPUOffloadOptimizer",
        "DeepSpeedOptimizerWrapper",
        "DeepSpeedZeroOptimizer",
        "DeepSpeedZeroOptimizer_Stage3",
        "HookedOptimizer",
        "LayerWiseDummyOptimizer",
        "MegatronOptimizerWrapper",
        "PostLocalSGDOptimizer",
        "ScheduleFreeWrapper",
        "ZeroRedundancyOptimizer",
        "_NamedOptimizer",
    }
)

# Operations per element without weight decay and without the options below.
_PLAIN = {
    # m: lerp 3; v: decay, square, scale, add 4; root, divide, eps 3; update 3
    "Adam": 13,
    "AdamW": 13,
    # Adam where the gradient has rows; charged as if it had them all
    "SparseAdam": 13,
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
    # decay 1; scale, add 2; average: difference, scale, add 3
    "ASGD": 6,
    # product of both gradients, its sign, three comparisons, scale, two bounds, mask,
    # sign of the gradient, product, difference
    "Rprop": 12,
    # norm of the parameter 2; of rows and columns 2 each; quotient, bound, root,
    # product 4; norm of the update 2; scale, add 2; the outer product is counted apart
    "Adafactor": 14,
    # blend of momentum and gradient 3, sign 1; scale, add 2; momentum 3
    "Lion": 9,
    # Adam's m, v and quotient 10; norms of parameter and update 4; scale, add 2
    "LAMB": 16,
    # norms of parameter and gradient 4; local rate 1; scale, add 2
    "LARS": 7,
    # Adam, a slow average 3, its share in the update 2
    "AdEMAMix": 18,
    # v 4, quotient 3; pull towards the average 3; step 2; step without momentum 2
    "AdamWScheduleFree": 14,
    "RAdamScheduleFree": 14,
    # pull towards the average 3; step 2; step without momentum 2
    "SGDScheduleFree": 7,
    # Adam; distance: average 3, dot product 2, sum of absolutes 2
    "Prodigy": 20,
    # Adam as if at full rank, where it runs in a smaller space: an upper bound; the
    # projection's products are counted apart
    "GaLoreAdamW": 13,
    # the same; norms before and after 4, scale 1
    "APOLLOAdamW": 18,
    # momentum 3, scale, add 2; the preconditioners' products are counted apart
    "Shampoo": 5,
    # Adam in the rotated space; the rotations are counted apart
    "SOAP": 13,
    # per iteration: difference of gradients, step, direction, its scale; scale, add 2
    "LBFGS": 6,
}
# The same update under another name; a suffix tells how the state is stored.
_SAME = {
    "AdaFactor": "Adafactor",
    "ApolloAdamW": "APOLLOAdamW",
    "CPUAdam": "AdamW",
    "DeepSpeedCPUAdagrad": "Adagrad",
    "DeepSpeedCPUAdam": "AdamW",
    "DeepSpeedCPULion": "Lion",
    "DistributedFusedAdam": "AdamW",
    "DistributedFusedLAMB": "LAMB",
    "FusedAdagrad": "Adagrad",
    "FusedAdam": "AdamW",
    "FusedLAMB": "LAMB",
    "FusedLamb": "LAMB",
    "FusedLion": "Lion",
    "FusedMixedPrecisionLamb": "LAMB",
    "FusedSGD": "SGD",
    "GaLoreAdafactor": "Adafactor",
    "HybridAdam": "AdamW",
    "Lamb": "LAMB",
    "Lars": "LARS",
    "OnebitAdam": "AdamW",
    "OnebitLamb": "LAMB",
    "PytorchLARS": "LARS",
    "ZeroOneAdam": "AdamW",
    "_AdamW": "AdamW",
}
_STORAGE = re.compile(r"(?:8bit|32bit|4bit|Fp8)$")
_PAGED = "Paged"
# Weight decay applied to the parameter itself; elsewhere it is added to the gradient.
_DECOUPLED = frozenset(
    {
        "APOLLOAdamW",
        "AdEMAMix",
        "Adafactor",
        "AdamW",
        "GaLoreAdamW",
        "Lion",
        "Muon",
        "Prodigy",
        "SOAP",
    }
)


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
    known = [name for name in map(_known_as, class_names) if name in _PLAIN]
    name = known[0] if known else "AdamW"
    cost = _PLAIN[name] + _of_options(name, options)
    return StepCost(cost * _iterations(name, options), known=bool(known))


def _known_as(name: str) -> str:
    """Return the name of a class's update, whatever its state is stored in."""
    if name in _SAME:
        return _SAME[name]
    bare = _STORAGE.sub("", name)
    bare = bare.removeprefix(_PAGED)
    return _SAME.get(bare, bare)


def _iterations(name: str, options: Mapping[str, Any]) -> int:
    """Return how often a step repeats itself: L-BFGS at most as often as it may."""
    return int(options.get("max_iter", 20)) if name == "LBFGS" else 1


def _of_options(name: str, options: Mapping[str, Any]) -> int:
    extra = 0
    if name == "LBFGS":
        # Per pair of the history: scale, add, twice; its dot products are operators.
        return 4 * int(options.get("history_size", 100))
    if _is_set(options, "weight_decay"):
        decoupled = name in _DECOUPLED or _is_set(options, "decoupled_weight_decay")
        extra += 1 if decoupled else 2
    if _is_set(options, "amsgrad"):
        extra += 1  # a running maximum
    if name == "Adafactor" and options.get("beta1") is not None:
        extra += 3  # a running average of updates, where transformers keeps one
    if name in {"SGD", "RMSprop", "LARS"} and _is_set(options, "momentum"):
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
