"""Forecast each run once per settlement: the shell around `forecast/`.

It takes the time, and remembers the last forecast of each run: drawing hundreds of
paths every cycle would say the same again. Where many runs are due at once, the dates
of some wait for a later cycle; totals, which holds depend on, never do.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from flopguard_operator.books import Books
from flopguard_operator.forecast import together
from flopguard_operator.forecast.architecture import PlanError
from flopguard_operator.forecast.history import Point, Track, milliseconds
from flopguard_operator.forecast.noting import Foreseen
from flopguard_operator.forecast.outlook import (
    Outlook,
    Reach,
    Total,
    reaches,
    spent,
    total,
)
from flopguard_operator.forecast.plan import Intent, planned_steps
from flopguard_operator.forecast.planned import Projection, of_plan
from flopguard_operator.forecast.together import Ahead, Part
from flopguard_operator.ledger.accounts import Account
from flopguard_operator.marks import Mark
from flopguard_operator.policy.checks import holds
from flopguard_operator.programs import ProgramPlan
from flopguard_operator.settings import Settings
from flopguard_operator.settling import Plan, RunView

BUDGET, THRESHOLD = "Budget", "Threshold"
LEAST_SECONDS = 1.0  # that a forecast is kept
MOST_SECONDS = 1.0  # of a cycle, for the dates of all runs together


@dataclass(frozen=True)
class _Memory:
    """The last forecast of a run, and what it was made of."""

    of: tuple[object, ...]
    made_at: float  # monotonic
    foreseen: Foreseen


@dataclass
class Forecaster:
    """Keeps the forecasts between the cycles."""

    settings: Settings
    _known: dict[str, _Memory] = field(default_factory=dict)  # by run UID
    _projections: dict[str, tuple[Intent, Projection | None, str]] = field(
        default_factory=dict
    )
    _histories: dict[str, tuple[Point, ...]] = field(default_factory=dict)
    _programs: dict[str, tuple[float, tuple[Reach, ...]]] = field(default_factory=dict)
    """When the dates of a program were made, and what they are; by its UID."""
    _left: float = MOST_SECONDS

    def begin(self, views: Iterable[RunView]) -> None:
        """Begin a cycle over these runs; forget all others."""
        self._left = MOST_SECONDS
        runs = {view.ref.uid for view in views}
        for memory in (self._known, self._projections, self._histories):
            for uid in memory.keys() - runs:
                del memory[uid]

    def look(
        self, view: RunView, account: Account, marks: Mapping[str, Mark], books: Books
    ) -> RunView:
        """Return a run's view with what is to be expected of it."""
        uid, now = view.ref.uid, time.monotonic()
        points = _points(books.tracks.get(uid, Track()), marks, account)
        self._histories[uid] = points
        key = self._key(view, account, points[-1].upper)
        known = self._known.get(uid)
        fresh = known is not None and now - known.made_at < self._lasts
        if known is not None and fresh and known.of == key:
            return replace(view, foreseen=known.foreseen)
        before = None if known is None or known.of != key else known.foreseen
        foreseen = self._foreseen(view, account, points, before)
        self._known[uid] = _Memory(key, now, foreseen)
        self._left -= time.monotonic() - now
        return replace(view, foreseen=foreseen)

    @property
    def _lasts(self) -> float:
        """Return for how many seconds a forecast is kept."""
        return max(LEAST_SECONDS, self.settings.settle_seconds)

    def of_program(
        self, program: ProgramPlan, runs: Iterable[tuple[RunView, Plan]]
    ) -> Ahead:
        """Return what is to be expected of a program.

        Args:
            program: as it is judged in this cycle.
            runs: those of it that exist in the cluster, already looked at.
        """
        going = [(view, plan) for view, plan in runs if _goes_on(view, plan)]
        parts = (Part(plan.totals.upper, _total_of(view)) for view, plan in going)
        spent_ = program.standing.totals.upper
        whole, why_not = together.total(spent_, parts)
        moving = [
            self._histories[view.ref.uid]
            for view, plan in going
            if plan.hold is None and view.ref.uid in self._histories
        ]
        return Ahead(whole, self._dates_of(program, moving), why_not)

    def _dates_of(
        self, program: ProgramPlan, histories: list[tuple[Point, ...]]
    ) -> tuple[Reach, ...]:
        """Return when a program reaches its lines; kept as long as those of runs."""
        limits, began = program.limits, time.monotonic()
        if not histories or limits is None or holds(program.standing.verdicts):
            return ()
        made_at, known = self._programs.get(program.ref.uid, (-1e9, ()))
        if began - made_at < self._lasts or self._left <= 0:
            return known
        now = milliseconds(_now()) or 0
        points = together.merged(histories, now)
        rest = program.standing.totals.upper - points[-1].upper
        lines = [
            (name, line - rest)
            for name, line in ((BUDGET, limits.budget), (THRESHOLD, limits.threshold))
            if line is not None
        ]
        found = tuple(each.after(now) for each in reaches(points, lines))
        if found:  # else there is too little to draw from, which is soon seen
            self._programs[program.ref.uid] = (began, found)
        self._left -= time.monotonic() - began
        return found

    def _key(self, view: RunView, account: Account, upper: int) -> tuple[object, ...]:
        """Return what a forecast depends on beside how the run goes on."""
        at = account.hold, len(account.attempts), _is_over(view)
        return view.intent, view.limits, view.limits.crossed(upper), *at

    def _foreseen(
        self,
        view: RunView,
        account: Account,
        points: tuple[Point, ...],
        before: Foreseen | None,
    ) -> Foreseen:
        intent = view.intent
        if _is_over(view):
            whole = spent(points[-1].upper) if intent.plan else None
            return Foreseen(_now(), Outlook(whole), intent.on_breach)
        projection, why_not = self._projected(view)
        steps = planned_steps(intent.plan) if intent.plan else None
        track_tells = points[-1].step > 0
        whole = total(projection, points, steps if track_tells else None)
        dates = self._dates(view, account, points, before)
        outlook = Outlook(whole, dates)
        return Foreseen(
            _now(), outlook, intent.on_breach, "" if whole is not None else why_not
        )

    def _projected(self, view: RunView) -> tuple[Projection | None, str]:
        """Return the projection of a run's plan, and why there is none."""
        uid, intent = view.ref.uid, view.intent
        known = self._projections.get(uid)
        if known is not None and known[0] == intent:
            return known[1], known[2]
        found, why_not = None, intent.why_not
        if intent.plan is not None:
            try:
                found = of_plan(intent.plan)
            except PlanError as error:
                why_not = f"spec.plan: {error}"
        self._projections[uid] = (intent, found, why_not)
        return found, why_not

    def _dates(
        self,
        view: RunView,
        account: Account,
        points: tuple[Point, ...],
        before: Foreseen | None,
    ) -> tuple[Reach, ...]:
        if account.hold is not None:
            return ()
        if self._left <= 0:
            return before.outlook.reaches if before else ()
        limits = view.limits
        lines = [(THRESHOLD, limits.threshold)]
        if limits.budget is not None:
            lines.insert(0, (BUDGET, limits.budget))
        now = milliseconds(_now()) or 0
        return tuple(each.after(now) for each in reaches(points, lines))


def _is_over(view: RunView) -> bool:
    """Say whether the run has ended: its Job has, and no pod is left."""
    ended = view.job is not None and bool(view.job.finished)
    return ended and all(pod.gone or pod.ended for pod in view.pods)


def _goes_on(view: RunView, plan: Plan) -> bool:
    """Say whether a run is yet to start, or goes on."""
    if _is_over(view):
        return False
    runs = any(not (pod.gone or pod.ended) for pod in view.pods)
    return view.job is not None or runs or not plan.totals.upper


def _total_of(view: RunView) -> Total | None:
    return view.foreseen.outlook.total if view.foreseen else None


def _points(
    track: Track, marks: Mapping[str, Mark], account: Account
) -> tuple[Point, ...]:
    charged = sum(gap.flops for gap in account.gaps.values())
    upper = sum(mark.upper for mark in marks.values()) + charged
    found = track.until(milliseconds(_now()) or 0, upper)
    return tuple(replace(p, step=0) for p in found) if track.vague else found


def _now() -> str:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return now.replace("+00:00", "Z")
