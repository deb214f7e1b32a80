"""Define FineTuneRun: one logical fine-tuning run over all of its attempts.

The classes are the source of the CRD (`make crds`): a docstring below a field is what
`kubectl explain` shows. The status is in runstatus.py.
"""

from typing import Annotated, Literal, Self

import pydantic
from pydantic import Field

from flopguard_operator.api.fields import (
    CEL,
    ApiModel,
    Flops,
    Line,
    Name,
    Percents,
    rule,
)
from flopguard_operator.policy.canonical import NAME

PolicyName = Annotated[str, Field(max_length=63, pattern=NAME)]
"""The name of a rule set: a shipped one, or one of the chart's policies.configMap."""

_ONE_LIMIT = "give exactly one of maxFlops and percentOfThreshold"
_NEEDS_SOURCE = (
    "pretrainingFlops needs source: say where the figure comes from "
    "(model card, paper, provider); a figure without a source does not count"
)
_HIGH_IS_HIGH = "pretrainingFlopsHigh needs pretrainingFlops, and may not be below it"


class WorkloadRef(ApiModel):
    """The workload that runs the training, in the run's own namespace."""

    api_version: Literal["batch/v1"] = "batch/v1"
    """Group and version of the workload. Only batch/v1 for now."""
    kind: Literal["Job"] = "Job"
    """Kind of the workload. Only Job for now."""
    name: Name
    """Name of the workload; frozen while the run holds it. Jobs that continue the run
    under another name carry the label flopguard.dev/run on their pod template."""


class BaseModelSpec(ApiModel):
    """The model that is fine-tuned, with what is known of its pre-training compute."""

    model_config = pydantic.ConfigDict(
        json_schema_extra={
            CEL: [
                rule("!has(self.pretrainingFlops) || has(self.source)", _NEEDS_SOURCE),
                rule(
                    "!has(self.pretrainingFlopsHigh) || (has(self.pretrainingFlops) && "
                    "double(self.pretrainingFlopsHigh) "
                    ">= double(self.pretrainingFlops))",
                    _HIGH_IS_HIGH,
                ),
            ]
        }
    )

    name: Line
    """Name of the base model, such as meta-llama/Llama-3.1-70B. Frozen once FLOPs are
    counted: the figures may be revised, the model may not be another one."""
    pretraining_flops: Flops | None = None
    """FLOPs of the base model's pre-training: the figure that is compared with the law.
    A quoted string, "8.0e24"; needs `source`. Looked up in the catalogue of base models
    by name when left out; where no disclosed figure is found, the limit for unknown
    models applies, 3.3e22 (3.3e24 with systemic risk)."""
    pretraining_flops_high: Flops | None = None
    """Upper estimate of the same figure. Shown, never compared. Not acted on yet."""
    source: Line | None = None
    """Where the figure comes from: model card and table, paper, a letter."""
    systemic_risk: pydantic.StrictBool = False
    """Whether the base model is a general-purpose AI model with systemic risk."""

    @pydantic.model_validator(mode="after")
    def _figures(self) -> Self:
        """Hold the CEL rules where no API server did."""
        if self.pretraining_flops is not None and self.source is None:
            raise ValueError(_NEEDS_SOURCE)
        high, figure = self.pretraining_flops_high, self.pretraining_flops
        # As doubles: never stricter than the CEL rule that let the object in.
        if high is not None and (figure is None or float(high) < float(figure)):
            raise ValueError(_HIGH_IS_HIGH)
        return self


class BudgetSpec(ApiModel):
    """A limit of one's own, in FLOPs or in percent of the legal threshold."""

    model_config = pydantic.ConfigDict(
        json_schema_extra={
            CEL: [
                rule("has(self.maxFlops) != has(self.percentOfThreshold)", _ONE_LIMIT)
            ]
        }
    )

    max_flops: Flops | None = None
    """FLOPs that the run may spend over all of its attempts. A quoted string, "1e22".
    At this figure the budget is spent; raise it to go on."""
    percent_of_threshold: Annotated[int, Field(strict=True, ge=1, le=100)] | None = None
    """The same limit, in percent of the legal threshold that governs the run."""
    warn_at_percent: Percents = (50, 80, 95)
    """Percentages of the budget at which to warn."""
    on_warn: Literal["Annotate", "Nothing"] = "Annotate"
    """Annotate writes a condition, an event and the workload's annotations."""
    on_breach: Literal["Suspend", "Annotate"] = "Suspend"
    """Suspend holds the workload until the budget is raised."""

    @pydantic.model_validator(mode="after")
    def _one_limit(self) -> Self:
        """Hold the CEL rule where no API server did."""
        if (self.max_flops is None) == (self.percent_of_threshold is None):
            raise ValueError(_ONE_LIMIT)
        return self


class ThresholdSpec(ApiModel):
    """What to do as the run nears the legal threshold of its policy."""

    warn_at_percent: Percents = (20, 50, 80)
    """Percentages of the threshold at which to warn."""
    hold_at_percent: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] = 95
    """Percentage of the threshold at which the run is held. Raise it (or set onApproach
    to Annotate) to let a held run go on; the ledger records the change."""
    on_approach: Literal["Suspend", "Annotate", "Nothing"] = "Suspend"
    """What to do at holdAtPercent."""


class PlanSpec(ApiModel):
    """What the run intends to do, for a forecast before it starts. Not acted on yet."""

    training_tokens: Flops | None = None
    """Tokens to train on, a quoted number, "2e9". Not acted on yet."""
    method: Literal["Full", "LoRA", "QLoRA", "Other"] | None = None
    """How the model is tuned. Not acted on yet."""
    on_forecast_breach: Literal["Annotate", "Nothing"] = "Annotate"
    """What to do when the forecast crosses a limit. Not acted on yet."""


class MeteringSpec(ApiModel):
    """How the run's FLOPs are counted."""

    hook: Literal["Auto", "Off"] = "Auto"
    """Auto injects the counting hook into the workload's pods; Off leaves them alone,
    and the run is not metered."""
    gpu: Literal["Auto", "Off"] = "Auto"
    """Whether to sample the GPU's power, energy and use. Off is not acted on yet."""
    container: Name | None = None
    """The container that trains. All containers are metered when it is left out."""
    profiler: Literal["Off", "Sample"] = "Off"
    """Sample runs a few steps of each process under torch's own profiler, as a second
    opinion on the count; those steps are slower."""
    charge_cpu_pods: pydantic.StrictBool = False
    """Whether the silence of a pod without an accelerator is charged too, at the peak
    of its processors."""


class RunSpec(ApiModel):
    """What a person asks for."""

    model_config = pydantic.ConfigDict(
        json_schema_extra={
            CEL: [
                rule(
                    "has(self.program) == has(oldSelf.program) && "
                    "(!has(self.program) || self.program == oldSelf.program)",
                    "program cannot be changed: what was counted stays with its "
                    "program; make a new FineTuneRun for another one",
                    fieldPath=".program",
                )
            ]
        }
    )

    program: Name | None = None
    """The FineTuneProgram (cluster-scoped) that this run belongs to. It lends its base
    model, policy and budget where the run leaves them out. Cannot be changed."""
    workload: WorkloadRef
    """The workload that runs the training; it may be applied before or after."""
    base_model: BaseModelSpec | None = None
    """The model that is fine-tuned; the program's when left out."""
    policy: PolicyName | None = None
    """The rule set that gives the legal threshold: eu-ai-act-30-percent,
    commission-guidelines-2025, strictest, or one of your own (docs/policies.md). The
    program's when left out, else eu-ai-act-30-percent."""
    budget: BudgetSpec | None = None
    """A limit of one's own; the program's when left out."""
    threshold: ThresholdSpec | None = None
    """What to do as the legal threshold nears; held at 95 % when left out."""
    plan: PlanSpec | None = None
    """What the run intends to do. Not acted on yet."""
    metering: MeteringSpec | None = None
    """How the run's FLOPs are counted; everything Auto when left out."""
    on_delete: Literal["Keep", "Release"] = "Keep"
    """What becomes of a hold when the run is deleted: Keep keeps the run (and its hold)
    until it is released, Release lifts the hold and lets the workload go on."""
