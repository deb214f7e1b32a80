"""Forecast a run before it starts: its plan through the closed forms of `estimate`.

What the plan leaves open is answered three times: by what costs least, by what is
likely, by what costs most; a sentence names each answer. Where no architecture is
known there is only the rule of thumb of 6 FLOPs per parameter and token (Kaplan et al.
2020, cited by the Commission's Guidelines), and a wide range around it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from flopguard_operator.estimate.model import (
    NON_REENTRANT,
    NONE,
    REENTRANT,
    Architecture,
    Bounds,
    Call,
    Estimate,
    Method,
    Work,
)
from flopguard_operator.estimate.steps import of_work
from flopguard_operator.flops import display
from flopguard_operator.forecast.architecture import (
    PlanError,
    adaptable,
    adapter_elements,
    parameters,
    recognised,
    usual_targets,
)
from flopguard_operator.forecast.plan import (
    FULL,
    LORA,
    METHODS,
    OTHER,
    QLORA,
    Plan,
    Workload,
    workloads,
)

ALL_LINEAR = "all-linear"  # as PEFT writes it
CLOSED_FORM, RULE_OF_THUMB = "ClosedForm", "RuleOfThumb"
_RANKS = (4, 16, 64)
_EVALUATED = 10  # at most one token is evaluated on for so many that are trained on
_OTHER_TIMES = 4  # reference and reward models, generation: beside the training itself
_ACTIVE = (
    "parameters are those that work on each token: of a mixture of experts, the active "
    "ones"
)
_TRAINED, _FROZEN, _AGAIN = 6, 4, 2  # FLOPs per parameter and token


@dataclass(frozen=True)
class Projection:
    """FLOPs of a whole plan, over all of its workers."""

    total: Bounds
    basis: str  # CLOSED_FORM or RULE_OF_THUMB
    assumptions: tuple[str, ...]


@dataclass(frozen=True)
class _Case:
    """One answer to everything that a plan leaves open."""

    checkpointing: str
    adapters: Mapping[str, int]  # layer → rank; empty: all weights are trained
    work: Workload
    evaluated: int = 0  # tokens


def of_plan(plan: Plan) -> Projection:
    """Return the FLOPs of a plan: low, expected, high.

    Raises:
        PlanError: the plan says too little, or contradicts itself.
    """
    if plan.method is not None and plan.method not in METHODS:
        message = f"the method is one of {', '.join(METHODS)}"
        raise PlanError(message)
    why_not = "the model's configuration is not given"
    if plan.config:
        found = recognised(plan.config)
        if not isinstance(found, str):
            return _closed_form(plan, *found)
        why_not = found
    return _rule_of_thumb(plan, why_not)


def _closed_form(
    plan: Plan, found: Architecture, left_out: tuple[str, ...]
) -> Projection:
    amount = workloads(plan, found.seen)
    said = [*left_out, *amount.assumptions]
    low, likely, high = _cases(plan, found, said)
    weights = parameters(found, plan.config)
    cases = (
        replace(low, work=amount.low),
        replace(likely, work=amount.expected),
        replace(high, work=amount.high, evaluated=amount.high.tokens // _EVALUATED),
    )
    least, expected, most = (_counted(found, case, weights, plan) for case in cases)
    said.append("evaluation is not in the plan: at most a tenth of the tokens again")
    high_total = most.total.high
    if plan.method == OTHER:
        said.append(_other())
        high_total *= _OTHER_TIMES
    if plan.method is None:
        said.append("the method is not given: all weights are taken to be trained")
    doubts = [each for one in (least, expected, most) for each in one.doubts]
    total = _ordered(least.total.low, expected.total.expected, high_total)
    return Projection(total, CLOSED_FORM, tuple(dict.fromkeys([*said, *doubts])))


def _cases(plan: Plan, found: Architecture, said: list[str]) -> tuple[_Case, ...]:
    """Return the method's part of the three cases."""
    nothing = Workload(1, 1, 1)
    adapters = _adapters(plan, found, said)
    again = _checkpointing(plan, said)
    return tuple(
        _Case(checkpointing, each, nothing)
        for checkpointing, each in zip(again, adapters, strict=True)
    )


def _checkpointing(plan: Plan, said: list[str]) -> tuple[str, str, str]:
    if plan.checkpointing is not None:
        if not plan.checkpointing:
            return NONE, NONE, NONE
        return NON_REENTRANT, NON_REENTRANT, REENTRANT
    likely = NON_REENTRANT if plan.method == QLORA else NONE
    word = "on, as its preparation sets it," if plan.method == QLORA else "off"
    said.append(
        f"activation checkpointing is not given: {word} is expected, both are covered"
    )
    return NONE, likely, REENTRANT


def _adapters(
    plan: Plan, found: Architecture, said: list[str]
) -> tuple[Mapping[str, int], Mapping[str, int], Mapping[str, int]]:
    """Return layer → rank in the three cases; all empty for full fine-tuning."""
    if plan.method == FULL:
        return {}, {}, {}
    every, usual = adaptable(found), usual_targets(found)
    chosen = _targets(plan, every)
    low, likely, high = (chosen,) * 3 if chosen else (usual or every, every, every)
    ranks = _RANKS if plan.rank is None else (plan.rank,) * 3
    made = tuple(
        dict.fromkeys(names, rank)
        for names, rank in zip((low, likely, high), ranks, strict=True)
    )
    if plan.method not in (LORA, QLORA):
        return made[0], {}, {}
    if not chosen:
        said.append(
            "the adapted layers are not given: all linear layers are expected, "
            "queries and values alone covered"
        )
    if plan.rank is None:
        said.append(
            f"the rank is not given: {ranks[1]} is expected, {ranks[0]} to {ranks[2]} "
            f"covered"
        )
    return made[0], made[1], made[2]


def _targets(plan: Plan, every: tuple[str, ...]) -> tuple[str, ...]:
    if ALL_LINEAR in plan.targets:
        return every
    unknown = [name for name in plan.targets if name not in every]
    if unknown:
        message = (
            f'there is no layer "{unknown[0][:60]}" to adapt; the layers are '
            f"{', '.join(every)} (or {ALL_LINEAR})"
        )
        raise PlanError(message)
    return plan.targets


def _counted(found: Architecture, case: _Case, weights: int, plan: Plan) -> Estimate:
    """Return the FLOPs of one case: training, the optimizer, evaluation."""
    frozen = bool(case.adapters)
    elements = adapter_elements(found, case.adapters) if frozen else weights
    packed = plan.method == QLORA
    method = Method(
        frozen=frozen,
        adapters=tuple(sorted(case.adapters.items())),
        input_gradient=_input_gradient(case, frozen=frozen, packed=packed),
        checkpointing=case.checkpointing,
        fused_attention=None,
        elements=elements,
    )
    own = replace(
        found, heads=tuple(replace(head, trained=not frozen) for head in found.heads)
    )
    total = of_work(own, method, _work(own, case.work))
    if not case.evaluated:
        return total
    read = replace(case.work, tokens=max(1, case.evaluated), steps=0)
    return total + of_work(own, method, _work(own, read, training=False))


def _input_gradient(case: _Case, *, frozen: bool, packed: bool) -> bool | None:
    """Say whether PEFT asks for the gradient of the first block's input."""
    if not frozen:
        return False
    if case.checkpointing != NONE:
        return True
    return None if packed else False


def _work(found: Architecture, work: Workload, *, training: bool = True) -> Work:
    """Return the calls of a workload: one sequence each, the rest in a shorter one."""
    sizes = ((work.length, work.whole), (work.rest, 1))
    decodes = found.encoder is not None
    calls = tuple(
        (Call(1, length, decoder=length if decodes else 0, training=training), count)
        for length, count in sizes
        if length and count
    )
    return Work(calls, work.steps)


def _rule_of_thumb(plan: Plan, why_not: str) -> Projection:
    """Return 6 FLOPs per parameter and token, less where weights are frozen."""
    if plan.parameters is None:
        message = f"{why_not}: give it, or the number of parameters"
        raise PlanError(message)
    amount = workloads(plan)
    factor = _FROZEN if plan.method in (LORA, QLORA) else _TRAINED
    recomputes = plan.checkpointing
    if recomputes or (recomputes is None and plan.method == QLORA):
        factor += _AGAIN
    lowest = _FROZEN if plan.method in (None, OTHER) else factor
    size = plan.parameters
    expected = factor * size * amount.expected.tokens
    low = lowest * size * amount.low.tokens // 2
    high = 2 * factor * size * amount.high.tokens
    said = [
        (
            f"{why_not}: {factor} FLOPs per parameter and token for "
            f"{display(size)} parameters, half to twice of it"
        ),
        _ACTIVE,
        *(amount.assumptions if plan.tokens is None else ()),
    ]
    if plan.method == OTHER:
        said.append(_other())
        high *= _OTHER_TIMES
    if plan.method is None:
        said.append("the method is not given: all weights are taken to be trained")
    return Projection(Bounds(low, expected, high), RULE_OF_THUMB, tuple(said))


def _other() -> str:
    return (
        f"what the method computes beside the training (reference and reward models, "
        f"generation) is not known: at most {_OTHER_TIMES} times as much"
    )


def _ordered(low: int, expected: int, high: int) -> Bounds:
    return Bounds(min(low, expected), expected, max(expected, high))
