"""A slice of `make verify-counting`: families and methods, every step, four ways."""

from importlib.metadata import version

import pytest

from counting.cells import Cell, cells
from counting.outcomes import Outcome, first_difference, products
from counting.verify import check_all
from training.needs import QUANTIZED, TRANSFORMERS_5, installed, needs

_TRL = tuple(int(number) for number in version("trl").split(".")[:2])
ITERATES = pytest.mark.skipif(
    _TRL < (0, 16), reason=f"{installed('trl')} trains once on what it generated"
)

# What a cell needs that older libraries do not have.
SLICE = {
    "llama-full": (),
    "mixtral-full": (),
    "deepseek-full": (needs("transformers", "DeepseekV3Config"),),
    "whisper-full": (),
    "llama-checkpointed": (),
    "gemma2-reentrant": (),
    "qwen3-qlora": (needs("transformers", "Qwen3Config"), QUANTIZED),
    "llama-accumulated": (),
    "toggled": (),
    "generate": (),
    "grpo": (ITERATES,),
    "fsdp2": (needs("torch.distributed.fsdp", "fully_shard"),),
}
EACH = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=marks) for name, marks in SLICE.items()]
)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Outcome]:
    """Run the slice, two cells at a time; not what the installed libraries cannot."""
    able = {n for n, marks in SLICE.items() if not any(mark.args[0] for mark in marks)}
    chosen = [cell for cell in cells() if cell.name in able]
    found = check_all(chosen, tmp_path_factory.mktemp("cells"))
    return {outcome.cell.name: outcome for outcome in found}


@EACH
@pytest.mark.timeout(900)
def test_the_hook_equals_the_count_of_every_operator(
    name: str, outcomes: dict[str, Outcome]
) -> None:
    """After every step, in every category."""
    outcome = outcomes[name]

    assert outcome.errors == []
    assert outcome.hook == outcome.exact == outcome.always_on


@EACH
@TRANSFORMERS_5
@pytest.mark.timeout(900)
def test_the_closed_formula_equals_it_at_the_end(
    name: str, outcomes: dict[str, Outcome]
) -> None:
    """Arithmetic on the configuration and the batches, without the optimizer."""
    outcome = outcomes[name]

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
