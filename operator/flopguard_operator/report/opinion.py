"""Judge a run or a program for the report: by its own policy, and by all others."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from flopguard_operator.ledger.entries import ProgramSet, TermsSet
from flopguard_operator.ledger.policies import Noted, judged, laws
from flopguard_operator.policy.checks import budget_limit
from flopguard_operator.policy.evaluation import PolicyVerdict, side_by_side
from flopguard_operator.policy.rules import Governing, governing
from flopguard_operator.policy.rulesets import PolicyError, RuleSet
from flopguard_operator.policy.terms import NOTHING_DECIDED, Decided, Terms, Totals
from flopguard_operator.policy.verdict import Verdict


@dataclass(frozen=True)
class Law:
    """By what a report judges."""

    noted: Noted
    """The rule sets of the ledger."""
    beside: Sequence[RuleSet] = ()
    """Rule sets whose verdicts stand beside that of the one that governs."""


@dataclass(frozen=True)
class Opinion:
    """What is said of a total; the fields are those of `SubjectFacts`."""

    terms: Terms | None
    threshold: Governing | None
    budget: int | Fraction | None
    verdicts: tuple[Verdict, ...]
    problem: str
    policies: tuple[PolicyVerdict, ...] = ()
    laws: tuple[RuleSet, ...] = ()


def opinion(
    set_: TermsSet | ProgramSet | None,
    counted: Totals,
    law: Law,
    decided: Decided = NOTHING_DECIDED,
) -> Opinion:
    """Return what the terms of a run or a program say of its total; never raises."""
    if set_ is None:
        problem = "the ledger holds no terms for it"
        return Opinion(None, None, None, (), problem)
    terms = set_.terms
    try:
        verdicts = judged(set_, counted, law.noted, decided)
        threshold = governing(terms.base, law.noted.of(set_), set_.day)
        all_laws = laws(set_, law.noted, law.beside)
        policies = side_by_side(all_laws, terms.base, counted, set_.day)
    except PolicyError as error:
        return Opinion(terms, None, None, (), str(error))
    budget = budget_limit(terms.budget, threshold.limit)
    return Opinion(terms, threshold, budget, verdicts, "", policies, all_laws)
