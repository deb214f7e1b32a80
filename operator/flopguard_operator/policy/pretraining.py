"""Estimate what a base model took to train, by the formulas of Annex A.2. Pure.

Commission Guidelines C(2025) 5045 paras 126-133 (C(2025) 7719 points 123-130). What a
teacher took is left out for a distilled model, and so is recomputation (para. 122).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

FLOPS_PER_PARAMETER_AND_TOKEN = 6  # two of the forward pass, four of the backward pass
MARGIN = Fraction(3, 10)  # of the reported estimate: para. 123 (point 120)


@dataclass(frozen=True)
class Stretch:
    """A time in which the number of devices did not change."""

    units: int
    seconds: int
    peak: int
    """FLOP/s of one unit, dense, in the format that was computed in."""
    utilisation: Fraction
    """Share of the peak, on average."""


def by_architecture(parameters: int, tokens: int) -> int:
    """Return 6·P·D, in FLOPs.

    Args:
        parameters: all of a dense model; of a mixture of experts those that are active
            for one token, since the formula is for dense models and the total would
            give a figure, and so a threshold, many times too high.
        tokens: that were trained on, each epoch counted.
    """
    return FLOPS_PER_PARAMETER_AND_TOKEN * parameters * tokens


def by_hardware(stretches: Iterable[Stretch]) -> Fraction:
    """Return N·L·H·U, in FLOPs, summed over times of a constant number of devices."""
    total = Fraction(0)
    for each in stretches:
        total += each.units * each.seconds * each.peak * each.utilisation
    return total


def merged(figures: Iterable[int]) -> int:
    """Return the FLOPs of a model that was merged from others: theirs together.

    Para. 121 (point 118): compute that trained merged or initialising weights counts
    towards the cumulative amount.
    """
    return sum(figures)


def is_within_margin(estimate: Fraction, truth: Fraction) -> bool:
    """Say whether an estimate is as accurate as para. 123 (point 120) asks."""
    return abs(truth - estimate) <= MARGIN * estimate
