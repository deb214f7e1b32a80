"""Read and write FLOPs exactly: `int` inside, decimal strings outside, never float.

A FLOPs figure passes 2**53 within seconds on one accelerator, so a float would already
be wrong in the last digits; a legal line has to be compared exactly.
"""

import re
from decimal import Decimal
from fractions import Fraction

# The pattern of every FLOPs string in the API; the CRD carries the same one.
PATTERN = r"^[0-9]{1,30}(\.[0-9]{1,12})?([eE]\+?[0-9]{1,2})?$"
LARGEST = 10**30  # one hundred thousand times the systemic-risk line of 1e25
_FORM = re.compile(PATTERN)


class FlopsError(ValueError):
    """A text is not a FLOPs figure; the message says what a figure looks like."""


def parse(text: str) -> int:
    """Return the whole FLOPs of a decimal string like "3.3e22", rounded down.

    Raises:
        FlopsError: the text is not a decimal number, or above `LARGEST`.
    """
    if text.isascii() and text.isdigit() and int(text[:48]) > LARGEST:
        message = f'"{text[:40]}" FLOPs is above the largest figure, 1e30'
        raise FlopsError(message)
    if not _FORM.fullmatch(text):
        message = f'"{text[:40]}" is not a FLOPs figure; write it like "3.3e22"'
        raise FlopsError(message)
    value = int(Decimal(text))
    if value > LARGEST:
        message = f'"{text[:40]}" FLOPs is above the largest figure, 1e30'
        raise FlopsError(message)
    return value


def display(flops: int | Fraction, digits: int = 3) -> str:
    """Return a short form for people, rounded half up: 32100000000 → "3.21e10"."""
    whole = int(flops)
    text = str(whole)
    if len(text) <= digits:
        return text
    scale = 10 ** (len(text) - digits)
    rounded = str((whole + scale // 2) // scale)
    exponent = len(text) - digits + len(rounded) - 1
    mantissa = f"{rounded[0]}.{rounded[1:digits]}".rstrip("0").rstrip(".")
    return f"{mantissa}e{exponent}"


def percent(part: int, whole: int | Fraction) -> str:
    """Return part ÷ whole in percent with two decimals, rounded down: "49.99"."""
    hundredths = int(Fraction(part) * 10_000 / whole)
    return f"{hundredths // 100}.{hundredths % 100:02d}"
