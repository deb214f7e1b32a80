"""Replay a ledger's entries and say where they contradict themselves or the policy.

The same `apply` and `evaluate` that the operator lives by run here once more, so a
verdict that the ledger does not justify, or one that it owes, is found by anybody.
Entries with one time were committed together; a run owes its crossings by the end of
the commit that made them due.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from flopguard_operator.ledger import census, forecasts, policies, tellings
from flopguard_operator.ledger.accounts import (
    Account,
    apply,
    due,
    raised,
    totals,
)
from flopguard_operator.ledger.entries import (
    NO_RUN,
    AttemptOpened,
    Crossing,
    Entry,
    FactsNoted,
    ForecastNoted,
    GapCharged,
    HoldProven,
    HoldReleased,
    HoldSet,
    PolicyNoted,
    RunsCounted,
    Settlement,
    TermsSet,
    WeightsSaved,
)
from flopguard_operator.ledger.policies import Noted, judged
from flopguard_operator.ledger.quiet import Quiet, quiet_of
from flopguard_operator.ledger.stretches import Stretch
from flopguard_operator.marks import Mark, merge
from flopguard_operator.policy.rulesets import PolicyError
from flopguard_operator.policy.verdict import Verdict

RUNS = "runs"
MARKS = "marks"
BOUNDS = "bounds"
ATTEMPTS = "attempts"
TERMS = "terms"
CROSSINGS = "crossings"
OWED = "verdicts owed"
HOLDS = "holds"
OVERSHOOT = "overshoot"
GAPS = "gaps"
FACTS = "facts"
SAVES = "saved weights"
FORECASTS = "forecasts"
COUNTS = "counts"
POLICIES = "rule sets"

RULES = {
    RUNS: "each run keeps its name and namespace",
    MARKS: "no settlement of a stream is below an earlier one",
    BOUNDS: "work that is done never exceeds work that was begun",
    ATTEMPTS: "each attempt is opened once and continues one that is known",
    TERMS: "each recorded threshold is the one that the policy sets",
    CROSSINGS: "each crossing follows from the terms and the totals at its place",
    OWED: "each verdict that the totals demand is recorded",
    HOLDS: "holds are demanded, proven and released in order",
    OVERSHOOT: "each overshoot is the final total less the limit",
    GAPS: "each gap is the peak times the silence, and falls only by a reduction",
    FACTS: "the digest of noted facts is that of their text, or of one noted before",
    SAVES: "saved weights of a process are noted in order, within the run's total",
    POLICIES: "each noted rule set has the digest, name and version of its text",
    FORECASTS: "each forecast crosses the lines that it says, and keeps its first date",
    COUNTS: "the newest count of each run's entries is right",
}


@dataclass(frozen=True)
class Contradiction:
    """What is wrong at one place; `check` is a key of `RULES`."""

    check: str
    message: str
    judged: bool = True  # False: the terms are beyond this version's policies


@dataclass
class Replay:
    """The state between two entries: an account per run, and who may owe a crossing."""

    accounts: dict[str, Account] = field(default_factory=dict)
    at: str = ""
    touched: dict[str, int] = field(default_factory=dict)  # run UID → its last entry
    quiet: dict[str, Quiet] = field(default_factory=dict)  # by run UID
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
        return all(
            uid in self.quiet and self.quiet[uid].holds(account)
            for uid, account in after.items()
        )

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
            wrong = self.noted.take(event)
            if wrong:
                yield _wrong(entry, POLICIES, wrong)
        if run == NO_RUN:
            self.own += not isinstance(event, RunsCounted)
            return
        before = self.accounts.get(run.uid, Account(run))
        if run != before.ref:
            yield _wrong(entry, RUNS, "the run's UID is another run's")
        yield from _contradictions(entry, before, self.noted)
        self.accounts[run.uid] = apply(before, event)
        self.touched[run.uid] = entry.index

    def settle(self) -> Iterator[Contradiction]:
        """End a commit: yield the crossings that its runs still owe."""
        for uid, index in self.touched.items():
            account = self.accounts[uid]
            if uid in self.quiet and self.quiet[uid].holds(account):
                continue
            verdicts = _verdicts(account, self.noted)
            if isinstance(verdicts, Contradiction):
                yield verdicts
                continue
            self.quiet.pop(uid, None)
            owed = list(due(account, verdicts))
            for crossing in owed:
                what = f"{crossing.action} {crossing.reason} at {crossing.percent} %"
                yield Contradiction(OWED, f"after entry {index}: {what} is missing")
            if not owed:
                self.quiet[uid] = quiet_of(account, self.noted)
        self.touched.clear()

    def recount(self) -> Iterator[Contradiction]:
        """End the ledger: yield whether its newest count of entries is wrong.

        Only the newest is looked at: a wrong one before it misleads nobody now.
        """
        if self.counted is None:
            return
        entry, runs, own = self.counted
        if entry.event != census.entry(runs, own):
            yield _wrong(entry, COUNTS, "there are other numbers of entries")


def _wrong(entry: Entry, check: str, what: str) -> Contradiction:
    return Contradiction(check, f"entry {entry.index}: {what}")


def _verdicts(account: Account, noted: Noted) -> tuple[Verdict, ...] | Contradiction:
    """Judge a run as it stands; a run without terms reaches no verdict."""
    if account.terms_set is None:
        return ()
    try:
        return judged(account.terms_set, totals(account), noted)
    except PolicyError as error:
        return Contradiction(TERMS, f"not judged: {str(error)!a}", judged=False)


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
        case TermsSet() as terms:
            yield from _terms(entry, terms, account, noted)
        case Crossing() as crossing:
            yield from _crossing(entry, crossing, account, noted)
        case HoldSet() as hold:
            yield from _hold(entry, hold, account, noted)
        case HoldProven() as proven:
            yield from _proven(entry, proven, account, noted)
        case HoldReleased() as released:
            yield from _same_hold(entry, released.workload_uid, account)
        case _:
            yield from _told(entry, account, noted)


def _told(entry: Entry, account: Account, noted: Noted) -> Iterator[Contradiction]:
    """Yield what is wrong with what was said of a run, or of its future."""
    match entry.event:
        case FactsNoted() as event:
            check, found = FACTS, tellings.wrong_facts(event, account)
        case WeightsSaved() as event:
            check, found = SAVES, tellings.wrong_saves(event, account)
        case ForecastNoted() as event:
            check = FORECASTS
            found = forecasts.wrong(entry.at, event, account, noted)
        case _:
            return
    for what in found:
        yield _wrong(entry, check, what)


def _settlement(
    entry: Entry, event: Settlement, account: Account
) -> Iterator[Contradiction]:
    before = account.streams.get(event.stream)
    fell = [] if before is None else _fallen(event, before)
    if fell:
        yield _wrong(
            entry, MARKS, f"{', '.join(fell)} fell below the settlement before"
        )
    if sum(event.done.values()) > event.begun:
        yield _wrong(entry, BOUNDS, "more is done than was begun")


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
            yield _wrong(entry, GAPS, "the reduction leaves no less than was charged")
        return
    if event.change not in ("Opened", "Grown", "Closed"):
        yield _wrong(entry, GAPS, "a gap is opened, grown, closed or reduced")
    owed = -(-event.peak * event.milliseconds // 1000)
    if event.flops != owed:
        yield _wrong(entry, GAPS, f"the peak times the silence is {owed} FLOPs")
    if event.stream in account.closed:
        yield _wrong(entry, GAPS, "the gap is closed: it can only be reduced")
    if event.change == "Opened" and charged:
        yield _wrong(entry, GAPS, "the gap is open already")
    if event.change == "Grown" and before is None:
        yield _wrong(entry, GAPS, "nobody opened the gap that grows")
    if event.flops < charged:
        yield _wrong(entry, GAPS, "less is charged than before, without a reduction")


def _attempt(
    entry: Entry, event: AttemptOpened, account: Account
) -> Iterator[Contradiction]:
    opened = {attempt.stream for attempt in account.attempts}
    if event.stream in opened:
        yield _wrong(entry, ATTEMPTS, "the attempt is already open")
    if event.predecessor and event.predecessor not in opened:
        yield _wrong(entry, ATTEMPTS, "the attempt continues one that nobody opened")


def _terms(
    entry: Entry, event: TermsSet, account: Account, noted: Noted
) -> Iterator[Contradiction]:
    before = account.terms_set
    for what in policies.problems(before, event, totals(account), noted):
        yield _wrong(entry, TERMS, what)


def _crossing(
    entry: Entry, event: Crossing, account: Account, noted: Noted
) -> Iterator[Contradiction]:
    total = totals(account)
    if (event.measured, event.upper) != (total.measured, total.upper):
        what = f"the totals are {total.measured} to {total.upper} FLOPs here"
        yield _wrong(entry, CROSSINGS, f"{what}, not what the crossing says")
    verdicts = _verdicts(account, noted)
    if isinstance(verdicts, Contradiction):
        yield verdicts
        return
    line = (event.action, event.reason, event.percent, event.limit)
    unrecorded = due(account, verdicts)
    if line not in {(c.action, c.reason, c.percent, c.limit) for c in unrecorded}:
        yield _wrong(entry, CROSSINGS, "nothing demands this crossing here")


def _hold(
    entry: Entry, event: HoldSet, account: Account, noted: Noted
) -> Iterator[Contradiction]:
    if account.hold and account.hold.workload_uid == event.workload_uid:
        yield _wrong(entry, HOLDS, "the workload is held already")
    verdicts = _verdicts(account, noted)
    if isinstance(verdicts, Contradiction):
        yield verdicts
        return
    demanded = forecasts.hold(account, verdicts, noted)
    if demanded is None or demanded.reason != event.reason:
        yield _wrong(entry, HOLDS, "nothing demands a hold for this reason")


def _proven(
    entry: Entry, event: HoldProven, account: Account, noted: Noted
) -> Iterator[Contradiction]:
    yield from _same_hold(entry, event.workload_uid, account)
    upper = totals(account).upper
    if event.upper != upper:
        yield _wrong(entry, OVERSHOOT, f"the total is {upper} FLOPs here")
    verdicts = _verdicts(account, noted)
    if isinstance(verdicts, Contradiction):
        yield verdicts
        return
    demanded = forecasts.hold(account, verdicts, noted)
    if demanded is None:
        yield _wrong(entry, HOLDS, "a hold is proven that nothing demands")
        return
    # A part of a FLOP counts as a whole.
    over = max(0, demanded.counted - int(demanded.limit))
    if event.overshoot != over:
        yield _wrong(entry, OVERSHOOT, f"the overshoot is {over} FLOPs")


def _same_hold(
    entry: Entry, workload_uid: str, account: Account
) -> Iterator[Contradiction]:
    if account.hold is None or account.hold.workload_uid != workload_uid:
        yield _wrong(entry, HOLDS, "this workload is not held here")
