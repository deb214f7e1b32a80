"""Define private entries of the catalogue of base models, and read them from YAML.

The fields are those of the table that flopguard ships; `flopguard models show --json`
prints an entry in this form.
"""

from datetime import date
from typing import Annotated, Literal, Self

import pydantic
import yaml
from pydantic import Field

from flopguard_operator.api.fields import ApiModel, Flops, Line, SpecError, Word, read
from flopguard_operator.models.entries import Entry, Figure

MOST_BYTES = 1 << 20  # what a ConfigMap holds
_STRICT = pydantic.ConfigDict(extra="forbid")
_BOUNDS = "low may not be above flops, nor high below it, and both need flops"
_NEEDS_FLOPS = "leave flops out only with method undisclosed"
_ID = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"


def _day(value: object) -> object:
    """Take a date that YAML has read as one for the text that it was."""
    return value.isoformat() if type(value) is date else value


Day = Annotated[
    str,
    pydantic.BeforeValidator(_day),
    Field(pattern=r"^[0-9]{4}-[0-9]{2}(-[0-9]{2})?$"),
]
"""A day or a month, "2026-05-03" or "2026-05"."""


class FigureSpec(ApiModel):
    """FLOPs of the pre-training, as one source has them."""

    model_config = _STRICT

    flops: Flops | None = None
    """The figure; left out where the source was asked and has none."""
    low: Flops | None = None
    """Its lower bound."""
    high: Flops | None = None
    """Its upper bound."""
    method: Literal[
        "reported",
        "derived_6ND",
        "derived_hardware",
        "derived_mixed",
        "speculative",
        "not_stated",
        "undisclosed",
    ]
    """How it was obtained. Only `reported`, by the provider, makes it known."""
    source: Line
    """Where it comes from: model card, paper, letter of the provider."""
    date: Day
    """When the source said so."""
    confidence: Word = ""
    """How sure the source is, in its own word."""
    url: Annotated[str, Field(max_length=2048)] = ""
    """Where the source can be read."""
    dataset: Annotated[str, Field(max_length=2048)] = ""
    """The copy of the source's data from which it was taken."""
    note: Annotated[str, Field(max_length=1024)] = ""
    """What else there is to say."""

    @pydantic.model_validator(mode="after")
    def _figures(self) -> Self:
        if self.flops is None:
            if self.low is not None or self.high is not None:
                raise ValueError(_BOUNDS)
            if self.method != "undisclosed":
                raise ValueError(_NEEDS_FLOPS)
            return self
        low, high = self.low or self.flops, self.high or self.flops
        if not low <= self.flops <= high:
            raise ValueError(_BOUNDS)
        return self


class ModelSpec(ApiModel):
    """One base model."""

    model_config = _STRICT

    id: Annotated[str, Field(max_length=63, pattern=_ID)]
    """Identity of the entry; one that flopguard ships too is replaced by this one."""
    name: Line
    """The model's name."""
    hugging_face_id: Line = ""
    """Its id on the Hub."""
    aliases: Annotated[tuple[Line, ...], Field(max_length=50)] = ()
    """Other names of the same pre-training."""
    provider: Line = ""
    """Who made it."""
    released: Day | Literal[""] = ""
    """When it was published."""
    parameters: Flops | None = None
    """Number of parameters, a quoted number."""
    active_parameters: Flops | None = None
    """Of a mixture of experts: those that one token passes through."""
    tokens: Flops | None = None
    """Tokens of the pre-training, a quoted number."""
    access: Line = ""
    """Under what terms the weights are to be had."""
    systemic_risk: pydantic.StrictBool = False
    """Whether it is a general-purpose AI model with systemic risk."""
    version: Annotated[int, Field(strict=True, ge=1, le=10**6)] = 1
    """Raise it with each revision; the highest version of an id is used."""
    figures: Annotated[tuple[FigureSpec, ...], Field(min_length=1, max_length=20)]
    """Every figure that is known, each with its source."""


class CatalogueSpec(ApiModel):
    """A file of private entries."""

    model_config = _STRICT

    schema_: Annotated[Literal[1], Field(alias="schema")] = 1
    """The version of this form."""
    models: Annotated[tuple[ModelSpec, ...], Field(max_length=1000)]
    """The base models."""


def read_entries(text: str, origin: str) -> tuple[Entry, ...]:
    """Return the private entries in a YAML text.

    Args:
        text: of the file, at most `MOST_BYTES` long.
        origin: what to call the file, in messages and as the entries' origin.

    Raises:
        SpecError: it does not follow the schema; the message says where.
    """
    if len(text) > MOST_BYTES:
        message = f"{origin}: larger than {MOST_BYTES} bytes"
        raise SpecError(message)
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        message = " ".join(f"{origin}: not YAML: {error}".split())
        raise SpecError(message[:500]) from error
    found = read(CatalogueSpec, value, origin)
    return tuple(_entry(model, origin) for model in found.models)


def _entry(spec: ModelSpec, origin: str) -> Entry:
    values = {name: getattr(spec, name) for name in ModelSpec.model_fields}
    values["figures"] = tuple(_figure(figure) for figure in spec.figures)
    return Entry(**values, origin=origin)


def _figure(spec: FigureSpec) -> Figure:
    values = {name: getattr(spec, name) for name in FigureSpec.model_fields}
    return Figure(value=values.pop("flops"), **values)
