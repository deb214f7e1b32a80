"""Say how a run or program stands to its policy, and to all others beside it. Pure."""

from collections.abc import Collection, Iterable
from fractions import Fraction
from typing import Any

from flopguard_operator.api.fields import MAX_SENTENCE, MAX_TEXT
from flopguard_operator.api.runstatus import MAX_DUTIES
from flopguard_operator.ledger import weights
from flopguard_operator.ledger.accounts import Account
from flopguard_operator.ledger.duties import Owed
from flopguard_operator.ledger.weights import Spent, WayBack, lines_of
from flopguard_operator.policy import reasons
from flopguard_operator.policy.checks import budget_limit
from flopguard_operator.policy.evaluation import (
    LineVerdict,
    PolicyVerdict,
    judge,
    side_by_side,
)
from flopguard_operator.policy.rules import built_in
from flopguard_operator.policy.terms import Totals
from flopguard_operator.settling import Plan, RunView, nearest_limit

MOST_LINES, MOST_NOTES = 8, 16  # of the CRD


def told(verdicts: tuple[PolicyVerdict, ...], owed: tuple[Owed, ...]) -> dict[str, Any]:
    """Return the fields of a status that tell the law, in their wire form.

    Args:
        verdicts: of all rule sets, that of the one that governs first.
        owed: the duties that come with them.
    """
    verdict, *beside = verdicts
    return {
        "percentOfThreshold": verdict.percent,
        "threshold": {
            **_verdict(verdict),
            "lines": [_line(line) for line in verdict.lines[:MOST_LINES]],
            "notes": [
                f"{note.text} ({note.source})"[:MAX_SENTENCE]
                for note in verdict.notes[:MOST_NOTES]
            ],
        },
        "otherPolicies": [
            {**_verdict(other), "percent": other.percent} for other in beside
        ],
        "duties": [_duty(one) for one in owed[:MAX_DUTIES]],
    }


def verdicts(
    view: RunView, account: Account, totals: Totals
) -> tuple[PolicyVerdict, ...]:
    """Return the verdicts of all policies on a run, the governing one first."""
    rules, base = view.rules or built_in(view.terms.policy), view.terms.base
    return (
        judge(rules, base, totals, view.day(account)),
        *side_by_side(view.others, base, totals, view.today),
    )


def line_to_go_back_to(
    view: RunView, plan: Plan, verdicts: Iterable[PolicyVerdict]
) -> int | Fraction:
    """Return below which total of a run its saved weights are those to go back to.

    What the other runs of its program have spent by now is taken off the program's
    line. Nobody knows what of a save does not count: it is taken to count.

    Args:
        view: the run.
        plan: with what holds it, if anything does.
        verdicts: of all policies on the run.
    """
    hold = plan.hold
    if hold is None:
        return nearest_limit(view)
    if not hold.reason.startswith(reasons.PROGRAM):
        return hold.limit
    own = plan.totals.upper
    if hold.reason != reasons.PROGRAM + reasons.BUDGET_EXCEEDED:
        own = min((each.counted for each in verdicts), default=own)
    return hold.limit - max(0, hold.counted - own)


def ways_back(
    view: RunView,
    plan: Plan,
    verdicts: tuple[PolicyVerdict, ...],
    account: Account,
    gone: Collection[str] = (),
) -> tuple[WayBack, ...]:
    """Return the last saved weights below each line; none before a line is near.

    Args:
        view: the run; what is left of its program's lines is not known where the
            program cannot be judged: then there are none either.
        plan: with what it spent, and what holds it.
        verdicts: of all policies on the run.
        account: with its saved weights.
        gone: paths of weights that are not there any more.
    """
    if view.program and view.siblings is None:
        return ()
    own = Spent(plan.totals.upper, verdicts, view.limits.budget)
    lines = lines_of(own, _siblings(view))
    held = account.hold is not None or plan.hold is not None
    return weights.ways_back(lines, account.saves, held=held, gone=gone)


def _siblings(view: RunView) -> Spent | None:
    if view.siblings is None:
        return None
    set_, total = view.siblings
    rules = view.rules or built_in(view.terms.policy)
    judged = side_by_side((rules, *view.others), set_.terms.base, total, set_.day)
    budget = budget_limit(set_.terms.budget, Fraction(set_.limit))
    return Spent(total.upper, judged, budget)


def _verdict(verdict: PolicyVerdict) -> dict[str, Any]:
    return {
        "policy": verdict.policy,
        "limit": str(verdict.limit),
        "rule": verdict.rule,
        "citation": verdict.citation[:MAX_TEXT],
        "explanation": verdict.explanation[:MAX_SENTENCE],
        "counted": str(verdict.counted),
        "exceeded": verdict.exceeded,
    }


def _duty(one: Owed) -> dict[str, Any]:
    return {
        "name": one.duty.name,
        "article": one.duty.article[:MAX_TEXT],
        "state": "Open" if one.done is None else "Fulfilled",
        "policies": list(one.policies),
        **({"dueAt": one.due} if one.due else {}),
    }


def _line(line: LineVerdict) -> dict[str, Any]:
    told = f"{line.explanation} {line.silent}".strip()
    shown = {
        "name": line.name,
        "subject": line.subject,
        "limit": str(line.limit),
        "total": None if line.total is None else str(line.total),
        "percent": line.percent,
        "state": line.state,
        "message": f"{told} ({line.citation})"[:MAX_SENTENCE],
    }
    return {name: value for name, value in shown.items() if value is not None}
