"""Define FineTuneRun: one logical fine-tuning run over all of its attempts.

The classes are the source of the CRD (`make crds`): a docstring below a field is what
`kubectl explain` shows. The status is in runstatus.py.
"""

from typing import Annotated, Literal, Self

import pydantic
from pydantic import Field

from flopguard_operator.api.fields import (
    CEL,
    LIST_TYPE,
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


Planned = Annotated[int, Field(strict=True, ge=1, le=10**12)]
"""A count that a person plans with."""


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
    """Upper estimate of the same figure. Shown, never compared."""
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
    """What the run intends to do, for a forecast before it starts.

    How much is trained on (`trainingTokens`; or `samples`, `epochs` and
    `sequenceLength`; or `steps`, `batchSize` and `sequenceLength`) and on what model
    (`modelConfig`, else `parameters`). What is left out becomes a wider range.
    """

    training_tokens: Flops | None = None
    """Tokens to train on over all epochs, padding included, a quoted number, "2e9"."""
    samples: Planned | None = None
    """Samples of the data set, where the tokens are not known."""
    epochs: Planned = 1
    """How often each sample is trained on."""
    sequence_length: Planned | None = None
    """Tokens of a sample as the model gets it: packed, padded or cut to this length."""
    batch_size: Planned | None = None
    """Sequences in one step of the optimizer, over all workers and accumulation."""
    steps: Planned | None = None
    """Steps of the optimizer, as max_steps gives them. With them (or with what they
    follow from) the total is forecast anew while the run goes on."""
    method: Literal["Full", "LoRA", "QLoRA", "Other"] | None = None
    """How the model is tuned."""
    lora_rank: Annotated[int, Field(strict=True, ge=1, le=65_536)] | None = None
    """Rank of the adapters."""
    lora_targets: Annotated[
        tuple[Line, ...], Field(max_length=32, json_schema_extra={LIST_TYPE: "atomic"})
    ] = ()
    """The layers that get adapters, "q_proj"; or "all-linear"."""
    checkpointing: pydantic.StrictBool | None = None
    """Whether activations are computed again (gradient checkpointing)."""
    config_json: Annotated[
        str | None, Field(alias="modelConfig", max_length=65_536)
    ] = None
    """The model's config.json, as text."""
    parameters: Flops | None = None
    """Parameters that work on each token (of a mixture of experts the active ones), a
    quoted number, "8.03e9": for a rough forecast where there is no modelConfig."""
    on_forecast_breach: Literal["Annotate", "Hold", "Nothing"] = "Annotate"
    """What to do when the expected total crosses budget or threshold. Annotate writes a
    condition, an event and the workload's annotations. Hold holds the workload, and the
    API server also refuses its pods until there is a forecast."""


class MeteringSpec(ApiModel):
    """How the run's FLOPs are counted."""

    hook: Literal["Auto", "Off"] = "Auto"
    """Auto injects the counting hook into the workload's pods; Off leaves them alone,
    and the run is not metered."""
    gpu: Literal["Auto", "Off"] = "Auto"
    """Whether the sidecar samples the GPU's power, energy and use."""
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
    """What the run intends to do: its forecast is made from this."""
    metering: MeteringSpec | None = None
    """How the run's FLOPs are counted; everything Auto when left out."""
    on_delete: Literal["Keep", "Release"] = "Keep"
    """What becomes of a hold when the run is deleted: Keep keeps the run (and its hold)
    until it is released, Release lifts the hold and lets the workload go on."""
