"""Tell a forecast: the status' part, and the conditions. Pure.

What is noted in the ledger leads; what moved by less than a note is worth is shown as
it is now.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

from flopguard_operator.conditions import FALSE, TRUE, UNKNOWN, Condition
from flopguard_operator.flops import display
from flopguard_operator.forecast.noting import HOLD
from flopguard_operator.forecast.outlook import Reach, Total
from flopguard_operator.forecast.together import Ahead
from flopguard_operator.ledger.entries import ForecastNoted
from flopguard_operator.ledger.forecasts import Limits, due, told
from flopguard_operator.policy import reasons
from flopguard_operator.settling import RunView

EXCEEDS_BUDGET = "ForecastExceedsBudget"
"""True when the expected total of the plan is at or above the budget."""
EXCEEDS_THRESHOLD = "ForecastExceedsThreshold"
"""True when the expected total of the plan is above the legal threshold."""
NOTIFICATION_DUE = "NotificationDue"
"""True once a forecast crosses the threshold on a base model with systemic risk."""

NO_FORECAST, POSSIBLE, BELOW = "NoForecast", "WithinInterval", "BelowAllLines"
NO_BUDGET, FORESEEN = "NoBudget", "CrossingForeseen"
MOST_ASSUMPTIONS, MOST_SENTENCE = 16, 1_024


def crossing(view: RunView) -> Reach | None:
    """Return the nearest line that the run is going to reach, as far as is known.

    A line above all that the whole plan may cost is not in sight.
    """
    if view.foreseen is None:
        return None
    outlook = view.foreseen.outlook
    return _nearest(outlook.reaches, view.limits, outlook.total)


def _nearest(
    reaches: Iterable[Reach], limits: Limits, total: Total | None
) -> Reach | None:
    lines = {"Budget": limits.budget, "Threshold": limits.threshold}
    most = total.high if total else None
    for reach in reaches:
        limit = lines.get(reach.line)
        if limit is not None and (most is None or most >= limit):
            return reach
    return None


def status(view: RunView, noted: ForecastNoted | None) -> dict[str, Any] | None:
    """Return status.forecast in its wire form; None where there is nothing to say.

    Where the forecast holds, nothing but a total counts: the API server's lock asks
    whether the field is there.
    """
    foreseen = view.foreseen
    total = None if foreseen is None else foreseen.outlook.total
    if total is None and view.intent.on_breach == HOLD:
        return None
    wire = {
        **({} if total is None else _total(total)),
        **_dates(crossing(view)),
        **_notice(view, noted),
    }
    return wire or None


def of_program(ahead: Ahead, limits: Limits | None) -> dict[str, Any] | None:
    """Return a program's status.forecast in its wire form; None for nothing to say."""
    total = ahead.total
    wire = {
        **({} if total is None else _total(total)),
        **_dates(None if limits is None else _nearest(ahead.reaches, limits, total)),
    }
    return wire or None


def conditions_of_program(ahead: Ahead, limits: Limits | None) -> list[Condition]:
    """Return the conditions of a program's forecast."""
    if limits is None:
        return []
    total = ahead.total
    over = (False, False) if total is None else limits.crossed(total.expected)
    why_not = f"There is no forecast of the program: {ahead.why_not}."
    lines = ((EXCEEDS_BUDGET, limits.budget), (EXCEEDS_THRESHOLD, limits.threshold))
    reach = _nearest(ahead.reaches, limits, total)
    advice = "Plan for less, or agree a higher limit before it counts."
    if reach is not None:
        advice += f" The {reach.line.lower()} is reached about {instant(reach.at)}."
    return [
        _judged(kind, line, total, crosses=crosses, said=(why_not, advice))
        for (kind, line), crosses in zip(lines, over, strict=True)
    ]


def _total(total: Total) -> dict[str, Any]:
    high = {} if total.high is None else {"high": str(total.high)}
    said = [each[:MOST_SENTENCE] for each in total.assumptions[:MOST_ASSUMPTIONS]]
    return {
        "total": {"low": str(total.low), "expected": str(total.expected), **high},
        "basis": total.basis,
        **({"assumptions": said} if said else {}),
    }


def _dates(reach: Reach | None) -> dict[str, str]:
    if reach is None:
        return {}
    times = {
        "crossesAt": instant(reach.at),
        "crossesAtEarliest": instant(reach.earliest),
        "crossesAtLatest": instant(reach.latest),
    }
    return {"line": reach.line, **{k: v for k, v in times.items() if v}}


def _notice(view: RunView, noted: ForecastNoted | None) -> dict[str, str]:
    duty = view.limits.duty
    if duty is None or noted is None:
        return {}
    if not (noted.first_known and noted.crosses_threshold):
        return {}
    return {"noticeDueAt": due(duty, noted.first_known)}


def instant(milliseconds: int) -> str:
    """Return a time as RFC 3339; "" for one that no calendar has."""
    try:
        when = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
    except OverflowError:
        return ""
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def conditions(view: RunView, noted: ForecastNoted | None) -> list[Condition]:
    """Return the conditions of a forecast; all of them, whatever it says."""
    limits = view.limits
    over = (False, False)
    if noted is not None:
        over = (noted.crosses_budget, noted.crosses_threshold)
    return [
        _exceeds(EXCEEDS_BUDGET, view, limits.budget, crosses=over[0]),
        _exceeds(EXCEEDS_THRESHOLD, view, limits.threshold, crosses=over[1]),
        _due(view, noted),
    ]


def _exceeds(
    kind: str, view: RunView, limit: int | Fraction | None, *, crosses: bool
) -> Condition:
    total = view.foreseen.outlook.total if view.foreseen else None
    said = _missing(view) if total is None else "", _advice(view) if crosses else ""
    return _judged(kind, limit, total, crosses=crosses, said=said)


def _judged(
    kind: str,
    limit: int | Fraction | None,
    total: Total | None,
    *,
    crosses: bool,
    said: tuple[str, str],
) -> Condition:
    """Return the condition of one line.

    Args:
        kind: of the condition.
        limit: FLOPs, None where there is no such line.
        total: that is expected, if anything is.
        crosses: whether it crosses the line.
        said: why there is no total, and what to do where the line is crossed.
    """
    if limit is None:
        return Condition(kind, FALSE, NO_BUDGET, "")
    if total is None:
        return Condition(kind, UNKNOWN, NO_FORECAST, said[0])
    figures = (
        f"{told(total.low, total.expected, total.high)}, by {total.basis}; the line is "
        f"{display(limit)}."
    )
    if crosses:
        return Condition(kind, TRUE, _reason(kind), f"{figures} {said[1]}")
    if total.high is None or total.high >= limit:
        return Condition(kind, UNKNOWN, POSSIBLE, f"{figures} It may be crossed.")
    return Condition(kind, FALSE, BELOW, figures)


def _reason(kind: str) -> str:
    if kind == EXCEEDS_BUDGET:
        return reasons.FORECAST_EXCEEDS_BUDGET
    return reasons.FORECAST_EXCEEDS_THRESHOLD


def _advice(view: RunView) -> str:
    reach = crossing(view)
    when = "" if reach is None else f" It is reached about {instant(reach.at)}."
    return (
        f"Plan for less in spec.plan, or agree a higher limit before it counts.{when}"
    )


def _missing(view: RunView) -> str:
    why = (view.foreseen.why_not if view.foreseen else "") or view.intent.why_not
    text = f"There is no forecast of the total: {why or 'none was made yet'}."
    if view.intent.on_breach == HOLD:
        text += (
            " Until there is one the API server refuses the run's pods, since "
            "spec.plan.onForecastBreach is Hold."
        )
    return text


def _due(view: RunView, noted: ForecastNoted | None) -> Condition:
    """Return whether a notice is due, by the duty that the rule set names."""
    duty = view.limits.duty
    if duty is None or noted is None or not noted.first_known:
        return Condition(NOTIFICATION_DUE, FALSE, "NothingForeseen", "")
    known, until = noted.first_known[:10], due(duty, noted.first_known)[:10]
    if not noted.crosses_threshold:
        text = (
            f"A forecast of {known} crossed the threshold; the present one does not. If"
            f" one does again, {until} stays the date by which it is due: {duty.text}"
        )
        return Condition(NOTIFICATION_DUE, FALSE, "NoLongerForeseen", text)
    text = (
        f"Since {known} it is known that {view.terms.base.name or 'the base model'} "
        f"will be modified beyond the threshold, the indicative criterion. Due by "
        f"{until}, unless whoever owns compliance decides otherwise: {duty.text} "
        f"({duty.article})"
    )
    return Condition(NOTIFICATION_DUE, TRUE, FORESEEN, text)
