"""Walk a whole program through the checklist: itself, its runs, its imported jobs."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from flopguard_operator.checklist import comparing, runs
from flopguard_operator.checklist.items import (
    DECISION,
    PROGRAM,
    Audited,
    Item,
    missing,
    note,
    ok,
)
from flopguard_operator.checklist.runs import Ledger
from flopguard_operator.ledger import gating, policies, standing
from flopguard_operator.ledger.accounts import Account, fold
from flopguard_operator.ledger.entries import Entry, RunsCounted
from flopguard_operator.ledger.policies import noted_in
from flopguard_operator.ledger.standing import Standing
from flopguard_operator.policy.rulesets import PolicyError, RuleSet

_ASKED = ("owners", "duty", "runs")  # of the gate's answers; the others are here too


class NotFoundError(LookupError):
    """The ledger holds no such program or run; the message says what it holds."""


def audit(
    name: str, entries: Sequence[Entry], laws: Sequence[RuleSet]
) -> tuple[Audited, ...]:
    """Return the checklist of a program with all that it counts, or of one run.

    Args:
        name: of a program, of a run as namespace/name, or a run's UID.
        entries: of the whole ledger.
        laws: rule sets whose verdicts stand beside that of the one that governs.

    Raises:
        NotFoundError: there is no such program or run.
    """
    accounts = fold(entries)
    ledger = _ledger(entries, laws)
    programs = standing.by_name(accounts)
    program = programs.get(name)
    if program is not None:
        members = standing.members(name, accounts.values())
        first = [_program(program, members, ledger)]
        jobs = [runs.imported(job) for job in program.imported]
    else:
        # A program that has no entries of its own is known by its runs.
        members = _runs(name, accounts)
        first = []
        jobs = [runs.imported(job) for one in members for job in one.imported]
    by_run = _by_run(entries, {account.ref.uid for account in members})
    found = [runs.run(one, by_run[one.ref.uid], ledger) for one in members]
    return (*first, *sorted(found, key=lambda one: one.name), *jobs)


def _runs(name: str, accounts: Mapping[str, Account]) -> tuple[Account, ...]:
    found = tuple(
        account
        for account in accounts.values()
        if account.program_set is None and name in (account.ref.uid, _name(account))
    )
    found = found or standing.members(name, accounts.values())
    if not found:
        known = sorted({_name(a) for a in accounts.values() if a.terms_set})
        names = [*standing.by_name(accounts), *known]
        held = ", ".join(names[:20]) or "none at all"
        message = f'the ledger holds no program or run "{name}"; it holds: {held}'
        raise NotFoundError(message)
    return found


def _name(account: Account) -> str:
    return f"{account.ref.namespace}/{account.ref.name}"


def _ledger(entries: Sequence[Entry], laws: Sequence[RuleSet]) -> Ledger:
    counts = (e.index for e in entries if isinstance(e.event, RunsCounted))
    return Ledger(noted_in(entries), laws, max(counts, default=-1))


def _by_run(entries: Iterable[Entry], wanted: set[str]) -> dict[str, list[Entry]]:
    found: dict[str, list[Entry]] = {uid: [] for uid in wanted}
    for entry in entries:
        if entry.event.run.uid in found:
            found[entry.event.run.uid].append(entry)
    return found


def _program(account: Account, members: Sequence[Account], ledger: Ledger) -> Audited:
    name = account.ref.name
    try:
        found = standing.of(account, members, ledger.noted)
        items = tuple(_items(found, ledger))
    except PolicyError as error:
        items = tuple(comparing.comparison((), str(error), ""))
    return Audited(PROGRAM, name, "", items)


def _items(found: Standing, ledger: Ledger) -> Iterator[Item]:
    """Yield what belongs to the program itself.

    Raises:
        PolicyError: it cannot be judged by its terms.
    """
    terms = found.account.program_set
    if terms is None:
        return
    yield from comparing.reference(terms.terms.base)
    verdicts = policies.verdicts(terms, found.totals, ledger.noted, ledger.laws)
    yield from comparing.comparison(verdicts, "", terms.citation)
    yield from comparing.decision(found.account, terms, found.totals, ledger.noted)
    for answer in gating.answers(found, ledger.noted, ledger.laws):
        if answer.name.startswith(_ASKED):
            kind = note if not answer.governs else ok if answer.ok else missing
            yield kind(DECISION, answer.name, answer.message)
