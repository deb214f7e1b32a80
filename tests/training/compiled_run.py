"""Train a small Llama under the deployed hook: `eager`, `whole` or by `layers`."""

import json
import sys

import torch

from training.compiling import compilations
from training.compiling_models import llama


def main(how: str) -> None:
    """Take twelve steps and say what was compiled."""
    torch.manual_seed(0)
    model = llama()
    if how == "layers":
        for layer in model.model.layers:
            layer.compile()
    step = torch.compile(model) if how == "whole" else model
    optimizer = torch.optim.AdamW(model.parameters())
    for _ in range(12):
        ids = torch.randint(0, 64, (2, 16))
        step(input_ids=ids, labels=ids, use_cache=False).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    found = compilations()
    line = {name: found[name] for name in ("graphs", "breaks")}
    sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
