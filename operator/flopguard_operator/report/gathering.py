"""Gather what a report says of each program and run, from the ledger's entries.

By the folds and the policy that the operator itself uses; no clock is read, so one
ledger always gives one report.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from flopguard_operator.forecast.outlook import Reach
from flopguard_operator.ledger import coverage, standing
from flopguard_operator.ledger.accounts import Account, totals
from flopguard_operator.ledger.census import program_of
from flopguard_operator.ledger.entries import (
    AttemptOpened,
    Crossing,
    DecisionRecorded,
    Entry,
    GapCharged,
    RunRef,
    Settlement,
    TermsSet,
)
from flopguard_operator.ledger.policies import Judgeable, noted_in
from flopguard_operator.marks import Mark
from flopguard_operator.policy import reasons
from flopguard_operator.policy.rulesets import RuleSet
from flopguard_operator.policy.terms import Totals
from flopguard_operator.report import energy
from flopguard_operator.report.ahead import expected, of_runs
from flopguard_operator.report.curve import curve
from flopguard_operator.report.facts import (
    AttemptFacts,
    DecisionFacts,
    LedgerFacts,
    ProgramFacts,
    ReportFacts,
    RunFacts,
)
from flopguard_operator.report.opinion import Law, Opinion, opinion
from flopguard_operator.report.timeline import of_program, tell
from flopguard_operator.report.usage import together, usage_of
from flopguard_operator.report.weights import rollbacks

_COUNTED = AttemptOpened | Settlement | GapCharged


def gather(
    accounts: Mapping[str, Account],
    entries: Sequence[Entry],
    ledger: LedgerFacts,
    beside: Sequence[RuleSet] = (),
    only: Collection[str] | None = None,
) -> ReportFacts:
    """Return the facts of programs and runs, by namespace and name.

    Never raises: what cannot be judged says so in its `problem`.

    Args:
        accounts: of all runs and programs of the ledger.
        entries: in order.
        ledger: that they are from.
        beside: rule sets whose verdicts stand beside that of the one that governs.
        only: UIDs of the runs, and names of the programs, to report on; None for all.
    """
    own: dict[str, list[Entry]] = {uid: [] for uid in accounts}
    for entry in entries:
        if entry.event.run.uid in own:
            own[entry.event.run.uid].append(entry)
    law, programs = Law(noted_in(entries), beside), _programs(accounts)
    wanted = {name for name in programs if only is None or name in only}
    drawn, siblings = energy.of_runs(accounts), Siblings(accounts, programs)
    runs = {
        uid: replace(
            run_facts(account, own[uid], law, siblings),
            energy=drawn[uid],
        )
        for uid, account in accounts.items()
        if account.program_set is None
        and (only is None or uid in only or program_of(account) in wanted)
    }
    told = [
        program_facts(
            programs[name],
            [run for run in runs.values() if program_of(run.account) == name],
            own,
            law,
        )
        for name in wanted
    ]
    return ReportFacts(
        programs=tuple(sorted(told, key=lambda facts: facts.name)),
        runs=tuple(
            sorted(
                runs.values(), key=lambda f: (f.run.namespace, f.run.name, f.run.uid)
            )
        ),
        ledger=ledger,
    )


def _programs(accounts: Mapping[str, Account]) -> dict[str, Account]:
    """Return the account of each program; an empty one where runs only name it."""
    named = {
        program_of(account): Account(
            RunRef("", "", program_of(account)), imported=account.imported
        )
        for account in accounts.values()
        if program_of(account)
    }
    return named | standing.by_name(accounts)


class Siblings:
    """The programs of runs, and what all of their other runs spent."""

    def __init__(
        self, accounts: Mapping[str, Account], programs: Mapping[str, Account]
    ) -> None:
        """Add up each program, of all runs that the ledger knows."""
        members: dict[str, list[Account]] = {name: [] for name in programs}
        for account in accounts.values():
            if account.program_set is None and program_of(account):
                members[program_of(account)].append(account)
        self.programs = programs
        self.sums = {n: standing.sum_of(programs[n], m) for n, m in members.items()}

    def of(self, run: Account) -> tuple[Judgeable, Totals] | None:
        """Return what they spent, with the terms that it is judged by.

        Those of a program that the ledger has only the name of are the run's.
        """
        program, set_ = self.programs.get(program_of(run)), run.terms_set
        if program is None or set_ is None or standing.is_of_machine(run):
            return None
        total = self.sums[program_of(run)]
        spent = standing.without(total, run, program.adjusted)
        lent = replace(set_, terms=replace(set_.terms, budget=None))
        return program.program_set or lent, spent


def run_facts(
    account: Account, entries: Sequence[Entry], law: Law, siblings: Siblings
) -> RunFacts:
    """Return what `entries`, all of one run, say of it.

    Args:
        account: the fold of the entries.
        entries: in order.
        law: by what it is judged.
        siblings: the other runs of each program.
    """
    counted = totals(account)
    found = opinion(account.terms_set, counted, law, standing.decided(account))
    spans = coverage.of_entries(entries)
    ended = all(_mark(account, one.stream).final for one in account.attempts)
    goes_on = account.hold is None and not ended
    return RunFacts(
        account=account,
        totals=counted,
        opinion=found,
        attempts=_attempts(account, entries),
        timeline=tuple(m for entry in entries if (m := tell(entry)) is not None),
        points=curve(entries),
        last_at=_last(entries),
        reaches=_ahead(entries, found, counted) if goes_on else (),
        coverage=coverage.parts(spans),
        usage=usage_of(spans, account.attempts),
        met_at=_met_at(entries),
        decisions=_decisions(account, entries),
        program=siblings.programs.get(program_of(account)),
        rollbacks=rollbacks(account, counted, found, siblings.of(account), law),
    )


def program_facts(
    account: Account,
    runs: Sequence[RunFacts],
    own: Mapping[str, Sequence[Entry]],
    law: Law,
) -> ProgramFacts:
    """Return what the ledger says of a program, over all of its runs.

    One that the ledger has only the name of is judged by the terms of its newest run,
    without that run's budget.

    Args:
        account: of the program.
        runs: that belong to it.
        own: the entries of each run and program, by UID, in order.
        law: by what it is judged.
    """
    counted = standing.sum_of(account, (run.account for run in runs))
    set_ = account.program_set or _lent(runs)
    found = opinion(set_, counted, law, standing.decided(account))
    mine = _in_order(
        entries
        for entries in own.values()
        if entries and _is_of(account.ref, entries[0].event.run)
    )
    everything = _in_order([mine, *(own[run.run.uid] for run in runs)])
    counting = [entry for entry in everything if isinstance(entry.event, _COUNTED)]
    goes_on = account.hold is None and any(run.reaches for run in runs)
    return ProgramFacts(
        account=account,
        totals=counted,
        opinion=found,
        timeline=of_program(mine, everything),
        points=curve(everything),
        last_at=_last(everything),
        reaches=_ahead(counting, found, counted) if goes_on else (),
        expected=of_runs(counted.upper, runs),
        coverage=_added(run.coverage for run in runs),
        usage=together(run.usage for run in runs),
        energy=energy.together((r.energy for r in runs), len(account.imported)),
        met_at=_met_at(mine),
        decisions=_decisions(account, mine),
        program=account,
        runs=tuple(sorted(runs, key=lambda run: run.last_at)),
    )


def _is_of(program: RunRef, ref: RunRef) -> bool:
    return not ref.namespace and ref.name == program.name


def _lent(runs: Iterable[RunFacts]) -> TermsSet | None:
    """Return the terms of the newest run, without its budget."""
    newest = max(runs, key=lambda run: run.last_at, default=None)
    set_ = newest.account.terms_set if newest is not None else None
    return set_ and replace(set_, terms=replace(set_.terms, budget=None))


def _ahead(
    entries: Sequence[Entry], found: Opinion, total: Totals
) -> tuple[Reach, ...]:
    """Return when lines are reached; past jobs take their part, and have no pace."""
    lines = found.budget, found.threshold.limit if found.threshold else None
    budget, limit = (None if n is None else n - total.imported for n in lines)
    upper = total.upper - total.imported
    return expected(entries, _last(entries), upper, budget, limit)


def _last(entries: Sequence[Entry]) -> str:
    return entries[-1].at if entries else ""


def _in_order(parts: Iterable[Sequence[Entry]]) -> list[Entry]:
    return sorted((e for part in parts for e in part), key=lambda entry: entry.index)


def _added(parts: Iterable[tuple[int, int]]) -> tuple[int, int]:
    both = list(parts)
    return sum(one for one, _ in both), sum(two for _, two in both)


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


def _decisions(account: Account, entries: Iterable[Entry]) -> tuple[DecisionFacts, ...]:
    return tuple(
        DecisionFacts(entry.at, event, event.decision in account.expired)
        for entry in entries
        if isinstance(event := entry.event, DecisionRecorded)
    )


def _attempts(account: Account, entries: Sequence[Entry]) -> tuple[AttemptFacts, ...]:
    return tuple(
        AttemptFacts(
            opened=entry.event,
            at=entry.at,
            mark=_mark(account, entry.event.stream),
            gap=gap.flops if (gap := account.gaps.get(entry.event.stream)) else 0,
        )
        for entry in entries
        if isinstance(entry.event, AttemptOpened)
    )


def _mark(account: Account, stream: str) -> Mark:
    return account.streams.get(stream, Mark(stream))
