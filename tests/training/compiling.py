"""Programs under torch.compile, counted three ways; named on the command line.

Each prints what its eager form costs operator by operator, what is charged at the
calls of its compiled graphs, and what is dispatched outside of them. `--without-hook`
runs the compiled form alone.
"""

import copy
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch._subclasses import FakeTensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from flopguard_hook import compiled, table, underlay  # noqa: F401 # it fills the table
from flopguard_hook.compiling import hide_from_dynamo
from flopguard_hook.formulas import find
from flopguard_hook.graphcost import GraphCost

Run = Callable[[], object]


class Dispatched(TorchDispatchMode):
    """Adds up what is dispatched, apart from what is while muted."""

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()
        self.flops: Counter[str] = Counter()
        self.hidden = 0
        self.muted = 0

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """Let compiled code run under this mode."""
        return True

    if not hasattr(TorchDispatchMode, "ignore_compile_internals"):

        @classmethod
        def is_infra_mode(cls) -> bool:
            """Let it be compiled under this mode, before torch 2.9."""
            return True

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run one operator."""
        kind = find(getattr(getattr(func, "_schema", None), "name", ""))
        if kind is not None and type(args[kind.operand]) is not FakeTensor:
            flops = kind.flops_of(args, kwargs or {})
            if self.muted:
                self.hidden += flops
            else:
                self.flops["backward" if _in_engine() else "forward"] += flops
        return func(*args, **kwargs or {})


def _in_engine() -> bool:
    task = torch._C._current_graph_task_id()  # noqa: SLF001 # no public name
    return bool(task >= 0)


class Recorder:
    """Takes down what is charged at the calls of compiled graphs."""

    def __init__(self) -> None:
        self.dispatched = Dispatched()
        self.costs: list[GraphCost] = []
        self.uncounted: list[str] = []
        self.steps = 0

    def charged(self, run: Run, costs: Callable[[], Sequence[GraphCost]]) -> object:
        """Charge a call."""
        self.costs += costs()
        self.dispatched.muted += 1
        try:
            return run()
        finally:
            self.dispatched.muted -= 1

    def stepped(self, run: Run, costs: Callable[[], Sequence[GraphCost]]) -> object:
        """Charge an optimizer step."""
        self.costs += costs()
        self.steps += 1
        return run()

    def cost_of(self, program: Run) -> dict[str, Any]:
        """Run a program and return what it cost."""
        self.costs.clear()
        self.dispatched.flops.clear()
        self.dispatched.hidden = 0
        self.steps = 0
        with self.dispatched:
            program()
        charged: Counter[str] = Counter()
        for cost in self.costs:
            charged[cost.role] += cost.flops
        return {
            "charged": {role: flops for role, flops in charged.items() if flops},
            "dispatched": dict(self.dispatched.flops),
            "hidden": self.dispatched.hidden,
            "steps": self.steps,
        }


class Matrices(nn.Module):
    """Three products with nothing between them: it needs no C++ to be compiled."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Parameter(torch.randn(8, 16))
        self.down = nn.Parameter(torch.randn(16, 8))
        self.out = nn.Parameter(torch.randn(8, 4))
        self.again = False

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Multiply; the first two again in backward, if wanted."""
        if self.again:
            rows = checkpoint(self.inner, rows, use_reentrant=False)
            return checkpoint(self.inner, rows, use_reentrant=False) @ self.out
        return self.inner(rows) @ self.out

    def inner(self, rows: torch.Tensor) -> torch.Tensor:
        """Return what may be run again."""
        return rows @ self.up @ self.down


def backward(module: Any, *sizes: int) -> Run:
    """Return a program: forward and backward at each batch size in turn."""
    inputs = [torch.randn(size, 8) for size in sizes]

    def program() -> None:
        for rows in inputs:
            result = module(rows)
            result.backward(torch.ones_like(result))

    return program


def fixed() -> tuple[Run, Run]:
    """One graph each way."""
    model = Matrices()
    return backward(model, 5), backward(torch.compile(model, fullgraph=True), 5)


def alone() -> tuple[Run, Run]:
    """A graph of its own, which nothing else has compiled."""
    model = Matrices()
    return backward(model, 6), backward(torch.compile(model, fullgraph=True), 6)


def dynamic() -> tuple[Run, Run]:
    """Sizes that change from call to call."""
    model, sizes = Matrices(), (5, 7, 5, 9)
    dynamic = torch.compile(model, fullgraph=True, dynamic=True)
    return backward(model, *sizes), backward(dynamic, *sizes)


def recomputed() -> tuple[Run, Run]:
    """Checkpointing inside the graph."""
    model = Matrices()
    model.again = True
    return backward(model, 5), backward(torch.compile(model, fullgraph=True), 5)


def no_grad() -> tuple[Run, Run]:
    """Without gradients, as a module; then a function whose inputs want none."""
    model = Matrices()
    fast = torch.compile(model, fullgraph=True)

    def product(rows: torch.Tensor) -> torch.Tensor:
        return rows @ rows.T

    fast_product = torch.compile(product, fullgraph=True)

    def run(model: Any, product: Any) -> None:
        with torch.no_grad():
            model(torch.ones(5, 8))
        product(torch.ones(3, 2))

    return lambda: run(model, product), lambda: run(fast, fast_product)


class Layer(nn.Linear):
    """Not torch's own class: some torch does not compile the calls of those."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Multiply."""
        return functional.linear(rows, self.weight, self.bias)


def regional() -> tuple[Run, Run]:
    """Each layer compiled for itself, in a model that is not."""
    model = nn.Sequential(Layer(8, 8), Layer(8, 8), nn.Linear(8, 2))
    fast = copy.deepcopy(model)
    for layer in fast[:2]:
        layer.compile(fullgraph=True)
    return backward(model, 5), backward(fast, 5)


def broken() -> tuple[Run, Run]:
    """A graph break between two graphs."""
    model, stop = Matrices(), torch.compiler.disable(lambda: None)

    def halves(rows: torch.Tensor) -> torch.Tensor:
        first = model(rows)
        stop()
        return first @ first.T

    return backward(halves, 5), backward(torch.compile(halves), 5)


def small_products() -> tuple[Run, Run]:
    """What inductor turns into sums of products of elements, and what it does not."""
    vector, square = torch.randn(8), torch.randn(8, 8)

    def products(vector: torch.Tensor, square: torch.Tensor) -> list[torch.Tensor]:
        row, column, batch = vector[None], vector[:, None], square[None]
        return [
            torch.mv(square, vector),
            torch.dot(vector, vector),
            torch.addmv(vector, square, vector, alpha=2),
            torch.addmm(column[:1], row, column, beta=3),
            row @ column,
            row[None] @ column[None],
            column[:3] @ row[:, :4],
            torch.bmm(batch, column[None]),
            torch.baddbmm(batch, batch, batch),
            torch.einsum("ij,jk->ik", square, square),
            torch.mv(square.bfloat16(), vector.bfloat16()),
        ]

    fast = torch.compile(products, fullgraph=True)
    return lambda: products(vector, square), lambda: fast(vector, square)


def convolutions() -> tuple[Run, Run]:
    """Grouped and transposed."""
    model = nn.Sequential(nn.Conv2d(4, 8, 3, groups=2), nn.ConvTranspose2d(8, 4, 2))
    fast, image = torch.compile(model, fullgraph=True), torch.randn(2, 4, 9, 9)
    return lambda: model(image).sum().backward(), lambda: fast(image).sum().backward()


def steps() -> tuple[Run, Run]:
    """An optimizer with two groups whose step is compiled; nothing else is."""
    model = Matrices()
    model(torch.ones(5, 8)).sum().backward()
    model.out.grad = None
    rest = [model.down, model.out]
    groups = [{"params": [model.up]}, {"params": rest, "momentum": 0.5}]
    optimizer = torch.optim.SGD(groups, lr=0.1)

    def step() -> None:
        optimizer.step()

    return step, torch.compile(step)


class Plain(torch.optim.Optimizer):
    """An optimizer that is not made like those of torch, and not in the table."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, {"lr": 0.1})

    def step(self, closure: Any = None) -> None:
        """Descend."""
        assert closure is None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    with torch.no_grad():
                        parameter.add_(parameter.grad, alpha=-group["lr"])


def own_step() -> tuple[Run, Run]:
    """The compiled step of a class of the user's."""
    return _compiled_step(Plain)


def fused_step() -> tuple[Run, Run]:
    """A step that torch does not let be traced."""
    return _compiled_step(lambda ps: torch.optim.AdamW(ps, fused=True))


def _compiled_step(make: Callable[[Any], Any]) -> tuple[Run, Run]:
    model = Matrices()
    model(torch.ones(5, 8)).sum().backward()
    optimizer = make(model.parameters())
    return optimizer.step, torch.compile(optimizer.step, backend="eager")


def other_backends() -> tuple[Run, Run]:
    """Those that run the operators one by one."""
    model = Matrices()
    parts = [torch.compile(model, backend=name) for name in ("eager", "aot_eager")]
    eager, traced = backward(model, 5, 5), [backward(part, 5) for part in parts]
    return eager, lambda: [run() for run in traced]


PROGRAMS: dict[str, Callable[[], tuple[Run, Run]]] = {
    program.__name__: program
    for program in (
        fixed,
        alone,
        dynamic,
        recomputed,
        no_grad,
        regional,
        broken,
        small_products,
        convolutions,
        steps,
        own_step,
        fused_step,
        other_backends,
    )
}


def compilations() -> dict[str, Any]:
    """Return how much was compiled since the last time, and forget it."""
    from torch._dynamo.utils import counters

    found = {
        "graphs": counters["stats"]["unique_graphs"],
        "frames": counters["frames"]["total"],
        "breaks": sum(counters["graph_break"].values()),
        "stored": counters["aot_autograd"]["autograd_cache_hit"]
        + counters["inductor"]["fxgraph_cache_hit"],
        "missing": counters["inductor"]["fxgraph_cache_miss"],
    }
    counters.clear()
    return found


def main(programs: dict[str, Callable[[], tuple[Run, Run]]]) -> None:
    """Run the programs that the command line names: twice, and count the second."""
    recorder = Recorder()
    hooked = sys.argv[1] != "--without-hook"
    if hooked:
        underlay.attach(Dispatched)
        hide_from_dynamo(Dispatched.__torch_dispatch__)
        compiled.attach(recorder.charged, recorder.stepped, recorder.uncounted.append)
    for name in sys.argv[1 if hooked else 2 :]:
        torch.manual_seed(0)
        torch.compiler.reset()
        eager, fast = programs[name]()
        line: dict[str, Any] = {"name": name}
        if hooked:
            line["eager"] = recorder.cost_of(eager)["dispatched"]
        else:
            eager()
        fast()
        line |= recorder.cost_of(fast) if hooked else {}
        if not hooked:
            fast()
        line |= {"uncounted": list(recorder.uncounted), **compilations()}
        recorder.uncounted.clear()
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(PROGRAMS)
