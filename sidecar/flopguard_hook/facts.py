"""What is known about a training process besides its FLOPs. Core.

Values come from the user's program, so every list and every string has a bound, and
what is written is JSON whatever was noted. The keys stand in docs/formats.md.
"""

from __future__ import annotations

import json
from typing import Any, Iterable, Mapping, Sequence

SCHEMA = 2
MOST_BYTES = 60_000
MOST_CHARACTERS = 200
_MOST_NAMES = 32
_MOST_ITEMS = 512
_MOST_DEPTH = 8
_MOST_BITS = 63
_MOST_DIGITS = 600  # a longer number is slow to write down


def of_launch(environment: Mapping[str, str]) -> "dict[str, int]":
    """Return what a launcher says of the process's place: rank and world size."""
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
    return {
        name.lower(): int(environment[name])
        for name in names
        if environment.get(name, "").isdecimal()
    }


def with_name(names: "list[str]", name: str) -> "list[str]":
    """Return the names with one more, unless it is there or the list is full."""
    name = short(name)
    if name in names or len(names) >= _MOST_NAMES:
        return names
    return [*names, name]


def local_elements(parameter: Any) -> int:
    """Return the number of elements that this process holds, also of a DTensor."""
    return int(getattr(parameter, "_local_tensor", parameter).numel())


def short(text: Any) -> str:
    """Return the text, cut to a bound."""
    return str(text)[:MOST_CHARACTERS]


def bounded(facts: Mapping[str, Any], most_bytes: int = MOST_BYTES) -> "dict[str, Any]":
    """Return the facts as plain JSON values that take fewer bytes than a bound.

    What is least needed to rebuild an estimate goes first; `left_out` names what was
    shortened. Values that JSON cannot say become text, or are left out.
    """
    kept = _plain(facts, 0)
    if not isinstance(kept, dict):
        return {"schema": SCHEMA}
    left_out: list[str] = []
    for where, most in _SACRIFICES:
        if _size(kept) < most_bytes:
            break
        if _shorten(kept, where.split("."), most) and where not in left_out:
            left_out.append(where)
            kept["left_out"] = list(left_out)
    if _size(kept) >= most_bytes:
        numbers = {k: v for k, v in kept.items() if isinstance(v, int)}
        kept = {**dict(list(numbers.items())[:_MOST_NAMES]), "left_out": ["everything"]}
    return kept


# Where to shorten, and to how many items; the first are missed least.
_SACRIFICES: tuple[tuple[str, int], ...] = (
    ("models[].batches", 8),
    ("models[].inputs", 0),
    ("models[].lengths", 8),
    ("models[].layers", 24),
    ("events", 16),
    ("saves", 16),
    ("unknown_operators", 16),
    ("replay.drift", 4),
    ("models", 4),
    ("models[].adapter.targets", 8),
    ("models[].architecture", 24),
    ("models[].layers", 8),
    ("events", 4),
    ("saves", 4),
    ("models", 1),
    ("versions", 8),
    ("gpus", 1),
    ("unknown_operators", 4),
    ("models[].layers", 0),
    ("models", 0),
    ("saves", 1),
    ("events", 0),
)
_NEWEST_LAST = frozenset({"saves", "events"})


def _shorten(facts: "dict[str, Any]", path: Sequence[str], most: int) -> bool:
    """Cut what stands at a path to a number of items; return whether it was longer."""
    name = path[0].rstrip("[]")
    inner = facts.get(name)
    if len(path) > 1:
        parts = inner if isinstance(inner, list) else [inner]
        cut = [_shorten(p, path[1:], most) for p in parts if isinstance(p, dict)]
        return any(cut)
    if not isinstance(inner, (list, dict)) or len(inner) <= most:
        return False
    if isinstance(inner, dict):
        facts[name] = dict(list(inner.items())[:most])
    elif name in _NEWEST_LAST and most:
        facts[name] = inner[-most:]
    else:
        facts[name] = inner[:most]
    return True


def _size(facts: Any) -> int:
    return len(json.dumps(facts))


def _plain(value: Any, depth: int) -> Any:
    """Return a value as JSON can say it; None for what it cannot."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return _scalar(value)
    if depth >= _MOST_DEPTH:
        return None
    if isinstance(value, Mapping):
        items: Iterable[Any] = list(value.items())[:_MOST_ITEMS]
        return {short(k): _plain(v, depth + 1) for k, v in items}
    if isinstance(value, (list, tuple)):
        return [_plain(v, depth + 1) for v in value[:_MOST_ITEMS]]
    return short(type(value).__name__)


def _scalar(value: Any) -> Any:
    if isinstance(value, str):
        return short(value)
    if isinstance(value, float):
        return float(value) if abs(value) < float("inf") else None
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        return short(str(value)) if value.bit_length() < _MOST_DIGITS else None
    return value
