"""Replay a ledger's entries and say where they contradict themselves or the policy.

The same `apply` and `evaluate` that the operator lives by run here once more, so a
verdict that the ledger does not justify, or one that it owes, is found by anybody.
Entries with one time were committed together; a run owes its crossings by the end of
the commit that made them due.
"""

from collections import ChainMap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from flopguard_operator.ledger import census, forecasts, tellings
from flopguard_operator.ledger.accounts import Account, apply, due, raised
from flopguard_operator.ledger.contradiction import (
    ATTEMPTS,
    BOUNDS,
    COUNTS,
    ENERGY,
    FACTS,
    FORECASTS,
    GAPS,
    MARKS,
    OWED,
    POLICIES,
    PROGRAMS,
    RULES,
    RUNS,
    SAVES,
    TERMS,
    Contradiction,
    wrong,
)
from flopguard_operator.ledger.entries import (
    NO_RUN,
    AttemptOpened,
    DecisionExpired,
    DecisionRecorded,
    EnergyNoted,
    Entry,
    FactsNoted,
    ForecastNoted,
    GapCharged,
    PolicyNoted,
    RunsCounted,
    Settlement,
    WeightsSaved,
)
from flopguard_operator.ledger.judging import Known, contradictions, judge
from flopguard_operator.ledger.policies import Noted
from flopguard_operator.ledger.programs import Programs
from flopguard_operator.ledger.quiet import Quiet, quiet_of
from flopguard_operator.ledger.standing import Standing
from flopguard_operator.ledger.stretches import Stretch
from flopguard_operator.marks import Mark, merge

__all__ = ["RULES", "TERMS", "Contradiction", "Replay"]


@dataclass
class Replay:
    """The state between two entries: an account per run, and who may owe a crossing."""

    accounts: dict[str, Account] = field(default_factory=dict)
    at: str = ""
    touched: dict[str, int] = field(default_factory=dict)  # run UID → its last entry
    quiet: dict[str, Quiet] = field(default_factory=dict)  # by run UID
    programs: Programs = field(default_factory=Programs)
    expiring: dict[str, str] = field(default_factory=dict)  # decision → when it ends
    own: int = 0  # entries about the ledger itself, without counts
    noted: Noted = field(default_factory=Noted)  # rule sets
    counted: tuple[Entry, tuple[census.Counted, ...], int] | None = None
    """The newest count of the entries; what it should be, of the runs and of `own`."""

    def step(self, entry: Entry) -> Iterable[Contradiction]:
        """Apply one more entry and return what is wrong with it."""
        event = entry.event
        if type(event) is Settlement and entry.at == self.at:
            before = self.accounts.get(event.run.uid)
            if before is not None and event.run == before.ref:
                return self._settle_one(entry, event, before)
        return self._step(entry)

    def _settle_one(
        self, entry: Entry, event: Settlement, before: Account
    ) -> Iterable[Contradiction]:
        """Apply a settlement: what almost all entries are."""
        after = self.accounts[event.run.uid] = apply(before, event)
        self.touched[event.run.uid] = entry.index
        if after.streams[event.stream].done is event.done:
            return ()  # it was just taken over: it is above the one before
        return _settlement(entry, event, before)

    def takes(self, stretch: Stretch) -> bool:
        """Tell whether nothing in a stretch can be wrong, or make a crossing due."""
        after: dict[str, Account] = {}
        for row in stretch.rows:
            uid = row.run.uid
            account = after.get(uid) or self.accounts.get(uid)
            if account is None or account.ref != row.run:
                return False
            before = account.streams.get(row.first.stream)
            if before is not None and merge(before, row.first) is not row.first:
                return False
            after[uid] = raised(account, row.last, row.count)
        quiet = all(
            uid in self.quiet and self.quiet[uid].holds(account)
            for uid, account in after.items()
        )
        return quiet and self._programs_are_quiet(after)

    def _programs_are_quiet(self, after: dict[str, Account]) -> bool:
        names = {census.program_of(account) for account in after.values()} - {""}
        names = {name for name in names if name in self.programs.namesakes}
        if not names:
            return True
        accounts = ChainMap(after, self.accounts)
        return all(self.programs.is_quiet(name, accounts) for name in names)

    def take(self, stretch: Stretch) -> Iterator[Contradiction]:
        """Apply a stretch that it `takes`; yield what earlier commits still owe."""
        first, last = stretch.at
        if self.at != first or first != last:
            yield from self.settle()
        self.at = last
        for row in stretch.rows:
            uid = row.run.uid
            self.accounts[uid] = raised(self.accounts[uid], row.last, row.count)
            self.touched[uid] = row.index

    def _step(self, entry: Entry) -> Iterator[Contradiction]:
        if entry.at != self.at:
            yield from self.settle()
            self.at = entry.at
        event, run = entry.event, entry.event.run
        if isinstance(event, RunsCounted):
            self.counted = entry, census.of(self.accounts), self.own
        if isinstance(event, PolicyNoted):
            what = self.noted.take(event)
            if what:
                yield wrong(entry, POLICIES, what)
        if run == NO_RUN:
            self.own += not isinstance(event, RunsCounted)
            return
        before = self.accounts.get(run.uid, Account(run))
        if run != before.ref:
            yield wrong(entry, RUNS, "the run's UID is another run's")
        yield from _contradictions(entry, before, self.noted)
        yield from contradictions(entry, before, self._known)
        self.accounts[run.uid] = apply(before, event)
        self.programs.note(self.accounts[run.uid])
        self.touched[run.uid] = entry.index
        if isinstance(event, DecisionRecorded) and event.expires:
            self.expiring[event.decision] = event.expires
        if isinstance(event, DecisionExpired):
            self.expiring.pop(event.decision, None)

    @property
    def _known(self) -> Known:
        return Known(self._stands, self.noted)

    def _stands(self, name: str) -> Standing | None:
        return self.programs.standing(name, self.accounts, self.noted)

    def settle(self) -> Iterator[Contradiction]:
        """End a commit: yield the crossings that runs and programs still owe."""
        programs: dict[str, int] = {}
        for uid, index in self.touched.items():
            account = self.accounts[uid]
            name = census.program_of(account)
            if name in self.programs.namesakes:
                programs[name] = index
            if account.program_set is not None:
                continue
            if uid in self.quiet and self.quiet[uid].holds(account):
                continue
            self.quiet.pop(uid, None)
            owed = list(self._owed(account, index))
            yield from owed
            if not owed:
                self.quiet[uid] = quiet_of(account, self.noted)
        self.touched.clear()
        for name, index in programs.items():
            yield from self._settle_program(name, index)
        yield from self._overdue()

    def _owed(self, account: Account, index: int) -> Iterator[Contradiction]:
        """Yield the crossings that an account owes after its last entry."""
        judged = judge(account, self._known)
        if isinstance(judged, Contradiction):
            yield judged
            return
        for crossing in due(account, judged.verdicts, judged.total):
            what = f"{crossing.action} {crossing.reason} at {crossing.percent} %"
            yield Contradiction(OWED, f"after entry {index}: {what} is missing")

    def _settle_program(self, name: str, index: int) -> Iterator[Contradiction]:
        if self.programs.is_quiet(name, self.accounts):
            return
        account = self.programs.account(name, self.accounts)
        if account is None:
            return
        owed = list(self._owed(account, index))
        yield from owed
        if not owed:
            self.programs.set_quiet(name, self.accounts, self.noted)

    def _overdue(self) -> Iterator[Contradiction]:
        """Yield, once each, the decisions that have expired and are in force still."""
        ended = [one for one, until in self.expiring.items() if until <= self.at]
        for one in ended:
            what = f"decision {one!a} has expired at {self.expiring.pop(one)}"
            yield Contradiction(PROGRAMS, f"at {self.at}: {what}, and is in force")

    def recount(self) -> Iterator[Contradiction]:
        """End the ledger: yield whether its newest count of entries is wrong.

        Only the newest is looked at: a wrong one before it misleads nobody now.
        """
        if self.counted is None:
            return
        entry, runs, own = self.counted
        if entry.event != census.entry(runs, own):
            yield wrong(entry, COUNTS, "there are other numbers of entries")


def _contradictions(
    entry: Entry, account: Account, noted: Noted
) -> Iterator[Contradiction]:
    """Yield what is wrong with an entry, given its run's account before it."""
    match entry.event:
        case Settlement() as settlement:
            yield from _settlement(entry, settlement, account)
        case GapCharged() as gap:
            yield from _gap(entry, gap, account)
        case AttemptOpened() as attempt:
            yield from _attempt(entry, attempt, account)
        case _:
            yield from _told(entry, account, noted)


def _told(entry: Entry, account: Account, noted: Noted) -> Iterator[Contradiction]:
    """Yield what is wrong with what was said of a run, or of its future."""
    match entry.event:
        case FactsNoted() as event:
            check, found = FACTS, tellings.wrong_facts(event, account)
        case WeightsSaved() as event:
            check, found = SAVES, tellings.wrong_saves(event, account)
        case EnergyNoted() as event:
            check, found = ENERGY, tellings.wrong_energy(event, account)
        case ForecastNoted() as event:
            check = FORECASTS
            found = forecasts.wrong(entry.at, event, account, noted)
        case _:
            return
    for what in found:
        yield wrong(entry, check, what)


def _settlement(
    entry: Entry, event: Settlement, account: Account
) -> Iterator[Contradiction]:
    before = account.streams.get(event.stream)
    fell = [] if before is None else _fallen(event, before)
    if fell:
        yield wrong(entry, MARKS, f"{', '.join(fell)} fell below the settlement before")
    if sum(event.done.values()) > event.begun:
        yield wrong(entry, BOUNDS, "more is done than was begun")


def _fallen(event: Settlement, before: Mark) -> list[str]:
    """Return the names of the counters that are below a mark."""
    done, was = event.done, before.done
    fell = [name for name, flops in was.items() if done.get(name, 0) < flops]
    if event.begun < before.begun:
        fell.append("begun")
    if event.steps < before.steps:
        fell.append("steps")
    if event.pages < before.pages:
        fell.append("pages")
    if event.final < before.final:
        fell.append("final")
    return fell


def _gap(entry: Entry, event: GapCharged, account: Account) -> Iterator[Contradiction]:
    """Hold a gap to its peak and its time, and to the gap before it."""
    before = account.gaps.get(event.stream)
    charged = before.flops if before else 0
    if event.change == "Reduced":
        if before is None or event.flops >= charged:
            yield wrong(entry, GAPS, "the reduction leaves no less than was charged")
        return
    if event.change not in ("Opened", "Grown", "Closed"):
        yield wrong(entry, GAPS, "a gap is opened, grown, closed or reduced")
    owed = -(-event.peak * event.milliseconds // 1000)
    if event.flops != owed:
        yield wrong(entry, GAPS, f"the peak times the silence is {owed} FLOPs")
    if event.stream in account.closed:
        yield wrong(entry, GAPS, "the gap is closed: it can only be reduced")
    if event.change == "Opened" and charged:
        yield wrong(entry, GAPS, "the gap is open already")
    if event.change == "Grown" and before is None:
        yield wrong(entry, GAPS, "nobody opened the gap that grows")
    if event.flops < charged:
        yield wrong(entry, GAPS, "less is charged than before, without a reduction")


def _attempt(
    entry: Entry, event: AttemptOpened, account: Account
) -> Iterator[Contradiction]:
    opened = {attempt.stream for attempt in account.attempts}
    if event.stream in opened:
        yield wrong(entry, ATTEMPTS, "the attempt is already open")
    if event.predecessor and event.predecessor not in opened:
        yield wrong(entry, ATTEMPTS, "the attempt continues one that nobody opened")
