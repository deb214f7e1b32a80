"""Define ThresholdDecision: a person's recorded decision, never edited afterwards.

Who may decide is RBAC `create` on this kind. That `decidedBy` is the person who creates
it is demanded by an admission policy of the chart (templates/lock.yaml).
"""

from typing import Annotated, Literal

import pydantic
from pydantic import Field

from flopguard_operator.api.fields import (
    CEL,
    ApiModel,
    Conditions,
    Flops,
    Name,
    Time,
    Whole,
    rule,
)


class SubjectRef(ApiModel):
    """The program or run that is decided on."""

    model_config = pydantic.ConfigDict(
        json_schema_extra={
            CEL: [
                rule(
                    "self.kind == 'FineTuneRun' ? has(self.namespace) "
                    ": !has(self.namespace)",
                    "a FineTuneRun needs its namespace, a FineTuneProgram has none",
                )
            ]
        }
    )

    kind: Literal["FineTuneProgram", "FineTuneRun"]
    """Kind of the subject."""
    name: Name
    """Name of the subject."""
    namespace: Name | None = None
    """Namespace of a FineTuneRun."""


class DecisionSpec(ApiModel):
    """The decision. Recorded only: not acted on yet."""

    model_config = pydantic.ConfigDict(
        json_schema_extra={
            CEL: [
                rule(
                    "self == oldSelf",
                    "a decision cannot be changed; make a new ThresholdDecision",
                ),
                rule(
                    "(self.decision == 'Proceed') == has(self.toFlops)",
                    "toFlops is the new limit of a Proceed decision, and of no other",
                ),
            ]
        }
    )

    subject: SubjectRef
    """The program or run that is decided on."""
    decision: Literal["Proceed", "Stop", "Classify", "AcceptGap", "Exclude", "Move"]
    """What is decided. Not acted on yet."""
    to_flops: Flops | None = None
    """The limit up to which to proceed, a quoted string, "9e23". Not acted on yet."""
    reason: Annotated[str, Field(min_length=1, max_length=2048)]
    """Why, in words that an auditor will read."""
    evidence: Annotated[str, Field(max_length=1024)] | None = None
    """A link to the evidence."""
    expires: Time | None = None
    """When the decision ends. Not acted on yet."""
    decided_by: Annotated[str, Field(min_length=1, max_length=253)]
    """Who decides: must be the user name of the person who creates this object."""


class DecisionStatus(ApiModel):
    """What became of the decision. Not filled in yet."""

    conditions: Conditions = ()
    """The state of the decision, aspect by aspect."""
    observed_generation: Whole | None = None
    """The metadata.generation that this status was made from."""
