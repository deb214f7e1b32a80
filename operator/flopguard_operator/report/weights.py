"""Say which saved weights there are to go back to, line by line."""

from typing import Any

from flopguard_operator.flops import display
from flopguard_operator.ledger.accounts import Account
from flopguard_operator.ledger.policies import Judgeable
from flopguard_operator.ledger.weights import Spent, WayBack, lines_of, ways_back
from flopguard_operator.policy.terms import Totals
from flopguard_operator.report.blocks import Section, Table
from flopguard_operator.report.facts import RunFacts
from flopguard_operator.report.opinion import Law, Opinion, opinion

_HEADING = "Weights to go back to"
_TOLD = (
    "The last weights that were saved while the run had spent less than a line, by what"
    " it can have spent at most; of a program's total, what its other runs spent by now"
    " is taken off the line. Whether they are still there is not in the ledger."
)
_NO_SAVES = "The ledger knows of no weights that this run saved."


def rollbacks(
    account: Account,
    total: Totals,
    found: Opinion,
    siblings: tuple[Judgeable, Totals] | None,
    law: Law,
) -> tuple[WayBack, ...]:
    """Return the last saved weights below each line of a run.

    Args:
        account: of the run.
        total: what it spent.
        found: what is said of that.
        siblings: what the other runs of its program spent, with the program's terms;
            None without a program.
        law: by what the report judges.
    """
    beside = None
    if siblings is not None:
        set_, theirs = siblings
        said = opinion(set_, theirs, law)
        beside = Spent(theirs.upper, said.policies, said.budget)
    lines = lines_of(Spent(total.upper, found.policies, found.budget), beside)
    return ways_back(lines, account.saves, held=account.hold is not None)


def section(run: RunFacts) -> tuple[Section, ...]:
    """Return the section of a run that is held or near a line; none for another."""
    if not run.rollbacks:
        return ()
    if not run.account.saves:
        return (Section(_HEADING, (_NO_SAVES,)),)
    none = [one.line.name for one in run.rollbacks if one.saved is None]
    told = [_TOLD]
    if none:
        told.append(f"No saved weights lie below the line of: {', '.join(none)}.")
    rows = tuple(_row(one) for one in run.rollbacks)
    head = ("Line", "Limit", "Weights", "Step", "FLOPs by then, at most", "Exactly")
    table = Table("The last below each line", head, rows)
    return (Section(_HEADING, tuple(told), table),)


def _row(one: WayBack) -> tuple[str, ...]:
    line, saved = one.line, one.saved
    if saved is None:
        return line.name, display(line.limit), "none", "-", "-", "-"
    flops = display(saved.upper), str(saved.upper)
    return line.name, display(line.limit), saved.path, str(saved.step), *flops


def rollbacks_json(run: RunFacts) -> list[dict[str, Any]]:
    """Return the same for other programs; null where there are no weights."""
    return [
        {
            "line": one.line.name,
            "limit": str(one.line.limit),
            "limit_display": display(one.line.limit),
            "path": one.saved and one.saved.path,
            "step": one.saved and one.saved.step,
            "flops": one.saved and str(one.saved.upper),
        }
        for one in run.rollbacks
    ]
