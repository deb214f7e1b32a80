"""Read out of noted facts what a process ran on: its processor and its devices.

The facts come from a tenant's process and were entered as they were told, so every
value is checked again.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

PROCESSOR = "CPU core"
_MOST = 2**20  # cores, or MHz: far above any real one
_MOST_DEVICES = 64
_MOST_CHARACTERS = 200
_HEADER = re.compile(r"([0-9]{1,7}) ([a-z0-9]{1,16}) ([0-9]{1,7})", re.ASCII)


@dataclass(frozen=True)
class Machine:
    """What one process could compute with; empty where it did not say."""

    cores: int = 0
    vector: str = ""
    mhz_max: int = 0
    gpus: tuple[str, ...] = ()  # names, by index


def read(facts: str) -> Machine:
    """Return the machine that the JSON text of facts tells of; never raises."""
    try:
        told = json.loads(facts)
    except (ValueError, RecursionError):
        return Machine()
    if not isinstance(told, dict):
        return Machine()
    cpu = told.get("cpu")
    cpu = cpu if isinstance(cpu, dict) else {}
    gpus = told.get("gpus")
    names = gpus[:_MOST_DEVICES] if isinstance(gpus, list) else []
    return Machine(
        cores=_number(cpu.get("cores")),
        vector=_text(cpu.get("vector")),
        mhz_max=_number(cpu.get("mhz_max")),
        gpus=tuple(_text(name) for name in names),
    )


def told(header: str) -> Machine:
    """Return the processor that a sidecar tells of, "<cores> <vector> <MHz>".

    Empty where it is malformed: it comes from a tenant's pod.
    """
    found = _HEADER.fullmatch(header)
    if found is None:
        return Machine()
    cores, vector, mhz_max = found.groups()
    return Machine(_number(int(cores)), vector, _number(int(mhz_max)))


def counted(devices: str) -> tuple[int, str]:
    """Return how many accelerators "8 x NVIDIA H100 NVL" is, and their name.

    0 of processors, and of what is not written so.
    """
    count, _, name = devices.partition(" x ")
    digits = count.isascii() and count.isdigit() and len(count) <= len(str(_MOST))
    good = digits and not name.startswith(PROCESSOR)
    return int(count) if good else 0, name


def is_processor(devices: str) -> bool:
    """Say whether devices in words are processors: "4 x CPU core avx2 3000 MHz"."""
    return devices.partition(" x ")[2].startswith(PROCESSOR)


def _number(value: Any) -> int:
    good = isinstance(value, int) and not isinstance(value, bool)
    return int(value) if good and 0 <= value <= _MOST else 0


def _text(value: Any) -> str:
    return value[:_MOST_CHARACTERS] if isinstance(value, str) else ""


def largest(told: Iterable[Machine]) -> Machine:
    """Return the most that any of these says: processes of one pod share it."""
    found = Machine()
    for one in told:
        wider = one.mhz_max > found.mhz_max or not found.vector
        found = Machine(
            cores=max(found.cores, one.cores),
            vector=(one.vector or found.vector) if wider else found.vector,
            mhz_max=max(found.mhz_max, one.mhz_max),
            gpus=max(found.gpus, one.gpus, key=len),
        )
    return found
