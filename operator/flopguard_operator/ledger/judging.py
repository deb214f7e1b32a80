"""Hold crossings, holds and decisions of a ledger against the policy. For the replay.

An account is a run's or a program's. A run is judged on its own total and, where it
belongs to a program, on where the program stands.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from flopguard_operator.ledger import forecasts, policies, standing
from flopguard_operator.ledger.accounts import Account, due, totals
from flopguard_operator.ledger.contradiction import (
    CROSSINGS,
    HOLDS,
    OVERSHOOT,
    PROGRAMS,
    TERMS,
    Contradiction,
    wrong,
)
from flopguard_operator.ledger.entries import (
    Crossing,
    DecisionExpired,
    DecisionRecorded,
    Entry,
    HoldProven,
    HoldReleased,
    HoldSet,
    Imported,
    ProgramAdjusted,
    ProgramSet,
    TermsSet,
)
from flopguard_operator.ledger.policies import Noted, judged
from flopguard_operator.ledger.standing import Standing
from flopguard_operator.policy import reasons
from flopguard_operator.policy.checks import holds
from flopguard_operator.policy.rulesets import PolicyError
from flopguard_operator.policy.terms import Totals
from flopguard_operator.policy.verdict import Verdict

Stands = Callable[[str], Standing | None]
"""Where the program of a name stands; None if the entries do not tell of it."""


@dataclass(frozen=True)
class Known:
    """What the entries so far tell beside the account of one run or program."""

    stands: Stands
    noted: Noted


@dataclass(frozen=True)
class Judged:
    """What a run or program has reached by now."""

    total: Totals
    verdicts: tuple[Verdict, ...]


def judge(account: Account, known: Known) -> Judged | Contradiction:
    """Judge a run, or a program, as it stands; without terms nothing is reached."""
    try:
        if account.program_set is not None:
            found = known.stands(account.ref.name)
            return (
                Judged(found.totals, found.verdicts) if found else Judged(Totals(), ())
            )
        total = totals(account)
        if account.terms_set is None:
            return Judged(total, ())
        said = standing.decided(account)
        return Judged(total, judged(account.terms_set, total, known.noted, said))
    except PolicyError as error:
        return _unjudged(str(error))


def _unjudged(why: str) -> Contradiction:
    return Contradiction(TERMS, f"not judged: {why!a}", judged=False)


def contradictions(
    entry: Entry, account: Account, known: Known
) -> Iterator[Contradiction]:
    """Yield what is wrong with an entry that the policy or a person is the cause of.

    Args:
        entry: of a kind that this module knows; of others nothing is said.
        account: of its run or program, before it.
        known: what the entries before it tell beside.
    """
    match entry.event:
        case TermsSet() | ProgramSet() as terms:
            yield from _terms(entry, terms, account, known)
        case Crossing() as crossing:
            yield from _crossing(entry, crossing, account, known)
        case HoldSet() as hold:
            yield from _hold(entry, hold, account, known)
        case HoldProven() as proven:
            yield from _proven(entry, proven, account, known)
        case HoldReleased() as released:
            yield from _same_hold(entry, released.workload_uid, account)
        case DecisionRecorded() | DecisionExpired() as decided:
            yield from _decision(entry, decided, account)
        case ProgramAdjusted() | Imported() as changed:
            yield from _changed(entry, changed)


def _terms(
    entry: Entry, event: TermsSet | ProgramSet, account: Account, known: Known
) -> Iterator[Contradiction]:
    if isinstance(event, TermsSet):
        found = policies.problems(
            account.terms_set, event, totals(account), known.noted
        )
    else:
        found = policies.threshold_problems(event, known.noted)
    for what in found:
        yield wrong(entry, TERMS, what)


def _crossing(
    entry: Entry, event: Crossing, account: Account, known: Known
) -> Iterator[Contradiction]:
    found = judge(account, known)
    if isinstance(found, Contradiction):
        yield found
        return
    total = found.total
    if (event.measured, event.upper) != (total.measured, total.upper):
        what = f"the totals are {total.measured} to {total.upper} FLOPs here"
        yield wrong(entry, CROSSINGS, f"{what}, not what the crossing says")
    line = (event.action, event.reason, event.percent, event.limit)
    unrecorded = due(account, found.verdicts, total)
    if line not in {(c.action, c.reason, c.percent, c.limit) for c in unrecorded}:
        yield wrong(entry, CROSSINGS, "nothing demands this crossing here")


def _demanded(account: Account, known: Known) -> Verdict | Contradiction | None:
    """Return what holds a run: its own total first, else its program's."""
    found = judge(account, known)
    if isinstance(found, Contradiction):
        return found
    name = account.terms_set.program if account.terms_set else ""
    try:
        above = known.stands(name) if name else None
    except PolicyError as error:
        return _unjudged(str(error))
    own = forecasts.hold(account, found.verdicts, known.noted)
    return own or (holds(standing.for_runs(above)) if above is not None else None)


def _is_programs(reason: str) -> bool:
    return reason.startswith(reasons.PROGRAM)


def _hold(
    entry: Entry, event: HoldSet, account: Account, known: Known
) -> Iterator[Contradiction]:
    if account.hold and account.hold.workload_uid == event.workload_uid:
        yield wrong(entry, HOLDS, "the workload is held already")
    demanded = _demanded(account, known)
    if isinstance(demanded, Contradiction):
        yield demanded
    elif demanded is None or demanded.reason != event.reason:
        yield from _lacking(entry, event.reason, account, known)


def _lacking(
    entry: Entry, reason: str, account: Account, known: Known
) -> Iterator[Contradiction]:
    """Say that nothing demands a hold, or that its program is not among the entries."""
    name = account.terms_set.program if account.terms_set else ""
    if _is_programs(reason) and name and known.stands(name) is None:
        yield _unjudged("the entries of the program are not here")
    else:
        yield wrong(entry, HOLDS, "nothing demands a hold for this reason")


def _proven(
    entry: Entry, event: HoldProven, account: Account, known: Known
) -> Iterator[Contradiction]:
    yield from _same_hold(entry, event.workload_uid, account)
    upper = totals(account).upper
    if event.upper != upper:
        yield wrong(entry, OVERSHOOT, f"the total is {upper} FLOPs here")
    demanded = _demanded(account, known)
    if isinstance(demanded, Contradiction):
        yield demanded
        return
    if demanded is None:
        yield from _lacking(entry, account.hold_reason, account, known)
        return
    over = max(0, demanded.counted - int(demanded.limit))
    if event.overshoot != over:  # a part of a FLOP counts as a whole
        yield wrong(entry, OVERSHOOT, f"the overshoot is {over} FLOPs")


def _same_hold(
    entry: Entry, workload_uid: str, account: Account
) -> Iterator[Contradiction]:
    if account.hold is None or account.hold.workload_uid != workload_uid:
        yield wrong(entry, HOLDS, "this workload is not held here")


def _decision(
    entry: Entry, event: DecisionRecorded | DecisionExpired, account: Account
) -> Iterator[Contradiction]:
    known = {one.decision: one for one in account.decisions}
    if isinstance(event, DecisionRecorded):
        if event.decision in known:
            yield wrong(entry, PROGRAMS, "the decision is recorded already")
        if not (event.decided_by and event.reason):
            yield wrong(entry, PROGRAMS, "a decision names who decided it, and why")
        return
    decision = known.get(event.decision)
    if decision is None:
        yield wrong(entry, PROGRAMS, "a decision ends that nobody made")
    elif not decision.expires or entry.at < decision.expires:
        yield wrong(entry, PROGRAMS, "a decision ends before it expires")


def _changed(
    entry: Entry, event: ProgramAdjusted | Imported
) -> Iterator[Contradiction]:
    if isinstance(event, Imported):
        if not event.low <= event.flops <= event.high:
            yield wrong(entry, PROGRAMS, "an estimate lies between its bounds")
        return
    if event.change not in ("Excluded", "MovedOut", "MovedIn"):
        yield wrong(entry, PROGRAMS, "FLOPs are excluded, moved out or moved in")
