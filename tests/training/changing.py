"""A program that changes what its model does, in mid-run, in every way there is.

Prints the page's counts after each change as JSON.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook

from flopguard_hook.page import read_page

_SIDE = torch.ones(2, 3)
CHANGES: list[Callable[["Plain"], Any]] = []


class Plain(nn.Module):
    """Four layers, one after another."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(4))
        self.head = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Run all of them."""
        for layer in self.layers:
            rows = layer(rows)
        return torch.as_tensor(self.head(rows))


class Wider(nn.Linear):
    """Costs more than its base."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Multiply twice."""
        return super().forward(rows) + super().forward(rows)


def change(function: Callable[[Plain], Any]) -> None:
    """Register a change."""
    CHANGES.append(function)


def times(count: int) -> Callable[..., Any]:
    """Return a forward, or a hook, that multiplies so often."""

    def multiply(rows: Any, *_more: Any) -> Any:
        for _ in range(count):
            _SIDE @ _SIDE.T
        return rows if isinstance(rows, torch.Tensor) else None

    return multiply


@change
def a_forward_is_patched(model: Plain) -> None:
    """Another forward stands in an instance of a layer."""
    model.layers[0].forward = times(1)


@change
def it_is_patched_again(model: Plain) -> None:
    """The same code, with another closure."""
    model.layers[0].forward = times(3)


@change
def it_is_taken_back(model: Plain) -> None:
    """The class's own again."""
    del model.layers[0].forward


@change
def a_forward_is_put_beside_setattr(model: Plain) -> None:
    """Into the instance's dictionary."""
    vars(model.layers[1])["forward"] = times(2)


@change
def the_class_is_patched(_: Plain) -> None:
    """A class of torch's own."""
    plain = nn.Linear.forward
    nn.Linear.forward = lambda *a: plain(*a) + plain(*a)


@change
def the_instance_gets_another_class(model: Plain) -> None:
    """As libraries of adapters do."""
    model.layers[2].__class__ = Wider


@change
def a_layer_is_exchanged_beside_setattr(model: Plain) -> None:
    """As libraries of quantization do."""
    vars(model.head)["_modules"]["0"] = nn.Sequential(nn.Linear(4, 9), nn.Linear(9, 4))


@change
def a_layer_is_dropped(model: Plain) -> None:
    """Layers that are pruned."""
    del model.layers[-1]


@change
def a_hook_is_added(model: Plain) -> None:
    """One that multiplies."""
    model.head.handle = model.head.register_forward_pre_hook(times(1))


@change
def a_hook_is_exchanged(model: Plain) -> None:
    """For one of other code."""
    model.head.handle.remove()
    model.head.register_forward_pre_hook(lambda *_: (_SIDE @ _SIDE.T, None)[1])
    model.head.register_forward_hook(lambda *_: (_SIDE.T @ _SIDE, None)[1])


@change
def hooks_are_cleared(model: Plain) -> None:
    """Without their handles."""
    vars(model.head)["_forward_pre_hooks"].clear()


@change
def a_hook_of_all_modules(_: Plain) -> None:
    """It multiplies."""
    register_module_forward_hook(lambda *_: (_SIDE @ _SIDE.T, None)[1])


@change
def a_hook_of_a_parameter(model: Plain) -> None:
    """It multiplies in the backward."""
    weight = model.layers[0].weight
    weight.register_hook(lambda _: (_SIDE @ _SIDE.T, None)[1])


@change
def another_hook_of_a_parameter(model: Plain) -> None:
    """After its gradient has come."""
    bias = model.layers[0].bias
    bias.register_post_accumulate_grad_hook(lambda _: (_SIDE @ _SIDE.T, None)[1])


def main() -> None:
    """Train before the changes and after each."""
    model = Plain()
    told: list[Callable[[Plain], Any]] = [lambda _: None, *CHANGES]
    for what in told:
        what(model)
        for _ in range(6):
            model(torch.ones(2, 4)).sum().backward()
        (path,) = Path(os.environ["FLOPGUARD_DIR"]).glob("*.page")
        done = read_page(path.read_bytes()).done
        flops = {name: sum(done[name].values()) for name in ("forward", "backward")}
        print(json.dumps({"after": what.__name__, **flops}), flush=True)  # noqa: T201 # its result


if __name__ == "__main__":
    main()
