"""Round figures as the Model Documentation Form asks for them, exactly.

AI Office: at least two significant figures of FLOPs and energy, one of time. National
authorities: the order of magnitude, and ranges of months.
"""

from decimal import ROUND_HALF_UP, Context, Decimal
from fractions import Fraction

DAY = 86_400_000  # milliseconds
_RANGES = ((1, "less than 1 month"), (3, "1 to 3 months"), (6, "3 to 6 months"))
_LONGEST = "more than 6 months"
_DAYS_A_MONTH = Fraction(365, 12)
_TWO = Context(prec=2, rounding=ROUND_HALF_UP)
_EXACT = Context(prec=40)


def two_figures(flops: int | Fraction) -> str:
    """Return FLOPs with two significant figures, "2.3x10^25"; "0" for none."""
    if not flops:
        return "0"
    rounded = _TWO.create_decimal(_decimal(flops))
    mantissa = rounded.scaleb(-rounded.adjusted())
    return f"{mantissa:.1f}x10^{rounded.adjusted()}"


def order(flops: int | Fraction) -> str:
    """Return the order of magnitude of FLOPs, "10^25"; "0" for none."""
    return f"10^{_decimal(flops).adjusted()}" if flops else "0"


def days(milliseconds: int) -> str:
    """Return a time in days with two significant figures: "0.0069", "120"."""
    rounded = _TWO.create_decimal(_decimal(Fraction(milliseconds, DAY)))
    return format(rounded, "f")


def months(milliseconds: int) -> str:
    """Return the range of months that a time falls into."""
    passed = Fraction(milliseconds, DAY) / _DAYS_A_MONTH
    return next((name for most, name in _RANGES if passed < most), _LONGEST)


def _decimal(value: int | Fraction) -> Decimal:
    exact = Fraction(value)
    return _EXACT.divide(Decimal(exact.numerator), Decimal(exact.denominator))
