"""Define FineTuneProgram: everything that is done to one base model, over all runs."""

from typing import Annotated

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

_SET = {LIST_TYPE: "set"}


class OwnersSpec(ApiModel):
    """The people who answer for the program. Not acted on yet."""

    compliance: Text | None = None
    """Who answers for the law. Not acted on yet."""
    model: Text | None = None
    """Who answers for the model. Not acted on yet."""
    product: Text | None = None
    """Who answers for the product. Not acted on yet."""


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
    """FLOPs for all runs together. The sum over runs is not acted on yet: until it is,
    each run that sets no budget of its own is held at this figure by itself."""
    namespaces: (
        Annotated[tuple[Name, ...], Field(max_length=100, json_schema_extra=_SET)]
        | None
    ) = None
    """Namespaces whose runs may join; any namespace when left out."""
    owners: OwnersSpec | None = None
    """The people who answer for the program. Not acted on yet."""
    rollback_plan: Annotated[str, Field(max_length=2048)] | None = None
    """How to go back to the last good weights. Not acted on yet."""
    review_at_percent: Percent = 90
    """Percentage of the threshold at which a review is due. Not acted on yet."""
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
    """`upper` in short."""
    limit_display: Word | None = None
    """The legal threshold, in short."""
    percent_of_threshold: Ratio | None = None
    """Percentage of the legal threshold."""
    runs: Whole | None = None
    """Number of runs that joined."""
    conditions: Conditions = ()
    """The state of the program, aspect by aspect. Not filled in yet."""
    observed_generation: Whole | None = None
    """The metadata.generation that this status was made from."""
