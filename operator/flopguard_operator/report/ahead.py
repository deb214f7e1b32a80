"""Say what is to come, as of the ledger's last entry: when each line is reached.

By the pace of the entries, with an interval that holds the truth in 90 of 100 cases;
what the operator forecast of the total stands beside it.
"""

from collections.abc import Iterable
from fractions import Fraction

from flopguard_operator.flops import display
from flopguard_operator.forecast import together
from flopguard_operator.forecast.history import Track, milliseconds
from flopguard_operator.forecast.outlook import MEASURED, Reach, Total, reaches
from flopguard_operator.forecast.together import Part
from flopguard_operator.ledger.entries import Entry, ForecastNoted
from flopguard_operator.ledger.forecasts import limits
from flopguard_operator.report.facts import RunFacts, SubjectFacts
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


def of_runs(spent: int, runs: Iterable[RunFacts]) -> Total | None:
    """Return what a program will have cost, by what was noted of its runs last.

    Args:
        spent: FLOPs that it may have spent.
        runs: that belong to it.
    """
    parts = [
        Part(run.totals.upper, of_run(run.account.forecast))
        for run in runs
        if not run.attempts or any(not one.mark.final for one in run.attempts)
    ]
    return together.total(spent, parts)[0]


def of_run(noted: ForecastNoted | None) -> Total | None:
    """Return the total noted of a run; None where the note is that there is none."""
    if noted is None or (noted.basis == MEASURED and noted.high is None):
        return None
    return Total(noted.low, noted.expected, noted.high, noted.basis)


def in_words(subject: SubjectFacts) -> tuple[str, ...]:
    """Return the forecasts as sentences; none where there is nothing to say."""
    noted, total = subject.account.forecast, subject.expected
    told = [
        f"Forecast: at the pace so far the {each.line} is reached on"
        f" {moment(each.at)} UTC; with 90 % between {moment(each.earliest)} and"
        f" {moment(each.latest)}."
        for each in subject.reaches
    ]
    if total is not None:
        told += [_of_program(subject, total), *map(_sentence, total.assumptions)]
    if noted is not None:
        told.append(_total(noted))
    return tuple(told)


def _total(noted: ForecastNoted) -> str:
    """Return what the operator noted of the total."""
    total = Total(noted.low, noted.expected, noted.high, noted.basis)
    crossed = noted.crosses_budget, noted.crosses_threshold
    return f"Forecast of the whole run as last noted: {_figures(total, crossed)}"


def _of_program(subject: SubjectFacts, total: Total) -> str:
    """Return what a program will have cost, and which lines that crosses."""
    crossed = (False, False)
    if subject.terms is not None and subject.threshold is not None and subject.laws:
        terms, limit = subject.terms, subject.threshold.limit
        crossed = limits(terms, limit, subject.laws[0]).crossed(total.expected)
    return f"Forecast of the whole program: {_figures(total, crossed)}"


def _figures(total: Total, crossed: tuple[bool, bool]) -> str:
    most = "no upper bound" if total.high is None else f"at most {display(total.high)}"
    lines = " and the ".join(
        line for line, is_crossed in zip(_LINES, crossed, strict=True) if is_crossed
    )
    told = (
        f"{display(total.expected)} FLOPs, at least {display(total.low)}, {most}"
        f" ({total.basis})"
    )
    return f"{told}; it crosses the {lines}." if lines else f"{told}."


def _sentence(assumed: str) -> str:
    return f"{assumed[:1].upper()}{assumed[1:]}."
