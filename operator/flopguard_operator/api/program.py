"""Define FineTuneProgram: everything that is done to one base model, over all runs."""

from typing import Annotated

import pydantic
from pydantic import Field

from flopguard_operator.api.fields import (
    LIST_TYPE,
    ApiModel,
    Conditions,
    FlopsCount,
    Name,
    Percent,
    Ratio,
    Reason,
    Text,
    Whole,
    Word,
)
from flopguard_operator.api.finetunerun import BaseModelSpec, BudgetSpec, PolicyName
from flopguard_operator.api.runstatus import (
    Duties,
    ForecastStatus,
    OtherPolicies,
    ThresholdStatus,
)

_SET = {LIST_TYPE: "set"}


class OwnersSpec(ApiModel):
    """Who answers for the program, by the user names that they decide with."""

    compliance: Text | None = None
    """Who answers for the law."""
    model: Text | None = None
    """Who answers for the model."""
    product: Text | None = None
    """Who answers for the product."""


class RetentionSpec(ApiModel):
    """How long the ledger is kept."""

    years: Annotated[int, Field(strict=True, ge=1, le=100)] = 10
    """Years from each entry on. There is one ledger: the longest time that any program
    asks for counts, and it stays when the program asks for less."""


class ProgramSpec(ApiModel):
    """What a person asks for; lent to each run that leaves it out."""

    base_model: BaseModelSpec | None = None
    """The model that the program's runs start from."""
    policy: PolicyName | None = None
    """The rule set that gives the legal threshold: eu-ai-act-30-percent,
    commission-guidelines-2025, strictest, or one of your own (docs/policies.md)."""
    budget: BudgetSpec | None = None
    """FLOPs for all runs together, past ones too: at this figure all of them are held,
    and a new one starts from what is already spent."""
    namespaces: (
        Annotated[tuple[Name, ...], Field(max_length=100, json_schema_extra=_SET)]
        | None
    ) = None
    """Namespaces whose runs may join; any namespace when left out."""
    owners: OwnersSpec | None = None
    """The people who answer for the program; a missing one is a condition."""
    require_owners: pydantic.StrictBool = False
    """Whether nothing starts before the owners and the roll-back plan are named."""
    require_two_persons: pydantic.StrictBool = False
    """Whether the model's owner may not decide on the program or its runs."""
    rollback_plan: Annotated[str, Field(max_length=2048)] | None = None
    """How to go back to the last good weights."""
    review_at_percent: Percent = 90
    """Percentage of the threshold from which the program's runs are held until a
    ThresholdDecision lets them proceed."""
    retention: RetentionSpec | None = None
    """How long the ledger is kept."""


class ProgramStatus(ApiModel):
    """What the operator observed, over all runs of the program, deleted ones too."""

    state: Reason | None = None
    """The conditions in one word."""
    measured: FlopsCount | None = None
    """FLOPs that the program's runs are proven to have executed."""
    upper: FlopsCount | None = None
    """FLOPs that they may have executed."""
    used_display: Word | None = None
    """What counts against the legal threshold, at most, in short."""
    limit_display: Word | None = None
    """The legal threshold, in short."""
    percent_of_threshold: Ratio | None = None
    """Percentage of the legal threshold."""
    runs: Whole | None = None
    """Number of runs that joined."""
    imported: FlopsCount | None = None
    """FLOPs of imported jobs, by their high estimates; part of `upper`."""
    percent_of_budget: Ratio | None = None
    """Percentage of the program's budget."""
    threshold: ThresholdStatus | None = None
    """The legal threshold that governs the program."""
    other_policies: OtherPolicies = ()
    """The verdicts of all other policies: shown, not acted on."""
    forecast: ForecastStatus | None = None
    """Where the program is heading, over its runs that are planned or go on."""
    duties: Duties = ()
    """The duties that come with each criterion that is met or may be, limited to the
    modification; those of the policy that governs first."""
    allowed: FlopsCount | None = None
    """The total below which a decision lets the runs proceed."""
    conditions: Conditions = ()
    """The state of the program, aspect by aspect."""
    observed_generation: Whole | None = None
    """The metadata.generation that this status was made from."""
