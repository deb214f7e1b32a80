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


class ImportedSpec(ApiModel):
    """A past job, by an estimate: never mixed up with what was measured."""

    name: Annotated[str, Field(min_length=1, max_length=253)]
    """Name of the job, or of its output folder."""
    method: Literal["TrainerState", "Facts", "GpuHours"]
    """What the estimate was made from."""
    low: Flops
    """The least that it may have executed."""
    flops: Flops
    """The estimate."""
    high: Flops
    """The most that it may have executed: this counts for the program."""
    period: Annotated[str, Field(max_length=64)] | None = None
    """When it ran, as ISO 8601: "2026-03-01/2026-03-04"."""
    digest: Annotated[str, Field(max_length=64, pattern=r"^[0-9a-f]{64}$")]
    """SHA-256 of the file that the estimate was read from."""


class DecisionSpec(ApiModel):
    """The decision: an entry in the ledger from the moment that it is seen."""

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
                rule(
                    "(self.decision == 'Move') == has(self.toProgram)",
                    "toProgram says where a Move decision moves a run, and no other",
                ),
                rule(
                    "(self.decision == 'Classify') == has(self.classification)",
                    "classification is what a Classify decision says, and no other",
                ),
                rule(
                    "(self.decision == 'AcceptGap') == has(self.stream)",
                    "stream names the pod whose gap an AcceptGap decision accepts",
                ),
                rule(
                    "(self.decision == 'Fulfil') == has(self.duty)",
                    "duty names what a Fulfil decision records as done, and no other",
                ),
                rule(
                    "self.decision != 'Fulfil' || has(self.evidence)",
                    "a Fulfil decision needs evidence: a link to what shows it",
                ),
                rule(
                    "(self.decision == 'Import') == has(self.imported)",
                    "imported is the job that an Import decision brings in, and no "
                    "other",
                ),
                rule(
                    "!(self.decision in ['Exclude', 'Move', 'AcceptGap']) || "
                    "self.subject.kind == 'FineTuneRun'",
                    "Exclude, Move and AcceptGap are decided of a FineTuneRun",
                ),
                rule(
                    "self.decision != 'Import' || "
                    "self.subject.kind == 'FineTuneProgram'",
                    "Import is decided of a FineTuneProgram",
                ),
            ]
        }
    )

    subject: SubjectRef
    """The program or run that is decided on."""
    decision: Literal[
        "Proceed",
        "Stop",
        "Classify",
        "AcceptGap",
        "Exclude",
        "Move",
        "Import",
        "Fulfil",
    ]
    """Proceed lets the subject go on below `toFlops`; Stop holds it; Classify records
    what the provider's role is; AcceptGap records that a gap stays charged; Exclude
    takes what a run has spent out of its program, Move into another one; Import counts
    a job that was not metered; Fulfil records that a duty is done, with evidence."""
    to_flops: Flops | None = None
    """The total below which to proceed, a quoted string, "9e23"."""
    to_program: Name | None = None
    """The program that what the run has spent is moved to."""
    classification: Literal["DownstreamUser", "Provider"] | None = None
    """What the organisation takes itself for, of this model."""
    stream: Annotated[str, Field(min_length=1, max_length=63)] | None = None
    """UID of the pod whose gap is accepted as it is charged."""
    duty: (
        Annotated[str, Field(max_length=63, pattern=r"^[a-z0-9][a-z0-9-]*$")] | None
    ) = None
    """Name of the duty, as the report lists it."""
    imported: ImportedSpec | None = None
    """The job that is brought in; `flopguard import` fills it."""
    reason: Annotated[str, Field(min_length=1, max_length=2048)]
    """Why, in words that an auditor will read."""
    evidence: Annotated[str, Field(max_length=1024)] | None = None
    """A link to the evidence."""
    expires: Time | None = None
    """When the decision ends: what it allowed is held again from then on."""
    decided_by: Annotated[str, Field(min_length=1, max_length=253)]
    """Who decides: must be the user name of the person who creates this object."""


class DecisionStatus(ApiModel):
    """What became of the decision."""

    conditions: Conditions = ()
    """The state of the decision, aspect by aspect."""
    observed_generation: Whole | None = None
    """The metadata.generation that this status was made from."""
