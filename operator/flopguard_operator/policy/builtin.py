"""Keep the rule set that judges ledgers which note none of their own.

The first ledgers named their policy and did not hold its text. So that they verify for
ever, this never changes; what ships today is `policy/shipped/*.yaml`.
"""

from fractions import Fraction

from flopguard_operator.naming import CATEGORIES
from flopguard_operator.policy.rulesets import KNOWN, Rule, RuleSet, When
from flopguard_operator.policy.terms import DEFAULT_POLICY

_ONE_THIRD = "Commission Guidelines C(2025) 5045 para. 63 (C(2025) 7719 point 60)"
_SUBSTITUTE = "Commission Guidelines C(2025) 5045 para. 64 (C(2025) 7719 point 61)"
_PROVIDER = "Regulation (EU) 2024/1689 Art. 53 and recital 109"
_SYSTEMIC = "Regulation (EU) 2024/1689 Art. 51(2), 52(1) and 55"
_APPLIES_FROM = "2025-08-02"  # Art. 113(b): obligations of general-purpose AI models
_EXECUTED = "executed"
_THIRTY_PERCENT = Fraction(3, 10)
_SUBSTITUTE_LIMIT = Fraction(33 * 10**21)
_SYSTEMIC_LIMIT = Fraction(33 * 10**23)

_RULES = (
    Rule(
        name="systemic-base",
        when=When(systemic=True, figure=KNOWN, at_least=1),
        fraction=_THIRTY_PERCENT,
        limit=_SYSTEMIC_LIMIT,
        basis=_EXECUTED,
        citation=f"{_SYSTEMIC}; {_ONE_THIRD}; {_SUBSTITUTE}",
        effective=_APPLIES_FROM,
        explanation="{model} carries systemic risk and took {base} FLOPs to pre-train:"
        " the smaller of 3.3e24 FLOPs and 30 % of the base governs, {limit} FLOPs."
        " The Commission's indicative criterion is one third of the base.",
    ),
    Rule(
        name="systemic-base-unknown",
        when=When(systemic=True),
        limit=_SYSTEMIC_LIMIT,
        basis=_EXECUTED,
        citation=f"{_SYSTEMIC}; {_SUBSTITUTE}",
        effective=_APPLIES_FROM,
        explanation="{model} carries systemic risk and its pre-training FLOPs are not"
        " known: {limit} FLOPs govern, just under one third of 1e25.",
    ),
    Rule(
        name="known-base",
        when=When(figure=KNOWN, at_least=10**23),  # Guidelines para. 17
        fraction=_THIRTY_PERCENT,
        basis=_EXECUTED,
        citation=f"{_PROVIDER}; {_ONE_THIRD}",
        effective=_APPLIES_FROM,
        explanation="{model} took {base} FLOPs to pre-train: 30 % of that governs,"
        " {limit} FLOPs. The Commission's indicative criterion is one third of it,"
        " so this policy warns and holds earlier.",
    ),
    Rule(
        name="small-base",
        when=When(figure=KNOWN, at_least=1),
        limit=_SUBSTITUTE_LIMIT,
        basis=_EXECUTED,
        citation=f"{_PROVIDER}; {_SUBSTITUTE}",
        effective=_APPLIES_FROM,
        explanation="{model} took {base} FLOPs to pre-train, less than the 1e23 of a"
        " general-purpose AI model: the substitute figure {limit} FLOPs governs."
        " One third of this base would be lower; whether base and modification"
        " together pass 1e23 is a question of its own.",
    ),
    Rule(
        name="unknown-base",
        limit=_SUBSTITUTE_LIMIT,
        basis=_EXECUTED,
        citation=f"{_PROVIDER}; {_SUBSTITUTE}",
        effective=_APPLIES_FROM,
        explanation="The pre-training FLOPs of {model} are not known: {limit} FLOPs"
        " govern, just under one third of 1e23. A disclosed figure, given with its"
        " source, may raise this.",
    ),
)

EU_AI_ACT_30_PERCENT = RuleSet(
    name=DEFAULT_POLICY,
    version="1",
    title="EU AI Act, 30 % of the base",
    rules=_RULES,
    counts={_EXECUTED: CATEGORIES},
    effective=_APPLIES_FROM,
)
