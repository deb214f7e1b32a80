"""What the three rule sets say, case by case; every expectation is worked by hand."""

from dataclasses import dataclass, replace
from fractions import Fraction

import pytest

from flopguard_operator.policy.evaluation import (
    BELOW,
    CROSSED,
    UNSAID,
    judge,
    side_by_side,
)
from flopguard_operator.policy.pretraining import by_architecture, merged
from flopguard_operator.policy.terms import BaseModel, Totals
from flopguard_operator.rulebooks import shipped

TODAY = "2026-11-22"
DEFAULT, GUIDELINES, STRICTEST = (
    "eu-ai-act-30-percent",
    "commission-guidelines-2025",
    "strictest",
)


def number(text: str) -> Fraction:
    """Return "1e23/3" exactly."""
    top, _, below = text.partition("/")
    return Fraction(top) / Fraction(below or 1)


@dataclass(frozen=True)
class Case:
    """A base, a modification, and "limit over|below" of the three rule sets."""

    base: BaseModel
    totals: Totals
    told: tuple[str, str, str]


def disclosed(figure: str, *, systemic: bool = False) -> BaseModel:
    """Return a base model whose provider disclosed its FLOPs."""
    return BaseModel("B", int(number(figure)), "model card", systemic)


def derived(low: str, high: str | None = None, **more: str | bool) -> BaseModel:
    """Return a base model that others have estimated."""
    return BaseModel(
        "B",
        systemic_risk=bool(more.get("systemic")),
        estimate_low=int(number(low)),
        estimate_high=None if high is None else int(number(high)),
        method=str(more.get("method", "derived_6ND")),
    )


UNKNOWN = BaseModel("B")
UNKNOWN_SYSTEMIC = BaseModel("B", systemic_risk=True)


def spent(forward: str, plus: int = 0, **more: str) -> Totals:
    """Return totals with `forward` FLOPs of training, and more by category or gap."""
    done = {"forward": int(number(forward)) + plus}
    done |= {name: int(number(flops)) for name, flops in more.items()}
    gap = done.pop("gap", 0)
    flight = done.pop("flight", 0)
    return Totals(done, sum(done.values()) + flight, gap)


def case(base: BaseModel, totals: Totals, *told: str) -> Case:
    """Return a case; one expectation alone is that of all three rule sets."""
    first, second, third = told * 3 if len(told) == 1 else told
    return Case(base, totals, (first, second, third))


B8E22, B2E23 = disclosed("8e22"), disclosed("2e23")
LLAMA_405B = disclosed("3.8e25", systemic=True)
MOE_ACTIVE = by_architecture(37 * 10**9, 148 * 10**11)  # 671e9 in total
CASES = {
    # The two examples that the product was asked for, and their edges.
    "base 8e22: exactly 3.3e22 does not cross the default, but one third of the base": (
        case(B8E22, spent("3.3e22"), "3.3e22 below", "8e22/3 over", "8e22/3 over")
    ),
    "base 8e22: one FLOP above 3.3e22 crosses the default": case(
        B8E22, spent("3.3e22", 1), "3.3e22 over", "8e22/3 over", "8e22/3 over"
    ),
    "base 8e22: the last whole FLOP below one third crosses nothing": case(
        B8E22,
        spent("26666666666666666666666"),
        "3.3e22 below",
        "8e22/3 below",
        "8e22/3 below",
    ),
    "base 8e22: the first whole FLOP above one third crosses the Guidelines": case(
        B8E22,
        spent("26666666666666666666667"),
        "3.3e22 below",
        "8e22/3 over",
        "8e22/3 over",
    ),
    "base 2e23: exactly 6e22 crosses nothing": case(
        B2E23, spent("6e22"), "6e22 below", "2e23/3 below", "6e22 below"
    ),
    "base 2e23: one FLOP above 6e22 crosses the default": case(
        B2E23, spent("6e22", 1), "6e22 over", "2e23/3 below", "6e22 over"
    ),
    "base 2e23: the last whole FLOP below one third": case(
        B2E23,
        spent("66666666666666666666666"),
        "6e22 over",
        "2e23/3 below",
        "6e22 over",
    ),
    "base 2e23: the first whole FLOP above one third": case(
        B2E23, spent("66666666666666666666667"), "6e22 over", "2e23/3 over", "6e22 over"
    ),
    # The floor of 1e23.
    "a base one FLOP below 1e23 has the substitute, and exactly one third": case(
        disclosed("99999999999999999999999"),
        spent("33333333333333333333333"),
        "3.3e22 over",
        "33333333333333333333333 below",
        "3.3e22 over",
    ),
    "a base of exactly 1e23 has 30 % of it, and 3e22 is not above 3e22": case(
        disclosed("1e23"), spent("3e22"), "3e22 below", "1e23/3 below", "3e22 below"
    ),
    "a base of exactly 1e23, one FLOP above": case(
        disclosed("1e23"), spent("3e22", 1), "3e22 over", "1e23/3 below", "3e22 over"
    ),
    "30 % that is not whole: the FLOP below it": case(
        disclosed("100000000000000000000001"),
        spent("3e22"),
        "300000000000000000000003/10 below",
        "100000000000000000000001/3 below",
        "300000000000000000000003/10 below",
    ),
    "30 % that is not whole: the FLOP above it": case(
        disclosed("100000000000000000000001"),
        spent("3e22", 1),
        "300000000000000000000003/10 over",
        "100000000000000000000001/3 below",
        "300000000000000000000003/10 over",
    ),
    # Far below 1e23: one third is the lowest, and the default says so.
    "Pythia-12B, 2.16e22: one third is 7.2e21": case(
        disclosed("2.16e22"),
        spent("7.2e21"),
        "3.3e22 below",
        "7.2e21 below",
        "7.2e21 below",
    ),
    "Pythia-12B, one FLOP more": case(
        disclosed("2.16e22"),
        spent("7.2e21", 1),
        "3.3e22 below",
        "7.2e21 over",
        "7.2e21 over",
    ),
    "a tiny base of 3e18 is crossed by a laptop, by the letter of the Guidelines": case(
        disclosed("3e18"), spent("1e18", 1), "3.3e22 below", "1e18 over", "1e18 over"
    ),
    "a base of one FLOP": case(
        disclosed("1"), spent("1"), "3.3e22 below", "1/3 over", "1/3 over"
    ),
    "nothing was spent on a tiny base": case(
        disclosed("3e18"), spent("0"), "3.3e22 below", "1e18 below", "1e18 below"
    ),
    # Unknown bases.
    "an unknown base, 3.3e22 exactly": case(
        UNKNOWN, spent("3.3e22"), "3.3e22 below", "1e23/3 below", "3.3e22 below"
    ),
    "an unknown base, one FLOP above 3.3e22": case(
        UNKNOWN, spent("3.3e22", 1), "3.3e22 over", "1e23/3 below", "3.3e22 over"
    ),
    "an unknown base, the last whole FLOP below 1e23/3": case(
        UNKNOWN,
        spent("33333333333333333333333"),
        "3.3e22 over",
        "1e23/3 below",
        "3.3e22 over",
    ),
    "an unknown base, the first whole FLOP above 1e23/3": case(
        UNKNOWN,
        spent("33333333333333333333334"),
        "3.3e22 over",
        "1e23/3 over",
        "3.3e22 over",
    ),
    "an unknown base that nothing was spent on": case(
        UNKNOWN, spent("0"), "3.3e22 below", "1e23/3 below", "3.3e22 below"
    ),
    # Disclosed against derived.
    "derived 2e23: the default takes the substitute, the Guidelines one third": case(
        derived("2e23"), spent("6e22"), "3.3e22 over", "2e23/3 below", "3.3e22 over"
    ),
    "derived 2e23, spent below the substitute": case(
        derived("2e23"), spent("3.3e22"), "3.3e22 below", "2e23/3 below", "3.3e22 below"
    ),
    "derived 8e22: one third of it is below the substitute": case(
        derived("8e22"), spent("3e22"), "3.3e22 below", "8e22/3 over", "8e22/3 over"
    ),
    "of a range the low end counts": case(
        derived("7.2e23", "2.08e24"),
        spent("2.4e23"),
        "3.3e22 over",
        "2.4e23 below",
        "3.3e22 over",
    ),
    "of a range the low end counts, one FLOP above": case(
        derived("7.2e23", "2.08e24"),
        spent("2.4e23", 1),
        "3.3e22 over",
        "2.4e23 over",
        "3.3e22 over",
    ),
    "a speculative estimate never counts": case(
        derived("7.7e23", method="speculative"),
        spent("3.3e22", 1),
        "3.3e22 over",
        "1e23/3 below",
        "3.3e22 over",
    ),
    "a speculative estimate below 1e23 makes no limit smaller, either": case(
        derived("3e21", method="speculative"),
        spent("3.3e22"),
        "3.3e22 below",
        "1e23/3 below",
        "3.3e22 below",
    ),
    "an estimate by hardware counts as one by parameters": case(
        derived("6e23", method="derived_hardware"),
        spent("2e23"),
        "3.3e22 over",
        "2e23 below",
        "3.3e22 over",
    ),
    "a disclosed figure goes before an estimate of others": case(
        replace(disclosed("6e23"), estimate_low=3 * 10**23, method="derived_6ND"),
        spent("1.8e23"),
        "1.8e23 below",
        "2e23 below",
        "1.8e23 below",
    ),
    # Systemic risk.
    "systemic and unknown: 3.3e24 exactly": case(
        UNKNOWN_SYSTEMIC,
        spent("3.3e24"),
        "3.3e24 below",
        "1e25/3 below",
        "3.3e24 below",
    ),
    "systemic and unknown: one FLOP above 3.3e24": case(
        UNKNOWN_SYSTEMIC,
        spent("3.3e24", 1),
        "3.3e24 over",
        "1e25/3 below",
        "3.3e24 over",
    ),
    "systemic and unknown: the first whole FLOP above 1e25/3": case(
        UNKNOWN_SYSTEMIC,
        spent("3333333333333333333333334"),
        "3.3e24 over",
        "1e25/3 over",
        "3.3e24 over",
    ),
    "Llama 3.1 405B: 3.3e24 is below 30 % of it": case(
        LLAMA_405B, spent("3.3e24"), "3.3e24 below", "3.8e25/3 below", "3.3e24 below"
    ),
    "Llama 3.1 405B, one FLOP above 3.3e24": case(
        LLAMA_405B, spent("3.3e24", 1), "3.3e24 over", "3.8e25/3 below", "3.3e24 over"
    ),
    "Llama 3.1 405B, one third of it": case(
        LLAMA_405B,
        spent("12666666666666666666666667"),
        "3.3e24 over",
        "3.8e25/3 over",
        "3.3e24 over",
    ),
    "systemic, 1e25 disclosed: 30 % is less than 3.3e24": case(
        disclosed("1e25", systemic=True),
        spent("3e24"),
        "3e24 below",
        "1e25/3 below",
        "3e24 below",
    ),
    "systemic at 1.1e25: 30 % meets 3.3e24": case(
        disclosed("1.1e25", systemic=True),
        spent("3.3e24", 1),
        "3.3e24 over",
        "1.1e25/3 below",
        "3.3e24 over",
    ),
    "systemic at 1.1e25 and one: 3.3e24 is the smaller": case(
        disclosed("11000000000000000000000001", systemic=True),
        spent("3.3e24"),
        "3.3e24 below",
        "11000000000000000000000001/3 below",
        "3.3e24 below",
    ),
    "designated systemic though small: 30 % of 8e22, no substitute": case(
        disclosed("8e22", systemic=True),
        spent("2.4e22", 1),
        "2.4e22 over",
        "8e22/3 below",
        "2.4e22 over",
    ),
    "systemic and derived: the default takes 3.3e24, the Guidelines one third": case(
        derived("2e25", systemic=True),
        spent("4e24"),
        "3.3e24 over",
        "2e25/3 below",
        "3.3e24 over",
    ),
    "systemic and derived at 6e24: one third is below 3.3e24": case(
        derived("6e24", systemic=True),
        spent("2.5e24"),
        "3.3e24 below",
        "2e24 over",
        "2e24 over",
    ),
    "systemic and speculative: as unknown": case(
        derived("2.1e25", systemic=True, method="speculative"),
        spent("3.3e24"),
        "3.3e24 below",
        "1e25/3 below",
        "3.3e24 below",
    ),
    "not systemic above 1e25: 30 % of it": case(
        disclosed("2e25"), spent("6e24"), "6e24 below", "2e25/3 below", "6e24 below"
    ),
    # What counts.
    "recomputation counts in the default alone, and in the strictest": case(
        B2E23, spent("5e22", recompute="2e22"), "6e22 over", "2e23/3 below", "6e22 over"
    ),
    "the optimizer counts in the default alone": case(
        B2E23, spent("6e22", optimizer="1"), "6e22 over", "2e23/3 below", "6e22 over"
    ),
    "generated text does not count without systemic risk": case(
        B2E23, spent("5e22", no_grad="2e22"), "6e22 over", "2e23/3 below", "6e22 over"
    ),
    "generated text counts with systemic risk": case(
        disclosed("9e24", systemic=True),
        spent("2e24", no_grad="1e24", recompute="5e23"),
        "2.7e24 over",
        "3e24 below",
        "2.7e24 over",
    ),
    "generated text with systemic risk, one FLOP above": case(
        disclosed("9e24", systemic=True),
        spent("2e24", 1, no_grad="1e24"),
        "2.7e24 over",
        "3e24 over",
        "2.7e24 over",
    ),
    "a backward pass counts everywhere": case(
        B2E23, spent("3e22", backward="4e22"), "6e22 over", "2e23/3 over", "6e22 over"
    ),
    "a gap counts everywhere": case(
        B2E23, spent("5e22", gap="2e22"), "6e22 over", "2e23/3 over", "6e22 over"
    ),
    "work in flight counts everywhere": case(
        B2E23, spent("5e22", flight="2e22"), "6e22 over", "2e23/3 over", "6e22 over"
    ),
    "a gap and recomputation: only the gap counts in the Guidelines": case(
        B2E23,
        spent("5e22", gap="1e22", recompute="1e22"),
        "6e22 over",
        "2e23/3 below",
        "6e22 over",
    ),
    "only recomputation, however much": case(
        B2E23, spent("0", recompute="1e24"), "6e22 over", "2e23/3 below", "6e22 over"
    ),
    # Experts, distillation, merges.
    "a mixture of experts counts by its active parameters, not by all": case(
        BaseModel("DeepSeek-V3", MOE_ACTIVE, "paper"),
        spent("9.9e23"),
        "985680000000000000000000 over",
        "1095200000000000000000000 below",
        "985680000000000000000000 over",
    ),
    "a mixture of experts that others derived": case(
        derived(str(MOE_ACTIVE)),
        spent("1.0952e24", 1),
        "3.3e22 over",
        "1095200000000000000000000 over",
        "3.3e22 over",
    ),
    "a distilled base has no share in its teacher: a low denominator": case(
        derived(str(by_architecture(12 * 10**8, 9 * 10**12))),
        spent("2.16e22", 1),
        "3.3e22 below",
        "2.16e22 over",
        "2.16e22 over",
    ),
    "a distilled base that its provider disclosed": case(
        disclosed("6.48e22"),
        spent("2.16e22"),
        "3.3e22 below",
        "2.16e22 below",
        "2.16e22 below",
    ),
    "a merged base counts what its parts took together": case(
        BaseModel("merge", merged((12 * 10**22, 18 * 10**22)), "both model cards"),
        spent("9e22"),
        "9e22 below",
        "1e23 below",
        "9e22 below",
    ),
    "a merged base, one FLOP above": case(
        BaseModel("merge", merged((12 * 10**22, 18 * 10**22)), "both model cards"),
        spent("9e22", 1),
        "9e22 over",
        "1e23 below",
        "9e22 over",
    ),
    "two small bases that are merged pass 1e23 together": case(
        BaseModel("merge", merged((6 * 10**22, 6 * 10**22)), "both model cards"),
        spent("3.6e22", 1),
        "3.6e22 over",
        "4e22 below",
        "3.6e22 over",
    ),
    # Modifications that are known, with their figures.
    "Composer 2 on Kimi K2.5: 1.74e25 on 5.8e24 is three times the base": case(
        derived("5.8e24"),
        spent("1.74e25"),
        "3.3e22 over",
        "5.8e24/3 over",
        "3.3e22 over",
    ),
    "Emu3.5 on Qwen3-32B: 39 % of the base": case(
        derived("7.08e24"),
        spent("2.78e24"),
        "3.3e22 over",
        "2.36e24 over",
        "3.3e22 over",
    ),
    "Swallow: 6 % of a disclosed base": case(
        disclosed("8.1e23"),
        spent("4.86e22"),
        "2.43e23 below",
        "2.7e23 below",
        "2.43e23 below",
    ),
    "31.5 % of a disclosed base lies between the two rules": case(
        disclosed("6e24"), spent("1.89e24"), "1.8e24 over", "2e24 below", "1.8e24 over"
    ),
    "an 8B model, LoRA on 2e9 tokens": case(
        disclosed("7.2e23"),
        spent("6.4e19"),
        "2.16e23 below",
        "2.4e23 below",
        "2.16e23 below",
    ),
    "the largest base that an API object can carry": case(
        disclosed("1e30"), spent("3e29"), "3e29 below", "1e30/3 below", "3e29 below"
    ),
}


@pytest.mark.parametrize("row", CASES.values(), ids=CASES.keys())
def test_each_rule_set_says_what_the_table_says(row: Case) -> None:
    """The limit to the FLOP, and whether the count is strictly above it."""
    rules = shipped()
    found = side_by_side(
        (rules[DEFAULT], rules[GUIDELINES], rules[STRICTEST]),
        row.base,
        row.totals,
        TODAY,
    )

    told = [(number(str(v.limit)), v.exceeded) for v in found]
    wanted = [each.split() for each in row.told]
    assert told == [(number(limit), word == "over") for limit, word in wanted]


def test_the_table_has_sixty_cases_and_more() -> None:
    """As was asked for; the examples of the Annex come on top."""
    assert len(CASES) >= 60


LINES = {
    "base 8e22 and 2e22 are exactly 1e23: not above": (
        B8E22, spent("2e22"), "gpai-result", BELOW,
    ),
    "base 8e22 and one FLOP more pass 1e23": (
        B8E22, spent("2e22", 1), "gpai-result", CROSSED,
    ),
    "base one FLOP below 1e23 and two FLOPs": (
        disclosed("99999999999999999999999"), spent("2"), "gpai-result", CROSSED,
    ),
    "an unknown base: nobody can say": (
        UNKNOWN, spent("2e22"), "gpai-result-unknown", UNSAID,
    ),
    "an unknown base, but the modification alone passes 1e23": (
        UNKNOWN, spent("1e23", 1), "gpai-result-unknown", CROSSED,
    ),
    "a base of 9.7e24 and 3e23 are exactly 1e25": (
        disclosed("9.7e24"), spent("3e23"), "systemic-result", BELOW,
    ),
    "a base of 9.7e24 passes 1e25 though the modification is 3 % of it": (
        disclosed("9.7e24"), spent("3e23", 1), "systemic-result", CROSSED,
    ),
    "3.3e24 exactly is not crossed": (
        disclosed("8e25"), spent("3.3e24"), "systemic-substitute", BELOW,
    ),
    "3.3e24 and one FLOP": (
        disclosed("8e25"), spent("3.3e24", 1), "systemic-substitute", CROSSED,
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("base", "totals", "name", "state"), LINES.values(), ids=LINES.keys()
)
def test_further_lines_are_crossed_strictly(
    base: BaseModel, totals: Totals, name: str, state: str
) -> None:
    """1e23 and 1e25 by base and modification, 3.3e24 by the modification alone."""
    verdict = judge(shipped()[DEFAULT], base, totals, TODAY)
    found = {line.name: line for line in verdict.lines}

    assert found[name].state == state


def test_a_line_is_watched_only_where_the_base_is_below_it() -> None:
    """A base of 1e23 is a general-purpose AI model by itself; one of 1e25 systemic."""
    names = [
        {line.name for line in judge(shipped()[DEFAULT], base, spent("1"), TODAY).lines}
        for base in (disclosed("1e22"), disclosed("1e23"), disclosed("1e25"))
    ]

    assert names == [
        {"gpai-result", "systemic-result", "systemic-substitute"},
        {"systemic-result", "systemic-substitute"},
        {"systemic-substitute"},
    ]


@pytest.mark.parametrize(
    ("flops", "near"),
    [
        ("1.65e24", (50,)),
        ("2.64e24", (50, 80)),
        ("3.135e24", (50, 80, 95)),
        ("1.649e24", ()),
    ],
)
def test_the_distance_from_3_3e24_warns_as_it_nears(
    flops: str, near: tuple[int, ...]
) -> None:
    """At 50, 80 and 95 percent."""
    verdict = judge(shipped()[DEFAULT], disclosed("8e25"), spent(flops), TODAY)
    (line,) = [each for each in verdict.lines if each.name == "systemic-substitute"]

    assert line.near == near
    assert line.left == number("3.3e24") - number(flops)


NOTES = {
    "below 1e23 rule sets disagree": (B8E22, spent("1e22"), "below-1e23"),
    "from 1e23 on they disagree on the share": (
        B2E23,
        spent("1"),
        "one-third-or-30-percent",
    ),
    "an estimate that is not used": (derived("2e23"), spent("1"), "estimate-or-not"),
    "systemic risk is presumed only above the line": (
        LLAMA_405B,
        spent("1"),
        "systemic-only-above",
    ),
    "recomputation that was counted": (
        B2E23,
        spent("1", recompute="5"),
        "recomputation",
    ),
    "generated text": (B2E23, spent("1", no_grad="5"), "rollouts"),
    "the margin of 30 % near the threshold": (B2E23, spent("4.2e22"), "margin"),
    "several runs": (UNKNOWN, spent("0"), "several-runs"),
}


@pytest.mark.parametrize(("base", "totals", "name"), NOTES.values(), ids=NOTES.keys())
def test_open_questions_are_told_where_they_arise(
    base: BaseModel, totals: Totals, name: str
) -> None:
    """One sentence each, with its source in both numberings."""
    notes = judge(shipped()[DEFAULT], base, totals, TODAY).notes
    (found,) = [note for note in notes if note.name == name]

    assert found.text.endswith(".")
    assert "C(2025) 5045" in found.source
    assert "C(2025) 7719" in found.source


def test_what_does_not_arise_is_not_said() -> None:
    """No recomputation, no roll-out, far from the line, no systemic risk."""
    notes = judge(shipped()[DEFAULT], B2E23, spent("1"), TODAY).notes

    assert {note.name for note in notes} == {
        "several-runs",
        "modified-again",
        "aborted-steps",
        "one-third-or-30-percent",
    }


def test_duties_come_with_the_criterion_and_not_before() -> None:
    """Without systemic risk no notification; with it two weeks."""
    rules = shipped()[DEFAULT]
    before = judge(rules, B2E23, spent("6e22"), TODAY)
    plain = judge(rules, B2E23, spent("6e22", 1), TODAY)
    systemic = judge(rules, LLAMA_405B, spent("3.3e24", 1), TODAY)
    days = {duty.name: duty.within_days for duty in systemic.duties}

    assert before.duties == ()
    assert "notification" not in {duty.name for duty in plain.duties}
    assert any(duty.open_source_exempt for duty in plain.duties)
    assert days["notification"] == 14
    assert not any(duty.open_source_exempt for duty in systemic.duties)
