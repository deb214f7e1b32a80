"""Say which share of its device-seconds a run has proven, from its entries alone.

A stream is allocated from its first entry to its last one, by the times that entries
carry; what a gap charges of that is not proven. Each stream weighs as many devices as
it was given, one where it has no accelerators. A figure for people: nothing is judged
by it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from flopguard_operator.ledger.entries import (
    AttemptOpened,
    Entry,
    GapCharged,
    Settlement,
)
from flopguard_operator.ledger.machines import counted


@dataclass(frozen=True)
class Span:
    """One stream, from its first entry to its last."""

    first: str  # RFC 3339
    last: str
    devices: int = 1
    unproven: int = 0  # milliseconds

    @property
    def allocated(self) -> int:
        """Milliseconds; never less than what is unproven of them."""
        try:
            passed = datetime.fromisoformat(self.last) - datetime.fromisoformat(
                self.first
            )
        except ValueError:
            return self.unproven
        return max(self.unproven, int(passed.total_seconds() * 1000))


Spans = Mapping[str, Span]  # by stream


def extend(spans: Spans, entry: Entry) -> Spans:
    """Return the spans of a run after one more of its entries."""
    event = entry.event
    if not isinstance(event, AttemptOpened | Settlement | GapCharged):
        return spans
    span = replace(spans.get(event.stream, Span(entry.at, entry.at)), last=entry.at)
    if isinstance(event, AttemptOpened):
        span = replace(span, devices=max(1, counted(event.devices)[0]))
    if isinstance(event, GapCharged):
        span = replace(span, unproven=event.milliseconds if event.flops else 0)
        if event.stream not in spans:
            span = replace(span, devices=max(1, counted(event.devices)[0]))
    return {**spans, event.stream: span}


def of_entries(entries: Iterable[Entry]) -> Spans:
    """Return the spans of the streams of one run."""
    spans: Spans = {}
    for entry in entries:
        spans = extend(spans, entry)
    return spans


def parts(spans: Spans) -> tuple[int, int]:
    """Return the proven and the allocated device-milliseconds of a run."""
    allocated = sum(span.devices * span.allocated for span in spans.values())
    unproven = sum(span.devices * span.unproven for span in spans.values())
    return allocated - unproven, allocated
