"""Name the last saved weights below each line: what a run can go back to. Pure.

Status and report tell of them by this one module.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from flopguard_operator.ledger.entries import WeightsSaved
from flopguard_operator.policy.evaluation import PolicyVerdict

NEAR_PERCENT = 90  # of a line
BUDGET, PROGRAM_BUDGET = "budget", "program budget"


@dataclass(frozen=True)
class Spent:
    """What a run, or all others of its program, may have spent, and its limits."""

    upper: int
    """FLOPs; a budget is held against all of them."""
    policies: tuple[PolicyVerdict, ...] = ()
    """What each policy counts of it, and its limit."""
    budget: int | Fraction | None = None
    """Of the run, or of its program."""


@dataclass(frozen=True)
class Line:
    """A limit, and what is held against it; all in FLOPs."""

    name: str
    """Of the policy, or `BUDGET` or `PROGRAM_BUDGET`."""
    limit: int | Fraction
    own: int
    others: int = 0
    """What the other runs of the program spent by now."""

    @property
    def is_near(self) -> bool:
        """Whether it is nearly reached, or behind."""
        return 100 * (self.own + self.others) >= NEAR_PERCENT * self.limit


@dataclass(frozen=True)
class WayBack:
    """The last weights below a line; None where there are none."""

    line: Line
    saved: WeightsSaved | None


def ways_back(
    lines: Collection[Line],
    saves: Iterable[WeightsSaved],
    *,
    held: bool,
    gone: Collection[str] = (),
) -> tuple[WayBack, ...]:
    """Return the weights to go back to, line by line; nothing before it matters.

    Args:
        lines: of the run.
        saves: its saved weights.
        held: whether it is; else a line has to be near.
        gone: paths of weights that are known not to be there any more.
    """
    if not held and not any(line.is_near for line in lines):
        return ()
    there = tuple(saves)
    return tuple(
        WayBack(line, last_below(there, line.limit - line.others, gone))
        for line in lines
    )


def last_below(
    saves: Iterable[WeightsSaved], line: int | Fraction, gone: Collection[str] = ()
) -> WeightsSaved | None:
    """Return the last weights that were saved below a line and are still there.

    Of a path that was saved to more than once, the newest weights took the place of the
    others.

    Args:
        saves: of the run.
        line: FLOPs of the run. Nobody knows what of a save does not count: it is taken
            to count.
        gone: paths of weights that are not there any more.
    """
    newest: dict[str, WeightsSaved] = {}
    for save in sorted(saves, key=_place):
        newest[save.path] = save
    below = [s for s in newest.values() if s.upper < line and s.path not in gone]
    return max(below, key=_place, default=None)


def _place(save: WeightsSaved) -> tuple[int, int]:
    return save.upper, save.step


def lines_of(run: Spent, siblings: Spent | None = None) -> tuple[Line, ...]:
    """Return the lines of a run: the budgets, then each policy that it is judged by.

    Args:
        run: what it spent.
        siblings: what the other runs of its program did, by the program's terms; None
            without a program. A policy that does not judge them counts all.
    """
    return tuple(_lines(run, siblings or Spent(0)))


def _lines(run: Spent, siblings: Spent) -> Iterator[Line]:
    if run.budget is not None:
        yield Line(BUDGET, run.budget, run.upper)
    if siblings.budget is not None:
        yield Line(PROGRAM_BUDGET, siblings.budget, run.upper, siblings.upper)
    beside = {verdict.policy: verdict for verdict in siblings.policies}
    for mine in run.policies:
        theirs = beside.get(mine.policy)
        limit = min(mine.limit, theirs.limit) if theirs else mine.limit
        others = theirs.counted if theirs else siblings.upper
        yield Line(mine.policy, limit, mine.counted, others)
