"""Judge the programs and plan the runs of a cycle, from what is known in it.

Shell around `overseeing` and `settling`: it holds the clock that says when a run was
settled last, and keeps one run's mistakes from the others.
"""

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import structlog

from flopguard_operator import gathering, settling
from flopguard_operator.books import Books, refuse_unfit, utc_now
from flopguard_operator.cache import Cache
from flopguard_operator.forecasting import Forecaster
from flopguard_operator.ledger.entries import Event, RunRef
from flopguard_operator.listening import Listener
from flopguard_operator.marks import Mark
from flopguard_operator.overseeing import Overseen, Overseer
from flopguard_operator.programs import Laws
from flopguard_operator.settings import Settings
from flopguard_operator.settling import Plan, RunView

Raised = Sequence[tuple[str, Mark]]  # (run UID, mark) of streams that counted more

_log = structlog.get_logger()


@dataclass(frozen=True)
class Planned:
    """What a cycle does: about its programs, and about each run."""

    overseen: Overseen
    runs: list[tuple[RunView, Plan]]

    def events(self, books: Books) -> list[Event]:
        """Return what to append, in the order of its causes."""
        events = self.overseen.ordered(self.runs)
        laws = [view.law for view, _ in self.runs if view.law is not None]
        laws += [plan.law for plan in self.overseen.programs]
        return [*books.noted.missing(events, laws), *events]


@dataclass
class Planner:
    """Plans; remembers when each run was settled last.

    Attributes:
        settings: The operator's.
        cache: What is seen of the cluster.
        books: What the ledger says.
        listener: What the processes said of themselves.
    """

    settings: Settings
    cache: Cache
    books: Books
    listener: Listener
    forecaster: Forecaster = field(init=False)
    _settled: dict[str, float] = field(default_factory=dict)  # by run UID, monotonic

    def __post_init__(self) -> None:
        """Start without any forecast."""
        self.forecaster = Forecaster(self.settings)

    def plan(self, views: list[RunView], raised: Raised) -> Planned:
        """Judge programs and plan runs.

        A run that cannot be judged is left out, as is one whose events the ledger
        cannot hold: then what the ledger says of it already is all that counts.
        """
        self.forecaster.begin(views)
        overseen = self._oversee(views, raised)
        plans = self._plans(overseen, raised)
        if len(plans) < len(views):
            planned = {view.ref for view, _ in plans}
            overseen = self._oversee([v for v in views if v.ref in planned], raised)
            plans = self._plans(overseen, raised)
        return Planned(self._foreseen(overseen, plans), plans)

    def _foreseen(
        self, overseen: Overseen, plans: list[tuple[RunView, Plan]]
    ) -> Overseen:
        """Return the programs with what is to be expected of each."""
        runs: dict[str, list[tuple[RunView, Plan]]] = {}
        for view, plan in plans:
            if view.ref.uid in self.cache.runs:  # what is gone does not go on
                runs.setdefault(view.program, []).append((view, plan))
        told = []
        for program in overseen.programs:
            ahead = program.ahead
            with isolated(program.ref):
                own = runs.get(program.ref.name, ())
                ahead = self.forecaster.of_program(program, own)
            told.append(replace(program, ahead=ahead))
        return replace(overseen, programs=told)

    def settled(self, plans: list[tuple[RunView, Plan]]) -> None:
        """Take note that the events of plans are in the ledger."""
        for view, plan in plans:
            if plan.events:
                self._settled[view.ref.uid] = time.monotonic()

    def _oversee(self, views: list[RunView], raised: Raised) -> Overseen:
        """Return the views with what their programs say, and the programs' plans."""
        laws, catalogue = self.cache.laws, self.cache.catalogue
        overseer = Overseer(
            cache=self.cache,
            accounts=self.books.accounts,
            recorded=self.books.decided,
            marks=lambda uid: newest(self.books, uid, raised),
            now=utc_now(),
            by=Laws(laws, catalogue, gathering.today(), self.books.noted),
        )
        return overseer.oversee(views)

    def _plans(self, overseen: Overseen, raised: Raised) -> list[tuple[RunView, Plan]]:
        """Return what to do about each run that can be planned.

        Where an entry of a program, or a hold for its sake, rests on the sum of its
        runs, all of them are settled.
        """
        resting = overseen.resting
        plans = list(self._each(overseen.views, raised, resting))
        held = overseen.holding(plans)
        if held <= resting:
            return plans
        return list(self._each(overseen.views, raised, resting | held))

    def _each(
        self, views: list[RunView], raised: Raised, resting: set[str]
    ) -> Iterator[tuple[RunView, Plan]]:
        for view in views:
            uid = view.ref.uid
            marks = newest(self.books, uid, raised)
            since = time.monotonic() - self._settled.get(uid, 0.0)
            due = since >= self.settings.settle_seconds or view.program in resting
            account = self.books.account(view.ref)
            with isolated(view.ref):
                told = self.listener.of(marks)
                seen = self.forecaster.look(view, account, marks, self.books)
                drawn = self.listener.drawn(view.pods, marks)
                seen = replace(seen, drawn=drawn)
                plan = settling.plan(seen, account, marks, told, settle_due=due)
                refuse_unfit(plan.events)
                yield seen, plan


def newest(books: Books, uid: str, raised: Raised) -> dict[str, Mark]:
    """Return the marks of a run's streams with those of this cycle."""
    higher = {mark.stream: mark for run, mark in raised if run == uid}
    return {**books.of_run(uid), **higher}


@contextlib.contextmanager
def isolated(ref: RunRef) -> Iterator[None]:
    """Keep whatever goes wrong with one run from stopping the others."""
    try:
        yield
    except Exception:  # noqa: BLE001 - see above
        _log.exception("run failed", namespace=ref.namespace, run=ref.name)
