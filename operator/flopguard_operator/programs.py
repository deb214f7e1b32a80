"""Decide what a program's total and people's decisions mean. Pure.

A program is judged on all of its runs together, deleted and imported ones too: what was
spent stays spent. Its runs are warned and held because of what their siblings spent.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from flopguard_operator import conditions as c
from flopguard_operator import foretelling, retaining
from flopguard_operator.api import resolve
from flopguard_operator.api.fields import SpecError, read
from flopguard_operator.api.program import OwnersSpec, ProgramSpec, RetentionSpec
from flopguard_operator.conditions import Condition
from flopguard_operator.flops import display, percent
from flopguard_operator.forecast.together import Ahead
from flopguard_operator.ledger import forecasts, policies, standing
from flopguard_operator.ledger.accounts import Account, due
from flopguard_operator.ledger.census import program_of
from flopguard_operator.ledger.duties import Owed
from flopguard_operator.ledger.entries import Event, ProgramSet, RetentionSet, RunRef
from flopguard_operator.ledger.forecasts import Limits
from flopguard_operator.ledger.policies import Law, Noted
from flopguard_operator.ledger.standing import Standing
from flopguard_operator.models.catalogue import NOTHING, Catalogue
from flopguard_operator.observed import Raw, at, text
from flopguard_operator.policy.checks import budget_limit, holds
from flopguard_operator.policy.evaluation import PolicyVerdict
from flopguard_operator.policy.rules import governing, known
from flopguard_operator.retaining import Demand
from flopguard_operator.standing import told
from flopguard_operator.status import headline


@dataclass(frozen=True)
class ProgramPlan:
    """What a cycle says about one program."""

    ref: RunRef
    generation: int
    events: tuple[Event, ...]
    standing: Standing
    law: Law  # that it is judged by
    policies: tuple[PolicyVerdict, ...] = ()  # of all, the one that governs first
    ahead: Ahead = field(default_factory=Ahead)  # what is to be expected of it

    @property
    def limits(self) -> Limits | None:
        """What its forecast is held against."""
        set_ = self.standing.account.program_set
        if set_ is None:
            return None
        return forecasts.limits(set_.terms, Fraction(set_.limit), self.law.rules)


def retentions(
    known: RetentionSet | None, years: int, raws: Iterable[Raw]
) -> list[RetentionSet]:
    """Return the entry that says for how long the ledger is kept, if one is due.

    Args:
        known: the ledger's newest.
        years: by the settings of the operator.
        raws: all programs.
    """
    reason = "the default of the installation (operator.ledger.retentionYears)"
    found = retaining.due(known, Demand(years, reason), _demands(raws))
    return [] if found is None else [found]


def _demands(raws: Iterable[Raw]) -> Iterator[Demand]:
    """Yield for how long each program asks that the ledger is kept, if it does."""
    for raw in raws:
        name, asked = text(raw, "metadata", "name"), at(raw, "spec", "retention")
        if asked is None:
            continue
        with contextlib.suppress(SpecError):  # said where the program is judged
            years = read(RetentionSpec, asked, "spec.retention").years
            reason = f"FineTuneProgram {name} asks for it (spec.retention.years)"
            yield Demand(years, reason)


def reference(raw: Raw) -> RunRef:
    """Return how the ledger names a program: its UID, no namespace, its name."""
    return RunRef(text(raw, "metadata", "uid"), "", text(raw, "metadata", "name"))


@dataclass(frozen=True)
class Laws:
    """What a program may be judged by: rule sets, base models, and the day."""

    laws: Mapping[str, Law]
    catalogue: Catalogue = NOTHING
    today: str = ""  # ISO 8601
    noted: Noted = field(default_factory=Noted)  # the ledger's rule sets


def terms_set(raw: Raw, before: ProgramSet | None, by: Laws) -> tuple[ProgramSet, Law]:
    """Return what a program is judged by.

    Raises:
        SpecError: its spec cannot be read.
        PolicyError: nothing can be judged by it.
    """
    name = text(raw, "metadata", "name")
    spec = read(ProgramSpec, at(raw, "spec") or {}, f"FineTuneProgram {name}: spec")
    terms = resolve.program_terms(spec, by.catalogue)
    law = known(terms.policy, by.laws)
    day = policies.day_for(before, law, by.today)
    threshold = governing(terms.base, law.rules, day)
    owners = spec.owners or OwnersSpec()
    found = ProgramSet(
        run=reference(raw),
        generation=int(at(raw, "metadata", "generation") or 0),
        terms=terms,
        limit=str(threshold.limit),
        rule=threshold.rule,
        citation=threshold.citation,
        compliance=owners.compliance or "",
        model=owners.model or "",
        product=owners.product or "",
        rollback_plan=spec.rollback_plan or "",
        require_owners=spec.require_owners,
        policy_digest=law.note.digest,
        day=day,
    )
    return found, law


def plan(
    raw: Raw,
    known_as: Account | None,
    runs: Iterable[Account],
    decided: Iterable[Event],
    by: Laws,
) -> ProgramPlan:
    """Return what to append about a program, and where it stands then.

    Args:
        raw: the FineTuneProgram.
        known_as: its account, or that of the one that had its name before.
        runs: accounts of its runs as of now.
        decided: decisions on it that the ledger does not hold yet.
        by: what it may be judged by.

    Raises:
        SpecError, PolicyError: it cannot be judged by what its spec says.
    """
    before = known_as.program_set if known_as is not None else None
    wanted, law = terms_set(raw, before, by)
    events: list[Event] = []
    account = _carried(known_as, wanted)
    before = account.program_set
    if before is None or replace(before, generation=wanted.generation) != wanted:
        events.append(wanted)
    account = standing.applied(account, [wanted, *(news := list(decided))])
    noted = policies.with_law(by.noted, law)
    found = standing.of(account, runs, noted)
    crossings = due(account, found.verdicts, found.totals)
    return ProgramPlan(
        ref=wanted.run,
        generation=wanted.generation,
        events=(*events, *news, *crossings),
        standing=found,
        law=law,
        policies=policies.verdicts(
            wanted, found.totals, noted, policies.others(by.laws, law.rules.name)
        ),
    )


def _carried(known: Account | None, wanted: ProgramSet) -> Account:
    """Return the account that a program goes on with; a namesake's spendings stay."""
    if known is None or known.ref == wanted.run:
        return known or Account(wanted.run)
    return Account(wanted.run, adjusted=known.adjusted, imported=known.imported)


def status(found: ProgramPlan, owed: tuple[Owed, ...]) -> dict[str, Any]:
    """Return a program's status in its wire form, without conditions.

    Args:
        found: where it stands.
        owed: the duties that come with the criteria that are met.
    """
    stands, terms = found.standing, found.standing.account.program_set
    if terms is None:
        message = f"program {stands.name} has no terms"
        raise SpecError(message)
    limit = Fraction(terms.limit)
    budget = budget_limit(terms.terms.budget, limit)
    upper = stands.totals.upper
    allowed = standing.decided(stands.account).allowed
    return {
        "state": state(stands),
        "measured": str(stands.totals.measured),
        "upper": str(upper),
        "imported": str(stands.totals.imported),
        "usedDisplay": display(found.policies[0].counted),
        "limitDisplay": display(limit),
        **told(found.policies, owed),
        "forecast": foretelling.of_program(found.ahead, found.limits),
        "percentOfBudget": None if budget is None else percent(upper, budget),
        "allowed": str(allowed) if allowed else None,
        "runs": len(stands.runs),
        "observedGeneration": found.generation,
    }


def state(stands: Standing) -> str:
    """Return a program in one word, the gravest first."""
    if holds(stands.verdicts) is not None:
        return "Held"
    if any(run.hold is not None for run in stands.runs):
        return "RunHeld"
    if stands.verdicts:
        return "Warning"
    return "Metering" if stands.runs else "Pending"


def conditions_of(found: ProgramPlan) -> list[Condition]:
    """Return all conditions of a program that could be judged."""
    stands = found.standing
    terms = stands.account.program_set
    unnamed = standing.unnamed(terms) if terms else ()
    held = holds(stands.verdicts)
    warned = headline(stands.verdicts)
    owners = Condition(c.OWNERS_NAMED, c.TRUE)
    if unnamed:
        message = f"Not named: {', '.join(unnamed)}."
        owners = Condition(c.OWNERS_NAMED, c.FALSE, "NotNamed", message)
    return [
        Condition(c.SPEC_VALID, c.TRUE),
        owners,
        Condition(c.WARNED, c.FALSE, c.NOT_REACHED)
        if warned is None
        else Condition(c.WARNED, c.TRUE, warned.reason, warned.message),
        Condition(c.HELD, c.FALSE, c.NOT_REACHED)
        if held is None
        else Condition(c.HELD, c.TRUE, held.reason, held.message),
        *foretelling.conditions_of_program(found.ahead, found.limits),
    ]


def members(
    live: Mapping[str, tuple[str, Account]], accounts: Mapping[str, Account]
) -> dict[str, list[Account]]:
    """Return the accounts of each program's runs as of now, by its name.

    Args:
        live: program and account of each run that a cycle looks at, by UID.
        accounts: what the ledger says of all runs, by UID.
    """
    found: dict[str, list[Account]] = {}
    for program, account in live.values():
        found.setdefault(program, []).append(account)
    for uid, account in accounts.items():
        if uid not in live and account.program_set is None:
            found.setdefault(program_of(account), []).append(account)
    return found
