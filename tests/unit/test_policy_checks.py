"""Terms and totals in, verdicts out: exact at each line, and never back over one."""

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flopguard_operator.flops import parse
from flopguard_operator.policy import reasons
from flopguard_operator.policy.checks import budget_limit, evaluate, holds
from flopguard_operator.policy.rules import governing
from flopguard_operator.policy.rulesets import PolicyError
from flopguard_operator.policy.terms import (
    Approach,
    BaseModel,
    Budget,
    Terms,
    Totals,
)
from flopguard_operator.policy.verdict import HOLD, WARN, Verdict, at_least

LIMIT = 33 * 10**21  # governs an unknown base
SILENT = Approach(warn_at_percent=(), on_approach="Nothing")
BUDGET = Budget(max_flops=1000, warn_at_percent=(50, 80))
BUDGETED = Terms(budget=BUDGET, approach=SILENT)
LEGAL = Terms(approach=Approach(warn_at_percent=(20, 50)))


def at(upper: int) -> Totals:
    """Return totals of which nothing is proven but that may be `upper` FLOPs."""
    return Totals(begun=upper)


def lines(verdicts: tuple[Verdict, ...]) -> list[tuple[str, str, int]]:
    """Return action, reason and percentage of each verdict."""
    return [(v.action, v.reason, v.percent) for v in verdicts]


WARNED_50 = (WARN, reasons.BUDGET_WARNING, 50)
WARNED_80 = (WARN, reasons.BUDGET_WARNING, 80)
BREACHED = (HOLD, reasons.BUDGET_EXCEEDED, 100)
NEARED_20 = (WARN, reasons.THRESHOLD_WARNING, 20)
NEARED_50 = (WARN, reasons.THRESHOLD_WARNING, 50)
APPROACHED = (HOLD, reasons.THRESHOLD_APPROACHED, 95)
EXCEEDED = (WARN, reasons.THRESHOLD_EXCEEDED, 100)

VERDICTS = {
    "nothing is said of a run that has not begun": (BUDGETED, 0, []),
    "no budget warning one FLOP below 50 %": (BUDGETED, 499, []),
    "a budget warning at exactly 50 %": (BUDGETED, 500, [WARNED_50]),
    "each percentage that is passed warns": (BUDGETED, 800, [WARNED_50, WARNED_80]),
    "no hold one FLOP below the budget": (BUDGETED, 999, [WARNED_50, WARNED_80]),
    "a budget is spent at exactly its figure": (
        BUDGETED,
        1000,
        [BREACHED, WARNED_50, WARNED_80],
    ),
    "onBreach: Annotate warns of a spent budget and holds nothing": (
        replace(BUDGETED, budget=replace(BUDGET, on_breach="Annotate")),
        1000,
        [(WARN, reasons.BUDGET_EXCEEDED, 100), WARNED_50, WARNED_80],
    ),
    "onWarn: Nothing keeps quiet until the budget is spent": (
        replace(BUDGETED, budget=replace(BUDGET, on_warn="Nothing")),
        1000,
        [BREACHED],
    ),
    "warning percentages are judged in ascending order and once": (
        replace(BUDGETED, budget=replace(BUDGET, warn_at_percent=(80, 50, 80))),
        900,
        [WARNED_50, WARNED_80],
    ),
    "no threshold warning one FLOP below 20 %": (LEGAL, LIMIT // 5 - 1, []),
    "a threshold warning at exactly 20 %": (LEGAL, LIMIT // 5, [NEARED_20]),
    "no hold one FLOP below 95 % of the threshold": (
        LEGAL,
        LIMIT * 95 // 100 - 1,
        [NEARED_20, NEARED_50],
    ),
    "a hold at exactly 95 % of the threshold": (
        LEGAL,
        LIMIT * 95 // 100,
        [APPROACHED, NEARED_20, NEARED_50],
    ),
    "onApproach: Annotate warns at 95 % and holds nothing": (
        Terms(approach=Approach(warn_at_percent=(), on_approach="Annotate")),
        LIMIT * 95 // 100,
        [(WARN, reasons.THRESHOLD_APPROACHED, 95)],
    ),
    "onApproach: Nothing says nothing at 95 %": (
        Terms(approach=SILENT),
        LIMIT * 95 // 100,
        [],
    ),
    "raising holdAtPercent lifts the hold": (
        Terms(approach=Approach(warn_at_percent=(), hold_at_percent=97)),
        LIMIT * 95 // 100,
        [],
    ),
    "the law's line is not crossed at exactly its figure": (
        Terms(approach=SILENT),
        LIMIT,
        [],
    ),
    "the law's line is crossed one FLOP above, and always said": (
        Terms(approach=SILENT),
        LIMIT + 1,
        [EXCEEDED],
    ),
    "a threshold that is no whole number is crossed at the next FLOP": (
        Terms(base=BaseModel(pretraining_flops=10**23 + 1), approach=SILENT),
        3 * 10**22 + 1,
        [EXCEEDED],
    ),
    "a threshold that is no whole number is not crossed just below": (
        Terms(base=BaseModel(pretraining_flops=10**23 + 1), approach=SILENT),
        3 * 10**22,
        [],
    ),
    "a budget equal to the threshold is warned of before the first FLOP": (
        Terms(budget=Budget(max_flops=LIMIT), approach=SILENT),
        0,
        [(WARN, reasons.BUDGET_ABOVE_THRESHOLD, 100)],
    ),
    "a budget one FLOP below the threshold is not": (
        Terms(budget=Budget(max_flops=LIMIT - 1), approach=SILENT),
        0,
        [],
    ),
    "a budget of 150 % of the threshold is named as such": (
        Terms(budget=Budget(percent_of_threshold=150), approach=SILENT),
        0,
        [(WARN, reasons.BUDGET_ABOVE_THRESHOLD, 150)],
    ),
    "a budget in percent of the threshold is spent at exactly that part": (
        Terms(
            budget=Budget(percent_of_threshold=10, warn_at_percent=()), approach=SILENT
        ),
        LIMIT // 10,
        [BREACHED],
    ),
    "a budget in percent of the threshold is not spent just below": (
        Terms(
            budget=Budget(percent_of_threshold=10, warn_at_percent=()), approach=SILENT
        ),
        LIMIT // 10 - 1,
        [],
    ),
}


@pytest.mark.parametrize(
    ("terms", "upper", "expected"), VERDICTS.values(), ids=VERDICTS.keys()
)
def test_verdicts(
    terms: Terms, upper: int, expected: list[tuple[str, str, int]]
) -> None:
    """Each line of the policy is reached where the table says, to the FLOP."""
    assert lines(evaluate(terms, at(upper))) == expected


def test_verdict_is_judged_on_the_upper_bound() -> None:
    """Work that has begun counts, though nothing of it is proven to be done."""
    unproven = Totals(done={"forward": 1}, begun=1000)

    assert holds(evaluate(BUDGETED, unproven)) is not None


def test_budget_hold_is_told_before_the_threshold_hold() -> None:
    """With two holds the first of the policy's order governs."""
    terms = Terms(budget=Budget(max_flops=LIMIT // 2))

    hold = holds(evaluate(terms, at(LIMIT)))

    assert hold is not None
    assert hold.reason == reasons.BUDGET_EXCEEDED


MESSAGES = {
    "a spent budget": (
        Terms(budget=Budget(max_flops=10**22, warn_at_percent=()), approach=SILENT),
        "1.0201e22",
        (
            "used 1.02e22 of 1e22 FLOPs (102.01 %): the budget is spent."
            " Raise spec.budget.maxFlops above 1.03e22 to resume."
        ),
    ),
    "a spent budget in percent of the threshold": (
        Terms(
            budget=Budget(percent_of_threshold=10, warn_at_percent=()), approach=SILENT
        ),
        "3.4e21",
        (
            "used 3.4e21 of 3.3e21 FLOPs (103.03 %): the budget is spent."
            " Raise spec.budget.percentOfThreshold to 11 or more to resume."
        ),
    ),
    "a spent budget that no percentage of the threshold can cover": (
        Terms(
            budget=Budget(percent_of_threshold=90, warn_at_percent=()), approach=SILENT
        ),
        "3.3e22",
        (
            "used 3.3e22 of 2.97e22 FLOPs (111.11 %): the budget is spent. Replace"
            " spec.budget.percentOfThreshold by spec.budget.maxFlops above 3.3e22"
            " to resume."
        ),
    ),
    "a budget warning": (
        Terms(budget=Budget(max_flops=10**22, warn_at_percent=(50,)), approach=SILENT),
        "5.01e21",
        (
            "used 5.01e21 of 1e22 FLOPs (50.10 %): 50 % of the budget is reached."
            " The run is suspended at 100 %."
        ),
    ),
    "a held approach": (
        Terms(approach=Approach(warn_at_percent=())),
        "3.17e22",
        (
            "used 3.17e22 of 3.3e22 FLOPs (96.06 %): 95 % of the legal threshold is"
            " reached. To resume, whoever answers for compliance records a decision to"
            " proceed to more than 3.17e22 FLOPs (flopguard decide)."
        ),
    ),
    "a budget that is no protection": (
        Terms(budget=Budget(max_flops=10**24), approach=SILENT),
        "0",
        (
            "the budget of 1e24 FLOPs is not below the governing threshold of 3.3e22"
            " FLOPs, so it does not protect from it. Lower spec.budget, or check"
            " spec.baseModel."
        ),
    ),
}


@pytest.mark.parametrize(
    ("terms", "used", "message"), MESSAGES.values(), ids=MESSAGES.keys()
)
def test_message_says_figure_and_next_step(
    terms: Terms, used: str, message: str
) -> None:
    """A scientist reads what was used, of what, and what to do now."""
    (verdict,) = evaluate(terms, at(parse(used)))

    assert verdict.message == message


INSANE = {
    "a policy that does not exist": Terms(policy="strictest"),
    "a budget of nothing": Terms(budget=Budget(max_flops=0)),
    "a negative budget": Terms(budget=Budget(max_flops=-1)),
    "a budget beyond every figure": Terms(budget=Budget(max_flops=10**4300)),
    "a budget of 0 % of the threshold": Terms(budget=Budget(percent_of_threshold=0)),
    "a warning at 0 %": Terms(approach=Approach(warn_at_percent=(0,))),
    "a hold at -5 %": Terms(approach=Approach(hold_at_percent=-5)),
    "a base model of zero FLOPs": Terms(base=BaseModel(pretraining_flops=0)),
}


@pytest.mark.parametrize("terms", INSANE.values(), ids=INSANE.keys())
def test_hostile_terms_are_one_named_error(terms: Terms) -> None:
    """A ledger file may say anything; judging it never ends in another exception."""
    with pytest.raises(PolicyError):
        evaluate(terms, at(10**25))


percents = st.integers(1, 300)
flops = st.integers(1, 10**30)
budgets = st.none() | st.builds(
    Budget,
    max_flops=flops,
    warn_at_percent=st.lists(percents, max_size=4).map(tuple),
    on_warn=st.sampled_from(["Annotate", "Nothing"]),
    on_breach=st.sampled_from(["Suspend", "Annotate"]),
)
shares = st.builds(Budget, percent_of_threshold=percents)
terms_of_any_kind = st.builds(
    Terms,
    base=st.builds(
        BaseModel, pretraining_flops=st.none() | flops, systemic_risk=st.booleans()
    ),
    budget=budgets | shares,
    approach=st.builds(
        Approach,
        warn_at_percent=st.lists(percents, max_size=4).map(tuple),
        hold_at_percent=percents,
        on_approach=st.sampled_from(["Suspend", "Annotate", "Nothing"]),
    ),
)


@given(terms=terms_of_any_kind, upper=st.integers(0, 10**32), more=st.integers(0))
def test_more_flops_never_remove_a_verdict(terms: Terms, upper: int, more: int) -> None:
    """Verdicts are monotone: a hold cannot be escaped by spending more."""
    before = {(v.action, *key(v)) for v in evaluate(terms, at(upper))}
    after = {(v.action, *key(v)) for v in evaluate(terms, at(upper + more))}

    assert before <= after


@given(terms=terms_of_any_kind, upper=st.integers(0, 10**32))
def test_verdicts_are_told_apart_by_reason_percent_and_limit(
    terms: Terms, upper: int
) -> None:
    """The ledger records each line once, by this key; two lines never share it."""
    keys = [key(verdict) for verdict in evaluate(terms, at(upper))]

    assert len(set(keys)) == len(keys)


@given(terms=terms_of_any_kind)
def test_budget_breach_is_exact(terms: Terms) -> None:
    """The least whole number of FLOPs at or above the budget breaches it."""
    limit = budget_limit(terms.budget, governing(terms.base).limit)
    if limit is None:
        assert terms.budget is None
        return
    line = -(-Fraction(limit).numerator // Fraction(limit).denominator)
    found = [
        any(v.reason == reasons.BUDGET_EXCEEDED for v in evaluate(terms, at(upper)))
        for upper in (line - 1, line)
    ]

    assert found == [False, True]


@given(flops=st.integers(0, 10**33))
def test_advised_figure_is_never_below_what_was_used(flops: int) -> None:
    """Whoever follows the advice resumes; the figure is at most 1 % above."""
    advised = parse_advice(at_least(flops))

    assert flops <= advised <= flops + flops // 100 + 1


def key(verdict: Verdict) -> tuple[str, int, int | Fraction]:
    """Return what identifies a verdict in the ledger."""
    return verdict.reason, verdict.percent, verdict.limit


def parse_advice(text: str) -> int:
    """Return the FLOPs of an advised figure, also above the API's largest."""
    mantissa, _, exponent = text.partition("e")
    return int(Fraction(mantissa) * 10 ** int(exponent or 0))
