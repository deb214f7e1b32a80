"""Acts: what else listens to torch beside the hook."""

import warnings
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from fuzz.acts import act
from fuzz.stage import Stage


class Listing(TorchDispatchMode):
    """Lists operators."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Note the name."""
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


class Functions(TorchFunctionMode):
    """Counts functions of torch."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Note the name."""
        self.names.append(getattr(func, "__name__", "?"))
        return func(*args, **(kwargs or {}))


@act()
def dispatch_mode(stage: Stage) -> None:
    """Train under a dispatch mode of the program's own."""
    for _ in range(stage.dice.randint(1, 3)):
        with Listing() as mode:
            stage.step()
        stage.say("operators", len(mode.names), *mode.names)
    stage.train(most=2)


@act()
def nested_modes(stage: Stage) -> None:
    """Enter and leave modes between forward and backward."""
    outer, inner = Listing(), Listing()
    with outer:
        loss = stage.loss()
        with inner:
            loss.backward()
    stage.say("modes", len(outer.names), len(inner.names), *inner.names)
    with outer:
        args, kwargs = stage.model.batch(stage.dice)
    with inner:
        out = stage.module(*args, **kwargs)
    stage.model.loss(out).backward()
    stage.say("modes", len(outer.names), len(inner.names))
    stage.train(most=2)


@act()
def function_mode(stage: Stage) -> None:
    """Train under a function mode of the program's own."""
    for _ in range(stage.dice.randint(1, 3)):
        with Functions() as mode:
            stage.step()
        stage.say("functions", len(mode.names), *sorted(set(mode.names)))
    stage.train(most=2)


@act()
def flop_counter(stage: Stage) -> None:
    """Let torch's own counter count too; it must count the same."""
    from torch.utils.flop_counter import FlopCounterMode

    for _ in range(stage.dice.randint(1, 2)):
        with FlopCounterMode(display=False) as counter:
            stage.step()
        stage.say("torch counts", counter.get_total_flops())
    stage.train(most=2)


@act()
def profiler(stage: Stage) -> None:
    """Let torch's profiler list what runs."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], with_flops=True) as listed:
        stage.step()
    products = {"aten::mm", "aten::addmm", "aten::bmm", "aten::convolution"}
    # Not how often: a measured operator is dispatched twice, and listed twice.
    stage.say("profiled", *sorted(products & {e.key for e in listed.key_averages()}))
    stage.train(most=2)


class Tagged(torch.Tensor):
    """A subclass of the program's own."""

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Pass on."""
        return super().__torch_function__(func, types, args, kwargs or {})


@act()
def subclasses(stage: Stage) -> None:
    """Multiply tensors of a subclass."""
    layer = nn.Linear(3, 2)
    for _ in range(stage.dice.randint(1, 4)):
        out = layer(torch.ones(2, 3).as_subclass(Tagged))
        out.sum().backward()
        stage.say(
            "subclass", type(out).__name__, out.detach().as_subclass(torch.Tensor)
        )


class Wrapper(torch.Tensor):
    """A tensor that holds another one, and dispatches to it."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls: Any, inner: torch.Tensor) -> Any:
        """Wrap."""
        made: Any = torch.Tensor._make_wrapper_subclass(cls, inner.shape)
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Unwrap, run, wrap."""
        plain = [a.inner if isinstance(a, Wrapper) else a for a in args]
        out = func(*plain, **(kwargs or {}))
        return Wrapper(out) if isinstance(out, torch.Tensor) else out


@act(once=("forward", "no_grad"))
def wrappers(stage: Stage) -> None:
    """Multiply tensors that wrap others."""
    for _ in range(stage.dice.randint(1, 3)):
        left = Wrapper(torch.ones(2, 3))
        out = left @ Wrapper(torch.ones(3, 2))
        stage.say("wrapped", type(out).__name__, out.inner)


@act()
def traced(stage: Stage) -> None:
    """Trace and script a small module, call and save them."""
    layer = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trace = torch.jit.trace(layer, torch.ones(2, 3))
        script = torch.jit.script(layer)
    for _ in range(stage.dice.randint(1, 3)):
        for module in (trace, script):
            out = module(torch.ones(2, 3))
            out.sum().backward()
            stage.say("traced", out)
    stage.say("graph", str(trace.graph).count("\n"), str(trace.graph))
    stage.train(most=2)


@act()
def symbolic(stage: Stage) -> None:
    """Trace a module symbolically and run what comes of it."""
    from torch import fx

    layer = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    graph = fx.symbolic_trace(layer)
    for _ in range(stage.dice.randint(1, 3)):
        out = graph(torch.ones(2, 3))
        out.sum().backward()
        stage.say("symbolic", out)
    stage.say("code", graph.code)


@act(once=("forward",))
def made_graph(stage: Stage) -> None:
    """Record a graph of operators."""
    from torch.fx.experimental.proxy_tensor import make_fx

    layer = nn.Linear(3, 2)
    graph = make_fx(layer)(torch.ones(2, 3))
    stage.say("made", *(str(node.target) for node in graph.graph.nodes))
    stage.say("runs", graph(torch.ones(2, 3)))


@act()
def fake_tensors(stage: Stage) -> None:
    """Run shapes without data: nothing is executed."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    layer = nn.Linear(3, 2)
    with FakeTensorMode(allow_non_fake_inputs=True):
        out = layer(torch.empty(2, 3))
    stage.say("fake", tuple(out.shape))
    meta = nn.Linear(3, 2, device="meta")(torch.empty(2, 3, device="meta"))
    stage.say("meta", tuple(meta.shape))
    stage.train(most=2)


@act()
def defaults(stage: Stage) -> None:
    """Change torch's defaults and switches between steps."""
    stage.train(most=3)
    torch.backends.mkldnn.set_flags(_enabled=False)
    stage.train(most=3)
    torch.backends.mkldnn.set_flags(_enabled=True)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        stage.train(most=4)
    torch.use_deterministic_algorithms(mode=True, warn_only=True)
    stage.train(most=2)
    torch.use_deterministic_algorithms(mode=False)


@act()
def device_context(stage: Stage) -> None:
    """Train under a default device, which is a function mode."""
    with torch.device("cpu"):
        stage.train(most=3)
    stage.train(most=2)
