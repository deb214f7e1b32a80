"""Train a small MLP: torch only, so that it starts fast. The end-to-end tests' job.

Prints one JSON line per finished optimizer step. Its FLOPs per step have a closed
formula: `truth/closed_formula.py`, `mlp_step_flops`.
"""

import argparse
import json
import sys
import time
from itertools import pairwise

import torch
from torch import nn


def main() -> None:
    """Train for the asked number of steps, then exit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--sleep", type=float, default=0.0, help="seconds after a step")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128, 10])
    options = parser.parse_args(sys.argv[1:])
    torch.manual_seed(0)
    model = build(options.sizes)
    optimizer = torch.optim.AdamW(model.parameters())
    for step in range(1, options.steps + 1):
        loss = model(torch.randn(options.batch, options.sizes[0])).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        line = {"step": step, "loss": round(loss.item(), 6)}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
        time.sleep(options.sleep)


def build(sizes: list[int]) -> nn.Sequential:
    """Return linear layers of these sizes with ReLU between them."""
    layers: list[nn.Module] = []
    for wide, narrow in pairwise(sizes):
        layers += [nn.Linear(wide, narrow), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


if __name__ == "__main__":
    main()
