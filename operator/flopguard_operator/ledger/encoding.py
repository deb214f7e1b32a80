"""Turn entries into the exact bytes that are hashed, and hostile bytes into entries.

One entry has one encoding: JSON with sorted keys and no spaces, in UTF-8, with FLOPs as
decimal strings. `decode` refuses every other spelling of the same entry, so nobody can
hide anything in duplicate keys or white space, and a leaf is always a single line.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from flopguard_operator.ledger import settlements
from flopguard_operator.ledger.entries import (
    FORMAT_VERSION,
    MAX_ENTRY_BYTES,
    AttemptOpened,
    Crossing,
    DecisionExpired,
    DecisionRecorded,
    DocumentNoted,
    EnergyNoted,
    Entry,
    EpochOpened,
    FactChanged,
    FactsNoted,
    ForecastNoted,
    GapCharged,
    HoldProven,
    HoldReleased,
    HoldSet,
    Imported,
    KeyRotated,
    LedgerRecovered,
    PolicyNoted,
    ProgramAdjusted,
    ProgramSet,
    RetentionSet,
    RunRef,
    RunsCounted,
    Settlement,
    TermsSet,
    WeightsSaved,
)
from flopguard_operator.ledger.errors import LedgerError
from flopguard_operator.marks import MAX_DIGITS, Mark
from flopguard_operator.naming import CATEGORIES
from flopguard_operator.policy.terms import Approach, BaseModel, Budget, Terms

# Room for the sum of all marks that a ledger can hold.
_MAX_DIGITS = MAX_DIGITS + 16
_LARGEST = 10**_MAX_DIGITS - 1
_WHOLE = re.compile(rf"0|[1-9][0-9]{{0,{_MAX_DIGITS - 1}}}", re.ASCII)
_EXACT = re.compile(rf"(?:{_WHOLE.pattern})(?:/[1-9][0-9]{{0,{_MAX_DIGITS - 1}}})?")
_TIME = re.compile(
    r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
    r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{3}Z"
)

# Fields that kinds have got since their first entries were written.
_LATER = {
    "AttemptOpened": ("weights", "devices", "node"),
    "BaseModel": ("estimate_low", "estimate_high", "method"),
    "TermsSet": (
        "previous",
        "policy_digest",
        "day",
        "limit_before",
        "rule_before",
        "verdict_before",
        "verdict",
    ),
}


@dataclass(frozen=True)
class _Codec:
    """How one kind of value is written to JSON and read back; both check it."""

    write: Callable[[Any], Any]
    read: Callable[[Any], Any]


def encode(entry: Entry) -> bytes:
    """Return the one encoding of an entry, at most `MAX_ENTRY_BYTES` long.

    Raises:
        LedgerError: a field holds what an entry cannot hold, or too much of it.
    """
    name = type(entry.event).__name__
    if name not in _EVENTS:
        message = f"{name} is not a kind of ledger entry"
        raise LedgerError(message)
    document = _EVENTS[name].write(entry.event)
    document |= {"v": FORMAT_VERSION, "type": name, "at": _time(entry.at)}
    return _dump(document | {"index": _count(entry.index)})


def decode(data: bytes) -> Entry:
    """Return the entry that these bytes encode: the exact inverse of `encode`.

    Raises:
        LedgerError: the bytes are not the encoding of an entry.
    """
    swift = settlements.read(data)
    if swift is not None:
        return swift
    entry = _decoded(data)
    if encode(entry) != data:
        message = "the entry is not spelled as flopguard spells it"
        raise LedgerError(message)
    return entry


def decode_trusted(data: bytes) -> Entry:
    """Return the entry in bytes that our own head covers: the spelling is not checked.

    Raises:
        LedgerError: the bytes are not an entry.
    """
    return settlements.read(data) or _decoded(data)


def _decoded(data: bytes) -> Entry:
    document = _load(data)
    version, name = document.pop("v", None), document.pop("type", None)
    if version != FORMAT_VERSION or isinstance(version, bool):
        message = f"the entry has format {_short(version)}; this reads {FORMAT_VERSION}"
        raise LedgerError(message)
    if not isinstance(name, str) or name not in _EVENTS:
        message = f"{_short(name)} is not a kind of ledger entry"
        raise LedgerError(message)
    at, index = _time(document.pop("at", None)), _count(document.pop("index", None))
    return Entry(index=index, at=at, event=_EVENTS[name].read(document))


def encode_mark(mark: Mark) -> bytes:
    """Return a high-water mark as JSON, for the store.

    Raises:
        LedgerError: a counter is negative or has more than 60 digits.
    """
    return _dump(_MARK.write(mark))


def decode_mark(data: bytes) -> Mark:
    """Return the mark that `encode_mark` wrote.

    Raises:
        LedgerError: the bytes are not a mark.
    """
    mark: Mark = _MARK.read(_load(data))
    return mark


def _dump(document: Mapping[str, Any]) -> bytes:
    try:
        data = json.dumps(
            document, ensure_ascii=False, sort_keys=True, separators=(",", ":")
        ).encode()
    except UnicodeEncodeError as error:  # a lone surrogate
        message = "a text in the entry is not valid Unicode"
        raise LedgerError(message) from error
    if len(data) > MAX_ENTRY_BYTES:
        message = f"the entry has {len(data)} bytes; at most {MAX_ENTRY_BYTES} fit"
        raise LedgerError(message)
    return data


def _load(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_ENTRY_BYTES:
        message = f"the entry has {len(data)} bytes; at most {MAX_ENTRY_BYTES} fit"
        raise LedgerError(message)
    try:
        document = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        message = "the entry is not JSON in UTF-8"
        raise LedgerError(message) from error
    if not isinstance(document, dict):
        message = "the entry is not a JSON object"
        raise LedgerError(message)
    return document


def _short(value: object) -> str:
    """Quote a hostile value for a message: bounded, and no control characters."""
    try:
        return ascii(value)[:40]
    except (ValueError, RecursionError):
        return "something unreadable"


def _check(kind: str, value: object, *, good: bool) -> None:
    if not good:
        message = f"{_short(value)} is not {kind}"
        raise LedgerError(message)


def _text(value: Any) -> str:
    _check("a text", value, good=isinstance(value, str))
    return str(value)


def _flag(value: Any) -> bool:
    _check("true or false", value, good=isinstance(value, bool))
    return bool(value)


def _count(value: Any) -> int:
    whole = isinstance(value, int) and not isinstance(value, bool)
    _check("a count", value, good=whole and 0 <= value <= _LARGEST)
    return int(value)


def _flops(value: Any) -> int:
    good = isinstance(value, str) and _WHOLE.fullmatch(value) is not None
    _check("a number of FLOPs", value, good=good)
    return int(value)


def _matching(kind: str, form: re.Pattern[str]) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        good = isinstance(value, str) and form.fullmatch(value) is not None
        _check(kind, value, good=good)
        return str(value)

    return check


_time = _matching("a time like 2026-11-22T00:20:00.000Z", _TIME)
_exact = _matching("an exact limit like 10000 or 10000/3", _EXACT)


def _same(check: Callable[[Any], Any]) -> _Codec:
    return _Codec(check, check)


def _optional(codec: _Codec) -> _Codec:
    return _Codec(
        lambda value: None if value is None else codec.write(value),
        lambda value: None if value is None else codec.read(value),
    )


def _read_percents(value: Any) -> tuple[int, ...]:
    _check("a list", value, good=isinstance(value, list))
    return tuple(_count(item) for item in value)


def _by_category(value: Any, each: Callable[[Any], Any]) -> dict[str, Any]:
    good = isinstance(value, Mapping) and set(value) <= set(CATEGORIES)
    _check("FLOPs by category", value, good=good)
    return {category: each(flops) for category, flops in value.items()}


def _record(kind: type[Any], **special: _Codec) -> _Codec:
    """Return the codec of a dataclass: every field in `special`, else a text.

    A later field is left out where it has its default: entries from before that field
    keep their bytes.
    """
    codecs = {each.name: special.get(each.name, TEXT) for each in fields(kind)}
    later = {
        each.name: each.default
        for each in fields(kind)
        if each.name in _LATER.get(kind.__name__, ())
    }

    def write(value: Any) -> dict[str, Any]:
        return {
            name: codec.write(getattr(value, name))
            for name, codec in codecs.items()
            if name not in later or getattr(value, name) != later[name]
        }

    def read(value: Any) -> Any:
        good = isinstance(value, dict) and set(codecs) - set(later) <= set(value)
        _check(f"a {kind.__name__} with its fields", value, good=good)
        _check(f"a {kind.__name__}", value, good=set(value) <= set(codecs))
        return kind(**{name: codecs[name].read(each) for name, each in value.items()})

    return _Codec(write, read)


TEXT = _same(_text)
COUNT = _same(_count)
FLAG = _same(_flag)
EXACT = _same(_exact)
FLOPS = _Codec(lambda value: str(_count(value)), _flops)
PERCENTS = _Codec(lambda value: [_count(item) for item in value], _read_percents)
DONE = _Codec(
    lambda value: _by_category(value, FLOPS.write),
    lambda value: _by_category(value, FLOPS.read),
)
_COUNTERS = {
    "done": DONE,
    "begun": FLOPS,
    "steps": COUNT,
    "pages": COUNT,
    "final": FLAG,
}
_RUN = {"run": _record(RunRef)}
_TERMS = _record(
    Terms,
    base=_record(
        BaseModel,
        pretraining_flops=_optional(FLOPS),
        systemic_risk=FLAG,
        estimate_low=_optional(FLOPS),
        estimate_high=_optional(FLOPS),
    ),
    budget=_optional(
        _record(
            Budget,
            max_flops=_optional(FLOPS),
            percent_of_threshold=_optional(COUNT),
            warn_at_percent=PERCENTS,
        )
    ),
    approach=_record(Approach, warn_at_percent=PERCENTS, hold_at_percent=COUNT),
)
_MARK = _record(Mark, **_COUNTERS)
_EVENTS: Mapping[str, _Codec] = {
    "TermsSet": _record(TermsSet, **_RUN, generation=COUNT, terms=_TERMS, limit=EXACT),
    "AttemptOpened": _record(AttemptOpened, **_RUN),
    "Settlement": _record(Settlement, **_RUN, **_COUNTERS),
    "GapCharged": _record(
        GapCharged, **_RUN, flops=FLOPS, peak=FLOPS, milliseconds=COUNT
    ),
    "DocumentNoted": _record(DocumentNoted, **_RUN, size=COUNT),
    "Crossing": _record(
        Crossing, **_RUN, percent=COUNT, limit=EXACT, measured=FLOPS, upper=FLOPS
    ),
    "HoldSet": _record(HoldSet, **_RUN, already_suspended=FLAG),
    "HoldProven": _record(
        HoldProven, **_RUN, upper=FLOPS, overshoot=FLOPS, milliseconds=COUNT
    ),
    "HoldReleased": _record(HoldReleased, **_RUN),
    "FactsNoted": _record(FactsNoted, **_RUN, whole=FLAG, measured=FLOPS, steps=COUNT),
    "FactChanged": _record(FactChanged, **_RUN, step=COUNT, flops=FLOPS),
    "WeightsSaved": _record(WeightsSaved, **_RUN, step=COUNT, flops=FLOPS, upper=FLOPS),
    "EnergyNoted": _record(
        EnergyNoted,
        **_RUN,
        since=COUNT,
        until=COUNT,
        millijoules=FLOPS,  # a decimal string too
        whole=FLAG,
        final=FLAG,
    ),
    "ForecastNoted": _record(
        ForecastNoted,
        **_RUN,
        low=FLOPS,
        expected=FLOPS,
        high=_optional(FLOPS),
        crosses_budget=FLAG,
        crosses_threshold=FLAG,
    ),
    "ProgramSet": _record(
        ProgramSet,
        **_RUN,
        generation=COUNT,
        terms=_TERMS,
        limit=EXACT,
        require_owners=FLAG,
    ),
    "DecisionRecorded": _record(DecisionRecorded, **_RUN, to_flops=FLOPS),
    "DecisionExpired": _record(DecisionExpired, **_RUN),
    "ProgramAdjusted": _record(
        ProgramAdjusted, **_RUN, done=DONE, begun=FLOPS, gaps=FLOPS
    ),
    "Imported": _record(Imported, **_RUN, low=FLOPS, flops=FLOPS, high=FLOPS),
    "EpochOpened": _record(EpochOpened, epoch=COUNT),
    "KeyRotated": _record(KeyRotated),
    "LedgerRecovered": _record(LedgerRecovered, size=COUNT),
    "PolicyNoted": _record(PolicyNoted),
    "RetentionSet": _record(RetentionSet, years=COUNT),
    "RunsCounted": _record(RunsCounted, runs=COUNT, own=COUNT),
}
