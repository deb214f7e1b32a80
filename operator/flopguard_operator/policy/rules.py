"""Find the threshold that governs the modification of a base model. Pure.

The rules are data (`policy.rulesets`); no code here knows an article or a figure.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from types import MappingProxyType
from typing import TypeVar

from flopguard_operator.flops import display
from flopguard_operator.naming import CATEGORIES
from flopguard_operator.policy.builtin import EU_AI_ACT_30_PERCENT
from flopguard_operator.policy.canonical import fill
from flopguard_operator.policy.rulesets import (
    Line,
    PolicyError,
    Rule,
    RuleSet,
    exact,
)
from flopguard_operator.policy.terms import DEFAULT_POLICY, BaseModel, Totals

BUILT_IN: Mapping[str, RuleSet] = MappingProxyType(
    {DEFAULT_POLICY: EU_AI_ACT_30_PERCENT}
)
"""What a ledger is judged by that notes no rule set of its own. Never changes."""

T = TypeVar("T")
_NAMELESS = "the base model"
_REMEMBERED = 4096  # bases by rule sets: a cycle asks for each run anew
Policy = RuleSet | str
"""A rule set, or the name of a built-in one."""


@dataclass(frozen=True)
class Governing:
    """The threshold that governs one base model."""

    limit: int | Fraction
    """FLOPs, exact; `str(limit)` is the ledger's form: digits, or "p/q"."""
    rule: str
    citation: str
    explanation: str
    effective: str = ""
    basis: str = ""
    """Which of the rule set's counts is compared; "" for all operations."""


def built_in(name: str) -> RuleSet:
    """Return a rule set that needs no note in the ledger.

    Raises:
        PolicyError: there is none of that name.
    """
    return known(name, BUILT_IN)


def known(name: str, rule_sets: Mapping[str, T]) -> T:
    """Return what there is under the name of a rule set.

    Raises:
        PolicyError: there is none; the message lists those that there are.
    """
    found = rule_sets.get(name)
    if found is None:
        names = ", ".join(sorted(rule_sets))
        message = f'there is no policy "{name[:80]}"; choose one of: {names}'
        raise PolicyError(message)
    return found


def governing(
    base: BaseModel, policy: Policy = DEFAULT_POLICY, day: str = ""
) -> Governing:
    """Return the threshold that a policy sets for modifying `base`.

    Args:
        base: with what is known of it.
        policy: a rule set, or the name of a built-in one.
        day: ISO 8601; of the rules that fit, one that is in force then. "" for any.

    Raises:
        PolicyError: no such policy, or no row of it fits the base.
    """
    rules = built_in(policy) if isinstance(policy, str) else policy
    return _governing(base, rules, day)


@lru_cache(maxsize=_REMEMBERED)
def _governing(base: BaseModel, rules: RuleSet, day: str) -> Governing:
    if rules.combines:
        return min(_of_members(rules, base, day), key=lambda found: found.limit)
    rule = governing_rule(base, rules, day)
    limit = _limit(rule, rules.figure(base), rules)
    told = told_of(rule.explanation, base, rules, limit)
    if day and rule.effective > day:
        told += f" It applies from {rule.effective} on."
    return Governing(limit, rule.name, rule.citation, told, rule.effective, rule.basis)


def _of_members(rules: RuleSet, base: BaseModel, day: str) -> Iterator[Governing]:
    """Yield what each member says; ties are for the one that is named first."""
    for member in rules.combines:
        found = governing(base, member, day)
        told = f"The smallest limit governs, that of {member.name}. {found.explanation}"
        yield replace(found, rule=f"{member.name}: {found.rule}", explanation=told)


def governing_rule(
    base: BaseModel, policy: Policy = DEFAULT_POLICY, day: str = ""
) -> Rule:
    """Return the row that governs `base`: the first that fits and is in force.

    Where none is in force, the first that fits: law that is to come is kept early.

    Raises:
        PolicyError: no such policy, or no row of it fits the base.
    """
    rules = built_in(policy) if isinstance(policy, str) else policy
    return _rule(base, rules, day)


@lru_cache(maxsize=_REMEMBERED)
def _rule(base: BaseModel, rules: RuleSet, day: str) -> Rule:
    fitting = [rule for rule in rules.rules if rules.fits(rule.when, base)]
    if not fitting:
        message = f'policy "{rules.name}" has no rule for this base model'
        raise PolicyError(message)
    return next((rule for rule in fitting if in_force(rule, day)), fitting[0])


def in_force(row: Rule | Line, day: str) -> bool:
    """Say whether a row is in force on a day (ISO 8601; "" for any)."""
    return not day or (row.effective <= day and not (row.until and row.until <= day))


def in_force_on(rules: RuleSet, day: str) -> tuple[bool, ...]:
    """Return which rows of a rule set are in force: what a day changes, if anything."""
    members = (in_force_on(member, day) for member in rules.combines)
    rows: tuple[Rule | Line, ...] = (*rules.rules, *rules.lines)
    own = tuple(in_force(row, day) for row in rows)
    return own + tuple(each for member in members for each in member)


@lru_cache(maxsize=_REMEMBERED)
def told_of(
    template: str, base: BaseModel, rules: RuleSet, limit: int | Fraction
) -> str:
    """Return a sentence of a rule set, filled in for a base model."""
    told = fill(template, values(base, rules, limit))
    nameless = not base.name and told.startswith(_NAMELESS)
    return told[:1].upper() + told[1:] if nameless else told


def values(base: BaseModel, rules: RuleSet, limit: int | Fraction) -> dict[str, str]:
    """Return what is filled into a sentence of a rule set."""
    figure = rules.figure(base)
    return {
        "model": base.name or _NAMELESS,
        "base": "unknown" if figure is None else display(figure),
        "estimate": _estimate(base),
        "limit": display(limit),
    }


def _estimate(base: BaseModel) -> str:
    low, high = base.estimate_low, base.estimate_high
    if low is None:
        return "unknown"
    if high is None or high <= low:
        return display(low)
    return f"{display(low)} to {display(high)}"


def _limit(rule: Rule, figure: int | None, rules: RuleSet) -> int | Fraction:
    limits = [] if rule.limit is None else [rule.limit]
    if rule.fraction is not None and figure is not None:
        limits.append(rule.fraction * figure)
    if not limits:
        message = f'rule "{rule.name}" of policy "{rules.name}" sets no threshold'
        raise PolicyError(message)
    return exact(min(limits))


def counted(
    base: BaseModel, totals: Totals, policy: Policy = DEFAULT_POLICY, day: str = ""
) -> int:
    """Return the FLOPs that a policy compares with its threshold, at most.

    Raises:
        PolicyError: as `governing`.
    """
    rules = built_in(policy) if isinstance(policy, str) else policy
    if rules.combines:
        return max(counted(base, totals, member, day) for member in rules.combines)
    basis = governing_rule(base, rules, day).basis
    return rules.counted(basis, totals)


def counts_everything(base: BaseModel, rules: RuleSet, day: str = "") -> bool:
    """Say whether each operation counts, so that `upper` is what is compared."""
    if rules.combines:
        return any(counts_everything(base, each, day) for each in rules.combines)
    return rules.counts_all(governing_rule(base, rules, day).basis, CATEGORIES)
