"""Print an inventory: a table for people, JSON for programs."""

from collections.abc import Iterator, Sequence
from typing import Any

from flopguard_operator.inventory.workloads import PARTLY, Workload, totals

COLUMNS = (
    *("NAMESPACE", "WORKLOAD", "PODS", "ACCELERATORS", "RUN", "BASE", "FIGURE"),
    "METERED",
)
_WIDEST = 60


def lines(found: Sequence[Workload]) -> Iterator[str]:
    """Yield a table, and what stands out in a sentence."""
    rows = [COLUMNS, *(_cells(one) for one in found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()
    counts = totals(found)
    yield (
        f"{counts['workloads']} workloads, {counts['accelerators']} accelerators; "
        f"{counts['withoutRun']} without a run, {counts['notMetered']} not metered, "
        f"{counts['notDisclosed']} with a base figure that is not disclosed."
    )
    for one in found:
        if one.why_not:
            yield f"{one.namespace}/{one.name}: {one.why_not}"


def _cells(one: Workload) -> tuple[str, ...]:
    count = f"{one.accelerators}{'+' if one.by_claim else ''}"
    device = one.resource or ("claimed" if one.by_claim else "")
    metered = one.metered
    if metered == PARTLY:
        metered = f"{one.metered_pods} of {one.pods}"
    pods = f"{one.pods}{' (suspended)' if one.suspended else ''}"
    cells = (
        one.namespace,
        f"{one.kind}/{one.name}",
        pods,
        f"{count} {device}".rstrip(),
        one.run or "-",
        one.base or "-",
        one.disclosure,
        metered,
    )
    return tuple(cell[:_WIDEST] for cell in cells)


def as_json(found: Sequence[Workload]) -> dict[str, Any]:
    """Return the inventory for programs."""
    return {
        "schema": 1,
        "totals": totals(found),
        "workloads": [
            {
                "namespace": one.namespace,
                "kind": one.kind,
                "name": one.name,
                "pods": one.pods,
                "meteredPods": one.metered_pods,
                "accelerators": one.accelerators,
                "resource": one.resource or None,
                "byClaim": one.by_claim,
                "suspended": one.suspended,
                "run": one.run or None,
                "program": one.program or None,
                "base": one.base or None,
                "figure": one.disclosure,
                "metered": one.metered,
                "whyNot": one.why_not or None,
            }
            for one in found
        ],
    }
