"""A slice of `make verify-counting`: families and methods, every step, four ways."""

from importlib.util import find_spec

import pytest

from counting.cells import Cell, cells
from counting.outcomes import Outcome, first_difference, products
from counting.verify import check_all

NEWEST = pytest.mark.skipif(
    find_spec("trl") is None, reason="counting is checked with the newest libraries"
)

SLICE = (
    "llama-full",
    "mixtral-full",
    "deepseek-full",
    "whisper-full",
    "llama-checkpointed",
    "gemma2-reentrant",
    "qwen3-qlora",
    "llama-accumulated",
    "toggled",
    "generate",
    "grpo",
    "fsdp2",
)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Run the slice, two cells at a time."""
    chosen = [cell for cell in cells() if cell.name in SLICE]
    found = check_all(chosen, tmp_path_factory.mktemp("cells"))
    return {outcome.cell.name: outcome for outcome in found}


@NEWEST
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", SLICE)
def test_the_hook_equals_the_count_of_every_operator(
    name: str, outcomes: dict[str, Outcome]
) -> None:
    """After every step, in every category; so does the closed formula, at the end."""
    outcome = outcomes[name]

    assert outcome.errors == []
    assert outcome.hook == outcome.exact == outcome.always_on
    assert outcome.closed is not None
    assert products(outcome.closed) == products(outcome.exact)


def test_a_difference_is_told_with_its_step_and_category() -> None:
    """So that a failing cell says where to look."""
    exact = [{"forward": 10}, {"forward": 20, "backward": 40}]
    hook = [{"forward": 10}, {"forward": 20, "backward": 41}]

    assert first_difference(exact, exact) == ""
    assert first_difference(hook, exact) == (
        "after step 2 of 2: backward expected 40, got 41 (+1)"
    )


def test_the_largest_error_keeps_its_sign() -> None:
    """A category that is only in one of two counts is an error too."""
    cell = Cell("any", "any", "any", "plain:loop")
    outcome = Outcome(cell, hook={"forward": 5}, exact={"forward": 5, "no_grad": 7})

    assert outcome.error == -7
