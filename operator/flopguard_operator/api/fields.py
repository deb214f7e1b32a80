"""Define the field types that the API's models share, and the one way to read them.

Every type here is bounded: objects come from tenants. The bounds are those of the CRD,
so whatever the API server stored can be read; whatever else arrives (an older CRD, a
file in local mode) ends in one error with a sentence.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

import pydantic
from pydantic import Field
from pydantic.alias_generators import to_camel
from pydantic.config import JsonDict

from flopguard_operator import flops

CEL = "x-kubernetes-validations"
LIST_TYPE = "x-kubernetes-list-type"
LIST_KEYS = "x-kubernetes-list-map-keys"

_COUNT_DIGITS = 60  # 4,000 pages of 128-bit counters still fit: no page breaks a status
_SHOWN_ERRORS = 3
_NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"


class SpecError(ValueError):
    """An object does not follow the API; the message says where and what to write."""


def rule(cel: str, message: str, **more: str) -> JsonDict:
    """Return one CEL rule of a CRD; `more` holds fieldPath or reason."""
    return {"rule": cel, "message": message, **more}


class ApiModel(pydantic.BaseModel):
    """One object of the API: camelCase outside, snake_case inside, immutable.

    Fields that this version does not know are ignored: the CRD may be newer.
    """

    model_config = pydantic.ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        frozen=True,
        extra="ignore",
        use_attribute_docstrings=True,
    )

    @pydantic.model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, value: Any) -> Any:
        """Read an explicit null as a field left out, as the API server does."""
        if isinstance(value, Mapping):
            return {key: item for key, item in value.items() if item is not None}
        return value

    def wire(self) -> dict[str, Any]:
        """Return the JSON object that the API server takes; what is None is absent."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


M = TypeVar("M", bound=ApiModel)


def read(model: type[M], value: object, path: str) -> M:
    """Return `value` (a decoded JSON object found at `path`) as a model.

    Raises:
        SpecError: it does not follow the model; the message names the field.
    """
    if isinstance(value, Mapping) and value.get("kind") == "ConfigMap":
        message = f"{path}: a ConfigMap; each of its keys is a file of its own here"
        raise SpecError(message)
    try:
        return _validated(model, value, path)
    except UnicodeError:  # half of a surrogate pair, which JSON can spell
        message = f"{path}: a text in it is not valid Unicode"
        raise SpecError(message) from None


def _validated(model: type[M], value: object, path: str) -> M:
    """Return the model, with pydantic's errors told in sentences."""
    try:
        return model.model_validate(value)
    except pydantic.ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        lines = [_sentence(path, item) for item in found[:_SHOWN_ERRORS]]
        if len(found) > _SHOWN_ERRORS:
            lines.append(f"and {len(found) - _SHOWN_ERRORS} more")
        text = "; ".join(lines).encode().decode()  # raises UnicodeError if it must
        raise SpecError(text) from None


def _sentence(path: str, error: Mapping[str, Any]) -> str:
    """Return "spec.budget.maxFlops: what is wrong", bounded and on one line."""
    steps = [f"[{s}]" if isinstance(s, int) else f".{s}" for s in error["loc"]]
    place = (path + "".join(steps))[:200]
    text = str(error["msg"]).removeprefix("Value error, ")[:300]
    if error["type"] == "model_type":  # pydantic's words name a class of ours
        text = "keys with values are expected here"
    return " ".join(f"{place}: {text}".split())


def _figure(value: object) -> int:
    """Return the FLOPs of a quoted figure; a number has lost its digits already."""
    if not isinstance(value, str):
        message = 'FLOPs are a quoted string, like "3.3e22"'
        raise ValueError(message)  # noqa: TRY004 (pydantic turns only ValueError into its own)
    count = flops.parse(value)
    if count < 1:
        message = "must be at least 1"
        raise ValueError(message)
    return count


def _count(value: object) -> int:
    """Return a whole number of FLOPs, given as int (by us) or as digits (stored)."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    digits = isinstance(value, str) and value.isascii() and value.isdigit()
    if not digits or len(str(value)) > _COUNT_DIGITS:
        message = f"not a count of FLOPs: a string of up to {_COUNT_DIGITS} digits"
        raise ValueError(message)
    return int(str(value))


Flops = Annotated[
    int,
    pydantic.BeforeValidator(_figure),
    pydantic.PlainSerializer(str, return_type=str),
    pydantic.WithJsonSchema(
        {
            "type": "string",
            "maxLength": 48,
            "pattern": flops.PATTERN,
            CEL: [
                rule("double(self) >= 1.0", "must be at least 1"),
                # Strictly: just above 1e30 a double would still round down to it.
                rule("double(self) < 1e30", "must be below 1e30"),
            ],
        }
    ),
]
"""FLOPs that a person writes: a quoted decimal, "3.3e22"; an exact int inside."""

FlopsCount = Annotated[
    int,
    pydantic.BeforeValidator(_count),
    pydantic.PlainSerializer(str, return_type=str),
    pydantic.WithJsonSchema(
        {"type": "string", "maxLength": _COUNT_DIGITS, "pattern": r"^[0-9]+$"}
    ),
]
"""FLOPs that flopguard counted: digits outside, an exact int inside."""

Name = Annotated[str, Field(min_length=1, max_length=63, pattern=_NAME)]
"""A Kubernetes name that is also a label's value."""

Percent = Annotated[int, Field(strict=True, ge=1, le=100)]
Percents = Annotated[
    tuple[Percent, ...],
    Field(max_length=10, json_schema_extra={LIST_TYPE: "atomic"}),
]
Ratio = Annotated[str, Field(max_length=64, pattern=r"^[0-9]+(\.[0-9]+)?$")]
"""A percentage as text, "49.99": the API has no floats."""

Whole = Annotated[int, Field(strict=True, ge=0, le=2**53 - 1)]
"""A whole number that every JSON reader keeps."""

_ONE_LINE = r"^[^\x00-\x1f\x7f]+$"  # it is quoted in events and annotations
Line = Annotated[str, Field(max_length=253, pattern=_ONE_LINE)]
"""Free text on one line."""

Word = Annotated[str, Field(max_length=63)]
MAX_TEXT = 253
Text = Annotated[str, Field(max_length=MAX_TEXT)]
MAX_SENTENCE = 1024
Sentence = Annotated[str, Field(max_length=MAX_SENTENCE)]
Reason = Annotated[str, Field(max_length=63, pattern=r"^[A-Z][A-Za-z0-9]*$")]
"""A documented PascalCase constant, or a word that summarises several."""

Time = Annotated[str, Field(max_length=40, json_schema_extra={"format": "date-time"})]
"""An instant, RFC 3339 in UTC."""


class Condition(ApiModel):
    """One aspect of the object's state (a metav1.Condition)."""

    type: Reason
    """The aspect, such as Ready or BudgetExceeded."""
    status: Literal["True", "False", "Unknown"]
    """Whether it holds."""
    reason: Reason
    """Why, as a documented constant."""
    message: Annotated[str, Field(max_length=4096)] = ""
    """Why, as a sentence that says what to do."""
    last_transition_time: Time
    """When the status last changed."""
    observed_generation: Whole | None = None
    """The metadata.generation that this was concluded from."""


Conditions = Annotated[
    tuple[Condition, ...],
    Field(max_length=30, json_schema_extra={LIST_TYPE: "map", LIST_KEYS: ["type"]}),
]
