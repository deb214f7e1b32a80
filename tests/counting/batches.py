"""Which batches a cell trains on: seeded, so that every way of counting sees the same.

Few sizes come often and some come once: a hook that replays meets known sizes, members
of a family of sizes, and new ones.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """Sequences, and positions of each."""

    batch: int
    length: int


def sizes(steps: int, *, seed: int = 4) -> Sequence[Size]:
    """Draw the size of each batch: three of four from ten sizes, the others anew."""
    draw = random.Random(seed)  # noqa: S311 # a table of sizes, not a secret
    pool = [_any(draw) for _ in range(10)]
    return [
        _any(draw) if draw.random() < 0.25 else draw.choice(pool) for _ in range(steps)
    ]


def _any(draw: random.Random) -> Size:
    return Size(draw.randint(1, 4), draw.randint(6, 48))
