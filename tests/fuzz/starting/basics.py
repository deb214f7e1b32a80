"""What the programs share that run in an interpreter of their own."""

import os
from typing import Any

PROGRAMS: "dict[str, Any]" = {}
FILE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "__main__.py")
SECONDS = 20.0  # how long a program waits for anything


def program(function: Any) -> Any:
    """Register a program under its function's name."""
    PROGRAMS[function.__name__] = function
    return function


def say(*words: object) -> None:
    """Print, at once."""
    print(*words, flush=True)  # it is what programs do


def work(times: int = 2) -> str:
    """Import torch, train a little, and return what came out of it."""
    try:
        import torch
    except ImportError as error:
        return "no torch: " + str(error)
    if not hasattr(torch, "nn"):
        return "a bare torch"
    if not hasattr(torch, "manual_seed"):
        for _ in range(times):
            out = torch.nn.Module()(torch.Tensor(3, 4), torch.Tensor(4, 5))
            torch.autograd._engine_run_backward()
        return str(out.shape)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2))
    rate = torch.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for _ in range(times):
        loss = model(torch.ones(2, 4)).square().sum()
        loss.backward()
        rate.step()
        rate.zero_grad()
        losses.append(float(loss).hex())
    return " ".join(losses)


def pages() -> "list[str]":
    """Return the pages of this run; none without the hook."""
    folder = os.environ.get("FUZZ_PAGES", "")
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return [os.path.join(folder, name) for name in names]
