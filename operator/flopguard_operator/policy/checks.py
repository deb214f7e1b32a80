"""Judge a run: the checks are a list of named functions, and their order matters.

`upper`, the largest count that may be true, is what is judged, so that an unproven FLOP
never helps a run. A budget is held against all of it, a threshold against what its rule
set counts. Lines that we or the user draw (budgets, warning and holding percentages)
are reached at ≥; the law's own line is crossed at >, as its text says. All comparisons
are exact.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from flopguard_operator.flops import LARGEST, display
from flopguard_operator.policy import evaluation, reasons
from flopguard_operator.policy.rules import Governing, built_in, counted, governing
from flopguard_operator.policy.rulesets import SUM, PolicyError, RuleSet, exact
from flopguard_operator.policy.terms import (
    NOTHING_DECIDED,
    Budget,
    Decided,
    Terms,
    Totals,
)
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
_NOTHING = Totals()


@dataclass(frozen=True)
class Case:
    """What a check sees: the terms, the counts, the two limits in FLOPs, decisions."""

    terms: Terms
    upper: int
    threshold: Governing
    budget: int | Fraction | None
    rules: RuleSet
    counted: int  # of `upper`: what the rule set compares with its threshold
    lines: tuple[evaluation.LineVerdict, ...] = ()
    decided: Decided = NOTHING_DECIDED


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


def stop_decided(case: Case) -> Iterator[Verdict]:
    """Hold what a person decided to stop."""
    if case.decided.stopped:
        text = (
            f"{usage(case.upper, case.threshold.limit)}: {case.decided.stopped}"
            f" To resume, record a later decision to proceed (flopguard decide)."
        )
        limit = case.threshold.limit
        yield Verdict(HOLD, reasons.STOP_DECIDED, 0, limit, text, case.counted)


def owners_missing(case: Case) -> Iterator[Verdict]:
    """Hold, from the start, where nobody answers for a program that asks for it."""
    if case.decided.missing:
        names = ", ".join(case.decided.missing)
        text = (
            f"{names} not named, and spec.requireOwners is set: nothing starts before"
            f" the program names them."
        )
        limit = case.threshold.limit
        yield Verdict(HOLD, reasons.OWNERS_MISSING, 0, limit, text, case.counted)


def budget_breach(case: Case) -> Iterator[Verdict]:
    """Hold at the run's own budget; only warn where `onBreach` is Annotate."""
    budget, limit = case.terms.budget, case.budget
    if budget is None or limit is None or case.upper < limit:
        return
    action = HOLD if budget.on_breach == "Suspend" else WARN
    end = "to resume" if action == HOLD else "to stay within it"
    text = f"{usage(case.upper, limit)}: the budget is spent. {_raise_budget(case)}"
    yield Verdict(
        action, reasons.BUDGET_EXCEEDED, 100, limit, f"{text} {end}.", case.upper
    )


def threshold_hold(case: Case) -> Iterator[Verdict]:
    """Hold where the legal threshold is near; warn or pass as `onApproach` says."""
    approach, limit = case.terms.approach, case.threshold.limit
    line = approach.hold_at_percent
    if approach.on_approach == "Nothing" or not _reached(case.counted, line, limit):
        return
    if case.counted < case.decided.allowed:
        return  # a person who may decide it has looked at it
    action = HOLD if approach.on_approach == "Suspend" else WARN
    text = f"{usage(case.counted, limit)}: {line} % of the legal threshold is reached."
    if action == HOLD:
        text += (
            f" To resume, whoever answers for compliance records a decision to proceed"
            f" to more than {at_least(case.counted)} FLOPs (flopguard decide)."
        )
    else:
        text += " The run goes on, since spec.threshold.onApproach is Annotate."
    yield Verdict(action, reasons.THRESHOLD_APPROACHED, line, limit, text, case.counted)


def threshold_exceeded(case: Case) -> Iterator[Verdict]:
    """Say that the law's own line is crossed, whatever the run chose to do about it."""
    limit = case.threshold.limit
    if not evaluation.is_over(case.counted, limit, strict=case.rules.strict):
        return
    text = (
        f"{usage(case.counted, limit)}: the indicative criterion of policy"
        f" {case.terms.policy} is met. Tell whoever owns compliance;"
        f" see {case.threshold.citation}."
    )
    yield Verdict(WARN, reasons.THRESHOLD_EXCEEDED, 100, limit, text, case.counted)


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
            yield Verdict(
                WARN, reasons.BUDGET_WARNING, line, limit, f"{text} {then}", case.upper
            )


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
        if _reached(case.counted, line, limit):
            text = f"{usage(case.counted, limit)}: {line} % of the legal threshold"
            yield Verdict(
                WARN,
                reasons.THRESHOLD_WARNING,
                line,
                limit,
                f"{text} is reached. {then}",
                case.counted,
            )


def further_lines(case: Case) -> Iterator[Verdict]:
    """Warn as a further line of the rule set nears (1e23, 1e25, 3.3e24), and above."""
    for line in case.lines:
        total = case.counted if line.total is None else line.total
        what = "base and modification" if line.subject == SUM else "the modification"
        text = f"{what}: {usage(total, line.limit)}"
        for near in line.near:
            told = f"{text}: {near} % of a further line is reached. {line.explanation}"
            yield Verdict(WARN, reasons.LINE_NEARS, near, line.limit, told, total)
        if line.state == evaluation.CROSSED:
            told = f"{text}: {line.explanation} See {line.citation}. {line.silent}"
            yield Verdict(
                WARN, reasons.LINE_CROSSED, 100, line.limit, told.strip(), total
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
    yield Verdict(WARN, reasons.BUDGET_ABOVE_THRESHOLD, line, limit, text, case.upper)


# Read from the top: the first hold is the one that is told to the user.
CHECKS: Sequence[Check] = (
    stop_decided,  # a person said stop: nothing else matters
    owners_missing,  # nobody answers for it yet: before the first FLOP
    budget_breach,  # the team's own money is spent: hold
    threshold_hold,  # the law is near: hold before it applies
    threshold_exceeded,  # the law's line is behind us: say so, whatever was chosen
    budget_warn,  # half, most, nearly all of the budget is spent: tell the scientist
    threshold_warn,  # the law comes nearer: tell the scientist
    further_lines,  # what base and modification are together: tell legal
    budget_above_threshold,  # the budget protects from nothing: tell before it matters
)


def nearest(
    terms: Terms, totals: Totals, rules: RuleSet, day: str = ""
) -> tuple[int, int | Fraction]:
    """Return what is compared with the limit that is reached first, and that limit.

    Both in FLOPs. A budget is held against all that may have been executed, the
    threshold against what its rule set counts of it.

    Raises:
        PolicyError: as `evaluate`.
    """
    threshold = governing(terms.base, rules, day).limit
    legal = counted(terms.base, totals, rules, day), threshold
    budget = budget_limit(terms.budget, threshold)
    if budget is None:
        return legal
    own = totals.upper, budget
    return max(own, legal, key=lambda one: (Fraction(one[0]) / one[1], -one[1]))


def evaluate(
    terms: Terms,
    totals: Totals,
    rules: RuleSet | None = None,
    day: str = "",
    decided: Decided = NOTHING_DECIDED,
) -> tuple[Verdict, ...]:
    """Return every line of the policy that `totals` has reached, in policy order.

    Deterministic, and monotone: more FLOPs never remove a verdict.

    Args:
        terms: what the run is judged by.
        totals: what it has spent.
        rules: the rule set that the terms name; None for the built-in one.
        day: ISO 8601, for which the rules are taken; "" for any.
        decided: what people decided beside the terms.

    Raises:
        PolicyError: the terms cannot be judged by; a user's mistake, not ours.
    """
    _require_sane(terms)
    rules = rules or built_in(terms.policy)
    threshold = governing(terms.base, rules, day)
    case = Case(
        terms=terms,
        upper=totals.upper,
        threshold=threshold,
        budget=budget_limit(terms.budget, threshold.limit),
        rules=rules,
        counted=counted(terms.base, totals, rules, day),
        lines=evaluation.lines(rules, terms.base, totals, day),
        decided=decided,
    )
    return tuple(verdict for check in CHECKS for verdict in check(case))


def reached_at(
    terms: Terms,
    totals: Totals = _NOTHING,
    rules: RuleSet | None = None,
    day: str = "",
    decided: Decided = NOTHING_DECIDED,
) -> tuple[int, ...]:
    """Return the upper bounds at which `evaluate` may say something new, ascending.

    Between two of them it says the same, but for the figures in its sentences. What is
    proven not to count under the rule set stays so, so a line of the law lies that much
    higher.

    Raises:
        PolicyError: as `evaluate`.
    """
    _require_sane(terms)
    rules = rules or built_in(terms.policy)
    threshold = governing(terms.base, rules, day).limit
    budget = budget_limit(terms.budget, threshold)
    apart = totals.upper - counted(terms.base, totals, rules, day)
    percents = {100, *terms.approach.warn_at_percent, terms.approach.hold_at_percent}
    legal = {_least(line, threshold) for line in percents} | {int(threshold) + 1}
    if decided.allowed:
        legal.add(decided.allowed)
    lines = {line + apart for line in legal}
    if terms.budget is not None and budget is not None:
        lines.add(_least(100, budget))
        lines |= {_least(line, budget) for line in terms.budget.warn_at_percent}
    return tuple(sorted(lines | set(_further(terms, totals, rules, day))))


def _further(terms: Terms, totals: Totals, rules: RuleSet, day: str) -> Iterator[int]:
    """Yield the upper bounds at which a further line is neared or crossed."""
    for line in evaluation.watched(rules, terms.base, day):
        base = evaluation.added(rules, line, terms.base) or 0
        apart = totals.upper - rules.counted(line.basis, totals) - base
        yield int(line.limit) + 1 + apart
        for percent in line.warn_at_percent:
            yield _least(percent, line.limit) + apart


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
    figures = {
        "spec.baseModel.pretrainingFlops": terms.base.pretraining_flops,
        "the low estimate of the base model": terms.base.estimate_low,
        "the high estimate of the base model": terms.base.estimate_high,
    }
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
