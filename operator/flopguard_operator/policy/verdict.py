"""Say what a policy decided: an action, a reason, and a sentence for a scientist.

Every sentence has the same shape: what was used, of what, in percent, what that means,
and what to do next.
"""

from dataclasses import dataclass
from fractions import Fraction

from flopguard_operator.flops import display, percent

WARN = "Warn"
HOLD = "Hold"


@dataclass(frozen=True)
class Verdict:
    """One line of the policy that the totals have reached.

    (reason, percent, limit) identify the line; `action` and `message` follow from the
    terms and the totals of the moment.
    """

    action: str
    """`WARN` or `HOLD`."""
    reason: str
    """PascalCase, from `policy.reasons`."""
    percent: int
    """Where the line lies, in percent of `limit`."""
    limit: int | Fraction
    """FLOPs, exact."""
    message: str
    counted: int = 0
    """FLOPs that were compared with `limit`: not all operations count everywhere."""


def usage(upper: int, limit: int | Fraction) -> str:
    """Return "used 5e21 of 1e22 FLOPs (50.00 %)".

    Both figures are FLOPs, rounded for reading; the percentage is rounded down.
    """
    share = percent(upper, limit)
    return f"used {display(upper)} of {display(limit)} FLOPs ({share} %)"


def at_least(flops: int | Fraction) -> str:
    """Return a short figure that is never below `flops`: 10201 → "1.03e4".

    Advice has to work: a budget raised to a figure that was rounded down stays spent.
    """
    whole = -(-flops.numerator // flops.denominator)
    scale = 10 ** max(0, len(str(whole)) - 3)
    return display(-(-whole // scale) * scale)


def next_percent(upper: int, limit: int | Fraction) -> int:
    """Return the smallest whole percentage of `limit` that `upper` is below."""
    return int(Fraction(upper) * 100 / limit) + 1
