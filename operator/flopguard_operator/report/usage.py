"""Say for how long a run trained and on what, from the times of its entries.

A stream lasts from its first entry to its last, as coverage takes it. Wall-clock time
counts moments at which any stream lasted once; device time counts each device.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from flopguard_operator.ledger.coverage import Span, Spans
from flopguard_operator.ledger.entries import AttemptOpened
from flopguard_operator.ledger.machines import counted

NO_ACCELERATOR = "without accelerator"
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True)
class Usage:
    """The training time of a run or a program, in milliseconds."""

    first: str
    """Of the earliest entry of a stream, RFC 3339; "" where there is none."""
    last: str
    wall: int
    """During which at least one pod ran."""
    devices: tuple[tuple[str, int], ...]
    """Device → device-milliseconds, by name; pods without one by themselves."""
    stretches: tuple[tuple[datetime, datetime], ...] = ()
    """What `wall` is the sum of, in order."""


NO_USAGE = Usage("", "", 0, ())


def usage_of(spans: Spans, attempts: Iterable[AttemptOpened]) -> Usage:
    """Return the training time of the streams of one run."""
    told = {one.stream: counted(one.devices) for one in attempts}
    devices: dict[str, int] = {}
    for stream, span in spans.items():
        count, name = told.get(stream, (0, ""))
        known = name if count else NO_ACCELERATOR
        devices[known] = devices.get(known, 0) + span.devices * span.allocated
    return _usage(_stretches(spans), devices)


def together(parts: Iterable[Usage]) -> Usage:
    """Return the training time of several runs; overlapping time counts once."""
    devices: dict[str, int] = {}
    stretches: list[tuple[datetime, datetime]] = []
    for part in parts:
        stretches += part.stretches
        for name, spent in part.devices:
            devices[name] = devices.get(name, 0) + spent
    return _usage(stretches, devices)


def _stretches(spans: Spans) -> list[tuple[datetime, datetime]]:
    found = (_stretch(span) for span in spans.values())
    return [stretch for stretch in found if stretch is not None]


def _stretch(span: Span) -> tuple[datetime, datetime] | None:
    try:
        first, last = (datetime.fromisoformat(at) for at in (span.first, span.last))
    except ValueError:
        return None
    first = first.replace(tzinfo=first.tzinfo or UTC)
    return first, max(first, last.replace(tzinfo=last.tzinfo or UTC))


def _usage(
    stretches: Iterable[tuple[datetime, datetime]], devices: Mapping[str, int]
) -> Usage:
    joined: list[tuple[datetime, datetime]] = []
    for first, last in sorted(stretches):
        if joined and first <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(last, joined[-1][1])
        else:
            joined.append((first, last))
    return Usage(
        first=_text(joined[0][0]) if joined else "",
        last=_text(joined[-1][1]) if joined else "",
        wall=sum((last - first) // _MILLISECOND for first, last in joined),
        devices=tuple(sorted(devices.items())),
        stretches=tuple(joined),
    )


def _text(moment: datetime) -> str:
    told = moment.astimezone(UTC).isoformat(timespec="milliseconds")
    return told.replace("+00:00", "Z")
