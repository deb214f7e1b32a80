"""Publish what the ledger says of each run: status, conditions, metrics; then act.

Shell: it takes the time and the short history that a rate needs, hands them to the pure
builders, and gives their results to `acting`.
"""

import time
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import structlog

from flopguard_operator import (
    acting,
    conditions,
    foretelling,
    opinions,
    programs,
    standing,
    status,
)
from flopguard_operator import conditions as c
from flopguard_operator.books import Books
from flopguard_operator.cache import Cache
from flopguard_operator.cluster import Cluster
from flopguard_operator.conditions import (
    Condition,
    Surroundings,
    Unmetered,
    unmetered,
)
from flopguard_operator.gathering import Refused, reference
from flopguard_operator.ledger import coverage
from flopguard_operator.ledger.accounts import Account
from flopguard_operator.ledger.duties import Owed, fulfilled, known_since, owed
from flopguard_operator.ledger.entries import Event, FactChanged, RunRef
from flopguard_operator.listening import Listener
from flopguard_operator.metrics import Collector, RunSample
from flopguard_operator.noting import gone, rollback
from flopguard_operator.observed import Raw, at, items, text
from flopguard_operator.overseeing import Overseen
from flopguard_operator.policy.evaluation import PolicyVerdict
from flopguard_operator.settings import Settings
from flopguard_operator.settling import Plan, RunView, nearest
from flopguard_operator.workloads import job

HASTE_SECONDS = 10.0  # the lock sees a new status within one

_log = structlog.get_logger()


@dataclass(frozen=True)
class Situation:
    """How the parts were in this cycle."""

    prometheus: Condition
    ledger: Condition
    listener: Listener = field(default_factory=Listener)


@dataclass
class Publisher:
    """Writes statuses and acts on workloads; remembers only what a rate needs."""

    settings: Settings
    cache: Cache
    cluster: Cluster
    books: Books
    collector: Collector
    _samples: dict[str, RunSample] = field(default_factory=dict)  # by run UID
    _history: dict[str, deque[tuple[float, int]]] = field(default_factory=dict)
    _due: dict[str, float] = field(default_factory=dict)  # releases, since when
    _unseen: dict[str, float] = field(default_factory=dict)  # unmetered pods, the same

    async def publish_and_act(
        self, view: RunView, plan: Plan, now: Situation, events: list[Event]
    ) -> None:
        """Write a run's status, then make its workload follow, then tell people.

        Without the ledger nothing but that is said: an account that could not be read
        would lift holds that are in force.
        """
        raw = self.cache.runs.get(view.ref.uid)
        if raw is None:
            return
        if now.ledger.status != c.TRUE:
            await self._say_only(raw, view.generation, now)
            return
        account = self.books.account(view.ref)
        if any(isinstance(event, FactChanged) for event in events):
            # The run is another now: the rate, and the forecast, begin anew.
            self._history.pop(view.ref.uid, None)
        around = self._around(view, plan, now)
        wanted = status.build(view, account, plan, around)
        wanted["conditions"] = conditions.merged(
            items(raw, "status", "conditions"),
            [
                *conditions.of_run(view, account, plan, around),
                *opinions.conditions(around.processes),
                *foretelling.conditions(view, plan.forecast),
            ],
            generation=view.generation,
            now=around.now,
        )
        held = account.hold is not None
        sample = _sample(view, plan, around, account)
        self._samples[view.ref.uid] = sample
        if held:
            await acting.keep_finalizer(self.cluster, raw, held=True)
        if await acting.publish(self.cluster, raw, wanted):
            due = await acting.on_workload(self.cluster, view, account, plan)
            self._again(view.ref.uid, due=due)
        if not held and not any(job.held_by_us(one) for one in view.jobs):
            # Only now: once the run is gone nobody would release its Jobs any more.
            await acting.keep_finalizer(self.cluster, raw, held=False)
        await acting.tell(self.cluster, view, events)

    async def refuse(self, one: Refused) -> None:
        """Say why a run is not metered; a hold that it has stays in force.

        Only to be called while the ledger is there: it alone knows of a hold.
        """
        raw, news = one.raw, [one.condition]
        if one.condition.type != c.WORKLOAD_CONFLICT:
            news.append(Condition(c.WORKLOAD_CONFLICT, c.FALSE))
        metering = conditions.of_refused(one.pods, self._beside(one))
        known = [text(each, "type") for each in items(raw, "status", "conditions")]
        if metering.status == c.TRUE or metering.type in known:
            news.append(metering)
        generation = int(at(raw, "metadata", "generation") or 0)
        held = self.books.account(reference(raw)).hold is not None
        wanted: dict[str, Any] = {
            "state": "Held" if held else "Refused",
            "conditions": _with(raw, news, generation),
            "observedGeneration": generation,
        }
        if held:
            await acting.keep_finalizer(self.cluster, raw, held=True)
        elif at(raw, "status", "holds"):
            wanted["holds"] = []
        if await acting.publish(self.cluster, raw, wanted) and not held:
            await acting.keep_finalizer(self.cluster, raw, held=False)

    def _beside(self, one: Refused) -> int:
        """Return how many pods of a refused run's Job run without the meter."""
        if one.condition.type == c.WORKLOAD_CONFLICT:
            return 0  # they are those of the older run
        ref, name = reference(one.raw), text(one.raw, "spec", "workload", "name")
        found = self.cache.jobs.get((ref.namespace, name))
        mine = [p for p in one.pods if p.job_name == name and not (p.gone or p.ended)]
        return max(0, found.active - len(mine)) if found else 0

    async def finish(self, ledger: Condition, overseen: Overseen) -> None:
        """Publish programs, decisions and metrics; forget the runs that are gone.

        Without the ledger no program: its total would be the sum of nothing.
        """
        if ledger.status == c.TRUE:
            for plan in overseen.programs:
                told = programs.status(plan, self._owed(plan.ref, plan.policies))
                news = programs.conditions_of(plan)
                await self._publish_program(plan.ref.name, told, news)
            for raw, why in overseen.refused:
                news = [Condition(c.SPEC_VALID, c.FALSE, "SpecInvalid", why)]
                name = text(raw, "metadata", "name")
                await self._publish_program(name, {"state": "Refused"}, news)
            for raw in list(self.cache.decisions.values()):
                await self._publish_decision(raw)
        for memory in (self._samples, self._history, self._due, self._unseen):
            for uid in memory.keys() - self.cache.runs.keys():
                del memory[uid]
        self.collector.samples = tuple(self._samples.values())
        self.collector.ledger_size = self.books.head.size if self.books.head else 0

    async def _publish_program(
        self, name: str, told: dict[str, Any], news: list[Condition]
    ) -> None:
        raw = self.cache.programs.get(name)
        if raw is None:
            return
        generation = int(at(raw, "metadata", "generation") or 0)
        conditions_told = _with(raw, news, generation)
        wanted = {**told, "conditions": conditions_told}
        wanted["observedGeneration"] = generation
        await acting.publish_program(self.cluster, raw, wanted)

    async def _publish_decision(self, raw: Raw) -> None:
        """Say whether a decision is an entry in the ledger."""
        uid = text(raw, "metadata", "uid")
        recorded = uid in self.books.decided
        news = Condition(c.RECORDED, c.TRUE)
        if not recorded:
            why = (
                "It is not in the ledger yet: its subject is not there, was made after "
                "it, or cannot be judged (see the subject's conditions)."
            )
            news = Condition(c.RECORDED, c.FALSE, "NoSubject", why)
        generation = int(at(raw, "metadata", "generation") or 0)
        wanted = {
            "conditions": _with(raw, [news], generation),
            "observedGeneration": generation,
        }
        await acting.publish_decision(self.cluster, raw, wanted)

    async def _say_only(self, raw: Raw, generation: int, now: Situation) -> None:
        """Change the two conditions that do not come from the ledger."""
        told = _with(raw, [now.prometheus, now.ledger], generation)
        await acting.publish(self.cluster, raw, {"conditions": told})

    def _again(self, uid: str, *, due: bool) -> None:
        """Wake the cycle soon for a release that is due, but not for ever."""
        now = time.monotonic()
        if not due:
            self._due.pop(uid, None)
        elif now - self._due.setdefault(uid, now) < HASTE_SECONDS:
            self.cache.wake.set()

    def _around(self, view: RunView, plan: Plan, now: Situation) -> Surroundings:
        head, uid = self.books.head, view.ref.uid
        marks = self.books.of_run(uid)
        processes = now.listener.of(marks)
        account = self.books.account(view.ref)
        wire = None
        if head is not None:
            root, key = head.root_base64, self.books.vkey
            wire = {"size": head.size, "rootHash": root, "key": key}
        policies = standing.verdicts(view, account, plan.totals)
        line = standing.line_to_go_back_to(view, plan, policies)
        return Surroundings(
            now=_now(),
            prometheus=now.prometheus,
            ledger=now.ledger,
            head=wire,
            flops_per_second=self._rate(view, plan.totals.upper),
            unmetered=self._unmetered(view),
            marks=marks,
            held_since=self.books.held.get(uid, ("", 0.0))[0],
            processes=processes,
            watched=now.listener.watched_of(marks),
            rollback=rollback(account, processes, line),
            rollbacks=standing.ways_back(
                view, plan, policies, account, gone(processes)
            ),
            spans=self.books.spans.get(uid, {}),
            policies=policies,
            duties=self._owed(view.ref, policies, self.books.program(view.program)),
        )

    def _owed(
        self,
        ref: RunRef,
        verdicts: tuple[PolicyVerdict, ...],
        program: Account | None = None,
    ) -> tuple[Owed, ...]:
        """Return the duties of a run (of a program), or of a program."""
        account = self.books.account(ref)
        since = known_since(account.forecast, self.books.met_at(ref))
        return owed(verdicts, fulfilled(program, account), since)

    def _unmetered(self, view: RunView) -> Unmetered:
        """Return the active pods that are not counted, once they are for two cycles.

        A pod that has just started is in the Job's status before a watch tells of it.
        """
        found = unmetered(view, self.books.owner)
        if not found.pods:
            self._unseen.pop(view.ref.uid, None)
            return found
        now = time.monotonic()
        since = self._unseen.setdefault(view.ref.uid, now)
        patience = 2 * self.settings.cycle_seconds
        return found if now - since >= patience else Unmetered()

    def _rate(self, view: RunView, upper: int) -> int:
        """Return FLOPs per second over the settings' window, by the monotonic clock.

        Without a pod that runs it is 0, and the next one starts a window of its own.
        """
        now = time.monotonic()
        history = self._history.setdefault(view.ref.uid, deque())
        if all(pod.gone or pod.ended for pod in view.pods):
            history.clear()
        history.append((now, upper))
        while now - history[0][0] > self.settings.rate_seconds:
            history.popleft()
        began, first = history[0]
        return int((upper - first) / (now - began)) if now > began else 0


def _with(raw: Raw, news: list[Condition], generation: int) -> list[dict[str, Any]]:
    """Return the object's conditions with some of them renewed, in the same places."""
    before = list(items(raw, "status", "conditions"))
    told = conditions.merged(before, news, generation=generation, now=_now())
    renewed = {one["type"]: one for one in told}
    kept = [renewed.pop(str(one.get("type")), dict(one)) for one in before]
    return [*kept, *renewed.values()]


def _sample(
    view: RunView, plan: Plan, around: Surroundings, account: Account
) -> RunSample:
    ref, limit = view.ref, nearest(view, plan.totals)[1]
    return RunSample(
        labels=(ref.namespace, ref.name, view.program, view.terms.policy),
        measured=plan.totals.measured,
        upper=plan.totals.upper,
        limit=limit,
        crossing_seconds=status.crossing_seconds(view, plan, around),
        forecast=plan.forecast.expected if plan.forecast else None,
        held=account.hold is not None,
        per_step=status.per_step(account, around.marks, around.processes),
        coverage=coverage.parts(around.spans),
        policies=around.policies,
    )


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
