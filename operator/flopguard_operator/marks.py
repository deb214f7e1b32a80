"""Define a mark: the cumulative FLOPs of one stream (one pod), however it was read.

Marks only ever grow and merge by maximum per counter (a grow-only counter, Shapiro et
al. 2011), so duplicates, replays and re-ordering change nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from flopguard_operator.naming import CATEGORIES

# 4,000 pages of 128-bit counters have 44 digits, their steps 24 (docs/formats.md). What
# a reader lets through, the ledger can write: its own bound has room above this one.
MAX_DIGITS = 44
LARGEST_FLOPS = 10**MAX_DIGITS - 1  # of one category
LARGEST_STEPS = 10**24 - 1
_CATEGORIES = frozenset(CATEGORIES)


@dataclass(frozen=True)
class Mark:
    """What one stream has counted so far.

    `begun` is the sum over all categories: work that may have been executed.
    """

    stream: str  # pod UID
    done: Mapping[str, int] = field(default_factory=dict)  # category → FLOPs
    begun: int = 0
    steps: int = 0
    pages: int = 0
    source: str = "prometheus"  # prometheus | sidecar | pod-status
    final: bool = False

    @property
    def measured(self) -> int:
        """FLOPs proven to have been executed, over all categories."""
        return sum(self.done.values())

    @property
    def upper(self) -> int:
        """FLOPs that may have been executed when it was taken."""
        return max(self.begun, self.measured)


def _goes_on(a: Mark, b: Mark) -> bool:
    """Tell at once whether `b` is their maximum: what a newer mark almost always is."""
    done, before = b.done, a.done
    measured = sum(done.values())
    return (
        done.keys() == before.keys() == _CATEGORIES
        and all(done[category] >= flops for category, flops in before.items())
        and b.begun >= a.begun
        and b.begun >= measured
        and b.steps >= a.steps
        and b.pages >= a.pages
        and (b.final, measured) > (a.final, sum(before.values()))
    )


def merge(a: Mark, b: Mark) -> Mark:
    """Return the maximum of two marks of one stream; commutative and idempotent.

    The source is that of the mark that counted more; a final mark's wins.
    """
    if _goes_on(a, b):
        return b
    done = {c: max(a.done.get(c, 0), b.done.get(c, 0)) for c in CATEGORIES}
    ahead = b if (b.final, b.measured) > (a.final, a.measured) else a
    return Mark(
        stream=a.stream,
        done=done,
        begun=max(a.begun, b.begun, sum(done.values())),
        steps=max(a.steps, b.steps),
        pages=max(a.pages, b.pages),
        source=ahead.source,
        final=a.final or b.final,
    )
