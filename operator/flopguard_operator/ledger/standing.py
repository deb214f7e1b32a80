"""Add up a program: what its runs spent, what was moved and imported, what was decided.

The sum is over every run that the ledger knows, deleted ones too: what was spent stays
spent. Operator and verifier judge a program by this one function.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from flopguard_operator.ledger.accounts import Account, apply, totals
from flopguard_operator.ledger.census import program_of
from flopguard_operator.ledger.entries import (
    DecisionRecorded,
    Event,
    ProgramAdjusted,
    ProgramSet,
    TermsSet,
)
from flopguard_operator.ledger.policies import Noted, judged
from flopguard_operator.naming import CATEGORIES
from flopguard_operator.policy import reasons
from flopguard_operator.policy.terms import Decided, Totals
from flopguard_operator.policy.verdict import Verdict

PROCEED, STOP = "Proceed", "Stop"
MOVED_IN = "MovedIn"
OF_MACHINE = "local/process/"  # the workload of a program of `flopguard run`, less name


@dataclass(frozen=True)
class Standing:
    """Where a program stands."""

    account: Account  # of the program itself
    runs: tuple[Account, ...]
    totals: Totals
    verdicts: tuple[Verdict, ...]

    @property
    def name(self) -> str:
        """The program's name."""
        return self.account.ref.name


def members(name: str, accounts: Iterable[Account]) -> tuple[Account, ...]:
    """Return the accounts of the runs that belong to a program."""
    return tuple(
        account
        for account in accounts
        if account.program_set is None and name and program_of(account) == name
    )


def of(account: Account, runs: Iterable[Account], noted: Noted) -> Standing:
    """Return where a program stands.

    Args:
        account: of the program.
        runs: its members.
        noted: with the rule set of its terms.

    Raises:
        PolicyError: the program cannot be judged by its terms.
    """
    own = tuple(runs)
    total = sum_of(account, own)
    return _standing(account, own, total, noted)


def _standing(
    account: Account, runs: tuple[Account, ...], total: Totals, noted: Noted
) -> Standing:
    set_ = terms_of(account)
    verdicts = judged(set_, total, noted, decided(account)) if set_ else ()
    return Standing(account, runs, total, verdicts)


def terms_of(account: Account) -> ProgramSet | TermsSet | None:
    """Return what a program, or a run, is judged by; None if nothing says so."""
    return account.program_set or account.terms_set


def is_of_machine(account: Account) -> bool:
    """Say whether a run is a program of `flopguard run`, each start an attempt of it.

    Its workload is of a kind that no cluster has.
    """
    set_ = account.terms_set
    return set_ is not None and set_.workload.startswith(OF_MACHINE)


def of_machine(name: str, accounts: Iterable[Account], noted: Noted) -> Standing | None:
    """Return where a program of one machine stands; None if there is none.

    Args:
        name: of the program, with or without its namespace.
        accounts: all of the ledger.
        noted: the ledger's rule sets.

    Raises:
        PolicyError: it cannot be judged by its terms.
    """
    for one in accounts:
        names = one.ref.name, f"{one.ref.namespace}/{one.ref.name}"
        if is_of_machine(one) and name in names:
            return _standing(one, (one,), totals(one), noted)
    return None


def sum_of(account: Account, runs: Iterable[Account]) -> Totals:
    """Return what counts for a program.

    What was taken out of it is never more than the run has by now: a gap that was
    reduced afterwards cannot make the rest of the program look smaller.
    """
    parts = [amount(one) for one in account.adjusted if one.change == MOVED_IN]
    parts += [left_of(run, account.adjusted) for run in runs]
    return Totals(
        done={c: sum(part.done.get(c, 0) for part in parts) for c in CATEGORIES},
        begun=sum(max(part.begun, part.measured) for part in parts),
        gaps=sum(part.gaps for part in parts),
        imported=sum(job.high for job in account.imported),
    )


def without(total: Totals, run: Account, adjusted: Iterable[ProgramAdjusted]) -> Totals:
    """Return what counts for a program without one of its runs.

    Args:
        total: of the program, as `sum_of` adds it up.
        run: that is one of its runs.
        adjusted: of the program.
    """
    own = left_of(run, adjusted)
    return Totals(
        done={c: flops - own.done.get(c, 0) for c, flops in total.done.items()},
        begun=total.begun - max(own.begun, own.measured),
        gaps=total.gaps - own.gaps,
        imported=total.imported,
    )


def left_of(run: Account, adjusted: Iterable[ProgramAdjusted]) -> Totals:
    """Return what counts of a run for its program, after what was taken out of it.

    Args:
        run: its account.
        adjusted: of the program; what is about other runs is passed over.
    """
    total = totals(run)
    done, begun, gaps = dict(total.done), max(total.begun, total.measured), total.gaps
    for one in adjusted:
        if one.of == run.ref.uid and one.change != MOVED_IN:
            done = {c: max(0, flops - one.done.get(c, 0)) for c, flops in done.items()}
            begun, gaps = max(0, begun - one.begun), max(0, gaps - one.gaps)
    return Totals(done, begun, gaps)


def decided(account: Account) -> Decided:
    """Return what is decided of a run or a program as of now.

    The newest of the decisions to proceed and to stop governs; one that has expired
    does not.
    """
    valid = in_force(account)
    newest = next((one for one in reversed(valid) if one.kind in (PROCEED, STOP)), None)
    stopped = ""
    if newest is not None and newest.kind == STOP:
        stopped = f"{newest.decided_by} decided to stop: {newest.reason}"
    allowed = newest.to_flops if newest is not None and newest.kind == PROCEED else 0
    return Decided(allowed, stopped, _missing(account.program_set))


def in_force(account: Account) -> tuple[DecisionRecorded, ...]:
    """Return the decisions on a run or a program that have not expired."""
    return tuple(
        one for one in account.decisions if one.decision not in account.expired
    )


def of_kind(account: Account, kind: str) -> tuple[DecisionRecorded, ...]:
    """Return the decisions of one kind that have not expired, oldest first."""
    return tuple(one for one in in_force(account) if one.kind == kind)


def amount(one: ProgramAdjusted) -> Totals:
    """Return what was taken out of a program, or into it."""
    return Totals(one.done, one.begun, one.gaps)


def _missing(program: ProgramSet | None) -> tuple[str, ...]:
    """Return what a program that asks for owners does not name."""
    return unnamed(program) if program is not None and program.require_owners else ()


def unnamed(program: ProgramSet) -> tuple[str, ...]:
    """Return the owners, and the roll-back plan, that a program does not name."""
    named = {
        "spec.owners.compliance": program.compliance,
        "spec.owners.model": program.model,
        "spec.owners.product": program.product,
        "spec.rollbackPlan": program.rollback_plan,
    }
    return tuple(name for name, value in named.items() if not value)


def for_runs(standing: Standing) -> tuple[Verdict, ...]:
    """Return what a program's verdicts say to each of its runs.

    The reason begins with "Program", and the sentence names the program.
    """
    return tuple(
        replace(
            verdict,
            reason=reasons.PROGRAM + verdict.reason,
            message=f"program {standing.name}, all of its runs together:"
            f" {verdict.message}",
        )
        for verdict in standing.verdicts
    )


def applied(account: Account, events: Iterable[Event]) -> Account:
    """Return an account after more events."""
    for event in events:
        account = apply(account, event)
    return account


def newest(namesakes: Iterable[Account]) -> Account | None:
    """Return the account of the newest of programs of one name, oldest first.

    What its namesakes imported and moved is carried over: spent stays spent. What was
    decided of them is not.
    """
    accounts = tuple(namesakes)
    if not accounts:
        return None
    return replace(
        accounts[-1],
        adjusted=tuple(one for account in accounts for one in account.adjusted),
        imported=tuple(one for account in accounts for one in account.imported),
    )


def by_name(accounts: Mapping[str, Account]) -> dict[str, Account]:
    """Return the account of each program, by its name."""
    found: dict[str, list[Account]] = {}
    for account in accounts.values():
        if account.program_set is not None:
            found.setdefault(account.ref.name, []).append(account)
    return {
        name: program
        for name, namesakes in found.items()
        if (program := newest(namesakes)) is not None
    }
