"""Rule sets are data: one spelling, bounded, monotone, and never in need of code."""

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flopguard_operator.api.crd import stale
from flopguard_operator.api.fields import SpecError
from flopguard_operator.api.rulesets import load, sources
from flopguard_operator.naming import CATEGORIES
from flopguard_operator.policy.canonical import MAX_TEXT, digest, from_json, to_json
from flopguard_operator.policy.checking import problems
from flopguard_operator.policy.checks import evaluate, reached_at
from flopguard_operator.policy.evaluation import dates, judge, side_by_side
from flopguard_operator.policy.rules import governing
from flopguard_operator.policy.rulesets import PolicyError, Rule, RuleSet, When
from flopguard_operator.policy.terms import Approach, BaseModel, Budget, Terms, Totals
from flopguard_operator.rulebooks import shipped

ROOT = Path(__file__).parents[2]
SHIPPED = shipped()
FIGURES = st.none() | st.integers(1, 10**30)
BASES = st.builds(
    BaseModel,
    pretraining_flops=FIGURES,
    systemic_risk=st.booleans(),
    estimate_low=FIGURES,
    method=st.sampled_from(("", "derived_6ND", "speculative")),
)
COUNTS = st.integers(0, 10**26)
TOTALS = st.builds(
    lambda done, flight, gaps: Totals(done, sum(done.values()) + flight, gaps),
    st.fixed_dictionaries(dict.fromkeys(CATEGORIES, COUNTS)),
    COUNTS,
    COUNTS,
)
NAMES = st.sampled_from(tuple(SHIPPED))
TODAY = "2026-11-22"


def test_the_three_of_the_design_ship_the_default_first() -> None:
    """And nothing else."""
    assert list(SHIPPED) == [
        "eu-ai-act-30-percent",
        "commission-guidelines-2025",
        "strictest",
    ]


def test_what_is_packaged_is_what_the_yaml_says() -> None:
    """`make crds` makes the JSON and the schema; none of them is stale."""
    assert dict(SHIPPED) == sources()
    assert [name for name in stale(ROOT) if "polic" in name] == []


@pytest.mark.parametrize("name", SHIPPED)
def test_a_rule_set_has_one_spelling_that_the_ledger_has_room_for(name: str) -> None:
    """Written and read again it is the same; its digest is that of its text."""
    text = to_json(SHIPPED[name])

    assert from_json(text) == SHIPPED[name]
    assert len(json.dumps(text)) < MAX_TEXT
    assert len(digest(text)) == 64
    assert list(problems(SHIPPED[name])) == []


@pytest.mark.parametrize("name", SHIPPED)
def test_every_row_cites_both_numberings(name: str) -> None:
    """July's paragraphs and November's points of the Guidelines."""
    rules = SHIPPED[name]
    cited = [rule.citation for rule in rules.rules]
    cited += [line.citation for line in rules.lines]
    for citation in cited:
        assert ("C(2025) 5045" in citation) == ("C(2025) 7719" in citation)
        assert "C(2025) 5045" in citation
    for note in SHIPPED[name].notes:
        assert "C(2025) 7719" in note.source


def test_fines_and_dates_are_those_of_the_law() -> None:
    """3 % or EUR 15 million, from 2 August 2026: Art. 101, not Art. 99."""
    rules = SHIPPED["eu-ai-act-30-percent"]
    (fine,) = rules.fines

    assert fine.percent_of_turnover == Fraction(3)
    assert fine.euros == 15_000_000
    assert fine.effective == "2026-08-02"
    assert "Art. 101" in fine.article
    assert [date.day for date in dates(rules)] == [
        "2025-08-02",
        "2026-08-02",
        "2027-08-02",
    ]


@given(NAMES, BASES, TOTALS)
def test_every_base_is_judged(name: str, base: BaseModel, totals: Totals) -> None:
    """No base falls between two rules, and every sentence is filled in."""
    verdict = judge(SHIPPED[name], base, totals, TODAY)

    assert verdict.limit > 0
    assert verdict.counted <= totals.upper
    assert verdict.exceeded == (verdict.counted > verdict.limit)
    assert "{" not in verdict.explanation


@given(BASES, TOTALS)
def test_the_strictest_is_the_smallest_limit_and_the_largest_count(
    base: BaseModel, totals: Totals
) -> None:
    """Whatever the others say, it says no less."""
    default, guidelines, strictest = (
        judge(SHIPPED[name], base, totals, TODAY)
        for name in ("eu-ai-act-30-percent", "commission-guidelines-2025", "strictest")
    )

    assert strictest.limit == min(default.limit, guidelines.limit)
    assert strictest.counted == max(default.counted, guidelines.counted)
    assert strictest.exceeded or not (default.exceeded or guidelines.exceeded)


@given(NAMES, BASES, TOTALS, st.sampled_from(CATEGORIES), COUNTS)
def test_more_flops_never_take_a_verdict_back(
    name: str, base: BaseModel, totals: Totals, category: str, more: int
) -> None:
    """Executed in whatever category: the count does not fall, no line is uncrossed."""
    done = {**totals.done, category: totals.done[category] + more}
    after = Totals(done, totals.begun + more, totals.gaps)
    terms = Terms(policy=name, base=base, budget=Budget(max_flops=10**23))
    rules = SHIPPED[name]
    said = {(v.reason, v.percent, v.limit) for v in evaluate(terms, totals, rules)}
    later = {(v.reason, v.percent, v.limit) for v in evaluate(terms, after, rules)}

    assert judge(rules, base, after).counted >= judge(rules, base, totals).counted
    assert said <= later


@given(NAMES, BASES, TOTALS, st.integers(0, 10**26))
def test_nothing_new_is_said_below_the_next_line(
    name: str, base: BaseModel, totals: Totals, more: int
) -> None:
    """A replay that skips up to there misses no crossing, whatever counts."""
    terms = Terms(policy=name, base=base, approach=Approach(), budget=Budget(10**24))
    rules = SHIPPED[name]
    lines = reached_at(terms, totals, rules, TODAY)
    above = min((line for line in lines if line > totals.upper), default=None)
    step = more if above is None else min(more, above - 1 - totals.upper)
    done = {**totals.done, "forward": totals.done["forward"] + step}
    after = Totals(done, totals.begun + step, totals.gaps)
    known = {(v.action, v.reason, v.percent) for v in evaluate(terms, totals, rules)}
    told = {(v.action, v.reason, v.percent) for v in evaluate(terms, after, rules)}

    assert told <= known


@given(NAMES, BASES)
def test_an_estimate_moves_only_rule_sets_that_count_estimates(
    name: str, base: BaseModel
) -> None:
    """The default shows it; one that is speculative moves none."""
    rules = SHIPPED[name]
    without = governing(replace(base, estimate_low=None), rules).limit
    with_it = governing(base, rules).limit
    counts = name != "eu-ai-act-30-percent" and base.method != "speculative"

    assert counts or with_it == without


HOUSE = """
name: house-rules
version: "1"
title: A tenth of the base, at it and not only above
strict: false
figures: {estimates: true}
counts: {training: [forward, backward]}
rules:
  - name: tenth
    when: {figure: known}
    fraction: "1/10"
    basis: training
    effective: "2026-01-01"
    citation: House rules 1
    explanation: "{model} took {base}: a tenth, {limit}, is the limit."
  - name: fixed
    limit: "1e21"
    basis: training
    citation: House rules 2
    explanation: "{model} is not known."
"""


def house(text: str = HOUSE) -> RuleSet:
    """Return the rule set of one's own."""
    return load([text], SHIPPED)["house-rules"]


def test_a_rule_set_of_ones_own_that_is_not_strict_is_crossed_at_its_line() -> None:
    """At a tenth the criterion is met; one FLOP below it is not."""
    base = BaseModel("B", 10**23, "model card")
    at, below = (
        judge(house(), base, Totals({"forward": 10**22 - less})) for less in (0, 1)
    )

    assert (at.exceeded, below.exceeded) == (True, False)


def test_a_rule_set_of_ones_own_can_combine_shipped_ones() -> None:
    """The smallest limit and the largest count, without a line of code."""
    text = (
        'name: both\nversion: "1"\ntitle: Both\n'
        "combines: [house-rules, commission-guidelines-2025]\n"
    )
    known = {**SHIPPED, "house-rules": house()}
    both = load([text], known)["both"]
    base = BaseModel("B", 10**23, "model card")

    assert judge(both, base, Totals()).limit == 10**22
    assert judge(both, base, Totals()).rule == "house-rules: tenth"


def test_a_rule_that_is_to_come_is_kept_early_and_says_from_when_it_applies() -> None:
    """And one that another has taken the place of governs no more."""
    base = BaseModel("B", 10**23, "model card")
    early = governing(base, house(), "2025-12-31")
    late = governing(base, house(), "2026-01-01")
    over = Rule("old", "x", "c", "e", limit=Fraction(5), until="2026-01-01")
    new = Rule("new", "x", "c", "e", limit=Fraction(7), effective="2026-01-01")
    rules = RuleSet("r", "1", "t", rules=(over, new), counts={"x": CATEGORIES})

    assert early.rule == "fixed"  # of those in force the first that fits
    assert late.rule == "tenth"
    assert [
        governing(base, rules, day).limit for day in ("2025-12-31", "2026-01-01")
    ] == [
        5,
        7,
    ]
    alone = replace(rules, rules=(new,))
    assert governing(base, alone, "2025-12-31").explanation.endswith(
        "It applies from 2026-01-01 on."
    )


WRONG = {
    "no YAML": ("a: [", "is YAML"),
    "a list": ("[1]", "rule set"),
    "a field with a typing error": (HOUSE.replace("strict:", "strictt:"), "strictt"),
    "a threshold that lost its digits": (HOUSE.replace('"1e21"', "1.0e+21"), "quoted"),
    "a fraction of nothing": (HOUSE.replace('"1/10"', '"1/0"'), "quoted"),
    "no limit at all": (HOUSE.replace('    limit: "1e21"\n', ""), "sets no threshold"),
    "a base that no rule fits": (
        HOUSE[: HOUSE.index("  - name: fixed")],
        "has no rule",
    ),
    "a basis that counts nothing": (HOUSE.replace("{training:", "{other:"), "training"),
    "a category that there is not": (
        HOUSE.replace("[forward,", "[sideways,"),
        "forward",
    ),
    "the name of a shipped one": (
        HOUSE.replace("house-rules", "strictest"),
        "already",
    ),
    "a name that no object can carry": (HOUSE.replace("house-rules", "House"), "match"),
    "a place that is not filled in": (HOUSE.replace("{base}:", "{secret}:"), "{model}"),
    "a key that hides another": (HOUSE + "title: again\n", "twice"),
    "a law that does not ship": (HOUSE + "law: mars\n", "eu-ai-act"),
    "neither rules nor combines": (
        HOUSE[: HOUSE.index("rules:\n")],
        "either rules or combines",
    ),
    "a member that there is not": (
        'name: c\nversion: "1"\ntitle: t\ncombines: [mars]\n',
        "choose among",
    ),
    "a member that combines itself": (
        'name: c\nversion: "1"\ntitle: t\ncombines: [strictest]\n',
        "cannot be combined",
    ),
    "aliases that pile up": ("a: &a [1]\nb: &b [*a, *a]\nc: [*b, *b]\n", "alias"),
    "too long": ("#" * 200_000, "at most"),
    "a tag that makes objects": ("!!python/object:os.system {}", "YAML"),
    "too deep": ("[" * 5_000, "YAML"),
}


@pytest.mark.parametrize(("text", "says"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_rule_set_gets_a_sentence(text: str, says: str) -> None:
    """One error, on one line, that says what to write."""
    with pytest.raises(SpecError) as caught:
        load([text], SHIPPED)

    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


HOSTILE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ("rules", "name", "counts", "when", "limit", "combines", "x")
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(HOSTILE)
def test_a_hostile_text_is_no_rule_set(value: object) -> None:
    """A ledger comes from a stranger: one named error, never another."""
    with pytest.raises(PolicyError):
        from_json(json.dumps(value))


@given(NAMES, st.data())
def test_a_text_with_one_change_is_another_rule_set_or_none(
    name: str, data: st.DataObject
) -> None:
    """Nothing in the canonical text is without meaning."""
    text = to_json(SHIPPED[name])
    at = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.sampled_from('0129az"{},: []'))
    changed = text[:at] + letter + text[at + 1 :]
    try:
        found = from_json(changed)
    except PolicyError:
        return

    assert (found == SHIPPED[name]) == (changed == text)


def test_verdicts_stand_side_by_side_in_the_order_of_the_rule_sets() -> None:
    """One for each, also of one's own."""
    found = side_by_side([*SHIPPED.values(), house()], BaseModel("B"), Totals())

    assert [verdict.policy for verdict in found] == [*SHIPPED, "house-rules"]


def test_a_condition_on_figures_fits_known_ones_only() -> None:
    """`below` does not fit an unknown base."""
    rules = SHIPPED["eu-ai-act-30-percent"]

    assert not rules.fits(When(below=10**30), BaseModel("B"))
    assert not rules.fits(When(at_least=1), BaseModel("B", estimate_low=5))
    assert rules.fits(When(estimate=True), BaseModel("B", estimate_low=5))
