"""Judge the programs of a cycle, and tell each run where its program stands.

Between gathering and planning: decisions are read, programs are judged on all of their
runs as of now, and what follows is put on the views that the plans are made from.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

import structlog

from flopguard_operator import decisions, programs, settling
from flopguard_operator.api.fields import SpecError
from flopguard_operator.books import refuse_unfit
from flopguard_operator.cache import Cache
from flopguard_operator.decisions import Decision
from flopguard_operator.ledger import standing
from flopguard_operator.ledger.accounts import Account
from flopguard_operator.ledger.entries import (
    Crossing,
    Event,
    HoldProven,
    HoldReleased,
    HoldSet,
    ProgramAdjusted,
    ProgramSet,
)
from flopguard_operator.ledger.errors import LedgerError
from flopguard_operator.ledger.standing import Standing
from flopguard_operator.marks import Mark
from flopguard_operator.observed import Raw, text
from flopguard_operator.policy import reasons
from flopguard_operator.policy.rulesets import PolicyError
from flopguard_operator.policy.terms import Totals
from flopguard_operator.programs import Laws, ProgramPlan
from flopguard_operator.settling import Plan, RunView

_HOLDS = (HoldSet, HoldProven, HoldReleased)
_RESTS = (Crossing, ProgramAdjusted)

_log = structlog.get_logger()


@dataclass(frozen=True)
class Overseen:
    """The views of a cycle with their programs' verdicts, and the programs' plans."""

    views: list[RunView]
    programs: list[ProgramPlan]
    refused: list[tuple[Raw, str]]  # programs that cannot be judged, and why

    @property
    def resting(self) -> set[str]:
        """Names of the programs whose entries rest on what all runs spent by now.

        All of their runs have to be settled with them.
        """
        return {
            plan.ref.name
            for plan in self.programs
            if any(isinstance(event, _RESTS) for event in plan.events)
        }

    def holding(self, plans: Iterable[tuple[RunView, Plan]]) -> set[str]:
        """Names of the programs for whose sake a run is held, proven or released."""
        return {
            view.program
            for view, plan in plans
            if view.program and any(isinstance(event, _HOLDS) for event in plan.events)
        }

    def ordered(self, plans: Iterable[tuple[RunView, Plan]]) -> list[Event]:
        """Return the events of a commit in the order of their causes.

        What the runs spent, then what it means for their programs, then the holds.
        """
        own = [event for _, plan in plans for event in plan.events]
        settled = [event for event in own if not isinstance(event, _HOLDS)]
        judged = [event for plan in self.programs for event in plan.events]
        held = [event for event in own if isinstance(event, _HOLDS)]
        return [*settled, *judged, *held]


@dataclass
class Overseer:
    """What a cycle knows when it judges its programs.

    Attributes:
        cache: With the programs and decisions.
        accounts: What the ledger says, by UID of run or program.
        recorded: UIDs of the decisions that it holds.
        marks: Returns the high-water marks of a run's streams by its UID.
        now: UTC, as the ledger writes it.
        by: What programs may be judged by.
    """

    cache: Cache
    accounts: Mapping[str, Account]
    recorded: Collection[str]
    marks: Callable[[str], Mapping[str, Mark]]
    now: str
    by: Laws
    _made: list[Decision] = field(default_factory=list)
    _live: dict[str, tuple[str, Account]] = field(default_factory=dict)
    _taken: dict[str, list[ProgramAdjusted]] = field(default_factory=dict)
    _refused: list[tuple[Raw, str]] = field(default_factory=list)

    def oversee(self, views: Iterable[RunView]) -> Overseen:
        """Return the views with all that programs and decisions say, and the plans."""
        made = self.cache.decisions.items()  # what the ledger holds stands there
        read = decisions.read_all(raw for uid, raw in made if uid not in self.recorded)
        self._made = [one for one in read if self._has_a_target(one)]
        known = standing.by_name(self.accounts)
        seen = [self._decided(view, known) for view in views]
        runs = programs.members(self._live, self.accounts)
        plans = [
            plan
            for name, raw in sorted(self.cache.programs.items())
            if (plan := self._planned(raw, known.get(name), runs.get(name, [])))
            is not None
        ]
        above = {plan.ref.name: standing.for_runs(plan.standing) for plan in plans}
        stands = {plan.ref.name: plan.standing for plan in plans}
        there = self.cache.runs  # what is gone is not held any more
        views = [
            replace(
                v,
                above=above.get(v.program, ()) if v.ref.uid in there else (),
                siblings=self._siblings(v, stands.get(v.program)),
            )
            for v in seen
        ]
        return Overseen(views, plans, self._refused)

    def _has_a_target(self, one: Decision) -> bool:
        """Tell whether the program that a decision moves a run to exists."""
        target = one.spec.to_program
        return target is None or target in self.cache.programs

    def _decided(self, view: RunView, known: Mapping[str, Account]) -> RunView:
        """Return a view with what is decided of its run, and take note of the run."""
        uid = view.ref.uid
        account = self.accounts.get(uid, Account(view.ref))
        created = text(self.cache.runs.get(uid), "metadata", "creationTimestamp")
        news = self._news(account, created)
        current = settling.as_of_now(view, account, self.marks(uid))
        current = standing.applied(current, news)
        self._live[uid] = view.program, current
        program = known.get(view.program)
        for one in decisions.adjustments(news, current, view.program, program):
            self._taken.setdefault(one.run.name, []).append(one)
        return replace(view, decided=news)

    def _siblings(
        self, view: RunView, program: Standing | None
    ) -> tuple[ProgramSet, Totals] | None:
        """Return what the other runs of a program spent, and how that is judged."""
        if program is None or program.account.program_set is None:
            return None
        _, own = self._live[view.ref.uid]
        spent = standing.without(program.totals, own, program.account.adjusted)
        return program.account.program_set, spent

    def _news(self, account: Account, created: str) -> tuple[Event, ...]:
        if not created:
            return ()  # its object is gone: nobody decides on it any more
        return tuple(decisions.news(account, created, self._made, self.now))

    def _planned(
        self, raw: Raw, before: Account | None, runs: Iterable[Account]
    ) -> ProgramPlan | None:
        ref = programs.reference(raw)
        own = before if before is not None and before.ref == ref else Account(ref)
        news = self._news(own, text(raw, "metadata", "creationTimestamp"))
        imports = decisions.imports(news, self._made)
        taken = [replace(one, run=ref) for one in self._taken.get(ref.name, ())]
        try:
            plan = programs.plan(raw, before, runs, [*news, *imports, *taken], self.by)
            refuse_unfit(plan.events)
        except (SpecError, PolicyError, LedgerError) as error:
            self._refused.append((raw, str(error)))
        except Exception:  # noqa: BLE001 - one program must not stop the others
            _log.exception("program failed", program=ref.name)
        else:
            return plan
        return None


def told(events: Iterable[Event], view: RunView) -> list[Event]:
    """Return what people are told on a run: its own events, its program's crossings."""
    found: list[Event] = []
    for event in events:
        if event.run == view.ref:
            found.append(event)
        elif isinstance(event, Crossing) and event.run.name == view.program:
            reason = reasons.PROGRAM + event.reason
            message = f"program {view.program}: {event.message}"
            found.append(replace(event, reason=reason, message=message))
    return found
