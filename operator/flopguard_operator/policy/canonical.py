"""Write a rule set as its one canonical JSON, and read hostile JSON as a rule set.

The text stands in the ledger (`PolicyNoted`) and is what its digest is of: sorted keys,
no spaces, defaults left out, exact figures as strings ("3/10").
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from fractions import Fraction
from typing import Any

from flopguard_operator.naming import CATEGORIES
from flopguard_operator.policy.rulesets import (
    FIGURES,
    SUBJECTS,
    Date,
    Duty,
    Fine,
    Line,
    Note,
    PolicyError,
    Rule,
    RuleSet,
    When,
)

MAX_TEXT = 60_000  # bytes: an entry of the ledger has room for it
NAME = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
_MAX_SENTENCE, _MAX_ITEMS = 2_000, 100
_EXACT = re.compile(r"[1-9][0-9]{0,31}(/[1-9][0-9]{0,31})?", re.ASCII)
_DAY = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])", re.ASCII)
_FILLED = re.compile(r"\{(\w*)\}")
_MAX_WHOLE = 10**15
_PLACES = frozenset({"model", "base", "estimate", "limit"})


@dataclass(frozen=True)
class _Codec:
    write: Callable[[Any], Any]
    read: Callable[[Any], Any]


def to_json(rule_set: RuleSet) -> str:
    """Return the canonical JSON of a rule set."""
    document = _RULE_SET.write(rule_set)
    return json.dumps(
        document, ensure_ascii=True, sort_keys=True, separators=(",", ":")
    )


def digest(text: str) -> str:
    """Return SHA-256 of a canonical text, hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def from_json(text: str) -> RuleSet:
    """Return the rule set that a canonical text spells.

    Raises:
        PolicyError: it is not one, or is spelled in another way than `to_json` does.
    """
    if len(text) > MAX_TEXT:
        message = f"a rule set has at most {MAX_TEXT} bytes"
        raise PolicyError(message)
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        message = "a rule set is JSON"
        raise PolicyError(message) from error
    found: RuleSet = _RULE_SET.read(document)
    if to_json(found) != text:
        message = "a rule set is spelled in another way than flopguard spells it"
        raise PolicyError(message)
    return found


def fill(template: str, values: Mapping[str, str]) -> str:
    """Return a sentence with its places filled in, once: values are no templates."""
    return _FILLED.sub(lambda found: values.get(found[1], found[0]), template)


def _require(kind: str, value: object, *, good: bool) -> None:
    if good:
        return
    try:
        shown = ascii(value)[:60]
    except (ValueError, RecursionError):
        shown = "something"
    message = f"{shown} in a rule set is not {kind}"
    raise PolicyError(message)


def _checked(kind: str, good: Callable[[Any], bool]) -> _Codec:
    def read(value: Any) -> Any:
        _require(kind, value, good=good(value))
        return value

    return _Codec(lambda value: value, read)


def _matching(kind: str, form: re.Pattern[str]) -> _Codec:
    return _checked(kind, lambda v: isinstance(v, str) and bool(form.fullmatch(v)))


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _MAX_SENTENCE


def _is_template(value: Any) -> bool:
    return _is_text(value) and set(_FILLED.findall(value)) <= _PLACES


def _is_whole(value: Any) -> bool:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return whole and 0 <= value <= _MAX_WHOLE


def _list(item: _Codec) -> _Codec:
    def read(value: Any) -> tuple[Any, ...]:
        good = isinstance(value, list) and len(value) <= _MAX_ITEMS
        _require("a list that is not too long", value, good=good)
        return tuple(item.read(each) for each in value)

    return _Codec(lambda value: [item.write(each) for each in value], read)


def _counts_read(value: Any) -> dict[str, tuple[str, ...]]:
    good = isinstance(value, dict) and all(map(_is_text, value))
    _require("a list of categories by basis", value, good=good)
    return {basis: _CATEGORIES.read(each) for basis, each in value.items()}


def _record(kind: type[Any], **special: _Codec) -> _Codec:
    """Return the codec of a dataclass; fields that hold their default are left out."""
    codecs = {each.name: special.get(each.name, _TEXT) for each in fields(kind)}
    defaults = {
        each.name: each.default if each.default is not MISSING else _made(each)
        for each in fields(kind)
    }

    def write(value: Any) -> dict[str, Any]:
        held = {name: getattr(value, name) for name in codecs}
        return {
            name: codecs[name].write(each)
            for name, each in held.items()
            if each != defaults[name]
        }

    def read(value: Any) -> Any:
        required = {name for name, each in defaults.items() if each is MISSING}
        good = isinstance(value, dict) and required <= set(value) <= set(codecs)
        _require(f"a {kind.__name__} with its fields", value, good=good)
        return kind(**{name: codecs[name].read(each) for name, each in value.items()})

    return _Codec(write, read)


def _made(each: Any) -> Any:
    """Return what a field's factory makes; MISSING where it has none."""
    return MISSING if each.default_factory is MISSING else each.default_factory()


_TEXT = _checked("a text of at most 2,000 characters", _is_text)
_TEMPLATE = _checked(
    "a sentence with {model}, {base}, {estimate}, {limit}", _is_template
)
_NAME = _matching("a name", re.compile(NAME, re.ASCII))
_DAYS = _matching("a day like 2025-08-02", _DAY)
_FLAG = _checked("true or false", lambda value: isinstance(value, bool))
_WHOLE = _checked("a whole number", _is_whole)
_FIGURE = _checked(f"one of {', '.join(FIGURES)}", lambda value: value in FIGURES)
_SUBJECT = _checked(f"one of {', '.join(SUBJECTS)}", lambda value: value in SUBJECTS)
_CATEGORY = _checked("a category", lambda value: value in CATEGORIES)
_CATEGORIES = _list(_CATEGORY)
_EXACTLY = _matching("an exact figure like 3/10", _EXACT)
_RATIO = _Codec(str, lambda value: Fraction(_EXACTLY.read(value)))
_FLOPS = _Codec(str, lambda value: _flops(_EXACTLY.read(value)))
_TEXTS = _list(_TEXT)


def _flops(text: str) -> int:
    _require("a whole number of FLOPs", text, good="/" not in text)
    return int(text)


_WHEN = _record(
    When, systemic=_FLAG, figure=_FIGURE, at_least=_FLOPS, below=_FLOPS, estimate=_FLAG
)
_SPAN = {"effective": _DAYS, "until": _DAYS}
_RULE = _record(
    Rule,
    name=_NAME,
    when=_WHEN,
    fraction=_RATIO,
    limit=_RATIO,
    explanation=_TEMPLATE,
    **_SPAN,
)
_LINE = _record(
    Line,
    name=_NAME,
    subject=_SUBJECT,
    limit=_RATIO,
    when=_WHEN,
    warn_at_percent=_list(_WHOLE),
    explanation=_TEMPLATE,
    **_SPAN,
)
_NOTE = _record(Note, name=_NAME, when=_WHEN, category=_CATEGORY, from_percent=_WHOLE)
_DUTY = _record(
    Duty, name=_NAME, when=_WHEN, open_source_exempt=_FLAG, within_days=_WHOLE
)
_FINE = _record(Fine, percent_of_turnover=_RATIO, euros=_WHOLE, effective=_DAYS)
_PARTS: dict[str, _Codec] = {
    "name": _NAME,
    "rules": _list(_RULE),
    "counts": _Codec(
        lambda value: {basis: list(each) for basis, each in value.items()}, _counts_read
    ),
    "strict": _FLAG,
    "estimates_count": _FLAG,
    "excluded_methods": _TEXTS,
    "effective": _DAYS,
    "citations": _TEXTS,
    "lines": _list(_LINE),
    "notes": _list(_NOTE),
    "duties": _list(_DUTY),
    "dates": _list(_record(Date, day=_DAYS)),
    "fines": _list(_FINE),
}
_NOTHING = _checked("empty", lambda _: False)  # members combine nothing themselves
_MEMBER = _record(RuleSet, **_PARTS, combines=_list(_NOTHING))
_RULE_SET = _record(RuleSet, **_PARTS, combines=_list(_MEMBER))
