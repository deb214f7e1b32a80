"""Keep the law as data: which threshold governs the modification of a base model.

A threshold is a row with a condition, a fraction of the base, a fixed figure, a basis,
a citation and an effective date. A new policy is new rows; no code knows an article.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType

from flopguard_operator.flops import display
from flopguard_operator.policy.terms import DEFAULT_POLICY, BaseModel


class PolicyError(ValueError):
    """A run cannot be judged by these terms; the message says what to change."""


@dataclass(frozen=True)
class Rule:
    """One row: whom it governs, and the threshold that it sets.

    With both `fraction` and `limit`, the smaller of the two governs.
    """

    name: str
    systemic: bool | None
    """Whether the base must carry systemic risk; None where that does not matter."""
    floor: int | None
    """The least known base FLOPs that the row governs; None: known or not."""
    fraction: Fraction | None
    """Threshold as a part of the base's pre-training FLOPs."""
    limit: int | None
    """Threshold as a fixed figure, in FLOPs."""
    basis: str
    citation: str
    effective: str
    """The day from which the cited obligation applies, ISO 8601."""
    explanation: str
    """A sentence for people; {model}, {base} and {limit} are filled in."""


@dataclass(frozen=True)
class Governing:
    """The threshold that governs one base model."""

    limit: int | Fraction
    """FLOPs, exact; `str(limit)` is the ledger's form: digits, or "p/q"."""
    rule: str
    citation: str
    explanation: str


_ONE_THIRD = "Commission Guidelines C(2025) 5045 para. 63 (C(2025) 7719 point 60)"
_SUBSTITUTE = "Commission Guidelines C(2025) 5045 para. 64 (C(2025) 7719 point 61)"
_PROVIDER = "Regulation (EU) 2024/1689 Art. 53 and recital 109"
_SYSTEMIC = "Regulation (EU) 2024/1689 Art. 51(2), 52(1) and 55"
_APPLIES_FROM = "2025-08-02"  # Art. 113(b): obligations of general-purpose AI models
_EXECUTED = "everything executed: forward, backward, recompute, no_grad, optimizer"

_GPAI_LINE = 10**23  # Guidelines para. 17
_THIRTY_PERCENT = Fraction(3, 10)
_DEFAULT_LIMIT = 33 * 10**21  # just under 1e23 ÷ 3
_SYSTEMIC_LIMIT = 33 * 10**23  # just under 1e25 ÷ 3

# The first row that fits governs, so the order of the rows is part of the policy.
_EU_AI_ACT_30_PERCENT = (
    Rule(
        name="systemic-base",
        systemic=True,
        floor=1,
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
        systemic=True,
        floor=None,
        fraction=None,
        limit=_SYSTEMIC_LIMIT,
        basis=_EXECUTED,
        citation=f"{_SYSTEMIC}; {_SUBSTITUTE}",
        effective=_APPLIES_FROM,
        explanation="{model} carries systemic risk and its pre-training FLOPs are not"
        " known: {limit} FLOPs govern, just under one third of 1e25.",
    ),
    Rule(
        name="known-base",
        systemic=None,
        floor=_GPAI_LINE,
        fraction=_THIRTY_PERCENT,
        limit=None,
        basis=_EXECUTED,
        citation=f"{_PROVIDER}; {_ONE_THIRD}",
        effective=_APPLIES_FROM,
        explanation="{model} took {base} FLOPs to pre-train: 30 % of that governs,"
        " {limit} FLOPs. The Commission's indicative criterion is one third of it,"
        " so this policy warns and holds earlier.",
    ),
    Rule(
        name="small-base",
        systemic=None,
        floor=1,
        fraction=None,
        limit=_DEFAULT_LIMIT,
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
        systemic=None,
        floor=None,
        fraction=None,
        limit=_DEFAULT_LIMIT,
        basis=_EXECUTED,
        citation=f"{_PROVIDER}; {_SUBSTITUTE}",
        effective=_APPLIES_FROM,
        explanation="The pre-training FLOPs of {model} are not known: {limit} FLOPs"
        " govern, just under one third of 1e23. A disclosed figure, given with its"
        " source, may raise this.",
    ),
)

POLICIES: Mapping[str, tuple[Rule, ...]] = MappingProxyType(
    {DEFAULT_POLICY: _EU_AI_ACT_30_PERCENT}
)


def governing(base: BaseModel, policy: str = DEFAULT_POLICY) -> Governing:
    """Return the threshold that `policy` sets for modifying `base`.

    Raises:
        PolicyError: no such policy, or no row of it fits the base.
    """
    rule = governing_rule(base, policy)
    limit = _limit(rule, base)
    known = base.pretraining_flops
    return Governing(
        limit=limit,
        rule=rule.name,
        citation=rule.citation,
        explanation=rule.explanation.format(
            model=base.name or "The base model",
            base="unknown" if known is None else display(known),
            limit=display(limit),
        ),
    )


def governing_rule(base: BaseModel, policy: str = DEFAULT_POLICY) -> Rule:
    """Return the row of `policy` that fits `base`.

    Raises:
        PolicyError: no such policy, or no row of it fits the base.
    """
    rows = POLICIES.get(policy)
    if rows is None:
        known = ", ".join(sorted(POLICIES))
        message = f'there is no policy "{policy[:80]}"; choose one of: {known}'
        raise PolicyError(message)
    for rule in rows:
        if _fits(rule, base):
            return rule
    message = f'policy "{policy}" has no rule for this base model'
    raise PolicyError(message)


def exact(value: int | Fraction) -> int | Fraction:
    """Return whole fractions as int, so that equal limits also read the same."""
    whole = Fraction(value)
    return whole.numerator if whole.denominator == 1 else whole


def _fits(rule: Rule, base: BaseModel) -> bool:
    if rule.systemic is not None and rule.systemic != base.systemic_risk:
        return False
    if rule.floor is None:
        return True
    return base.pretraining_flops is not None and base.pretraining_flops >= rule.floor


def _limit(rule: Rule, base: BaseModel) -> int | Fraction:
    limits: list[int | Fraction] = [] if rule.limit is None else [rule.limit]
    if rule.fraction is not None and base.pretraining_flops is not None:
        limits.append(exact(rule.fraction * base.pretraining_flops))
    return min(limits)
