"""A checkpointed model whose backward the backend on the command line compiles."""

import contextlib
import sys
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

STEPS = 4


def main(backend: str) -> None:
    """Train for a few steps.

    Args:
        backend: Of torch.compile; empty to run the backward as it is.
    """
    inner = nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 8))
    head = nn.Linear(8, 4)

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.head = inner, head

        def forward(self, rows: torch.Tensor) -> Any:
            """Run the inner layers again in backward."""
            return self.head(checkpoint(self.inner, rows, use_reentrant=False))

    model = Model()
    for _ in range(STEPS):
        loss = model(torch.ones(5, 8)).sum()
        with _compiled(backend):
            loss.backward()
        model.zero_grad()


def _compiled(backend: str) -> Any:
    if not backend:
        return contextlib.nullcontext()
    from torch._dynamo import compiled_autograd

    older: Any = getattr(compiled_autograd, "enable", None)  # before torch 2.6
    enable = getattr(compiled_autograd, "_enable", older)
    return enable(torch.compile(backend=backend))


if __name__ == "__main__":
    main(sys.argv[1])
