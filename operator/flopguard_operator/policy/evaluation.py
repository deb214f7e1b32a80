"""Put the verdicts of all rule sets on one modification side by side. Pure.

A verdict is a function of (rule set, base model, totals, day) and of nothing else; the
one that governs a run is among them.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from flopguard_operator.flops import percent
from flopguard_operator.policy.rules import counted, governing, in_force, told_of
from flopguard_operator.policy.rulesets import (
    SUM,
    Date,
    Duty,
    Line,
    Note,
    RuleSet,
    exact,
)
from flopguard_operator.policy.terms import BaseModel, Totals

CROSSED, BELOW, UNSAID = "crossed", "below", "unknown"
"""How a total stands to a line; unknown where the base figure is."""


@dataclass(frozen=True)
class LineVerdict:
    """How a modification stands to a further line, such as 1e23 for the result."""

    name: str
    subject: str
    """What is compared: "modification" or "base+modification"."""
    limit: int | Fraction
    state: str
    """`CROSSED`, `BELOW` or `UNSAID`."""
    total: int | None
    """FLOPs that are compared; None where the base figure is not known."""
    left: int | Fraction | None
    """FLOPs that are left; None where nobody can say."""
    percent: str | None
    near: tuple[int, ...]
    """The warning percentages that are reached."""
    citation: str
    explanation: str
    silent: str
    """What the law leaves open here; "" for nothing."""


@dataclass(frozen=True)
class PolicyVerdict:
    """What one rule set says of one modification."""

    policy: str
    limit: int | Fraction
    counted: int
    """FLOPs that may have been executed and count under this rule set."""
    exceeded: bool
    """Whether the indicative criterion is met."""
    percent: str
    """Of the limit that is used, "49.99"."""
    rule: str
    citation: str
    explanation: str
    basis: str = ""
    effective: str = ""
    lines: tuple[LineVerdict, ...] = ()
    notes: tuple[Note, ...] = ()
    duties: tuple[Duty, ...] = ()
    """That come with the criterion; empty while it is not met."""
    strict: bool = True
    """Whether the limit is crossed above it only, or also at it."""


def judge(
    rule_set: RuleSet, base: BaseModel, totals: Totals, today: str = ""
) -> PolicyVerdict:
    """Return what a rule set says of modifying `base` by `totals`.

    Args:
        rule_set: the policy.
        base: the model that is modified, with what is known of it.
        totals: of the modification, over all of its runs.
        today: ISO 8601 day for which the rules are taken; "" for any.

    Raises:
        PolicyError: no rule of it fits the base.
    """
    found = governing(base, rule_set, today)
    count = counted(base, totals, rule_set, today)
    exceeded = is_over(count, found.limit, strict=rule_set.strict)
    return PolicyVerdict(
        policy=rule_set.name,
        limit=found.limit,
        counted=count,
        exceeded=exceeded,
        percent=percent(count, found.limit),
        rule=found.rule,
        citation=found.citation,
        explanation=found.explanation,
        basis=found.basis,
        effective=found.effective,
        lines=lines(rule_set, base, totals, today),
        notes=tuple(_notes(rule_set, base, totals, 100 * count // found.limit)),
        duties=duties(rule_set, base) if exceeded else (),
        strict=rule_set.strict,
    )


def side_by_side(
    rule_sets: Iterable[RuleSet], base: BaseModel, totals: Totals, today: str = ""
) -> tuple[PolicyVerdict, ...]:
    """Return the verdict of each rule set, in the order that they are given.

    Raises:
        PolicyError: as `judge`.
    """
    return tuple(judge(each, base, totals, today) for each in rule_sets)


def is_over(count: int, limit: int | Fraction, *, strict: bool) -> bool:
    """Say whether a threshold is crossed: above it, or also at it if not `strict`."""
    return count > limit if strict else count >= limit


def duties(rule_set: RuleSet, base: BaseModel) -> tuple[Duty, ...]:
    """Return the duties that come with the criterion for this base model."""
    return tuple(each for each in rule_set.duties if rule_set.fits(each.when, base))


def dates(rule_set: RuleSet) -> tuple[Date, ...]:
    """Return the days that matter, in order."""
    return tuple(sorted(rule_set.dates, key=lambda each: each.day))


def watched(rule_set: RuleSet, base: BaseModel, today: str = "") -> Iterator[Line]:
    """Yield the further lines that a rule set watches for this base model."""
    for line in rule_set.lines:
        if rule_set.fits(line.when, base) and in_force(line, today):
            yield line


def added(rule_set: RuleSet, line: Line, base: BaseModel) -> int | None:
    """Return the base FLOPs that a line adds to the modification; None if not known."""
    return rule_set.figure(base) if line.subject == SUM else 0


def lines(
    rule_set: RuleSet, base: BaseModel, totals: Totals, today: str = ""
) -> tuple[LineVerdict, ...]:
    """Return how a modification stands to each further line of a rule set."""
    return tuple(
        _line(rule_set, line, base, rule_set.counted(line.basis, totals))
        for line in watched(rule_set, base, today)
    )


def _line(rule_set: RuleSet, line: Line, base: BaseModel, count: int) -> LineVerdict:
    limit = exact(line.limit)
    start = added(rule_set, line, base)
    total = None if start is None else start + count
    least = count if total is None else total  # the base took something, too
    state = CROSSED if least > limit else UNSAID if total is None else BELOW
    near = (each for each in line.warn_at_percent if 100 * least >= each * limit)
    told = told_of(line.explanation, base, rule_set, limit)
    return LineVerdict(
        name=line.name,
        subject=line.subject,
        limit=limit,
        state=state,
        total=total,
        left=None if total is None else max(0, exact(limit - total)),
        percent=None if total is None else percent(total, limit),
        near=tuple(sorted(near)),
        citation=line.citation,
        explanation=told,
        silent=line.silent,
    )


def _notes(
    rule_set: RuleSet, base: BaseModel, totals: Totals, percents: int
) -> Iterator[Note]:
    for note in rule_set.notes:
        said = not note.category or totals.done.get(note.category, 0) > 0
        near = percents >= note.from_percent
        if said and near and rule_set.fits(note.when, base):
            yield note
