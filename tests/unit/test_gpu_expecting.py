"""What the checks for a GPU take as a failure."""

from typing import Any

import pytest

from flopguard_hook.page import zero_counters
from gpu.expecting import Expected, Told, complaints, names


def told(
    forward: int = 0,
    errors: tuple[str, ...] = (),
    uncounted: tuple[str, ...] = (),
) -> Told:
    """Return what a page says of some forward work in bf16."""
    counters = zero_counters()
    counters["forward"]["bf16"] = forward
    return Told(counters, counters, errors, uncounted)


@pytest.mark.parametrize(
    ("expected", "said"),
    [
        pytest.param(Expected({"forward": 8}), told(8), id="exact"),
        pytest.param(
            Expected({"forward": 8}, formats=("bf16",)), told(8), id="exact, its format"
        ),
        pytest.param(
            Expected(uncounted=("triton",)),
            told(errors=("unknown_operator",), uncounted=("triton::double",)),
            id="uncounted, flagged and named",
        ),
    ],
)
def test_a_right_page_has_no_complaints(expected: Expected, said: Told) -> None:
    """Nothing is said of what is as it should be."""
    assert complaints(expected, said) == []


@pytest.mark.parametrize(
    ("expected", "said", "complaint"),
    [
        pytest.param(Expected({"forward": 8}), told(7), "7 instead of 8", id="wrong"),
        pytest.param(
            Expected({"forward": 8}, formats=("fp8",)),
            told(8),
            "of format bf16",
            id="another format",
        ),
        pytest.param(
            Expected({"forward": 8}),
            told(8, ("hook_failed",)),
            "flag hook_failed",
            id="the hook failed after it",
        ),
        pytest.param(
            Expected({"forward": 8}),
            told(8, ("unknown_operator",), ("x::y",)),
            "no formula for x::y",
            id="something beside it was not counted",
        ),
        pytest.param(
            Expected(uncounted=("triton",)),
            told(errors=("unknown_operator",)),
            "no operator named like 'triton'",
            id="flagged, not named",
        ),
        pytest.param(
            Expected(uncounted=("triton",)),
            told(uncounted=("triton::double",)),
            "unknown_operator is not set",
            id="named, not flagged",
        ),
    ],
)
def test_a_wrong_page_is_complained_of(
    expected: Expected, said: Told, complaint: str
) -> None:
    """One sentence, and only one, says what differs."""
    (found,) = complaints(expected, said)

    assert complaint in found


@pytest.mark.parametrize(
    "listed", ["a::b", {"operator": "a::b", "calls": 3}], ids=["schema 1", "schema 2"]
)
def test_names_are_read_from_either_schema(listed: Any) -> None:
    """A name, or an object that holds it."""
    assert names([{"unknown_operators": [listed]}, {}]) == ["a::b"]
