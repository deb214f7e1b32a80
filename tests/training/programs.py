"""Programs that run under the deployed hook, named on the command line."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


def products(count: int) -> None:
    """Multiply 2 x 2 matrices: 16 FLOPs each, with gradients on."""
    for _ in range(count):
        torch.ones(2, 2) @ torch.ones(2, 2)


class Rows(Dataset[torch.Tensor]):
    """Rows that cost no product to make."""

    def __len__(self) -> int:
        """Return four."""
        return 4

    def __getitem__(self, index: int) -> torch.Tensor:
        """Return one."""
        return torch.full((2,), float(index))


def children(method: str) -> None:
    """Multiply once here, then twice in each of two child processes."""
    products(1)
    context: Any = multiprocessing.get_context(method)
    processes = [context.Process(target=products, args=(2,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=120)


def fork() -> None:
    """Fork two children."""
    children("fork")


def spawn() -> None:
    """Spawn two children."""
    children("spawn")


def workers() -> None:
    """Load data in two worker processes and multiply here."""
    for rows in DataLoader(Rows(), batch_size=2, num_workers=2):
        rows @ rows.T  # 2*2*2*2


def compiled() -> None:
    """Compile a model, train it, and say whether it was compiled once."""
    from torch._dynamo.utils import counters

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))
    fast = torch.compile(model)
    inputs = torch.ones(4, 8)
    for _ in range(3):
        loss = fast(inputs).square().sum()
        loss.backward()
    eager = model(inputs).square().sum()
    torch.testing.assert_close(loss, eager)
    sys.stdout.write(f"graphs {counters['stats']['unique_graphs']}\n")


def killed() -> None:
    """Kill this process in the middle of a forward."""

    class Deadly(nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            products(1)
            os.kill(os.getpid(), signal.SIGKILL)
            return inputs

    Deadly()(torch.ones(1))


def odd() -> None:
    """Call root modules and operators that cannot be described."""

    class Shapeless:
        @property
        def shape(self) -> None:
            msg = "no shape"
            raise RuntimeError(msg)

    class Stepping(nn.Module):
        def forward(self, _: Shapeless) -> None:
            products(1)

    torch.manual_seed(0)
    rows = torch.ones(2, 2)
    traced = torch.jit.trace(nn.Linear(2, 2), rows)
    assert "aten::size" not in str(traced.graph)
    assert "prim::NumToTensor" not in str(traced.graph)
    torch.jit.script(nn.Linear(2, 2))(rows)
    nn.LazyLinear(2)(rows)
    Stepping()(Shapeless())
    ragged = torch.nested.nested_tensor([rows, rows[:1]])
    nn.Linear(2, 2)(ragged)
    sys.stdout.write("fine\n")


PROGRAMS: dict[str, Callable[[], None]] = {
    program.__name__: program
    for program in (fork, spawn, workers, compiled, killed, odd)
}

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]]()
