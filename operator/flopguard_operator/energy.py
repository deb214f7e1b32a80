"""Read what sidecars tell of energy, and decide what of it goes into the ledger. Pure.

A line is of one life of one sidecar, named by when it began: what it says only grows,
so lines may come twice, late or out of order, and a restart begins a line of its own.
It comes from a tenant's pod: bounded, and anything but the agreed shape is no line.
"""

import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from flopguard_operator.ledger.accounts import Account
from flopguard_operator.ledger.entries import EnergyNoted, RunRef

PREFIX = "energy/"  # of every version of the line
MOST_LIVES = 16  # of the sidecars of one pod; what later ones tell is left out
GROWTH = Fraction(21, 20)  # of what is noted, before it is noted again

_LINE = re.compile(
    r"(?P<covered>energy/1 (?P<source>nvml) (?P<whole>[01]) (?P<since>[0-9]{13})"
    r" (?P<until>[0-9]{13}) (?P<millijoules>[0-9]{18})"
    r" (?P<devices>[0-9A-Za-z-]{1,80}(?:,[0-9A-Za-z-]{1,80}){0,31}))"
    r" (?P<crc>[0-9a-f]{8})",
    re.ASCII,
)


@dataclass(frozen=True)
class Told:
    """What a sidecar tells of its pod's devices, over its life so far."""

    source: str  # nvml
    whole: bool  # every device that it saw has told all of it
    since: int  # milliseconds since 1970, by the node's clock
    until: int
    millijoules: int  # that its devices drew together in between
    devices: tuple[str, ...]  # UUIDs
    final: bool = False  # no more will come


def told(line: str, *, final: bool = False) -> Told | None:
    """Return what a line of docs/formats.md says; None if it is malformed."""
    found = _LINE.fullmatch(line)
    if found is None or zlib.crc32(found["covered"].encode()) != int(found["crc"], 16):
        return None
    since, until = int(found["since"]), int(found["until"])
    devices = tuple(found["devices"].split(","))
    if since > until or len(set(devices)) < len(devices):
        return None
    return Told(
        source=found["source"],
        whole=found["whole"] == "1",
        since=since,
        until=until,
        millijoules=int(found["millijoules"]),
        devices=devices,
        final=final,
    )


def newest(lines: Iterable[Told]) -> tuple[Told, ...]:
    """Return the line that says most of each life, by when it began."""
    found: dict[int, Told] = {}
    for line in lines:
        known = found.get(line.since)
        if known is None or _reach(line) > _reach(known):
            found[line.since] = line
    return tuple(found[since] for since in sorted(found))


def _reach(line: Told) -> tuple[int, int, bool]:
    return line.millijoules, line.until, line.final


def news(
    run: RunRef,
    account: Account,
    lines: Mapping[str, Iterable[Told]],
    *,
    due: bool,
) -> Iterator[EnergyNoted]:
    """Yield the entries of lines that say more than the ledger does.

    A line that goes on is noted anew when it has grown by a twentieth, or is not whole
    any more: so many entries as digits, not as settlements. One that has ended is noted
    in any case.

    Args:
        run: whose streams they are of.
        account: of it.
        lines: by stream.
        due: whether a settlement is.
    """
    lives = Counter(stream for stream, _ in account.energies)
    for stream, heard in sorted(lines.items()):
        for line in newest(heard):
            before = account.energies.get((stream, line.since))
            if before is None and lives[stream] >= MOST_LIVES:
                continue
            lives[stream] += before is None
            if _is_news(line, before, due=due):
                yield _entry(run, stream, line)


def _is_news(line: Told, before: EnergyNoted | None, *, due: bool) -> bool:
    if before is None:
        return due or line.final
    fell = line.millijoules < before.millijoules or line.until < before.until
    if before.final or fell:
        return False
    has_grown = line.millijoules > GROWTH * before.millijoules
    return line.final or (due and (has_grown or (before.whole and not line.whole)))


def _entry(run: RunRef, stream: str, line: Told) -> EnergyNoted:
    return EnergyNoted(
        run=run,
        stream=stream,
        source=line.source,
        since=line.since,
        until=line.until,
        millijoules=line.millijoules,
        devices=" ".join(line.devices),
        whole=line.whole,
        final=line.final,
    )
