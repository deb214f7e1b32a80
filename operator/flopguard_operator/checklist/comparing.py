"""Check what a run or a program is compared with: base model, threshold, decision."""

from collections.abc import Iterable, Iterator

from flopguard_operator.checklist.items import (
    COMPARISON,
    DECISION,
    REFERENCE,
    Item,
    missing,
    note,
    ok,
)
from flopguard_operator.flops import display
from flopguard_operator.ledger import standing
from flopguard_operator.ledger.accounts import Account
from flopguard_operator.ledger.policies import Judgeable, Noted, judged
from flopguard_operator.ledger.standing import PROCEED
from flopguard_operator.policy.checks import holds
from flopguard_operator.policy.evaluation import PolicyVerdict
from flopguard_operator.policy.reasons import PROGRAM
from flopguard_operator.policy.terms import BaseModel, Totals


def reference(base: BaseModel) -> Iterator[Item]:
    """Yield what is known of the base model, and by whom."""
    if base.name:
        yield ok(REFERENCE, "base model", f"{base.name}.")
    else:
        yield missing(REFERENCE, "base model", "Not named: give spec.baseModel.name.")
    name = "base figure"
    if base.pretraining_flops is not None:
        figure = f"{display(base.pretraining_flops)} FLOPs"
        if base.source:
            yield ok(REFERENCE, name, f"{figure}, by {base.source}.")
            return
        advice = "nobody says by whom: give spec.baseModel.source"
        yield missing(REFERENCE, name, f"{figure}, but {advice}.")
        return
    ask = "Ask its provider: flopguard models gaps --requests."
    if base.estimate_low is None:
        yield note(REFERENCE, name, f"Not known; the rule for that governs. {ask}")
        return
    low, high = base.estimate_low, base.estimate_high or base.estimate_low
    said = f"Not disclosed; others say {display(low)} to {display(high)} FLOPs"
    yield note(REFERENCE, name, f"{said} ({base.method}). {ask}")


def comparison(
    verdicts: Iterable[PolicyVerdict], problem: str, citation: str
) -> Iterator[Item]:
    """Yield how the total stands to the threshold of each rule set.

    Args:
        verdicts: of all rule sets; that which governs is the first.
        problem: why it cannot be judged, "" where it can.
        citation: of the threshold that governs.
    """
    found = list(verdicts)
    if problem or not found:
        why = problem or "the rule set cannot judge this base model"
        yield missing(COMPARISON, "threshold", f"Not compared: {why}.")
        return
    for number, verdict in enumerate(found):
        state = "exceeded" if verdict.exceeded else "not exceeded"
        by = f" It governs, by {citation}." if number == 0 and citation else ""
        figures = f"{display(verdict.counted)} of {display(verdict.limit)} FLOPs"
        sentence = f"{figures} count ({verdict.percent} %): {state}.{by}"
        yield ok(COMPARISON, f"policy {verdict.policy}", sentence)


def decision(
    account: Account, terms: Judgeable, totals: Totals, noted: Noted
) -> Iterator[Item]:
    """Yield whether a decision is due, and whether a valid one covers the total.

    Raises:
        PolicyError: the terms cannot be judged by.
    """
    due = holds(judged(terms, totals, noted))
    decided = standing.decided(account)
    held = holds(judged(terms, totals, noted, decided))
    valid = standing.in_force(account)
    above = account.hold_reason if account.hold_reason.startswith(PROGRAM) else ""
    if held is not None:
        yield missing(DECISION, "proceed", f"{held.reason}: {held.message}")
    elif above:
        advice = "its program is held: audit that one"
        yield missing(DECISION, "proceed", f"{above}: {advice}.")
    elif due is None:
        yield ok(DECISION, "proceed", "None is due: no line that holds is reached.")
    else:
        by = next((one for one in reversed(valid) if one.kind == PROCEED), None)
        who = f"{by.decided_by} ({by.name})" if by is not None else "Somebody"
        used = f"{display(due.counted)} of {display(decided.allowed)} FLOPs are used"
        yield ok(DECISION, "proceed", f"{who} decided to proceed: {used}.")
    for one in account.decisions:
        if one.decision in account.expired:
            said = f"{one.kind} by {one.decided_by} ({one.name}) expired {one.expires}."
            yield note(DECISION, "expired", said)
        elif one.kind != "Import":
            until = f" until {one.expires}" if one.expires else ""
            said = f"{one.kind} by {one.decided_by}{until}: {one.reason}"
            yield note(DECISION, "in force", said)
