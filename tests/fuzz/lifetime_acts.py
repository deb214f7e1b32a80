"""Acts: how long objects live, and what is saved of them."""

import copy
import gc
import io
import pickle
import weakref
from typing import Any

import torch
from torch import nn

from fuzz.acts import act
from fuzz.stage import Stage


class Plain(nn.Module):
    """A module that pickles by name."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.Linear(width, width)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Multiply."""
        out: torch.Tensor = self.layer(rows)
        return out


def _trained(width: int, steps: int) -> tuple[Plain, torch.optim.Optimizer]:
    module = Plain(width)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    for _ in range(steps):
        module(torch.ones(2, width)).sum().backward()
        optimizer.step()
    return module, optimizer


@act()
def dies_when_deleted(stage: Stage) -> None:
    """A model dies with its last reference, without the garbage collector."""
    gc.disable()
    deaths: list[str] = []
    for number in range(stage.dice.randint(1, 3)):
        module, optimizer = _trained(3, stage.dice.randint(1, 5))
        weakref.finalize(module, deaths.append, f"model {number}")
        weakref.finalize(module.layer, deaths.append, f"layer {number}")
        weakref.finalize(module.layer.weight, deaths.append, f"weight {number}")
        weakref.finalize(optimizer, deaths.append, f"optimizer {number}")
        del module
        stage.say("model deleted", *deaths)
        del optimizer
        stage.say("optimizer deleted", *deaths)
    gc.enable()
    gc.collect()
    stage.say("collected", *deaths)


@act()
def graphs_die(stage: Stage) -> None:
    """Losses, outputs, inputs and gradients die when they are let go."""
    gc.disable()
    deaths: list[str] = []
    module = Plain(3)
    for number in range(stage.dice.randint(1, 6)):
        rows = torch.ones(2, 3, requires_grad=True)
        out = module(rows)
        loss = out.sum()
        for name, tensor in (("rows", rows), ("out", out), ("loss", loss)):
            weakref.finalize(tensor, deaths.append, f"{name} {number}")
        if stage.dice.random() < 0.7:
            loss.backward()
        del rows, out
        stage.say("let go", *deaths)
        del loss, tensor
        stage.say("all", *deaths)
    gc.enable()


@act(steady=False)
def exceptions_die(stage: Stage) -> None:
    """What an exception holds dies with the exception."""
    gc.disable()
    deaths: list[str] = []

    class Failing(nn.Module):
        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            local = rows @ rows.T
            weakref.finalize(local, deaths.append, "local")
            msg = "no"
            raise ValueError(msg)

    module = Failing()
    weakref.finalize(module, deaths.append, "module")
    try:
        module(torch.ones(2, 2))
    except ValueError:
        stage.say("caught", *deaths)
    stage.say("after", *deaths)
    del module
    stage.say("deleted", *deaths)
    gc.enable()


@act(once=("forward", "no_grad"))
def finalizers_multiply(stage: Stage) -> None:
    """Destructors that multiply, run in the middle of other work."""
    results: list[float] = []

    class Dying:
        def __del__(self) -> None:
            results.append(float((torch.ones(2, 2) @ torch.ones(2, 2)).sum()))

    def die(*_: Any) -> None:
        Dying()

    handle = stage.module.register_forward_hook(die)
    stage.train(most=3)
    handle.remove()
    cycle: list[Any] = [Dying()]
    cycle.append(cycle)
    del cycle
    gc.collect()
    stage.say("died", len(results), *results)


@act(once=("forward", "no_grad"))
def weak_model(stage: Stage) -> None:
    """Many short-lived models reuse each other's identities."""
    for _ in range(stage.dice.randint(3, 8)):
        width = stage.dice.choice([2, 3, 4])
        module, _ = _trained(width, stage.dice.randint(1, 3))
        reference = weakref.ref(module)
        with torch.no_grad():
            stage.say("short", module(torch.ones(1, width)))
        del module
        stage.say("dead", reference() is None)


@act()
def pickles(stage: Stage) -> None:
    """Pickle and copy a trained model; train what comes back."""
    module, optimizer = _trained(3, stage.dice.randint(1, 4))
    again = pickle.loads(pickle.dumps(module))  # noqa: S301 # its own
    for copied in (again, copy.deepcopy(module), copy.copy(module)):
        copied(torch.ones(2, 3)).sum().backward()
        stage.say("weights", copied.layer.weight.grad)
    stage.say("optimizer", pickle.loads(pickle.dumps(optimizer)))  # noqa: S301 # its own


@act()
def saves(stage: Stage) -> None:
    """Save the model whole, its state, and its optimizer; load and go on."""
    stage.train(most=3)
    state = stage.module.state_dict()
    torch.save(state, stage.folder / "state.pt")
    torch.save(
        {"optimizer": stage.optimizer.state_dict(), "loss": 1.5},
        stage.folder / "optimizer.pt",
    )
    module, _ = _trained(3, 2)
    torch.save(module, stage.folder / "model.pt")
    loaded = torch.load(stage.folder / "state.pt", weights_only=True)
    stage.module.load_state_dict(loaded)
    buffer = io.BytesIO()
    torch.save(state, buffer, _use_new_zipfile_serialization=stage.dice.random() < 0.5)
    stage.say("buffer", len(buffer.getvalue()))
    stage.train(most=3)


@act()
def safetensors(stage: Stage) -> None:
    """Save and load by safetensors."""
    from safetensors.torch import load_file, save_file

    module, _ = _trained(4, stage.dice.randint(1, 3))
    save_file(module.state_dict(), stage.folder / "model.safetensors")
    module.load_state_dict(load_file(stage.folder / "model.safetensors"))
    stage.say("loaded", module.layer.weight)


@act()
def save_fails(stage: Stage) -> None:
    """Save where nothing can be saved, and what cannot be pickled."""
    try:
        torch.save(stage.module.state_dict(), "/proc/self/nowhere/state.pt")
    except (RuntimeError, OSError) as error:
        stage.raised(error)
    module = Plain(2)
    module.reader = lambda: None  # cannot be pickled
    with stage.caught(Exception):
        torch.save(module, io.BytesIO())
    stage.train(most=1)


@act(once=("forward", "no_grad"))
def collector_runs(stage: Stage) -> None:
    """Collect garbage within forwards, and look at who refers to the model."""

    def collect(*_: Any) -> None:
        gc.collect(0)

    handle = stage.module.register_forward_hook(collect)
    stage.train(most=3)
    handle.remove()
    twin, _ = _trained(3, 3)
    kinds = sorted(type(holder).__name__ for holder in gc.get_referrers(twin))
    stage.say("referrers", *kinds)


@act()
def attributes_stay(stage: Stage) -> None:
    """A trained model has the attributes it had."""
    module, optimizer = _trained(3, 4)
    stage.say("model", *sorted(vars(module)), *sorted(vars(module.layer)))
    stage.say("weight", *sorted(vars(module.layer.weight)))
    stage.say("hooks", len(module._forward_hooks), len(module._forward_pre_hooks))
    stage.say("optimizer", *sorted(vars(optimizer)))
    grad = module.layer.weight.grad
    assert grad is not None
    stage.say("grad", grad.grad_fn, sorted(vars(grad)), module(grad).grad_fn)
