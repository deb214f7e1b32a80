"""Sort the raw objects of a cluster by kind; read them from what kubectl printed."""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from flopguard_operator import naming
from flopguard_operator.observed import Raw, at, items, text

MOST_BYTES = 512 * 1024 * 1024
WANTED = f"pods,jobs,{naming.RUN_PLURAL},{naming.PROGRAM_PLURAL}"


class InventoryError(ValueError):
    """A text is not a list of objects; the message says how to get one."""


@dataclass(frozen=True)
class Objects:
    """What an inventory is made from, raw."""

    pods: tuple[Raw, ...] = ()
    jobs: tuple[Raw, ...] = ()
    runs: tuple[Raw, ...] = ()
    programs: tuple[Raw, ...] = ()


def sorted_by_kind(raws: Iterable[Raw]) -> Objects:
    """Return objects by their kind; others are left out."""
    found: dict[str, list[Raw]] = {}
    for raw in raws:
        found.setdefault(text(raw, "kind"), []).append(raw)
    return Objects(
        pods=tuple(found.get("Pod", ())),
        jobs=tuple(found.get("Job", ())),
        runs=tuple(found.get(naming.RUN_KIND, ())),
        programs=tuple(found.get(naming.PROGRAM_KIND, ())),
    )


def read(data: bytes) -> Objects:
    """Return the objects of a list, as `kubectl get -o json` prints one.

    Raises:
        InventoryError: it is none, or too long.
    """
    if len(data) > MOST_BYTES:
        message = f"the list has more than {MOST_BYTES >> 20} MiB"
        raise InventoryError(message)
    try:
        raw = json.loads(data)
    except (ValueError, RecursionError):  # also what is no UTF-8
        raw = None
    if not isinstance(at(raw, "items"), list):
        message = f"not a list: write one with kubectl get {WANTED} -A -o json"
        raise InventoryError(message)
    return sorted_by_kind(items(raw, "items"))
