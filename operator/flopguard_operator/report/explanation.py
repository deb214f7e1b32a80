"""Explain the threshold of one base model, before anything runs."""

from dataclasses import dataclass
from typing import Any

from flopguard_operator.flops import display, percent
from flopguard_operator.policy.rules import (
    Governing,
    built_in,
    governing,
    governing_rule,
)
from flopguard_operator.policy.rulesets import Rule
from flopguard_operator.policy.terms import DEFAULT_POLICY, BaseModel


@dataclass(frozen=True)
class Explanation:
    """What a policy says of modifying a base model by some FLOPs."""

    base: BaseModel
    modification: int
    """FLOPs of the modification."""
    policy: str
    rule: Rule
    threshold: Governing

    @property
    def counts(self) -> str:
        """The categories that count."""
        return ", ".join(built_in(self.policy).counts[self.rule.basis])

    @property
    def met(self) -> bool:
        """Whether the indicative criterion is met: strictly above the threshold."""
        return self.modification > self.threshold.limit


def explain(
    base: BaseModel, modification: int, policy: str = DEFAULT_POLICY
) -> Explanation:
    """Return what `policy` says of modifying `base` by `modification` FLOPs.

    Raises:
        PolicyError: no such policy.
    """
    threshold = governing(base, policy)
    rule = governing_rule(base, policy)
    return Explanation(base, modification, policy, rule, threshold)


def in_words(explanation: Explanation) -> str:
    """Return the explanation as lines for a terminal; names are not yet escaped."""
    limit = explanation.threshold.limit
    used = explanation.modification
    verdict = "is met" if explanation.met else "is not met"
    left = "" if explanation.met else f" {display(limit - used)} FLOPs are left."
    share = percent(used, limit)
    lines = (
        (
            f"{display(used)} FLOPs are {share} % of the threshold of {display(limit)}"
            f" FLOPs: the indicative criterion of policy {explanation.policy}"
            f" {verdict}.{left}"
        ),
        f"Why: {explanation.threshold.explanation}",
        (
            f"Rule: {explanation.rule.name}, in force since"
            f" {explanation.rule.effective}. Counts {explanation.counts}."
        ),
        f"Source: {explanation.threshold.citation}.",
        (
            "Whether somebody becomes a provider is a legal judgement, which an"
            " indicative criterion does not make."
        ),
    )
    return "\n".join(lines)


def as_json(explanation: Explanation) -> dict[str, Any]:
    """Return the explanation as JSON values; FLOPs are digits, limits may be "p/q"."""
    base = explanation.base
    known = base.pretraining_flops
    return {
        "schema": 1,
        "base": base.name,
        "base_flops": None if known is None else str(known),
        "systemic": base.systemic_risk,
        "modification_flops": str(explanation.modification),
        "policy": explanation.policy,
        "rule": explanation.rule.name,
        "effective": explanation.rule.effective,
        "counts": explanation.counts,
        "limit": str(explanation.threshold.limit),
        "criterion_met": explanation.met,
        "percent": percent(explanation.modification, explanation.threshold.limit),
        "explanation": explanation.threshold.explanation,
        "citation": explanation.threshold.citation,
    }
