"""Which facts changed during a run, and at what number of FLOPs. Core."""

from __future__ import annotations

from typing import Any, Mapping, NamedTuple, Sequence

_OLDEST_KEPT = 16
_NEWEST_KEPT = 48
_MOST_DIFFERENCES = 8
_MOST_ENTRIES = 3


class Moment(NamedTuple):
    """Where a process stands.

    Attributes:
        step: Optimizer steps so far.
        flops: FLOPs of work that returned, over all categories.
    """

    step: int
    flops: int


def differences(
    prefix: str,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    keys: Sequence[str],
) -> "list[dict[str, Any]]":
    """Return what changed among some keys: `{fact, before, after}` each.

    A fact that was not known before did not change. Of two objects only what differs
    is told; of two long lists only their entries that differ, a few of them.
    """
    changed = []
    for key in keys:
        old, new = before.get(key), after.get(key)
        if key in before and old is not None and old != new:
            old, new = _only_different(old, new)
            changed.append({"fact": f"{prefix}{key}", "before": old, "after": new})
    return changed


def _only_different(old: Any, new: Any) -> tuple[Any, Any]:
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [k for k in {**old, **new} if old.get(k) != new.get(k)]
        keys = keys[:_MOST_DIFFERENCES]
        return (
            {k: old[k] for k in keys if k in old},
            {k: new[k] for k in keys if k in new},
        )
    if isinstance(old, list) and isinstance(new, list):
        gone = [item for item in old if item not in new]
        came = [item for item in new if item not in old]
        return gone[:_MOST_ENTRIES], came[:_MOST_ENTRIES]
    return old, new


def with_events(
    events: "Sequence[dict[str, Any]]",
    changed: "Sequence[dict[str, Any]]",
    moment: Moment,
) -> "list[dict[str, Any]]":
    """Return the events with those that happened now; of many, the first and newest."""
    stamp = {"step": moment.step, "flops": str(moment.flops)}
    whole = [*events, *({**change, **stamp} for change in changed)]
    if len(whole) <= _OLDEST_KEPT + _NEWEST_KEPT:
        return whole
    return [*whole[:_OLDEST_KEPT], *whole[-_NEWEST_KEPT:]]
