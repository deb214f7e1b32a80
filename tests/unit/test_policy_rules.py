"""Which threshold governs a base model, and that the law stays data."""

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flopguard_operator.policy.rules import BUILT_IN, governing, governing_rule
from flopguard_operator.policy.rulesets import PolicyError
from flopguard_operator.policy.terms import DEFAULT_POLICY, BaseModel

GOVERNED = {
    "an unknown base gets the substitute of 3.3e22": (
        BaseModel(name="Mistral 7B"),
        33 * 10**21,
        "unknown-base",
    ),
    "a base one FLOP below 1e23 gets the substitute, not 30 % of it": (
        BaseModel(pretraining_flops=10**23 - 1),
        33 * 10**21,
        "small-base",
    ),
    "a base of exactly 1e23 gets 30 % of it, less than the substitute": (
        BaseModel(pretraining_flops=10**23),
        3 * 10**22,
        "known-base",
    ),
    "a base of 8e24 without systemic risk gets 30 % of it": (
        BaseModel(pretraining_flops=8 * 10**24),
        24 * 10**23,
        "known-base",
    ),
    "30 % is exact where it is not whole": (
        BaseModel(pretraining_flops=10**23 + 1),
        Fraction(3 * (10**23 + 1), 10),
        "known-base",
    ),
    "an unknown base with systemic risk gets 3.3e24": (
        BaseModel(systemic_risk=True),
        33 * 10**23,
        "systemic-base-unknown",
    ),
    "a systemic base of 3.8e25 gets 3.3e24, less than 30 % of it": (
        BaseModel(pretraining_flops=38 * 10**24, systemic_risk=True),
        33 * 10**23,
        "systemic-base",
    ),
    "a systemic base of 1e25 gets 30 % of it, less than 3.3e24": (
        BaseModel(pretraining_flops=10**25, systemic_risk=True),
        3 * 10**24,
        "systemic-base",
    ),
    "30 % of a systemic base meets 3.3e24 at 1.1e25": (
        BaseModel(pretraining_flops=11 * 10**24, systemic_risk=True),
        33 * 10**23,
        "systemic-base",
    ),
}


@pytest.mark.parametrize(
    ("base", "limit", "rule"), GOVERNED.values(), ids=GOVERNED.keys()
)
def test_threshold_that_governs(
    base: BaseModel, limit: int | Fraction, rule: str
) -> None:
    """Each branch of the default policy is taken where the table says."""
    found = governing(base)

    assert (found.limit, found.rule) == (limit, rule)


@pytest.mark.parametrize("base", [row[0] for row in GOVERNED.values()], ids=GOVERNED)
def test_threshold_explains_and_cites_itself(base: BaseModel) -> None:
    """Every threshold names its paragraph in both numberings of the Guidelines."""
    found = governing(base)

    assert "C(2025) 5045 para. 6" in found.citation
    assert "C(2025) 7719 point 6" in found.citation
    assert "{" not in found.explanation
    assert found.explanation.endswith(".")


def test_limit_of_whole_flops_is_an_int() -> None:
    """The ledger's exact form of a whole limit is digits, of another one "p/q"."""
    whole = governing(BaseModel(pretraining_flops=10**23)).limit
    broken = governing(BaseModel(pretraining_flops=10**23 + 1)).limit

    assert str(whole) == "3" + "0" * 22
    assert str(broken) == "300000000000000000000003/10"


def test_base_model_name_is_text_never_a_template() -> None:
    """A name comes from a tenant: braces in it are not filled in."""
    explanation = governing(BaseModel(name="{limit.__class__}")).explanation

    assert "{limit.__class__}" in explanation


def test_unknown_policy_is_refused_with_the_list() -> None:
    """A typing error in spec.policy tells which policies there are."""
    with pytest.raises(PolicyError, match=f'"eu-ai-act".*{DEFAULT_POLICY}'):
        governing(BaseModel(), "eu-ai-act")


@pytest.mark.parametrize("policy", BUILT_IN)
def test_rule_names_are_unique(policy: str) -> None:
    """A rule's name in the ledger means one row."""
    names = [rule.name for rule in BUILT_IN[policy].rules]

    assert len(set(names)) == len(names)


@pytest.mark.parametrize("policy", BUILT_IN)
@given(flops=st.none() | st.integers(1, 10**30), systemic=st.booleans())
def test_every_base_is_governed_by_a_positive_threshold(
    policy: str, *, flops: int | None, systemic: bool
) -> None:
    """No base model falls between two rows."""
    base = BaseModel(pretraining_flops=flops, systemic_risk=systemic)

    assert governing(base, policy).limit > 0
    assert governing_rule(base, policy).effective >= "2025-08-02"


@given(flops=st.integers(1, 10**30), systemic=st.booleans())
def test_threshold_is_at_most_the_substitute_or_30_percent(
    *, flops: int, systemic: bool
) -> None:
    """Stated a second way: no branch is above both 30 % and its substitute."""
    base = BaseModel(pretraining_flops=flops, systemic_risk=systemic)
    substitute = governing(replace(base, pretraining_flops=None)).limit

    assert governing(base).limit <= max(Fraction(3 * flops, 10), substitute)
