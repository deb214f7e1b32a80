"""Gather what a report says of each run, from the ledger's entries.

By the folds and the policy that the operator itself uses; no clock is read, so one
ledger always gives one report.
"""

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from flopguard_operator.ledger import coverage
from flopguard_operator.ledger.accounts import Account, apply, totals
from flopguard_operator.ledger.entries import (
    AttemptOpened,
    Crossing,
    Entry,
    GapCharged,
    PolicyNoted,
    RunRef,
    Settlement,
    TermsSet,
)
from flopguard_operator.ledger.policies import Noted, judged
from flopguard_operator.marks import Mark
from flopguard_operator.policy import reasons
from flopguard_operator.policy.checks import budget_limit
from flopguard_operator.policy.evaluation import PolicyVerdict, side_by_side
from flopguard_operator.policy.rules import Governing, governing
from flopguard_operator.policy.rulesets import PolicyError, RuleSet
from flopguard_operator.policy.terms import Totals
from flopguard_operator.policy.verdict import Verdict
from flopguard_operator.report.ahead import expected
from flopguard_operator.report.facts import (
    AttemptFacts,
    LedgerFacts,
    Point,
    ReportFacts,
    RunFacts,
)
from flopguard_operator.report.timeline import tell
from flopguard_operator.report.usage import usage_of


def gather(
    accounts: Mapping[str, Account],
    entries: Iterable[Entry],
    ledger: LedgerFacts,
    beside: Sequence[RuleSet] = (),
) -> ReportFacts:
    """Return the facts of every run in `accounts`, by namespace and name.

    Never raises: a run that cannot be judged says so in its `problem`.

    Args:
        accounts: of the runs.
        entries: may tell of other runs too; those are left out.
        ledger: that they are from.
        beside: rule sets whose verdicts stand beside that of the one that governs.
    """
    by_run: dict[str, list[Entry]] = {uid: [] for uid in accounts}
    noted = Noted()
    for entry in entries:
        if isinstance(entry.event, PolicyNoted):
            noted.take(entry.event)
        if entry.event.run.uid in by_run:
            by_run[entry.event.run.uid].append(entry)
    runs = [
        run_facts(account, by_run[uid], noted, beside)
        for uid, account in accounts.items()
    ]
    runs.sort(key=lambda facts: (facts.run.namespace, facts.run.name, facts.run.uid))
    return ReportFacts(tuple(runs), ledger)


def run_facts(
    account: Account,
    entries: Sequence[Entry],
    noted: Noted | None = None,
    beside: Sequence[RuleSet] = (),
) -> RunFacts:
    """Return what `entries`, all of one run, say of it.

    Args:
        account: the fold of the entries.
        entries: in order.
        noted: the rule sets of the ledger; None where it has none.
        beside: rule sets whose verdicts stand beside that of the one that governs.
    """
    terms = account.terms_set.terms if account.terms_set else None
    counted = totals(account)
    threshold, budget, verdicts, problem = _judge(
        account.terms_set, counted, noted or Noted()
    )
    spans = coverage.of_entries(entries)
    laws = _laws(account.terms_set, noted or Noted(), beside)
    last_at = entries[-1].at if entries else ""
    limit = threshold.limit if threshold else None
    ahead = expected(entries, last_at, counted.upper, budget, limit)
    return RunFacts(
        account=account,
        totals=counted,
        terms=terms,
        threshold=threshold,
        budget=budget,
        verdicts=verdicts,
        problem=problem,
        attempts=_attempts(account, entries),
        timeline=tuple(
            moment for entry in entries if (moment := tell(entry)) is not None
        ),
        points=_points(account.ref, entries),
        last_at=last_at,
        reaches=ahead if _goes_on(account) else (),
        coverage=coverage.parts(spans),
        policies=_policies(account.terms_set, counted, laws),
        laws=laws,
        usage=usage_of(spans, account.attempts),
        met_at=_met_at(entries),
    )


def _goes_on(account: Account) -> bool:
    """Say whether a run may spend more: it is not held, and a pod has not ended."""
    ended = all(
        account.streams.get(one.stream, Mark(one.stream)).final
        for one in account.attempts
    )
    return account.hold is None and not ended


def _met_at(entries: Iterable[Entry]) -> str:
    """Return when the threshold was crossed first; "" for never."""
    return next(
        (
            entry.at
            for entry in entries
            if isinstance(entry.event, Crossing)
            and entry.event.reason == reasons.THRESHOLD_EXCEEDED
        ),
        "",
    )


def _laws(
    terms: TermsSet | None, noted: Noted, beside: Sequence[RuleSet]
) -> tuple[RuleSet, ...]:
    """Return the rule sets that judge, that which governs first; none if it cannot."""
    if terms is None:
        return ()
    try:
        rules = noted.of(terms)
    except PolicyError:
        return ()
    return (rules, *(each for each in beside if each.name != rules.name))


def _policies(
    terms: TermsSet | None, counted: Totals, laws: Sequence[RuleSet]
) -> tuple[PolicyVerdict, ...]:
    """Return all verdicts on a run; none where it cannot be judged."""
    if terms is None:
        return ()
    try:
        return side_by_side(laws, terms.terms.base, counted, terms.day)
    except PolicyError:
        return ()


def _judge(
    terms: TermsSet | None, counted: Totals, noted: Noted
) -> tuple[Governing | None, int | Fraction | None, tuple[Verdict, ...], str]:
    if terms is None:
        return None, None, (), "the ledger holds no terms for this run"
    try:
        verdicts = judged(terms, counted, noted)
        threshold = governing(terms.terms.base, noted.of(terms), terms.day)
    except PolicyError as error:
        return None, None, (), str(error)
    return threshold, budget_limit(terms.terms.budget, threshold.limit), verdicts, ""


def _attempts(account: Account, entries: Sequence[Entry]) -> tuple[AttemptFacts, ...]:
    return tuple(
        AttemptFacts(
            opened=entry.event,
            at=entry.at,
            mark=account.streams.get(entry.event.stream, Mark(entry.event.stream)),
            gap=gap.flops if (gap := account.gaps.get(entry.event.stream)) else 0,
        )
        for entry in entries
        if isinstance(entry.event, AttemptOpened)
    )


def _points(run: RunRef, entries: Sequence[Entry]) -> tuple[Point, ...]:
    """Return the totals after each entry that changed them."""
    account = Account(ref=run)
    points: list[Point] = []
    for entry in entries:
        account = apply(account, entry.event)
        if points and not isinstance(entry.event, Settlement | GapCharged):
            continue  # nothing else changes the totals
        now = totals(account)
        point = Point(entry.at, now.measured, now.upper)
        if not points or (now.measured, now.upper) != (
            points[-1].measured,
            points[-1].upper,
        ):
            points.append(point)
    if points and entries[-1].at != points[-1].at:
        last = points[-1]
        points.append(Point(entries[-1].at, last.measured, last.upper))
    return tuple(points)
