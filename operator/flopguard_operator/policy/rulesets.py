"""Define what a rule set is: law as data, with its sources, dates and sentences.

Plain frozen dataclasses. The canonical JSON of one (`policy.canonical`) is noted in the
ledger before it judges anything, so whoever replays the ledger judges by that text.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from flopguard_operator.policy.terms import BaseModel, Totals

ANY, KNOWN, DISCLOSED = "any", "known", "disclosed"
ESTIMATED, UNKNOWN = "estimated", "unknown"
FIGURES = (ANY, KNOWN, DISCLOSED, ESTIMATED, UNKNOWN)
"""What a rule may ask of the base figure. Known is disclosed, or an estimate that the
rule set counts; unknown is neither."""

MODIFICATION, SUM = "modification", "base+modification"
SUBJECTS = (MODIFICATION, SUM)
"""What a line is compared with."""


class PolicyError(ValueError):
    """A run cannot be judged by these terms; the message says what to change."""


@dataclass(frozen=True)
class When:
    """Which base models something holds for; all of it has to fit."""

    systemic: bool | None = None
    """Whether the base carries systemic risk; None where that does not matter."""
    figure: str = ANY
    """One of `FIGURES`."""
    at_least: int | None = None
    """Least FLOPs of the base; fits known figures only."""
    below: int | None = None
    """FLOPs that the base is below; fits known figures only."""
    estimate: bool | None = None
    """Whether others have estimated the base, counted here or not."""


ALWAYS = When()


@dataclass(frozen=True)
class Rule:
    """One row: whom it governs, and the threshold that it sets.

    With both `fraction` and `limit`, the smaller of the two governs.
    """

    name: str
    basis: str
    """Which operations count: a key of the rule set's `counts`."""
    citation: str
    explanation: str
    """A sentence for people; {model}, {base}, {estimate} and {limit} are filled in."""
    when: When = ALWAYS
    fraction: Fraction | None = None
    """Threshold as a part of the base's pre-training FLOPs."""
    limit: Fraction | None = None
    """Threshold as a fixed figure, in FLOPs."""
    effective: str = ""
    """First day on which it applies, ISO 8601; "" for always."""
    until: str = ""
    """First day on which it applies no more; "" for none."""


@dataclass(frozen=True)
class Line:
    """A further line: not the threshold of the modification, but to be watched."""

    name: str
    subject: str
    """One of `SUBJECTS`."""
    limit: Fraction
    """FLOPs; crossed strictly above."""
    basis: str
    citation: str
    explanation: str
    """What it means to be above it; {model}, {base} and {limit} are filled in."""
    when: When = ALWAYS
    warn_at_percent: tuple[int, ...] = ()
    """Percentages of it at which to warn as it nears."""
    silent: str = ""
    """What the law leaves open here, with its source; "" where it does not."""
    effective: str = ""
    until: str = ""


@dataclass(frozen=True)
class Note:
    """One sentence where law or rule sets disagree, or say nothing."""

    name: str
    text: str
    source: str
    when: When = ALWAYS
    category: str = ""
    """Said only where FLOPs of this category were counted; "" for always."""
    from_percent: int = 0
    """Said only from this percentage of the threshold on."""


@dataclass(frozen=True)
class Duty:
    """An obligation that comes with the criterion, limited to the modification."""

    name: str
    article: str
    text: str
    when: When = ALWAYS
    open_source_exempt: bool = False
    """Whether models under a free and open-source licence are exempt."""
    within_days: int | None = None
    """Days that there are, from the day on which it is known; None: no such term."""


@dataclass(frozen=True)
class Date:
    """A day that matters, with its article."""

    day: str
    text: str
    article: str


@dataclass(frozen=True)
class Fine:
    """The most that an infringement may cost."""

    text: str
    article: str
    percent_of_turnover: Fraction
    euros: int
    effective: str = ""


@dataclass(frozen=True)
class RuleSet:
    """One policy. The first of its rules that fits a base model governs.

    A rule set that combines others has no rules: the smallest limit and the largest
    count of its members govern.
    """

    name: str
    version: str
    title: str
    rules: tuple[Rule, ...] = ()
    counts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Basis → categories that count. Gaps and what is unproven count in each."""
    strict: bool = True
    """Whether the threshold is crossed above it only, or also at it."""
    estimates_count: bool = False
    """Whether an estimate that others derived (its low end) is a known base figure."""
    excluded_methods: tuple[str, ...] = ()
    """Methods of estimates that never count."""
    effective: str = ""
    summary: str = ""
    citations: tuple[str, ...] = ()
    combines: tuple["RuleSet", ...] = ()
    lines: tuple[Line, ...] = ()
    notes: tuple[Note, ...] = ()
    duties: tuple[Duty, ...] = ()
    dates: tuple[Date, ...] = ()
    fines: tuple[Fine, ...] = ()

    def __hash__(self) -> int:
        """Equal rule sets have one name and version; all else would take long."""
        return hash((self.name, self.version))

    def figure(self, base: BaseModel) -> int | None:
        """Return the base FLOPs that this rule set takes as known; None for none."""
        if base.pretraining_flops is not None:
            return base.pretraining_flops
        counted = self.estimates_count and base.method not in self.excluded_methods
        return base.estimate_low if counted else None

    def fits(self, when: When, base: BaseModel) -> bool:
        """Say whether a condition holds for a base model."""
        if when is ALWAYS or when == ALWAYS:
            return True
        if when.systemic is not None and when.systemic != base.systemic_risk:
            return False
        estimated = base.estimate_low is not None
        if when.estimate is not None and when.estimate != estimated:
            return False
        return self._fits_figure(when, base)

    def _fits_figure(self, when: When, base: BaseModel) -> bool:
        known, disclosed = self.figure(base), base.pretraining_flops is not None
        if when.at_least is not None and (known is None or known < when.at_least):
            return False
        if when.below is not None and (known is None or known >= when.below):
            return False
        if when.figure == DISCLOSED:
            return disclosed
        if when.figure == ESTIMATED:
            return known is not None and not disclosed
        return when.figure == ANY or (when.figure == KNOWN) == (known is not None)

    def counted(self, basis: str, totals: Totals) -> int:
        """Return the FLOPs that may have been executed and count on a basis.

        What is not proven (`begun` less `done`, and gaps) has no category: it counts.
        """
        categories = self.counts.get(basis)
        if categories is None:
            return totals.upper
        proven = sum(totals.done.get(category, 0) for category in categories)
        return proven + totals.upper - totals.measured

    def counts_all(self, basis: str, all_categories: tuple[str, ...]) -> bool:
        """Say whether every category counts on a basis, so that `upper` is counted."""
        return set(self.counts.get(basis, all_categories)) >= set(all_categories)


def exact(value: int | Fraction) -> int | Fraction:
    """Return whole fractions as int, so that equal limits also read the same."""
    return value.numerator if value.denominator == 1 else value
