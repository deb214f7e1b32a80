"""Estimate a job by its hardware: device-hours x peak x utilisation.

The hardware formula of Annex A.2 of the Commission's Guidelines. Peaks are those of the
table that gaps are charged by: dense, per numeric format, each with its document.
"""

from dataclasses import dataclass
from fractions import Fraction

from flopguard_operator import peaks
from flopguard_operator.estimate.model import Bounds
from flopguard_operator.imports.job import JobError

_HOUR = 3_600
_MOST_HOURS = 10**12
_LEAST, _LIKELY, _MOST = Fraction(1, 10), Fraction(1, 2), Fraction(1)


@dataclass(frozen=True)
class Used:
    """Devices of one name, for so many device-hours together."""

    gpu: str
    hours: Fraction  # summed over the devices
    precision: str = ""  # "": the fastest that the device has
    utilisation: tuple[Fraction, Fraction] | None = None  # stated: least, most


@dataclass(frozen=True)
class Computed:
    """FLOPs by the hardware, before any margin."""

    flops: Bounds
    most: int  # nothing executes more in that time
    formula: str
    assumptions: tuple[str, ...]
    is_stated: bool  # somebody said the utilisation


def of_devices(used: Used) -> Computed:
    """Return what devices executed in some hours.

    Raises:
        JobError: the device or its format is not known, or a figure is impossible.
    """
    name, rate = _peak(used)
    if not 0 < used.hours <= _MOST_HOURS:
        message = "GPU-hours are above 0 and at most 1e12"
        raise JobError(message)
    most = used.hours * _HOUR * rate
    low, likely, high, said = _shares(used)
    shares = f"{_percent(likely)} % utilisation"
    return Computed(
        flops=Bounds(int(most * low), int(most * likely), -int(-most * high // 1)),
        most=int(most),
        formula=f"hardware formula: {_plain(used.hours)} GPU-hours x {rate} FLOP/s "
        f"({used.gpu}, {name}, dense) x {shares}",
        assumptions=(
            *(
                ()
                if used.precision
                else (f"the precision is not given: the fastest, {name}, is taken",)
            ),
            said,
            "all hours in which the devices were allocated are counted",
        ),
        is_stated=used.utilisation is not None,
    )


def together(parts: list[Computed]) -> Computed:
    """Return the sum over devices of several kinds."""
    return Computed(
        flops=sum((part.flops for part in parts), Bounds()),
        most=sum(part.most for part in parts),
        formula="; ".join(part.formula for part in parts),
        assumptions=tuple(dict.fromkeys(s for p in parts for s in p.assumptions)),
        is_stated=all(part.is_stated for part in parts),
    )


def _peak(used: Used) -> tuple[str, int]:
    """Return the format that is counted with, and its FLOP/s."""
    try:
        row = peaks.row(used.gpu)
    except peaks.UnknownDeviceError as error:
        known = ", ".join(sorted(peaks.DEVICES))
        message = f'the peak of "{used.gpu[:60]}" is not known; known are {known}'
        raise JobError(message) from error
    name = used.precision.lower() or row.fastest
    if name not in row.gigaflops:
        have = ", ".join(row.gigaflops)
        message = f'no peak of {used.gpu} for "{used.precision[:20]}"; it has {have}'
        raise JobError(message)
    return name, row.gigaflops[name] * peaks.GIGA


def _shares(used: Used) -> tuple[Fraction, Fraction, Fraction, str]:
    if used.utilisation is None:
        said = (
            "the utilisation is not given: 50 % is taken, as in the Guidelines' own "
            "examples; 10 % at least and all of the peak at most"
        )
        return _LEAST, _LIKELY, _MOST, said
    low, high = used.utilisation
    if not 0 < low <= high <= 1:
        message = "the utilisation is above 0 and at most 1, like 0.35 or 0.3-0.5"
        raise JobError(message)
    between = f"{_percent(low)} to {_percent(high)} %" if low < high else "its figure"
    said = f"the utilisation is as the person who imports states it ({between})"
    return low, (low + high) / 2, high, said


def _percent(share: Fraction) -> str:
    return _plain(share * 100)


def _plain(value: Fraction) -> str:
    """Return a figure as people write it, two decimals at most."""
    hundredths = round(value * 100)
    whole, part = divmod(hundredths, 100)
    return f"{whole}.{part:02d}".rstrip("0").rstrip(".")
