"""Expressions over sizes, as torch prints the dimensions of a compiled graph."""

import pytest

from flopguard_hook.sizes import UnknownSizeError, names_of, value_of


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        pytest.param("7", 7, id="a number"),
        pytest.param("s0", 5, id="a size"),
        pytest.param("2*s0*s1 + 1", 31, id="sum and product"),
        pytest.param("s0**2 - s1", 22, id="power and difference"),
        pytest.param("-s0 + 8", 3, id="negated"),
        pytest.param("(s0//2)", 2, id="integer quotient"),
        pytest.param("Mod(s0, 3)", 2, id="remainder"),
        pytest.param("PythonMod(-s0, 3)", 1, id="remainder with the divisor's sign"),
        pytest.param("FloorDiv(-s0, 2)", -3, id="quotient rounded down"),
        pytest.param("CeilDiv(s0, 2)", 3, id="quotient rounded up"),
        pytest.param("Max(1, s0, s1)", 5, id="maximum"),
        pytest.param("Min(s0, s1)", 3, id="minimum"),
        pytest.param("ModularIndexing(s0, 2, 2)", 0, id="digit of an index"),
    ],
)
def test_expressions_have_the_value_that_torch_means(
    expression: str, expected: int
) -> None:
    """With s0 = 5 and s1 = 3."""
    assert value_of(expression, {"s0": 5, "s1": 3}) == expected


def test_symbols_are_found() -> None:
    """Functions are not symbols."""
    assert names_of("Max(1, s0*u3) + FloorDiv(s1, 2)") == {"s0", "s1", "u3"}


@pytest.mark.parametrize(
    "expression",
    [
        pytest.param("", id="nothing"),
        pytest.param("s0 +", id="half an expression"),
        pytest.param("s0 / 2", id="a quotient that is no integer"),
        pytest.param("1.5*s0", id="a fraction"),
        pytest.param("True", id="a truth value"),
        pytest.param("open('x')", id="a function that is none of these"),
        pytest.param("Max(1, key=s0)", id="a named argument"),
        pytest.param("s0.real", id="an attribute"),
        pytest.param("[s0][0]", id="an index"),
        pytest.param("s0 if s1 else 2", id="a condition"),
    ],
)
def test_anything_else_is_refused(expression: str) -> None:
    """An artefact that was stored may hold any text: nothing of it is executed."""
    with pytest.raises(UnknownSizeError):
        value_of(expression, {"s0": 5, "s1": 3})


def test_a_size_without_value_is_an_error() -> None:
    """Rather than a guess."""
    with pytest.raises(KeyError):
        value_of("s9", {"s0": 5})
