"""Train a small transformer in one of the ways that histories are recorded of.

Runs in the train environment, with the hook armed; `python trainer.py KIND STEPS FILE`.
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

WIDTH, ROWS, LENGTH = 128, 4, 64
EVERY = 40  # steps between two saves
BURST = 15  # steps with large batches, after twice as many with small ones


def model() -> nn.Module:
    """Return two layers of an encoder and a head."""
    layer = nn.TransformerEncoderLayer(WIDTH, 4, 4 * WIDTH, batch_first=True)
    return nn.Sequential(nn.TransformerEncoder(layer, 2), nn.Linear(WIDTH, 512))


def waits(kind: str, step: int) -> float:
    """Return the seconds that pass before a step, without any work."""
    if kind == "slowing":  # the data come slower and slower
        return step / 40_000
    if kind == "pauses" and step % 110 == 109:
        return 2.0 + step % 3
    return 0.0


def rows(kind: str, step: int) -> int:
    """Return the rows of a step's batch."""
    bursts = kind == "bursts" and step // BURST % 3 == 1
    return ROWS * 3 if bursts else ROWS


def main(kind: str, steps: int, file: Path) -> None:
    """Train up to `steps`, from the last saved step on."""
    torch.manual_seed(1)
    torch.set_num_threads(1)
    net = model()
    optimizer = torch.optim.AdamW(net.parameters())
    done = int(file.read_text()) if file.exists() else 0
    for step in _left(done, steps):
        time.sleep(waits(kind, step))
        out = net(torch.randn(rows(kind, step), LENGTH, WIDTH))
        out.square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        if step % EVERY == EVERY - 1:
            file.write_text(str(step + 1))


def _left(done: int, steps: int) -> Iterator[int]:
    yield from range(done, steps)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
