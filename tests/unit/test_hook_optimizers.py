"""The formulas of the optimizers' steps."""

import pytest

from flopguard_hook.optimizers import step_cost


@pytest.mark.parametrize(
    ("classes", "options", "per_element", "known"),
    [
        pytest.param(["AdamW"], {"weight_decay": 0.01}, 14, True, id="AdamW"),
        pytest.param(["AdamW"], {"weight_decay": 0}, 13, True, id="AdamW, no decay"),
        pytest.param(
            ["AdamW"],
            {"weight_decay": 0.01, "amsgrad": True},
            15,
            True,
            id="AdamW with a running maximum",
        ),
        pytest.param(["Adam"], {"weight_decay": 0.01}, 15, True, id="Adam with L2"),
        pytest.param(["SGD"], {}, 2, True, id="plain SGD"),
        pytest.param(["SGD"], {"momentum": 0.9}, 5, True, id="SGD with momentum"),
        pytest.param(
            ["SGD"], {"momentum": 0.9, "nesterov": True}, 7, True, id="with Nesterov's"
        ),
        pytest.param(["PagedAdamW8bit"], {}, 13, True, id="an AdamW of other storage"),
        pytest.param(
            ["MyAdamW", "AdamW", "Optimizer"], {}, 13, True, id="a subclass of AdamW"
        ),
        pytest.param(
            ["ZeroRedundancyOptimizer"], {}, 0, True, id="a wrapper: its inner counts"
        ),
        pytest.param(["Mystery", "Optimizer"], {}, 13, False, id="charged as AdamW"),
        pytest.param([], {}, 13, False, id="no name at all"),
    ],
)
def test_a_step_costs_an_integer_per_element(
    classes: list[str], options: dict[str, object], per_element: int, *, known: bool
) -> None:
    """By class, nearest first, and by the options that add operations."""
    assert step_cost(classes, options) == (per_element, known)
