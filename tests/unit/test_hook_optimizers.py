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
        pytest.param(["AdamW4bit"], {}, 13, True, id="in 4 bit"),
        pytest.param(["PagedLion32bit"], {"weight_decay": 0.1}, 10, True, id="Lion"),
        pytest.param(
            ["FusedLamb"], {"weight_decay": 0.1}, 18, True, id="LAMB, with L2"
        ),
        pytest.param(["LARS8bit"], {"momentum": 0.9}, 10, True, id="LARS, momentum"),
        pytest.param(["Adafactor"], {"weight_decay": 0.1}, 15, True, id="Adafactor"),
        pytest.param(
            ["Adafactor"], {"beta1": 0.9}, 17, True, id="Adafactor with an average"
        ),
        pytest.param(["Adafactor"], {"beta1": None}, 14, True, id="Adafactor without"),
        # Two iterations of 6, and 4 for each of 3 pairs of the history
        pytest.param(
            ["LBFGS"], {"max_iter": 2, "history_size": 3}, 36, True, id="L-BFGS"
        ),
        pytest.param(
            ["DeepSpeedZeroOptimizer"], {}, 0, True, id="DeepSpeed's: its inner counts"
        ),
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


def test_every_optimizer_of_torch_is_known() -> None:
    """By name: a class that is charged as AdamW is flagged in the page."""
    unknown = {name for name in TORCH_OPTIM.split() if not step_cost([name], {}).known}
    assert unknown == set()


# torch.optim of 2.15; where torch is, tests/training asks torch itself.
TORCH_OPTIM = (
    "ASGD Adadelta Adafactor Adagrad Adam AdamW Adamax LBFGS Muon NAdam RAdam RMSprop"
    " Rprop SGD SparseAdam"
)
