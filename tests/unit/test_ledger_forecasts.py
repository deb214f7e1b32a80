"""Forecasts in the ledger: what a forger would have to keep in step."""

import io
from dataclasses import replace
from typing import Any

import pytest

from flopguard_operator.api.rulesets import sources
from flopguard_operator.ledger.entries import (
    Entry,
    Event,
    ForecastNoted,
    HoldReleased,
    HoldSet,
    TermsSet,
)
from flopguard_operator.ledger.export import lines_of
from flopguard_operator.ledger.findings import Report
from flopguard_operator.ledger.forecasts import due, limits
from flopguard_operator.ledger.keys import check_signature
from flopguard_operator.ledger.policies import law
from flopguard_operator.ledger.verify import verify_lines
from flopguard_operator.policy.rules import governing
from flopguard_operator.policy.terms import DEFAULT_POLICY, BaseModel, Budget, Terms
from vectors.ledger_story import JOB, A, Commit, entries, exported

KNOWN = "2026-11-22T00:00:01.000Z"
LINE = 33 * 10**23  # of an unknown base with systemic risk


def terms(*, systemic: bool = False) -> TermsSet:
    """Return terms with a budget of 1,000 FLOPs on an unknown base model."""
    base = BaseModel("example/base", systemic_risk=systemic)
    threshold = governing(base, LAW.rules)
    rule = (str(threshold.limit), threshold.rule, threshold.citation)
    judged = Terms(base=base, budget=Budget(max_flops=1000))
    found = TermsSet(A, 1, "", "batch/v1/Job/sft", judged, *rule)
    return replace(found, policy_digest=LAW.note.digest, day="2026-11-22")


def noted(**fields: Any) -> ForecastNoted:
    """Return a forecast that stays below all lines."""
    entry = ForecastNoted(
        run=A,
        basis="ClosedForm",
        low=400,
        expected=500,
        high=600,
        crosses_budget=False,
        crosses_threshold=False,
        on_breach="Annotate",
        first_known="",
        assumptions="the rank is not given",
    )
    return replace(entry, **fields)


OVER = noted(expected=1000, high=1000, crosses_budget=True)
HELD = replace(OVER, on_breach="Hold")
HOLD = HoldSet(A, "batch/v1/Job/sft", JOB, "ForecastExceedsBudget", False)  # noqa: FBT003 - not suspended by its user
FAR = noted(
    expected=2 * LINE,
    high=None,
    crosses_budget=True,
    crosses_threshold=True,
    first_known=KNOWN,
)


LAW = law(sources()[DEFAULT_POLICY])


def verified(*told: Event) -> Report:
    """Verify a ledger of these events, each committed a second after the other."""
    first = Commit(0, (LAW.note,))
    later = [Commit(second, (event,)) for second, event in enumerate(told, 1)]
    commits = [first, *later]
    written: list[Entry] = entries(commits)
    return verify_lines(lines_of(io.BytesIO(exported(written))), check_signature)


TRUE = {
    "a forecast below all lines": (terms(), noted()),
    "one that crosses the budget": (terms(), OVER),
    "a hold for it, and its release": (
        *(terms(), HELD, HOLD, noted(), HoldReleased(A, JOB, "TermsChanged")),
    ),
    "a notice that stays, whatever comes": (
        *(terms(systemic=True), FAR, noted(first_known=KNOWN), FAR),
    ),
}


@pytest.mark.parametrize("told", TRUE.values(), ids=TRUE.keys())
def test_what_the_operator_notes_verifies(told: tuple[Event, ...]) -> None:
    """The same functions decide, and replay what was decided."""
    report = verified(*told)

    assert [c for c in report.checks if c.outcome != "ok"] == []


WRONG: dict[str, tuple[tuple[Event, ...], str]] = {
    "a budget that is crossed unsaid": (
        (terms(), replace(OVER, crosses_budget=False)),
        "forecasts",
    ),
    "a budget that is not crossed": (
        (terms(), noted(crosses_budget=True)),
        "forecasts",
    ),
    "bounds out of order": ((terms(), noted(low=501)), "forecasts"),
    "an upper bound below what is expected": ((terms(), noted(high=1)), "forecasts"),
    "a wish that there is not": ((terms(), noted(on_breach="Ignore")), "forecasts"),
    "a forecast before the terms": ((noted(),), "forecasts"),
    "a notice that is kept back": (
        (terms(systemic=True), replace(FAR, first_known="")),
        "forecasts",
    ),
    "a notice without systemic risk": ((terms(), FAR), "forecasts"),
    "a notice that is known in the future": (
        (terms(systemic=True), replace(FAR, first_known="2027-01-01T00:00:00.000Z")),
        "forecasts",
    ),
    "a notice that begins anew": (
        (
            terms(systemic=True),
            FAR,
            replace(FAR, first_known="2026-11-22T00:00:02.000Z"),
        ),
        "forecasts",
    ),
    "a notice that is forgotten": ((terms(systemic=True), FAR, noted()), "forecasts"),
    "a hold that no forecast asks for": ((terms(), OVER, HOLD), "holds"),
    "a hold for a forecast that is withdrawn": (
        (terms(), HELD, noted(), HOLD),
        "holds",
    ),
}


@pytest.mark.parametrize(("told", "check"), WRONG.values(), ids=WRONG.keys())
def test_a_forger_contradicts_himself(told: tuple[Event, ...], check: str) -> None:
    """With bytes, tree and signature in order, the replay still finds what is wrong."""
    found = [each.name for each in verified(*told).checks if each.outcome != "ok"]

    assert found == [check]


def test_two_weeks_begin_when_it_is_known() -> None:
    """The duty and its days are the rule set's; without systemic risk there is none."""
    found = limits(terms(systemic=True).terms, LINE, LAW.rules).duty

    assert found is not None
    assert "Art. 52(1)" in found.article
    assert due(found, KNOWN) == "2026-12-06T00:00:01Z"
    assert due(found, "no time") == ""
    assert limits(terms().terms, LINE, LAW.rules).duty is None
