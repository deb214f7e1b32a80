"""Fold ledger entries into what is known of each run.

The operator keeps this fold as its live state and the verifier replays it, so both hold
a run to the same totals. Settlements merge by maximum: repeated or re-ordered ones
change nothing.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from flopguard_operator.ledger import machines
from flopguard_operator.ledger.entries import (
    NO_RUN,
    AttemptOpened,
    Crossing,
    DecisionExpired,
    DecisionRecorded,
    DocumentNoted,
    EnergyNoted,
    Entry,
    Event,
    FactChanged,
    FactsNoted,
    ForecastNoted,
    GapCharged,
    HoldProven,
    HoldReleased,
    HoldSet,
    Imported,
    ProgramAdjusted,
    ProgramSet,
    RunRef,
    Settlement,
    TermsSet,
    WeightsSaved,
)
from flopguard_operator.ledger.machines import Machine
from flopguard_operator.marks import Mark, merge
from flopguard_operator.naming import CATEGORIES
from flopguard_operator.policy.terms import Totals
from flopguard_operator.policy.verdict import Verdict


@dataclass(frozen=True)
class Account:
    """One run, or one program, as its ledger entries tell it."""

    ref: RunRef
    terms_set: TermsSet | None = None
    streams: Mapping[str, Mark] = field(default_factory=dict)  # by stream
    gaps: Mapping[str, GapCharged] = field(default_factory=dict)  # by stream
    closed: frozenset[str] = frozenset()  # streams whose gap can only fall
    attempts: tuple[AttemptOpened, ...] = ()
    crossings: tuple[Crossing, ...] = ()
    hold: HoldSet | None = None  # None: not held now
    proven: HoldProven | None = None  # of the hold, or of the last one if released
    released: HoldSet | None = None  # the hold that was lifted last
    releases: int = 0
    attempts_at_release: int = 0  # how many attempts were open at the last release
    digests: frozenset[str] = frozenset()  # of the facts that are noted
    noted: Mapping[str, FactsNoted] = field(default_factory=dict)  # newest, by process
    machines: Mapping[str, Machine] = field(default_factory=dict)  # by digest of facts
    changes: tuple[FactChanged, ...] = ()
    saves: tuple[WeightsSaved, ...] = ()
    energies: Mapping[tuple[str, int], EnergyNoted] = field(default_factory=dict)
    """The newest, by stream and `since`."""
    documents: tuple[DocumentNoted, ...] = ()
    forecast: ForecastNoted | None = None  # the newest
    decisions: tuple[DecisionRecorded, ...] = ()
    expired: frozenset[str] = frozenset()  # UIDs of the decisions that have ended
    program_set: ProgramSet | None = None  # of a program; None for a run
    adjusted: tuple[ProgramAdjusted, ...] = ()
    imported: tuple[Imported, ...] = ()
    entries: int = field(default=0, compare=False)  # of the run so far

    @property
    def hold_reason(self) -> str:
        """Why the run is held; "" while it is not."""
        return self.hold.reason if self.hold else ""


def apply(account: Account, event: Event) -> Account:
    """Return the account after one more event of its run."""
    if isinstance(event, Settlement):  # what almost all entries are
        return raised(account, mark_of(event), 1)
    account = replace(account, entries=account.entries + 1)
    match event:
        case TermsSet():
            account = replace(account, terms_set=event)
        case AttemptOpened():
            account = replace(account, attempts=(*account.attempts, event))
        case GapCharged():
            ended = {event.stream} if event.change == "Closed" else set()
            account = replace(
                account,
                gaps={**account.gaps, event.stream: event},
                closed=account.closed | ended,
            )
        case Crossing():
            account = replace(account, crossings=(*account.crossings, event))
        case HoldSet():
            account = replace(account, hold=event, proven=None)
        case HoldProven():
            account = replace(account, proven=event)
        case HoldReleased():
            account = replace(
                account,
                hold=None,
                released=account.hold,
                releases=account.releases + 1,
                attempts_at_release=len(account.attempts),
            )
        case _:
            account = _told(account, event)
    return account


def raised(account: Account, mark: Mark, entries: int) -> Account:
    """Return the account after settlements of a stream, of which a mark is the last.

    As `replace` does it, which takes ten times as long for as many fields.

    Args:
        account: of the run.
        mark: with all that the settlements say.
        entries: how many they are.
    """
    after = object.__new__(Account)
    after.__dict__.update(
        account.__dict__,
        entries=account.entries + entries,
        streams=_merged(account.streams, mark),
    )
    return after


def _told(account: Account, event: Event) -> Account:
    """Return the account after what a process said of itself."""
    match event:
        case FactsNoted():
            account = replace(
                account,
                digests=account.digests | {event.digest},
                noted={**account.noted, event.process: event},
            )
            if event.facts:
                machine = machines.read(event.facts)
                known = {**account.machines, event.digest: machine}
                account = replace(account, machines=known)
        case FactChanged():
            account = replace(account, changes=(*account.changes, event))
        case WeightsSaved():
            account = replace(account, saves=(*account.saves, event))
        case EnergyNoted():
            key = event.stream, event.since
            account = replace(account, energies={**account.energies, key: event})
        case ForecastNoted():
            account = replace(account, forecast=event)
        case DocumentNoted():
            account = replace(account, documents=(*account.documents, event))
        case _:
            account = _decided(account, event)
    return account


def _decided(account: Account, event: Event) -> Account:
    """Return the account after what people decided of it, or of their program."""
    match event:
        case DecisionRecorded():
            account = replace(account, decisions=(*account.decisions, event))
        case DecisionExpired():
            account = replace(account, expired=account.expired | {event.decision})
        case ProgramSet():
            account = replace(account, program_set=event)
        case ProgramAdjusted():
            account = replace(account, adjusted=(*account.adjusted, event))
        case Imported():
            account = replace(account, imported=(*account.imported, event))
    return account


def _merged(streams: Mapping[str, Mark], mark: Mark) -> dict[str, Mark]:
    """Return the marks of all streams with one of them raised."""
    before = streams.get(mark.stream) or Mark(mark.stream)
    return {**streams, mark.stream: merge(before, mark)}


def fold(entries: Iterable[Entry]) -> dict[str, Account]:
    """Return the account of every run, by run UID."""
    accounts: dict[str, Account] = {}
    for entry in entries:
        ref = entry.event.run
        if ref == NO_RUN:
            continue
        account = accounts.get(ref.uid, Account(ref))
        accounts[ref.uid] = apply(account, entry.event)
    return accounts


def totals(account: Account) -> Totals:
    """Return the FLOPs of a run: the sum of the marks of its streams.

    A program of one machine is a run: its past jobs count too, by their high estimates.
    """
    done, begun = dict.fromkeys(CATEGORIES, 0), 0
    for mark in account.streams.values():
        for category in CATEGORIES:
            done[category] += mark.done.get(category, 0)
        begun += mark.upper
    charged = sum(gap.flops for gap in account.gaps.values())
    return Totals(done, begun, charged, sum(job.high for job in account.imported))


def upper_of(account: Account) -> int:
    """Return the upper bound of `totals`, and nothing else."""
    charged = sum(gap.flops for gap in account.gaps.values())
    charged += sum(job.high for job in account.imported)
    return sum(mark.upper for mark in account.streams.values()) + charged


def mark_of(settlement: Settlement) -> Mark:
    """Return the mark that a settlement records."""
    mark = object.__new__(Mark)
    mark.__dict__.update(
        stream=settlement.stream,
        done=settlement.done,
        begun=settlement.begun,
        steps=settlement.steps,
        pages=settlement.pages,
        source=settlement.source,
        final=settlement.final,
    )
    return mark


def due(
    account: Account, verdicts: Iterable[Verdict], total: Totals | None = None
) -> Iterator[Crossing]:
    """Yield a crossing for each verdict that the account does not record yet.

    A line is told apart by its action, reason, percentage and exact limit: a raised
    budget has lines of its own.

    Args:
        account: of a run or a program.
        verdicts: that its total has reached.
        total: of a program; that of a run is in its account.
    """
    known = {(c.action, c.reason, c.percent, c.limit) for c in account.crossings}
    for verdict in verdicts:
        limit = str(verdict.limit)
        if (verdict.action, verdict.reason, verdict.percent, limit) not in known:
            total = totals(account) if total is None else total
            yield Crossing(
                run=account.ref,
                action=verdict.action,
                reason=verdict.reason,
                percent=verdict.percent,
                limit=limit,
                measured=total.measured,
                upper=total.upper,
                message=verdict.message,
            )
