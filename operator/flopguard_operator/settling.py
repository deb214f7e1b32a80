"""Decide what one run's new marks and terms mean: entries to append, and a verdict.

The heart of the operator, and pure: a run as observed, its account so far and the
newest marks go in; ledger events, the verdicts and whether it must be held come out.
The account is the fold of the ledger, so a replay reaches the same verdicts.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction

from flopguard_operator import energy, gaps
from flopguard_operator.forecast.noting import Foreseen, news
from flopguard_operator.forecast.plan import Intent
from flopguard_operator.gaps import Patience
from flopguard_operator.ledger import forecasts, policies
from flopguard_operator.ledger.accounts import Account, due, totals, upper_of
from flopguard_operator.ledger.entries import (
    AttemptOpened,
    Event,
    ForecastNoted,
    GapCharged,
    HoldProven,
    HoldReleased,
    HoldSet,
    ProgramSet,
    RunRef,
    Settlement,
    TermsSet,
    WeightsSaved,
)
from flopguard_operator.ledger.forecasts import Limits
from flopguard_operator.ledger.policies import Law, Noted
from flopguard_operator.ledger.standing import applied, decided
from flopguard_operator.ledger.weights import NEAR_PERCENT
from flopguard_operator.marks import Mark
from flopguard_operator.noting import Noting
from flopguard_operator.observed import Job, Pod
from flopguard_operator.policy import checks
from flopguard_operator.policy.checks import budget_limit, evaluate, holds
from flopguard_operator.policy.rules import Governing, built_in
from flopguard_operator.policy.rulesets import RuleSet
from flopguard_operator.policy.terms import Terms, Totals
from flopguard_operator.policy.verdict import Verdict
from flopguard_operator.processes import Process
from flopguard_operator.watching import Given, Watched
from flopguard_operator.workloads import job as jobs


@dataclass(frozen=True)
class RunView:
    """One FineTuneRun as observed at the start of a cycle."""

    ref: RunRef
    generation: int
    program: str
    workload: str  # "batch/v1/Job/support-sft"
    terms: Terms
    governing: Governing
    jobs: tuple[Job, ...]  # the named one first, then those that continue the run
    pods: tuple[Pod, ...]  # claimed by this run, oldest first
    base_told: str = ""  # what the catalogue has to say to the base model
    release_because: str = ""  # why a hold must not be kept, whatever the verdict
    pods_gone: bool = False  # asked live: no pod of the workload is left
    held_milliseconds: int = 0  # since the hold was set, by the monotonic clock
    charge_cpu: bool = False  # charge the silence of pods without accelerators too
    previous: str = ""  # UID of the run that had this name before
    strays: tuple[Pod, ...] = ()  # pods of the run that no watch tells of
    watched: Watched = field(default_factory=Watched)  # its streams as of now
    given: Mapping[str, Given] = field(default_factory=dict)  # by stream
    patience: Patience = field(default_factory=Patience)
    law: Law | None = None  # the policy's rule set; None: the built-in one, unnoted
    noted: Noted = field(default_factory=Noted)  # the ledger's rule sets
    today: str = ""  # ISO 8601
    others: tuple[RuleSet, ...] = ()  # that do not govern: shown only
    intent: Intent = field(default_factory=Intent)
    foreseen: Foreseen | None = None  # None: nothing was forecast in this cycle
    above: tuple[Verdict, ...] = ()  # of its program, as `standing.for_runs` words them
    siblings: tuple[ProgramSet, Totals] | None = None
    """What the other runs of its program spent, and by what the program is judged."""
    drawn: Mapping[str, tuple[energy.Told, ...]] = field(default_factory=dict)
    """What the sidecars of its streams told of energy."""
    decided: tuple[Event, ...] = ()  # of it, that the ledger does not say yet

    @property
    def job(self) -> Job | None:
        """The Job that the run names, if it is there."""
        name = self.workload.rsplit("/", 1)[-1]
        return next((job for job in self.jobs if job.name == name), None)

    @property
    def rules(self) -> RuleSet | None:
        """The rule set that judges it; None for the built-in one."""
        return self.law.rules if self.law else None

    @property
    def limits(self) -> Limits:
        """What its forecast is held against."""
        rules = self.rules or built_in(self.terms.policy)
        return forecasts.limits(self.terms, self.governing.limit, rules)

    def day(self, account: Account) -> str:
        """Return the day for which it is judged, as its terms will say."""
        if self.law is None:
            return ""
        return policies.day_for(account.terms_set, self.law, self.today)


@dataclass(frozen=True)
class Plan:
    """What a cycle does about one run."""

    events: tuple[Event, ...]
    totals: Totals
    verdicts: tuple[Verdict, ...]
    hold: Verdict | None  # the verdict that demands a hold, None if none does
    gaps: Mapping[str, GapCharged] = field(default_factory=dict)  # by stream, as of now
    forecast: ForecastNoted | None = None  # the newest, as it is noted
    foreseen: Verdict | None = None  # what that forecast warns of, or holds for

    def charged(self, stream: str) -> int:
        """Return the FLOPs that the silence of a stream is charged."""
        gap = self.gaps.get(stream)
        return gap.flops if gap else 0


def plan(
    view: RunView,
    account: Account,
    marks: Mapping[str, Mark],
    processes: tuple[Process, ...] = (),
    *,
    settle_due: bool,
) -> Plan:
    """Return the events to append for one run, in the order of their causes.

    Args:
        view: the run as observed.
        account: the fold of the run's ledger entries.
        marks: high-water mark per stream, over all streams of the run.
        processes: of those streams, as last heard.
        settle_due: whether the settlement interval has passed.
    """
    current = applied(as_of_now(view, account, marks), view.decided)
    charged = current.gaps
    total = totals(current)
    day, said = view.day(account), decided(current)
    verdicts = evaluate(view.terms, total, view.rules, day, said)
    before = account.forecast
    fresh = news(view.ref, view.limits, view.foreseen, total.upper, before)
    forecast = fresh or before
    foreseen = forecasts.verdict(view.limits, forecast, total.upper)
    held = forecasts.first(verdicts, foreseen) or holds(view.above)
    hold = None if view.release_because else held
    crossings = tuple(due(current, verdicts))
    holding = tuple(_hold_events(view, current, (*verdicts, *view.above), hold))
    noting = Noting(view.ref, account, marks, processes)
    changes = noting.changes()  # what is true of the run is another now: judge it anew
    settle_all = settle_due or bool(crossings or holding or changes or view.decided)
    charges = gaps.news(charged, account.gaps, due=settle_all)
    touched = {gap.stream for gap in charges}
    saved = settle_all or is_near(view, total.upper)
    saves = tuple(noting.saves(total.upper)) if saved else ()
    settled = {
        stream: mark
        for stream, mark in marks.items()
        if settle_all
        or stream in touched
        or (mark.final and not _settled(account, mark).final)
    }
    return Plan(
        events=(
            *_terms(view, account),
            *([] if fresh is None else [fresh]),
            *view.decided,
            *_attempts(view, account, marks, saves),
            *changes,
            *noting.facts(due=settle_all),
            *saves,
            *energy.news(view.ref, account, view.drawn, due=settle_all),
            *_settlements(view, account, settled),
            *charges,
            *crossings,
            *holding,
        ),
        totals=total,
        verdicts=verdicts,
        hold=hold,
        gaps=charged,
        forecast=forecast,
        foreseen=foreseen,
    )


def as_of_now(view: RunView, account: Account, marks: Mapping[str, Mark]) -> Account:
    """Return a run's account as it would be if all that is known were settled."""
    return replace(account, streams=marks, gaps=_gaps(view, account))


def nearest_limit(view: RunView) -> int | Fraction:
    """Return the smaller of budget and threshold, in FLOPs."""
    threshold = view.governing.limit
    budget = budget_limit(view.terms.budget, threshold)
    return threshold if budget is None else min(budget, threshold)


def nearest(view: RunView, total: Totals) -> tuple[int, int | Fraction]:
    """Return what is compared with the limit that is reached first, and that limit."""
    rules = view.rules or built_in(view.terms.policy)
    return checks.nearest(view.terms, total, rules, view.today)


def is_near(view: RunView, upper: int) -> bool:
    """Say whether a run nears its limit, so that each of its saved weights matters."""
    return 100 * upper >= NEAR_PERCENT * nearest_limit(view)


def _gaps(view: RunView, account: Account) -> dict[str, GapCharged]:
    """Return what each silent stream is charged as of now, by stream."""
    found = dict(account.gaps)
    for known in view.watched.streams:
        before = account.gaps.get(known.stream)
        closed = known.stream in account.closed
        gap = gaps.charge(view.ref, known, before, view.patience, closed=closed)
        if gap is not None:
            found[known.stream] = gap
    return found


def _terms(view: RunView, account: Account) -> Iterator[TermsSet]:
    """Record what the run is judged by, when it is new or has changed."""
    before = account.terms_set
    now = TermsSet(
        run=view.ref,
        generation=view.generation,
        program=view.program,
        workload=view.workload,
        terms=view.terms,
        limit=str(view.governing.limit),
        rule=view.governing.rule,
        citation=view.governing.citation,
        previous=before.previous if before else view.previous,
        policy_digest=view.law.note.digest if view.law else "",
        day=view.day(account),
    )
    if before is not None and now == replace(
        policies.plain(before), generation=view.generation
    ):
        return
    known = policies.with_law(view.noted, view.law) if view.law else view.noted
    yield policies.showing_change(before, now, totals(account), known)


def _attempts(
    view: RunView,
    account: Account,
    marks: Mapping[str, Mark],
    saves: Iterable[WeightsSaved],
) -> Iterator[AttemptOpened]:
    """Record each stream that counted for the first time, with what it continues.

    And each that is charged, once it runs: were the operator to die before it is heard
    or its grace time is over, nobody would know of it.
    """
    runs = [known.stream for known in view.watched.streams]
    charged = {uid for uid in runs if view.given.get(uid, Given()).devices}
    weights = {save.stream: save.path for save in (*account.saves, *saves)}
    opened = list(account.attempts)
    running = {pod.uid for pod in view.pods if not pod.gone and not pod.ended}
    for pod in view.pods:
        if pod.uid not in marks and pod.uid not in charged:
            continue
        if any(attempt.stream == pod.uid for attempt in opened):
            continue
        cause, predecessor = _cause(pod, opened, running, account.attempts_at_release)
        given = view.given.get(pod.uid, Given())
        attempt = AttemptOpened(
            run=view.ref,
            stream=pod.uid,
            pod=pod.name,
            workload_uid=pod.job_uid,
            predecessor=predecessor,
            cause=cause,
            weights=weights.get(predecessor, ""),
            devices=given.devices,
            node=given.node,
        )
        opened.append(attempt)
        yield attempt


def _cause(
    pod: Pod, opened: list[AttemptOpened], running: set[str], at_release: int
) -> tuple[str, str]:
    """Return why a pod runs, and the stream that it continues ("" for none)."""
    if not opened:
        return "Started", ""
    continued = {attempt.predecessor for attempt in opened}
    ended = [
        (place, attempt)
        for place, attempt in enumerate(opened)
        if attempt.stream not in running and attempt.stream not in continued
    ]
    if not ended:
        return "Parallel", ""
    place, before = ended[-1]
    if before.workload_uid != pod.job_uid:
        return "Recreated", before.stream
    return ("Resumed" if place < at_release else "Retried"), before.stream


def _settled(account: Account, mark: Mark) -> Mark:
    return account.streams.get(mark.stream, Mark(mark.stream))


def _settlements(
    view: RunView, account: Account, marks: Mapping[str, Mark]
) -> Iterator[Settlement]:
    """Record every stream that has counted more than its last settlement says."""
    for stream, mark in sorted(marks.items()):
        before = _settled(account, mark)
        if (mark.done, mark.begun, mark.final) == (
            before.done,
            before.begun,
            before.final,
        ):
            continue
        yield Settlement(
            run=view.ref,
            stream=stream,
            done=mark.done,
            begun=mark.begun,
            steps=mark.steps,
            pages=mark.pages,
            source=mark.source,
            final=mark.final,
        )


def _hold_events(
    view: RunView,
    account: Account,
    verdicts: tuple[Verdict, ...],
    hold: Verdict | None,
) -> Iterator[HoldSet | HoldProven | HoldReleased]:
    """Record a hold, its proof (the pods are gone) or its release."""
    job_uid = view.job.uid if view.job else ""
    if account.hold is None:
        if hold is not None:
            yield HoldSet(
                run=view.ref,
                workload=view.workload,
                workload_uid=job_uid,
                reason=hold.reason,
                already_suspended=view.job is not None and view.job.suspended,
            )
    elif hold is None:
        reason = view.release_because or _lifted(view, account, verdicts)
        yield HoldReleased(view.ref, account.hold.workload_uid, reason)
    elif _provable(view, account, upper_of(account)):
        yield HoldProven(
            run=view.ref,
            workload_uid=account.hold.workload_uid,
            upper=upper_of(account),
            overshoot=max(0, hold.counted - int(hold.limit)),
            milliseconds=view.held_milliseconds,
        )


def _provable(view: RunView, account: Account, upper: int) -> bool:
    """Say whether the hold is proven now: every Job is stopped and no pod is left.

    While a gap is open its containers may still run, whatever became of the pod. A mark
    that arrives after the proof is told by another, with the overshoot it adds.
    """
    if any(_may_run(view, account)):
        return False
    if account.proven is not None:
        return account.proven.upper < upper
    return view.pods_gone and all(jobs.stopped(job) for job in view.jobs)


def _may_run(view: RunView, account: Account) -> Iterator[str]:
    """Yield the charged streams whose containers are not proven dead."""
    for stream, gap in account.gaps.items():
        closed = gap.change == gaps.CLOSED or stream in account.closed
        if gaps.is_open(gap, closed=closed):
            yield stream
    for known in view.watched.streams:
        closed = known.final or known.over or known.stream in account.closed
        if known.peak and not closed:
            yield known.stream


def _lifted(view: RunView, account: Account, verdicts: tuple[Verdict, ...]) -> str:
    """Say what lifted a hold: the terms changed, or late evidence reduced a gap."""
    same = account.terms_set is not None and account.terms_set.terms == view.terms
    why = "GapReduced" if same else "TermsChanged"
    lines = ", ".join(sorted({verdict.reason for verdict in verdicts})) or "none"
    return f"{why} (held for {account.hold_reason}; lines reached now: {lines})"
