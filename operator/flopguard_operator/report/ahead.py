"""Say what is to come, as of the ledger's last entry: when each line is reached.

By the pace of the entries, with an interval that holds the truth in 90 of 100 cases;
what the operator forecast of the total stands beside it.
"""

from collections.abc import Iterable
from fractions import Fraction

from flopguard_operator.flops import display
from flopguard_operator.forecast.history import Track, milliseconds
from flopguard_operator.forecast.outlook import Reach, reaches
from flopguard_operator.ledger.entries import Entry, ForecastNoted
from flopguard_operator.report.moments import moment

_LINES = ("budget", "threshold")


def expected(
    entries: Iterable[Entry],
    last_at: str,
    upper: int,
    budget: int | Fraction | None,
    threshold: int | Fraction | None,
) -> tuple[Reach, ...]:
    """Return when budget and threshold are reached, nearest first, since 1970.

    Args:
        entries: of something that still runs, in order.
        last_at: time of the last of them, RFC 3339.
        upper: FLOPs that it may have spent.
        budget: FLOPs, None where there is none.
        threshold: FLOPs, None where it is not judged.
    """
    now = milliseconds(last_at)
    lines = [
        (name, flops)
        for name, flops in zip(_LINES, (budget, threshold), strict=True)
        if flops is not None
    ]
    if now is None or not lines:
        return ()
    track = Track()
    for entry in entries:
        track.take(entry)
    found = reaches(track.until(now, upper), lines)
    return tuple(each.after(now) for each in found)


def in_words(found: Iterable[Reach], noted: ForecastNoted | None) -> tuple[str, ...]:
    """Return the forecasts as sentences; none where there is nothing to say."""
    told = [
        f"Forecast: at the pace so far the {each.line} is reached on"
        f" {moment(each.at)} UTC; with 90 % between {moment(each.earliest)} and"
        f" {moment(each.latest)}."
        for each in found
    ]
    if noted is not None:
        told.append(_total(noted))
    return tuple(told)


def _total(noted: ForecastNoted) -> str:
    """Return what the operator noted of the total."""
    most = "no upper bound" if noted.high is None else f"at most {display(noted.high)}"
    crossed = [
        line
        for line, is_crossed in (
            ("budget", noted.crosses_budget),
            ("threshold", noted.crosses_threshold),
        )
        if is_crossed
    ]
    told = (
        f"Forecast of the whole run as last noted: {display(noted.expected)} FLOPs, at"
        f" least {display(noted.low)}, {most} ({noted.basis})"
    )
    lines = " and the ".join(crossed)
    return f"{told}; it crosses the {lines}." if crossed else f"{told}."
