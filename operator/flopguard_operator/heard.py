"""Read what a sidecar told: the JSON of its `/marks`, as it comes from a tenant. Pure.

Anything but the agreed shape (docs/formats.md) is no answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flopguard_operator import energy as drawn
from flopguard_operator import hardware, processes
from flopguard_operator.ledger.machines import Machine
from flopguard_operator.marks import LARGEST_STEPS, MAX_DIGITS, Mark
from flopguard_operator.naming import CATEGORIES
from flopguard_operator.observed import at, text
from flopguard_operator.processes import Process


@dataclass(frozen=True)
class Heard:
    """What a sidecar told: its pod's mark, the processes behind it, its devices."""

    mark: Mark
    processes: tuple[Process, ...] = ()
    asked: int = 0  # milliseconds of the operator's monotonic clock
    age: int = 0  # milliseconds since the pages were read, as the sidecar says
    by_format: Mapping[str, int] = field(default_factory=dict)  # of the mark's FLOPs
    devices: hardware.Told | None = None
    energy: drawn.Told | None = None
    machine: Machine = field(default_factory=Machine)  # its node's processor

    @property
    def proven(self) -> int:
        """All that had begun by then is in the mark."""
        return self.asked - self.age


def parse_mark(raw: Any, stream: str) -> Heard | None:
    """Return the stream's mark alone; None if the JSON is not a mark."""
    mark = parse(raw, stream)
    return None if mark is None else Heard(mark)


def parse_whole(raw: Any, stream: str) -> Heard | None:
    """Return the stream's mark and its processes; None if the JSON is not a mark."""
    mark = parse(raw, stream)
    if mark is None:
        return None
    told = {
        name: _count(text(raw, "by_format", name)) for name in hardware.TENSOR_FORMATS
    }
    by_format = {name: flops for name, flops in told.items() if flops is not None}
    return Heard(mark, processes.read(raw, stream), by_format=by_format)


def parse(raw: Any, stream: str) -> Mark | None:
    """Return the stream's mark from the JSON of `/marks`; None if it is not one."""
    schema, steps, pages = at(raw, "schema"), at(raw, "steps"), at(raw, "pages")
    if type(schema) is not int or schema != 1:  # to JSON, true is not 1
        return None
    if type(steps) is not int or not 0 <= steps <= LARGEST_STEPS:
        return None
    done = {c: _count(text(raw, "done", c)) for c in CATEGORIES}
    begun = {c: _count(text(raw, "begun", c)) for c in CATEGORIES}
    flops = [*done.values(), *begun.values()]
    if None in flops:
        return None  # a figure out of bounds must not pass for a zero
    counted = {c: flops or 0 for c, flops in done.items()}
    return Mark(
        stream=stream,
        done=counted,
        begun=max(sum(n or 0 for n in begun.values()), sum(counted.values())),
        steps=steps,
        pages=len(pages) if isinstance(pages, list) else 0,
        source="sidecar",
    )


def _count(digits: str) -> int | None:
    ok = digits.isascii() and digits.isdigit() and len(digits) <= MAX_DIGITS
    return int(digits) if ok else None
