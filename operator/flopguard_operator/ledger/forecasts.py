"""Say what a noted forecast means: which lines it crosses, and whether it holds. Pure.

The operator decides by these functions and the verifier replays them, so that a hold
for a forecast is justified by the entry that it stands on.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction

from flopguard_operator.flops import display
from flopguard_operator.ledger.accounts import Account, totals
from flopguard_operator.ledger.entries import ForecastNoted
from flopguard_operator.ledger.policies import Noted
from flopguard_operator.policy import reasons
from flopguard_operator.policy.checks import budget_limit, holds
from flopguard_operator.policy.evaluation import is_over
from flopguard_operator.policy.rules import governing
from flopguard_operator.policy.rulesets import Duty, PolicyError, RuleSet
from flopguard_operator.policy.terms import Terms
from flopguard_operator.policy.verdict import HOLD, WARN, Verdict

BREACHES = ("Annotate", "Hold", "Nothing")


@dataclass(frozen=True)
class Limits:
    """What a total is held against, and what has to be done about it in time."""

    budget: int | Fraction | None
    """FLOPs, exact; crossed at it. None where there is no budget."""
    threshold: int | Fraction
    """FLOPs, exact."""
    strict: bool
    """Whether the threshold is crossed only above it."""
    duty: Duty | None
    """What is due within days once it is known that the threshold will be crossed."""

    def crossed(self, total: int) -> tuple[bool, bool]:
        """Return whether a total crosses the budget, and the threshold."""
        over = is_over(total, self.threshold, strict=self.strict)
        return self.budget is not None and total >= self.budget, over

    def opens(self, total: int) -> bool:
        """Say whether a total, once it is known of, sets a term running."""
        return self.duty is not None and self.crossed(total)[1]


def limits(terms: Terms, threshold: int | Fraction, rules: RuleSet) -> Limits:
    """Return the limits of a run.

    Args:
        terms: what it is judged by.
        threshold: the one that governs it, in FLOPs.
        rules: the rule set that says so.
    """
    timed = (
        duty
        for duty in rules.duties
        if duty.within_days is not None and rules.fits(duty.when, terms.base)
    )
    budget = budget_limit(terms.budget, threshold)
    return Limits(budget, threshold, rules.strict, next(timed, None))


def verdict(limits: Limits, noted: ForecastNoted | None, upper: int) -> Verdict | None:
    """Return what a forecast demands: a hold, a warning, or nothing.

    Args:
        limits: of the run.
        noted: its newest forecast.
        upper: FLOPs that it may have spent by now.
    """
    if noted is None or noted.on_breach == "Nothing":
        return None
    over_budget, over_threshold = limits.crossed(noted.expected)
    if over_budget and limits.budget is not None:
        found = (reasons.FORECAST_EXCEEDS_BUDGET, limits.budget, "the budget")
    elif over_threshold:
        name = "the legal threshold"
        found = (reasons.FORECAST_EXCEEDS_THRESHOLD, limits.threshold, name)
    else:
        return None
    action = HOLD if noted.on_breach == "Hold" else WARN
    reason, limit, name = found
    return Verdict(action, reason, 100, limit, _sentence(noted, limit, name), upper)


def hold(account: Account, verdicts: Iterable[Verdict], noted: Noted) -> Verdict | None:
    """Return what holds a run: a line that it has reached, else its forecast.

    Raises:
        PolicyError: the terms cannot be judged by.
    """
    if account.forecast is None or account.terms_set is None:
        return holds(verdicts)
    upper = totals(account).upper
    foreseen = verdict(_limits_of(account, noted), account.forecast, upper)
    return first(verdicts, foreseen)


def first(verdicts: Iterable[Verdict], foreseen: Verdict | None) -> Verdict | None:
    """Return what holds a run: a line that it has reached, else its forecast."""
    waits = foreseen is not None and foreseen.action == HOLD
    return holds(verdicts) or (foreseen if waits else None)


def _limits_of(account: Account, noted: Noted) -> Limits:
    if account.terms_set is None:
        message = "the run has no terms yet"
        raise PolicyError(message)
    terms = account.terms_set
    rules = noted.of(terms)
    threshold = governing(terms.terms.base, rules, terms.day).limit
    return limits(terms.terms, threshold, rules)


def _sentence(noted: ForecastNoted, limit: int | Fraction, line: str) -> str:
    text = (
        f"{told(noted.low, noted.expected, noted.high)}, and {line} is "
        f"{display(limit)}. Plan for less in spec.plan, or agree a higher limit with "
        f"whoever owns compliance"
    )
    if noted.on_breach == "Hold":
        return f"{text}; spec.plan.onForecastBreach: Annotate lets it start."
    return f"{text}."


def told(low: int, expected: int, high: int | None) -> str:
    """Return a total in words: what is expected, and its range."""
    most = "more" if high is None else display(high)
    return f"{display(expected)} ({display(low)} to {most}) FLOPs are expected in all"


def wrong(
    at: str, event: ForecastNoted, account: Account, noted: Noted
) -> Iterator[str]:
    """Yield what is wrong with a noted forecast.

    Args:
        at: when it was noted, RFC 3339.
        event: the forecast.
        account: of its run, before it.
        noted: the ledger's rule sets.
    """
    high = event.expected if event.high is None else event.high
    if not event.low <= event.expected <= high:
        yield "its bounds are not in order"
    if event.on_breach not in BREACHES:
        yield f"what it asks for is none of {', '.join(BREACHES)}"
    if account.terms_set is None:
        yield "the run has no terms yet"
        return
    try:
        found = _limits_of(account, noted)
    except PolicyError:
        return  # said once, where the run is judged
    if found.crossed(event.expected) != (event.crosses_budget, event.crosses_threshold):
        yield "its total crosses other lines than it says"
    known = found.opens(event.expected)
    yield from _first_known(at, event, account.forecast, known=known)


def _first_known(
    at: str, event: ForecastNoted, before: ForecastNoted | None, *, known: bool
) -> Iterator[str]:
    """Yield what is wrong with the date on which a crossing became known."""
    first = before.first_known if before else ""
    if first:
        if event.first_known != first:
            yield "it was known earlier, or later, than the forecast before says"
    elif bool(event.first_known) != known:
        yield "it tells of a notice that nothing opens, or does not tell of one"
    elif event.first_known and not _by(event.first_known, at):
        yield "it was not known by then"


def _by(known: str, at: str) -> bool:
    try:
        return datetime.fromisoformat(known) <= datetime.fromisoformat(at)
    except (TypeError, ValueError):
        return False


def due(duty: Duty, known: str) -> str:
    """Return by when a duty is due, RFC 3339 in UTC; "" where nobody can say.

    Args:
        duty: with the days that there are.
        known: RFC 3339, since when it is known.
    """
    try:
        since = datetime.fromisoformat(known)
        until = since.replace(tzinfo=since.tzinfo or UTC)
        until += timedelta(days=duty.within_days or 0)
        return until.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError):
        return ""
