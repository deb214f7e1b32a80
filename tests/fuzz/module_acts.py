"""Acts: what programs do to modules between, and within, their calls."""

import copy
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrizations

from fuzz.acts import act
from fuzz.stage import Stage


def linears(module: nn.Module) -> list[tuple[nn.Module, str, nn.Linear]]:
    """Return every linear layer with its parent and its name there."""
    return [
        (parent, name, child)
        for parent in module.modules()
        for name, child in parent._modules.items()
        if type(child) is nn.Linear
    ]


def one_linear(stage: Stage) -> tuple[nn.Module, str, nn.Linear] | None:
    """Draw one of them."""
    found = linears(stage.module)
    return stage.dice.choice(found) if found else None


class Bottleneck(nn.Module):
    """Stands where a linear layer stood, and costs something else."""

    def __init__(self, inner: nn.Linear, rank: int) -> None:
        super().__init__()
        of = {"dtype": inner.weight.dtype}
        self.down = nn.Linear(inner.in_features, rank, bias=False, **of)
        self.up = nn.Linear(rank, inner.out_features, **of)
        self.in_features, self.out_features = inner.in_features, inner.out_features
        self.weight, self.bias = inner.weight, inner.bias

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Multiply twice."""
        out: torch.Tensor = self.up(self.down(rows))
        return out


@act()
def replace_modules(stage: Stage) -> None:
    """Replace a layer by another kind in mid-run, and put it back."""
    place = one_linear(stage)
    if place is None:
        return
    parent, name, old = place
    stage.train(most=5)
    setattr(parent, name, Bottleneck(old, stage.dice.choice([1, 3])))
    stage.train(most=5)
    setattr(parent, name, old)
    stage.train(most=3)


@act()
def replace_weights(stage: Stage) -> None:
    """Put another parameter, of the same shape or retied, in a layer's place."""
    place = one_linear(stage)
    if place is None:
        return
    _, _, layer = place
    stage.train(most=4)
    old = layer.weight
    layer.weight = nn.Parameter(old.detach().clone())
    stage.train(most=4)
    layer.weight = old
    if layer.bias is not None and stage.dice.random() < 0.5:
        layer.bias = None
        stage.train(most=4)


@act()
def patch_forward(stage: Stage) -> None:
    """Give one instance another forward, then take it back."""
    place = one_linear(stage)
    if place is None:
        return
    _, _, layer = place
    stage.train(most=4)
    plain = layer.forward

    def twice(rows: torch.Tensor) -> torch.Tensor:
        return plain(rows) + plain(rows)

    layer.forward = twice
    stage.train(most=4)
    del layer.forward
    stage.train(most=3)


@act()
def hooks(stage: Stage) -> None:
    """Register hooks of every kind, some of which multiply or change the output."""
    part = stage.dice.choice(list(stage.module.modules()))
    calls: list[str] = []
    side = torch.ones(2, 3)

    def before(_: nn.Module, _args: Any, _kwargs: Any) -> None:
        calls.append("before")
        side @ side.T  # costs something

    def after(_: nn.Module, _args: Any, _kwargs: Any, _out: Any) -> None:
        calls.append("after")

    def backwards(_: nn.Module, _in: Any, _out: Any) -> None:
        calls.append("backwards")
        side.T @ side  # costs something

    stage.train(most=3)
    handles: list[Any] = [
        part.register_forward_pre_hook(before, with_kwargs=True),
        part.register_forward_hook(after, with_kwargs=True, always_call=True),
    ]
    if stage.dice.random() < 0.4:
        handles.append(part.register_full_backward_hook(backwards))
    with stage.caught(RuntimeError):
        stage.train(most=4)
    for handle in handles:
        handle.remove()
    stage.say("hooks", len(calls), *calls[:12])
    stage.train(most=3)


@act()
def global_hooks(stage: Stage) -> None:
    """Register hooks for every module there is."""
    calls: list[str] = []
    register = nn.modules.module.register_module_forward_hook
    handle = register(lambda module, _in, _out: calls.append(type(module).__name__))
    stage.train(most=3)
    handle.remove()
    stage.say("global hooks", *calls[:20])


@act()
def deepcopies(stage: Stage) -> None:
    """Train a deep copy beside the model, shallow copies too."""
    stage.train(most=3)
    twin = copy.deepcopy(stage.module)
    shallow = copy.copy(stage.module)
    for module in (twin, shallow, stage.module, twin):
        args, kwargs = stage.model.batch(stage.dice)
        loss = stage.model.loss(module(*args, **kwargs))
        loss.backward()
        stage.say("copy", type(module).__name__, loss)
    stage.say("attributes", sorted(vars(twin)) == sorted(vars(stage.module)))


@act(once=("no_grad",))  # the right inverse of an orthogonal weight
def parametrize(stage: Stage) -> None:
    """Parametrize a weight, which costs products of its own, and undo it."""
    place = one_linear(stage)
    if place is None or place[2].weight.dtype != torch.float32:
        return
    _, _, layer = place
    stage.train(most=3)
    kind = stage.dice.choice(
        [parametrizations.weight_norm, parametrizations.orthogonal]
    )
    kind(layer, "weight")
    stage.train(most=4)
    nn.utils.parametrize.remove_parametrizations(layer, "weight")
    stage.optimizer = stage.new_optimizer()
    stage.train(most=3)


@act(once=("forward", "no_grad"))
def lazy(stage: Stage) -> None:
    """Call modules whose weights are made at the first call."""
    module = nn.Sequential(nn.LazyLinear(3), nn.ReLU(), nn.LazyLinear(2))
    for _ in range(stage.dice.randint(1, 4)):
        out = module(torch.randn(2, 5))
        out.sum().backward()
        stage.say("lazy", out, type(module[0]).__name__)


class Recursive(nn.Module):
    """A module that calls itself."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 3)

    def forward(self, rows: torch.Tensor, depth: int) -> torch.Tensor:
        """Call itself `depth` times."""
        inner: torch.Tensor = self.layer(rows)
        return inner if depth == 0 else self(inner, depth - 1)


@act()
def reentrant(stage: Stage) -> None:
    """Call a module from within itself, as deep as an argument says."""
    module = Recursive()
    for _ in range(stage.dice.randint(2, 8)):
        out = module(torch.randn(2, 3), stage.dice.choice([0, 1, 1, 3]))
        out.sum().backward()
        stage.say("recursive", out)


@act()
def nested_roots(stage: Stage) -> None:
    """Call the model from within a wrapper made anew each time."""
    for _ in range(stage.dice.randint(2, 6)):
        wrapper = nn.Sequential(stage.module)
        args, kwargs = stage.model.batch(stage.dice)
        if kwargs or len(args) != 1:
            return
        loss = stage.model.loss(wrapper(*args))
        loss.backward()
        stage.say("wrapped", loss)


class Early(nn.Module):
    """A module whose cost depends on an attribute, a global or its data."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(4))
        self.way, self.depth = way, 4

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Leave early."""
        for count, layer in enumerate(self.layers):
            if self.way == "attribute" and count >= self.depth:
                break
            rows = layer(rows)
            if self.way == "data" and float(rows.detach().sum()) > 0:
                break
        return rows


@act()
def attribute_decides(stage: Stage) -> None:
    """Change a plain attribute that says how many layers run."""
    module = Early("attribute")
    for _ in range(stage.dice.randint(3, 9)):
        module.depth = stage.dice.choice([4, 4, 4, 1])
        out = module(torch.randn(2, 4))
        out.sum().backward()
        stage.say("depth", module.depth, out)


@act(steady=False)
def data_decides(stage: Stage) -> None:
    """Leave early where the data say so: the cost cannot be known beforehand."""
    module = Early("data")
    for _ in range(stage.dice.randint(3, 9)):
        out = module(torch.randn(2, 4))
        out.sum().backward()
        stage.say("data", out)


@act()
def rename_modules(stage: Stage) -> None:
    """Add, remove and rename modules while they are iterated and called."""
    extra = nn.Linear(2, 2)
    stage.module.add_module("extra", extra)
    stage.train(most=3)
    stage.module.extra_state_of_mine = {"a": 1}
    stage.train(most=2)
    del stage.module.extra
    del stage.module.extra_state_of_mine
    stage.say("names", *(name for name, _ in stage.module.named_modules()))
    stage.train(most=2)


@act()
def change_class(stage: Stage) -> None:
    """Change the class of the model's instance while it is trained."""
    old = type(stage.module)
    stage.train(most=3)
    stage.module.__class__ = type("Changed", (old,), {})
    stage.train(most=3)
    stage.module.__class__ = old
    stage.train(most=2)


@act()
def own_call(stage: Stage) -> None:
    """Call a module whose class has a `__call__` of its own."""

    class Own(nn.Linear):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return super().__call__(*args, **kwargs) + 1

    module = Own(3, 2)
    for _ in range(stage.dice.randint(1, 4)):
        out = module(torch.ones(2, 3))
        out.sum().backward()
        stage.say("own", out)


@act()
def resize(stage: Stage) -> None:
    """Change the dtype of everything and back."""
    if stage.dice.random() < 0.5:
        stage.module.double()
        with stage.caught(RuntimeError):
            stage.train(most=2)
        stage.module.float()
    with stage.caught(RuntimeError):  # complex weights were made real, loudly
        stage.train(most=3)
