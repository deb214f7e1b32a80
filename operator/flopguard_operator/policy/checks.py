"""Judge a run: the policy is a list of named functions, and their order is the policy.

`upper`, the largest count that may be true, is what is judged, so that an unproven FLOP
never helps a run. Lines that we or the user draw (budgets, warning and holding
percentages) are reached at ≥; the law's own line is crossed at >, as its text says.
All comparisons are exact.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from flopguard_operator.flops import LARGEST, display
from flopguard_operator.policy import reasons
from flopguard_operator.policy.rules import Governing, PolicyError, exact, governing
from flopguard_operator.policy.terms import Budget, Terms, Totals
from flopguard_operator.policy.verdict import (
    HOLD,
    WARN,
    Verdict,
    at_least,
    next_percent,
    usage,
)

_LARGEST_SHARE = 100  # of the threshold, in spec.budget; the API refuses more
_LARGEST_PERCENT = 1_000_000  # a bound for hostile input, not a choice


@dataclass(frozen=True)
class Case:
    """What a check sees: the terms, the count, and the two limits in FLOPs."""

    terms: Terms
    upper: int
    threshold: Governing
    budget: int | Fraction | None


Check = Callable[[Case], Iterable[Verdict]]


def budget_limit(
    budget: Budget | None, threshold: int | Fraction
) -> int | Fraction | None:
    """Return the budget in FLOPs, exact; None where no budget is set.

    With both forms given, the smaller governs.
    """
    if budget is None:
        return None
    limits: list[int | Fraction] = []
    if budget.max_flops is not None:
        limits.append(budget.max_flops)
    if budget.percent_of_threshold is not None:
        part = Fraction(budget.percent_of_threshold, 100) * Fraction(threshold)
        limits.append(exact(part))
    return min(limits, default=None)


def budget_breach(case: Case) -> Iterator[Verdict]:
    """Hold at the run's own budget; only warn where `onBreach` is Annotate."""
    budget, limit = case.terms.budget, case.budget
    if budget is None or limit is None or case.upper < limit:
        return
    action = HOLD if budget.on_breach == "Suspend" else WARN
    end = "to resume" if action == HOLD else "to stay within it"
    text = f"{usage(case.upper, limit)}: the budget is spent. {_raise_budget(case)}"
    yield Verdict(action, reasons.BUDGET_EXCEEDED, 100, limit, f"{text} {end}.")


def threshold_hold(case: Case) -> Iterator[Verdict]:
    """Hold where the legal threshold is near; warn or pass as `onApproach` says."""
    approach, limit = case.terms.approach, case.threshold.limit
    line = approach.hold_at_percent
    if approach.on_approach == "Nothing" or not _reached(case.upper, line, limit):
        return
    action = HOLD if approach.on_approach == "Suspend" else WARN
    text = f"{usage(case.upper, limit)}: {line} % of the legal threshold is reached."
    if action == HOLD:
        least = next_percent(case.upper, limit)
        text += (
            f" To resume, agree it with whoever owns compliance, then raise"
            f" spec.threshold.holdAtPercent to {least} or more, or set"
            f" spec.threshold.onApproach to Annotate."
        )
    else:
        text += " The run goes on, since spec.threshold.onApproach is Annotate."
    yield Verdict(action, reasons.THRESHOLD_APPROACHED, line, limit, text)


def threshold_exceeded(case: Case) -> Iterator[Verdict]:
    """Say that the law's own line is crossed, whatever the run chose to do about it."""
    limit = case.threshold.limit
    if case.upper <= limit:
        return
    text = (
        f"{usage(case.upper, limit)}: the indicative criterion of policy"
        f" {case.terms.policy} is met. Tell whoever owns compliance;"
        f" see {case.threshold.citation}."
    )
    yield Verdict(WARN, reasons.THRESHOLD_EXCEEDED, 100, limit, text)


def budget_warn(case: Case) -> Iterator[Verdict]:
    """Warn at each percentage of the budget that the user named."""
    budget, limit = case.terms.budget, case.budget
    if budget is None or limit is None or budget.on_warn != "Annotate":
        return
    then = (
        "The run is suspended at 100 %."
        if budget.on_breach == "Suspend"
        else "The run goes on at 100 %, since spec.budget.onBreach is Annotate."
    )
    for line in _ascending(budget.warn_at_percent):
        if _reached(case.upper, line, limit):
            text = f"{usage(case.upper, limit)}: {line} % of the budget is reached."
            yield Verdict(WARN, reasons.BUDGET_WARNING, line, limit, f"{text} {then}")


def threshold_warn(case: Case) -> Iterator[Verdict]:
    """Warn at each percentage of the legal threshold that the user named."""
    approach, limit = case.terms.approach, case.threshold.limit
    then = (
        f"The run is suspended at {approach.hold_at_percent} %."
        if approach.on_approach == "Suspend"
        else f"The run goes on, since spec.threshold.onApproach is"
        f" {approach.on_approach}."
    )
    for line in _ascending(approach.warn_at_percent):
        if _reached(case.upper, line, limit):
            text = f"{usage(case.upper, limit)}: {line} % of the legal threshold"
            yield Verdict(
                WARN,
                reasons.THRESHOLD_WARNING,
                line,
                limit,
                f"{text} is reached. {then}",
            )


def budget_above_threshold(case: Case) -> Iterator[Verdict]:
    """Warn, from the start, of a budget that does not keep a run below the law."""
    budget, limit = case.budget, case.threshold.limit
    if budget is None or budget < limit:
        return
    text = (
        f"the budget of {display(budget)} FLOPs is not below the governing threshold"
        f" of {display(limit)} FLOPs, so it does not protect from it. Lower"
        f" spec.budget, or check spec.baseModel."
    )
    line = int(Fraction(budget) * 100 / limit)
    yield Verdict(WARN, reasons.BUDGET_ABOVE_THRESHOLD, line, limit, text)


# Read from the top: the first hold is the one that is told to the user.
CHECKS: Sequence[Check] = (
    budget_breach,  # the team's own money is spent: hold
    threshold_hold,  # the law is near: hold before it applies
    threshold_exceeded,  # the law's line is behind us: say so, whatever was chosen
    budget_warn,  # half, most, nearly all of the budget is spent: tell the scientist
    threshold_warn,  # the law comes nearer: tell the scientist
    budget_above_threshold,  # the budget protects from nothing: tell before it matters
)


def evaluate(terms: Terms, totals: Totals) -> tuple[Verdict, ...]:
    """Return every line of the policy that `totals` has reached, in policy order.

    Deterministic, and monotone in the totals: more FLOPs never remove a verdict.

    Raises:
        PolicyError: the terms cannot be judged by; a user's mistake, not ours.
    """
    _require_sane(terms)
    threshold = governing(terms.base, terms.policy)
    case = Case(
        terms=terms,
        upper=totals.upper,
        threshold=threshold,
        budget=budget_limit(terms.budget, threshold.limit),
    )
    return tuple(verdict for check in CHECKS for verdict in check(case))


def reached_at(terms: Terms) -> tuple[int, ...]:
    """Return the totals (FLOPs) at which `evaluate` may say something new, ascending.

    Between two of them it says the same, but for the figures in its sentences.

    Raises:
        PolicyError: as `evaluate`.
    """
    _require_sane(terms)
    threshold = governing(terms.base, terms.policy).limit
    budget = budget_limit(terms.budget, threshold)
    lines = {_least(100, threshold), int(threshold) + 1}
    lines |= {_least(line, threshold) for line in terms.approach.warn_at_percent}
    lines.add(_least(terms.approach.hold_at_percent, threshold))
    if terms.budget is not None and budget is not None:
        lines.add(_least(100, budget))
        lines |= {_least(line, budget) for line in terms.budget.warn_at_percent}
    return tuple(sorted(lines))


def holds(verdicts: Iterable[Verdict]) -> Verdict | None:
    """Return the verdict that holds the run, the first in policy order, or None."""
    return next((verdict for verdict in verdicts if verdict.action == HOLD), None)


def _reached(upper: int, line: int, limit: int | Fraction) -> bool:
    """Return whether `upper` is at least `line` percent of `limit`, exactly."""
    return upper * 100 >= line * limit


def _least(line: int, limit: int | Fraction) -> int:
    """Return the least total that is at least `line` percent of `limit`."""
    return math.ceil(Fraction(line * limit) / 100)


def _ascending(lines: Iterable[int]) -> list[int]:
    return sorted(set(lines))


def _raise_budget(case: Case) -> str:
    """Return how to raise the budget above what is used, up to "… to resume"."""
    budget = case.terms.budget
    if budget is not None and budget.max_flops is None:
        least = next_percent(case.upper, case.threshold.limit)
        if least <= _LARGEST_SHARE:
            return f"Raise spec.budget.percentOfThreshold to {least} or more"
        figure = f"spec.budget.maxFlops above {at_least(case.upper)}"
        return f"Replace spec.budget.percentOfThreshold by {figure}"
    return f"Raise spec.budget.maxFlops above {at_least(case.upper)}"


def _require_sane(terms: Terms) -> None:
    """Refuse figures that no manifest can carry but a hostile ledger file can."""
    figures = {"spec.baseModel.pretrainingFlops": terms.base.pretraining_flops}
    percents = {
        "spec.threshold.warnAtPercent": terms.approach.warn_at_percent,
        "spec.threshold.holdAtPercent": (terms.approach.hold_at_percent,),
    }
    if terms.budget is not None:
        figures["spec.budget.maxFlops"] = terms.budget.max_flops
        percents["spec.budget.warnAtPercent"] = terms.budget.warn_at_percent
        part = terms.budget.percent_of_threshold
        percents["spec.budget.percentOfThreshold"] = () if part is None else (part,)
    for name, figure in figures.items():
        if figure is not None and not 0 < figure <= LARGEST:
            message = f"{name} has to be above 0 and at most 1e30 FLOPs"
            raise PolicyError(message)
    for name, values in percents.items():
        if not all(0 < value <= _LARGEST_PERCENT for value in values):
            message = f"{name} has to be above 0 percent"
            raise PolicyError(message)
