"""Say when a forecast is news: what the ledger notes, and what the notice stands on.

A forecast is noted when it says something else than the last one: another line, another
wish, or figures that moved by more than a tenth. Pure.
"""

from dataclasses import dataclass, replace

from flopguard_operator.forecast.outlook import MEASURED, Outlook, Total
from flopguard_operator.ledger.entries import ForecastNoted, RunRef
from flopguard_operator.ledger.forecasts import Limits

ANNOTATE, HOLD, NOTHING = "Annotate", "Hold", "Nothing"
_TENTH = 10  # a figure is another once it moved by more than one part in so many
_MOST_ASSUMED = 4_000  # characters


@dataclass(frozen=True)
class Foreseen:
    """What is to be expected of a run, as of one moment."""

    now: str  # RFC 3339, UTC, milliseconds
    outlook: Outlook
    on_breach: str = ANNOTATE
    why_not: str = ""  # why there is no total


def news(
    run: RunRef,
    limits: Limits,
    foreseen: Foreseen | None,
    upper: int,
    before: ForecastNoted | None,
) -> ForecastNoted | None:
    """Return the forecast to note, or None where nothing has changed that matters.

    Without a total there is nothing to note, unless what is spent alone crosses a line
    that has to be notified of, or a forecast that was noted before is withdrawn.
    """
    if foreseen is None:
        return None
    total = foreseen.outlook.total
    known = total is not None
    if total is None:
        total = Total(upper, upper, None, MEASURED)
    made = _noted(run, limits, foreseen, total, before)
    if before is None:
        return made if known or made.first_known else None
    return made if _differs(made, before) else None


def _noted(
    run: RunRef,
    limits: Limits,
    foreseen: Foreseen,
    total: Total,
    before: ForecastNoted | None,
) -> ForecastNoted:
    over_budget, over_threshold = limits.crossed(total.expected)
    first = before.first_known if before else ""
    if not first and limits.opens(total.expected):
        first = foreseen.now
    return ForecastNoted(
        run=run,
        basis=total.basis,
        low=total.low,
        expected=total.expected,
        high=total.high,
        crosses_budget=over_budget,
        crosses_threshold=over_threshold,
        on_breach=foreseen.on_breach,
        first_known=first,
        assumptions="\n".join(total.assumptions)[:_MOST_ASSUMED],
    )


def _differs(made: ForecastNoted, before: ForecastNoted) -> bool:
    """Say whether a forecast tells anything that the one before does not."""
    figures = {"low": 0, "expected": 0, "high": None, "assumptions": ""}
    if replace(made, **figures) != replace(before, **figures):  # type: ignore[arg-type]  # the fields have these types
        return True
    if made.basis == MEASURED:
        return False  # it only grows
    pairs = (
        (made.low, before.low),
        (made.expected, before.expected),
        (made.high, before.high),
    )
    return any(_moved(now, was) for now, was in pairs)


def _moved(now: int | None, was: int | None) -> bool:
    if now is None or was is None:
        return now is not was
    return _TENTH * abs(now - was) > was
