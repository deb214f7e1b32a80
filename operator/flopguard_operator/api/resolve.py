"""Turn what people wrote (a run, its program) into the terms that it is judged by."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from flopguard_operator.api.finetunerun import (
    BaseModelSpec,
    BudgetSpec,
    PlanSpec,
    RunSpec,
    ThresholdSpec,
)
from flopguard_operator.api.program import ProgramSpec
from flopguard_operator.forecast.architecture import PlanError, read_config
from flopguard_operator.forecast.plan import Intent, Plan
from flopguard_operator.models.basis import look_up
from flopguard_operator.models.catalogue import NOTHING, Catalogue
from flopguard_operator.policy.terms import (
    DEFAULT_POLICY,
    GIVEN,
    Approach,
    BaseModel,
    Budget,
    Terms,
)

_NOTHING = ProgramSpec()


def terms(
    run: RunSpec, program: ProgramSpec | None, catalogue: Catalogue = NOTHING
) -> Terms:
    """Return what a run is judged by.

    Base model and policy are the program's where the run leaves them out, each as a
    whole: a figure of one is never mixed with the name of the other. A base model
    without a figure is looked up in the catalogue. The program's budget and its review
    are judged on all of its runs together, not on this one; so within a program a run
    is not held at the threshold by itself unless it asks for it.
    """
    lender = program or _NOTHING
    alone = (
        ThresholdSpec() if program is None else ThresholdSpec(on_approach="Annotate")
    )
    return Terms(
        policy=run.policy or lender.policy or DEFAULT_POLICY,
        base=_base(run.base_model or lender.base_model, catalogue),
        budget=_budget(run.budget),
        approach=_approach(run.threshold or alone),
    )


def program_terms(program: ProgramSpec, catalogue: Catalogue = NOTHING) -> Terms:
    """Return what a program is judged by, on the total of its runs."""
    review = ThresholdSpec(hold_at_percent=program.review_at_percent)
    return Terms(
        policy=program.policy or DEFAULT_POLICY,
        base=_base(program.base_model, catalogue),
        budget=_budget(program.budget),
        approach=_approach(review),
    )


def intent(spec: PlanSpec | None) -> Intent:
    """Return what a run intends to do; a plan that cannot be read stops no metering."""
    if spec is None:
        return Intent()
    on_breach = spec.on_forecast_breach
    try:
        config = read_config(spec.config_json) if spec.config_json else {}
    except PlanError as error:
        return Intent(None, on_breach, f"spec.plan.modelConfig: {error}")
    return Intent(_plan(spec, config), on_breach, "")


def _plan(spec: PlanSpec, config: Mapping[str, Any]) -> Plan:
    return Plan(
        tokens=spec.training_tokens,
        samples=spec.samples,
        epochs=spec.epochs,
        length=spec.sequence_length,
        batch=spec.batch_size,
        steps=spec.steps,
        method=spec.method,
        rank=spec.lora_rank,
        targets=spec.lora_targets,
        checkpointing=spec.checkpointing,
        config=config,
        parameters=spec.parameters,
    )


def may_join(program: ProgramSpec, namespace: str) -> bool:
    """Return whether a run of this namespace may belong to the program."""
    return program.namespaces is None or namespace in program.namespaces


def _base(spec: BaseModelSpec | None, catalogue: Catalogue) -> BaseModel:
    """Return the base model; an unknown one has no name and no figure."""
    if spec is None:
        return BaseModel()
    if spec.pretraining_flops is None:
        return look_up(spec.name, catalogue, systemic_risk=spec.systemic_risk)
    base = BaseModel(
        name=spec.name,
        pretraining_flops=spec.pretraining_flops,
        source=spec.source or "",
        systemic_risk=spec.systemic_risk,
    )
    high = spec.pretraining_flops_high
    if high is None or high <= spec.pretraining_flops:
        return base
    low = spec.pretraining_flops
    return replace(base, estimate_low=low, estimate_high=high, method=GIVEN)


def _budget(spec: BudgetSpec | None) -> Budget | None:
    """Return the budget with its warnings in rising order."""
    if spec is None:
        return None
    return Budget(
        max_flops=spec.max_flops,
        percent_of_threshold=spec.percent_of_threshold,
        warn_at_percent=tuple(sorted(set(spec.warn_at_percent))),
        on_warn=spec.on_warn,
        on_breach=spec.on_breach,
    )


def _approach(spec: ThresholdSpec) -> Approach:
    """Return what to do near the threshold, its warnings in rising order."""
    return Approach(
        warn_at_percent=tuple(sorted(set(spec.warn_at_percent))),
        hold_at_percent=spec.hold_at_percent,
        on_approach=spec.on_approach,
    )
