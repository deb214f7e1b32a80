"""Define the form of a rule set in YAML; the source of docs/policies.schema.json.

`api.rulesets` turns what is written so into the core's `policy.rulesets.RuleSet`.
"""

import re
from fractions import Fraction
from typing import Annotated, Literal

import pydantic
from pydantic import Field

from flopguard_operator import flops
from flopguard_operator.api.fields import ApiModel
from flopguard_operator.policy.canonical import NAME

_EXACT = r"^[0-9]{1,30}(\.[0-9]{1,12})?([eE]\+?[0-9]{1,2})?(/[1-9][0-9]{0,11})?$"
_DAY = r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$"


def _exact(value: object) -> Fraction:
    """Return an exact figure; a number has lost its digits already."""
    if not isinstance(value, str) or not re.fullmatch(_EXACT, value, re.ASCII):
        message = 'an exact figure is a quoted string, like "3/10", "3.3e22", "1e23/3"'
        raise ValueError(message)
    number, _, parts = value.partition("/")
    figure = Fraction(number) / Fraction(parts or 1)
    if not 0 < figure <= flops.LARGEST:
        message = "must be above 0 and at most 1e30"
        raise ValueError(message)
    return figure


Exact = Annotated[
    Fraction,
    pydantic.BeforeValidator(_exact),
    pydantic.WithJsonSchema({"type": "string", "pattern": _EXACT}),
]
"""An exact positive figure, quoted: "3/10", "3.3e22", "1e23/3"."""

Id = Annotated[str, Field(max_length=63, pattern=NAME)]
Day = Annotated[str, Field(pattern=_DAY)]
Told = Annotated[str, Field(min_length=1, max_length=2_000)]
Category = Literal["forward", "backward", "recompute", "no_grad", "optimizer"]
Percent = Annotated[int, Field(strict=True, ge=1, le=100)]


def _whole(value: Fraction) -> Fraction:
    if value.denominator != 1:
        message = "must be a whole number of FLOPs"
        raise ValueError(message)
    return value


Flops = Annotated[Exact, pydantic.AfterValidator(_whole)]


class Part(ApiModel):
    """A part of a rule set; unlike in the cluster's objects, nothing is ignored."""

    model_config = pydantic.ConfigDict(extra="forbid", arbitrary_types_allowed=True)


class When(Part):
    """Which base models a row holds for; all that is given has to fit."""

    systemic: pydantic.StrictBool | None = None
    """Whether the base model carries systemic risk."""
    figure: Literal["any", "known", "disclosed", "estimated", "unknown"] = "any"
    """What is known of the base's pre-training FLOPs. Known is disclosed, or an
    estimate where the rule set counts estimates; unknown is neither."""
    at_least: Flops | None = None
    """Least FLOPs of the base."""
    below: Flops | None = None
    """FLOPs that the base is below."""
    estimate: pydantic.StrictBool | None = None
    """Whether others have estimated the base, counted here or not."""


class Rule(Part):
    """One row: whom it governs, and the threshold. The first that fits governs."""

    name: Id
    """Name of the rule; it stands in the ledger."""
    when: When = When()
    """Which base models it governs; all of them when left out."""
    fraction: Exact | None = None
    """Threshold as a part of the base. With `limit`, the smaller governs."""
    limit: Exact | None = None
    """Threshold in FLOPs."""
    basis: Id
    """Which operations count: a key of `counts`."""
    effective: Day | None = None
    """First day on which it applies."""
    until: Day | None = None
    """First day on which it applies no more."""
    citation: Told
    """Article and paragraph, in both numberings of the Guidelines."""
    explanation: Told
    """A sentence for people; {model}, {base}, {estimate}, {limit} are filled in."""


class Line(Part):
    """A further line to watch, beside the threshold of the modification."""

    name: Id
    """Name of the line."""
    subject: Literal["modification", "base+modification"]
    """What is compared with it."""
    when: When = When()
    """Which base models it is watched for."""
    limit: Exact
    """FLOPs; crossed strictly above."""
    warn_at_percent: Annotated[tuple[Percent, ...], Field(max_length=10)] = ()
    """Percentages of it at which to warn."""
    basis: Id
    """Which operations count: a key of `counts`."""
    effective: Day | None = None
    """First day on which it applies."""
    until: Day | None = None
    """First day on which it applies no more."""
    citation: Told
    """Article and paragraph."""
    explanation: Told
    """What it means to be above it; the same places are filled in."""
    silent: Told | None = None
    """What the law leaves open here, with its source."""


class Note(Part):
    """One sentence where law or rule sets disagree, or say nothing."""

    name: Id
    """Name of the note."""
    when: When = When()
    """Which base models it is said for."""
    category: Category | None = None
    """Said only where FLOPs of this category were counted."""
    from_percent: Annotated[int, Field(strict=True, ge=0, le=100)] = 0
    """Said only from this percentage of the threshold on."""
    text: Told
    """The sentence."""
    source: Told
    """Where the law speaks, or should."""


class Duty(Part):
    """An obligation that comes with the criterion, limited to the modification."""

    name: Id
    """Name of the duty."""
    when: When = When()
    """Which base models bring it."""
    article: Told
    """Where it stands."""
    text: Told
    """What is to be done."""
    open_source_exempt: pydantic.StrictBool = False
    """Whether models under a free and open-source licence are exempt."""
    within_days: Annotated[int, Field(strict=True, ge=1, le=3650)] | None = None
    """Days that there are."""


class Date(Part):
    """A day that matters."""

    day: Day
    """ISO 8601."""
    text: Told
    """What happens on it."""
    article: Told
    """Where it stands."""


class Fine(Part):
    """The most that an infringement may cost."""

    text: Told
    """In words."""
    article: Told
    """Where it stands."""
    percent_of_turnover: Exact
    """Of the worldwide annual turnover."""
    euros: Annotated[int, Field(strict=True, ge=0, le=10**12)]
    """Or this, whichever is higher."""
    effective: Day | None = None
    """First day on which it may be imposed."""


class Figures(Part):
    """What counts as a known base figure, beside what the provider disclosed."""

    estimates: pydantic.StrictBool = False
    """Whether an estimate that others derived counts, at its low end."""
    exclude: Annotated[
        tuple[Annotated[str, Field(max_length=63)], ...], Field(max_length=20)
    ] = ("speculative",)
    """Methods of estimates that never count."""


class Law(Part):
    """What rule sets on one law share."""

    lines: Annotated[tuple[Line, ...], Field(max_length=50)] = ()
    """Further lines to watch."""
    notes: Annotated[tuple[Note, ...], Field(max_length=50)] = ()
    """Where law or rule sets disagree, or are silent."""
    duties: Annotated[tuple[Duty, ...], Field(max_length=50)] = ()
    """What comes with the criterion."""
    dates: Annotated[tuple[Date, ...], Field(max_length=50)] = ()
    """Days that matter."""
    fines: Annotated[tuple[Fine, ...], Field(max_length=10)] = ()
    """What an infringement may cost."""


class LawFile(Law):
    """What `law:` refers to."""

    name: Id
    """Name of the law."""


class RuleSetFile(Law):
    """A rule set: the law, as data, by which fine-tunings are judged."""

    name: Id
    """What `spec.policy` names."""
    version: Annotated[str, Field(min_length=1, max_length=63)]
    """Another one with each change; it stands in the ledger."""
    title: Annotated[str, Field(min_length=1, max_length=253)]
    """In a few words."""
    summary: Told | None = None
    """In a few sentences."""
    effective: Day | None = None
    """First day on which the law that it states applies."""
    citations: Annotated[tuple[Told, ...], Field(max_length=20)] = ()
    """Its sources."""
    law: Id | None = None
    """A law that ships with flopguard, whose lines, notes, duties, dates and fines are
    taken over: eu-ai-act."""
    strict: pydantic.StrictBool = True
    """Whether the threshold is crossed above it only (true), or also at it."""
    figures: Figures = Figures()
    """What counts as a known base figure."""
    counts: Annotated[
        dict[Id, Annotated[tuple[Category, ...], Field(max_length=5)]],
        Field(max_length=10),
    ] = Field(default_factory=dict)
    """Basis → categories of operations that count. What is not proven, and gaps, count
    on each basis."""
    rules: Annotated[tuple[Rule, ...], Field(max_length=50)] = ()
    """The first that fits a base model governs."""
    combines: Annotated[tuple[Id, ...], Field(max_length=10)] = ()
    """Instead of rules: names of rule sets of which the smallest limit and the largest
    count govern."""
