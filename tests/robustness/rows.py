"""One line of docs/robustness.md: a fault, how often it was tried, what came of it."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

LAYERS = ("model", "core", "simulation", "disk", "process", "cluster", "tampering")


@dataclass(frozen=True)
class Row:
    """The trials of one fault at one layer.

    Attributes:
        fault: What was done, in a few words.
        layer: One of `LAYERS`.
        trials: How often: one cut, step, seed, kill, mutation or cluster fault each.
        flops_lost: Sum of max(0, truth - upper).
        flops_declared: Sum of upper - measured.
        counted_twice: Trials with measured > truth.
        undetected: Trials in which something was wrong and nothing said so.
        recovery_seconds: The longest time to the state that was expected; None where
            time has no meaning.
    """

    fault: str
    layer: str
    trials: int
    flops_lost: int = 0
    flops_declared: int = 0
    counted_twice: int = 0
    undetected: int = 0
    recovery_seconds: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the row as it stands in docs/robustness.json."""
        return asdict(self)


def merge(rows: Iterable[Row]) -> list[Row]:
    """Return one row for each fault and layer, in the order of their first trials."""
    merged: dict[tuple[str, str], Row] = {}
    for row in rows:
        key = row.layer, row.fault
        before = merged.get(key)
        merged[key] = row if before is None else _sum(before, row)
    return list(merged.values())


def _sum(a: Row, b: Row) -> Row:
    seconds = [s for s in (a.recovery_seconds, b.recovery_seconds) if s is not None]
    return replace(
        a,
        trials=a.trials + b.trials,
        flops_lost=a.flops_lost + b.flops_lost,
        flops_declared=a.flops_declared + b.flops_declared,
        counted_twice=a.counted_twice + b.counted_twice,
        undetected=a.undetected + b.undetected,
        recovery_seconds=max(seconds, default=None),
    )
