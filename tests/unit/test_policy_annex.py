"""The worked examples of Annex A.3 of the Commission's Guidelines, by our formulas."""

from fractions import Fraction

import pytest

from flopguard_operator.policy.evaluation import judge
from flopguard_operator.policy.pretraining import (
    Stretch,
    by_architecture,
    by_hardware,
    is_within_margin,
    merged,
)
from flopguard_operator.policy.terms import BaseModel, Totals
from flopguard_operator.rulebooks import shipped

HALF = Fraction(1, 2)
A100, H100 = 300 * 10**12, 989 * 10**12  # FLOP/s, dense, as the Commission takes them
HOUR = 3600


def device_hours(hours: int, peak: int) -> Fraction:
    """Return the FLOPs of so many device-hours at half of the peak."""
    return by_hardware([Stretch(hours, HOUR, peak, HALF)])


# What we compute, what the text prints (July 2025), and what it prints in November.
EXAMPLES = {
    "A: 3.8e9 parameters on 3.3e12 tokens": (
        by_architecture(38 * 10**8, 33 * 10**11),
        ("7.5e22", "7.5e22"),
    ),
    "B: 200,000 hours of A100 at half of 300e12": (
        device_hours(200_000, A100),
        ("1e23", "1e23"),
    ),
    "C: 0.6e9 on 36e12": (
        by_architecture(6 * 10**8, 36 * 10**12),
        ("1.3e23", "1.3e23"),
    ),
    "D: 1.54e9 on 18e12": (
        by_architecture(154 * 10**7, 18 * 10**12),
        ("1.6e23", "1.7e23"),
    ),
    "E: 1.7e9 on 36e12": (
        by_architecture(17 * 10**8, 36 * 10**12),
        ("3.7e23", "3.7e23"),
    ),
    "F: 2.5e9 on 12e12": (
        by_architecture(25 * 10**8, 12 * 10**12),
        ("1.8e23", "1.8e23"),
    ),
    "G: 2.6e9 on 10e12": (
        by_architecture(26 * 10**8, 10 * 10**12),
        ("1.5e23", "1.6e23"),
    ),
    "H: 370,000 hours of H100 at half of 989e12": (
        device_hours(370_000, H100),
        ("6.5e23", "6.6e23"),
    ),
}


@pytest.mark.parametrize(("flops", "printed"), EXAMPLES.values(), ids=EXAMPLES.keys())
def test_worked_example(flops: Fraction | int, printed: tuple[str, str]) -> None:
    """Within 10 % of both prints, which round, and of the margin that is asked for."""
    for text in printed:
        assert abs(flops - Fraction(text)) <= Fraction(text) / 10
        assert is_within_margin(Fraction(text), Fraction(flops))


@pytest.mark.parametrize(("flops", "_"), EXAMPLES.values(), ids=EXAMPLES.keys())
def test_one_third_of_a_worked_example_is_its_limit(
    flops: Fraction | int, _: tuple[str, str]
) -> None:
    """As a disclosed base, each has one third of it by the Guidelines, exactly."""
    base = BaseModel("example", int(flops), "Annex A.3")
    third = int(flops) // 3
    guidelines = shipped()["commission-guidelines-2025"]

    assert judge(guidelines, base, Totals({"forward": third})).limit == Fraction(
        int(flops), 3
    )
    assert not judge(guidelines, base, Totals({"forward": third})).exceeded
    assert judge(guidelines, base, Totals({"forward": third + 1})).exceeded


def test_the_figures_are_exact() -> None:
    """D is 1.6632e23, G 1.56e23 and H 6.58674e23, to the FLOP."""
    flops = {name[0]: figure for name, (figure, _) in EXAMPLES.items()}

    assert (flops["D"], flops["G"]) == (16632 * 10**19, 156 * 10**21)
    assert flops["H"] == 658674 * 10**18


def test_devices_that_change_are_summed_by_stretch() -> None:
    """Half of the devices for twice the time take the same."""
    whole = Stretch(64, 7 * HOUR, H100, Fraction(2, 5))
    parts = [Stretch(32, 7 * HOUR, H100, Fraction(2, 5))] * 2

    assert by_hardware(parts) == by_hardware([whole])
    assert by_hardware([]) == 0


def test_the_margin_is_of_the_reported_figure() -> None:
    """True values from 0.7 to 1.3 of it, both included."""
    reported = Fraction(100)

    assert is_within_margin(reported, Fraction(70))
    assert is_within_margin(reported, Fraction(130))
    assert not is_within_margin(reported, Fraction(131))
    assert not is_within_margin(reported, Fraction(69))


def test_two_methods_may_differ_tenfold() -> None:
    """Example H is Llama 3.2 1B; by its parameters it is a tenth of that."""
    by_parameters = by_architecture(123 * 10**7, 9 * 10**12)

    assert device_hours(370_000, H100) > 9 * Fraction(by_parameters)


def test_a_merge_takes_what_its_parts_took() -> None:
    """Annex A.1: compute that trained merged weights counts towards the cumulative."""
    assert merged([10**23, 2 * 10**23]) == 3 * 10**23
