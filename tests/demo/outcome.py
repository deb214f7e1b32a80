"""What the demo has shown: the summary, and the checks that all must hold. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flopguard_operator.ledger.accounts import Account, totals
from flopguard_operator.ledger.entries import Crossing, Entry, HoldSet
from truth.closed_formula import SMOLLM2, Training, llama_step_flops

# The defaults of examples/smollm2-lora/train.py.
TRAINING = Training(batch=2, length=64, rank=8)
STEP_FLOPS = sum(llama_step_flops(SMOLLM2, TRAINING).values())


@dataclass(frozen=True)
class Check:
    """One thing that must have been seen."""

    text: str
    holds: bool


@dataclass(frozen=True)
class Times:
    """When things happened, seconds since the epoch, by this machine's clock."""

    crossing: float  # the ledger's entry
    suspended: float  # spec.suspend seen true by a watch
    pods_gone: float  # the ledger's entry: no pod of the Job is left


def summary(
    account: Account, times: Times, budget: int, ledger: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the figures of summary.json, all once the pods are gone.

    FLOPs are strings of digits; times are seconds.
    """
    total = totals(account)
    return {
        "flops_measured": str(total.measured),
        "flops_upper": str(total.upper),
        "budget": str(budget),
        "overshoot_flops": str(max(0, total.upper - budget)),
        "seconds_crossing_to_suspended": round(times.suspended - times.crossing, 3),
        "seconds_suspended_to_pods_gone": round(times.pods_gone - times.suspended, 3),
        "ledger_size": ledger["size"],
        "ledger_root": ledger["root"],
        "ledger_verified": ledger["verified"],
        "by_category": {name: str(flops) for name, flops in total.done.items()},
    }


def warned(entries: Iterable[Entry]) -> list[int]:
    """Return the percentages of the budget at which the ledger says it warned."""
    crossings = [e.event for e in entries if isinstance(e.event, Crossing)]
    return sorted({c.percent for c in crossings if c.reason == "BudgetWarning"})


def at_the_hold(account: Account, entries: Sequence[Entry], steps: int) -> list[Check]:
    """Return the checks on the first attempt, which was killed in mid-step."""
    total = totals(account)
    low, high = steps * STEP_FLOPS, (steps + 1) * STEP_FLOPS
    holds = [e for e in entries if isinstance(e.event, HoldSet)]
    proven = account.proven
    return [
        Check("warned at 50 % and 80 % of the budget", warned(entries) == [50, 80]),
        Check("suspended once, by flopguard", len(holds) == 1),
        Check("the hold is proven by pods gone", proven is not None),
        Check(
            f"{steps} steps logged: {low:.4e} ≤ measured {total.measured:.4e} ≤ "
            f"upper {total.upper:.4e} ≤ {high:.4e}",
            low <= total.measured <= total.upper <= high,
        ),
    ]


def after_the_resume(
    account: Account, before: Account, steps: Sequence[int], first: int
) -> list[Check]:
    """Return the checks on the second attempt, which ran to its end.

    Args:
        account: of the run at the end.
        before: of the run while it was held.
        steps: the numbers of the steps that the second attempt logged.
        first: the step that it must have begun with.
    """
    spent = totals(account).measured - totals(before).measured
    truth = len(steps) * STEP_FLOPS
    causes = [attempt.cause for attempt in account.attempts]
    return [
        Check(f"resumed from the saved weights, at step {first}", steps[:1] == [first]),
        Check("the attempt is recorded as resumed", causes == ["Started", "Resumed"]),
        Check(
            f"{len(steps)} steps by the closed formula: {truth}, measured {spent}: "
            f"error {spent - truth}",
            spent == truth,
        ),
    ]
