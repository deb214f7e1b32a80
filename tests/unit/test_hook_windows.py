"""The counting windows: which category an operator has, after what happened before."""

from collections.abc import Callable

import pytest

from flopguard_hook.windows import Windows

Act = Callable[[Windows], object]


def call(*, grad: bool) -> Act:
    """Enter a module."""
    return lambda windows: windows.call_entered(grad=grad)


def leave(windows: Windows) -> None:
    """Leave a root module."""
    windows.call_left()


def engine(*, create_graph: bool = False) -> Act:
    """Enter the engine."""
    return lambda windows: windows.engine_entered(create_graph=create_graph)


def engine_done(windows: Windows) -> None:
    """Leave the outermost engine."""
    windows.engine_left(1)


def step(*, nested: bool = False) -> Act:
    """Enter an optimizer's step."""
    return lambda windows: windows.step_entered(nested=nested)


def step_done(windows: Windows) -> None:
    """Leave an optimizer's step."""
    windows.step_left()


@pytest.mark.parametrize(
    ("acts", "grad", "category"),
    [
        pytest.param([], True, "forward", id="no module, gradients on"),
        pytest.param([], False, "no_grad", id="no module, gradients off"),
        pytest.param([call(grad=True)], True, "forward", id="in a root"),
        pytest.param(
            [call(grad=True)], False, "forward", id="gradients off within a root"
        ),
        pytest.param(
            [call(grad=False)], True, "no_grad", id="gradients on within a no_grad root"
        ),
        pytest.param(
            [call(grad=True), leave], False, "forward", id="the loss, outside the root"
        ),
        pytest.param(
            [call(grad=False), leave], True, "forward", id="after a no_grad root"
        ),
        pytest.param(
            [call(grad=True), leave, call(grad=False)],
            False,
            "no_grad",
            id="a reference model between forward and backward",
        ),
        pytest.param([engine()], False, "backward", id="in the engine"),
        pytest.param([engine()], True, "recompute", id="gradients on in the engine"),
        pytest.param(
            [engine(create_graph=True)],
            True,
            "backward",
            id="gradients of gradients are recorded",
        ),
        pytest.param(
            [engine(create_graph=True), call(grad=True)],
            True,
            "recompute",
            id="a module called in the engine",
        ),
        pytest.param(
            [engine(), call(grad=True), leave, engine()],
            False,
            "backward",
            id="the engine within the engine, after recomputing",
        ),
        pytest.param(
            [call(grad=True), leave, engine(), engine_done],
            False,
            "no_grad",
            id="the engine closed the window",
        ),
        pytest.param(
            [engine(), call(grad=True), engine(), Windows.engine_is_idle],
            False,
            "no_grad",
            id="an engine that was interrupted and never left",
        ),
        pytest.param(
            [step(), Windows.engine_is_idle],
            False,
            "optimizer",
            id="no engine was noted",
        ),
        pytest.param([step()], False, "optimizer", id="in a step"),
        pytest.param(
            [step(), call(grad=True)], True, "forward", id="the closure of a step"
        ),
        pytest.param([step(), step_done], False, "no_grad", id="after a step"),
        pytest.param(
            [step(nested=False), step(nested=False), step_done],
            False,
            "no_grad",
            id="after a step that followed one that raised",
        ),
        pytest.param(
            [call(grad=True), step(), leave, engine(), engine_done, call(grad=False)],
            True,
            "no_grad",
            id="a root after one within which a step raised",
        ),
    ],
)
def test_the_category_follows_from_what_is_open(
    acts: list[Act], *, grad: bool, category: str
) -> None:
    """The root call decides; where there is none, the operator's own grad mode."""
    windows = Windows()
    for act in acts:
        act(windows)

    assert windows.category(grad=grad) == category


def test_only_the_outermost_module_is_a_root() -> None:
    """Modules within it neither open nor close anything."""
    windows = Windows()

    assert windows.call_entered(grad=True)
    assert not windows.call_entered(grad=False)


def test_only_the_outermost_step_counts() -> None:
    """An optimizer that wraps another one makes one step, not two."""
    windows = Windows()
    windows.step_entered(nested=False)
    windows.step_entered(nested=True)

    assert [windows.step_left(), windows.step_left()] == [False, True]


def test_a_step_counts_after_one_that_raised() -> None:
    """Torch does not tell that a step raised."""
    windows = Windows()
    windows.step_entered(nested=False)
    windows.step_entered(nested=False)

    assert windows.step_left()
